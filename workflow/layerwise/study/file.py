"""A study file read into a `Study`: YAML or JSON, what it takes of another, seeds, segments and views, all checked.

No torch here, and nothing is read but the study: Snakemake parses with this module.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from layerwise import plugins
from layerwise.errors import LayerwiseError, nearest
from layerwise.layers import words
from layerwise.study import families, text, works
from layerwise.study.check import check, check_files
from layerwise.study.model import Chosen, SegmentSpec, Study, View, seed_list
from layerwise.study.schema import can_validate, read_json, read_yaml, validate

MOST_LAYERS = 100_000  # of a segment, with the repeated ones
NOT_OPTIONS = {"method", "layers", "uses", "selects"}  # of a segment


def load(path: Path | str, seeds: int | list[int] | None = None, left_out: bool = False) -> Study:
    """Read and check a study file (YAML, or the JSON that ``python -m layerwise study`` prints).

    Parameters
    ----------
    seeds
        What to take for the study's own seeds.
    left_out
        Take the data sets that the study leaves out, and none that it runs.
    """
    path = Path(path)
    if not found(path):
        raise LayerwiseError(missing(path))
    if not text.NAME.fullmatch(path.stem):
        raise LayerwiseError(f"study {text.short(path.stem)}: call the file by {text.SPELLING}")
    if path.suffix == ".json":
        raw = _checked(read_json(path), path)
    else:
        raw = _extended(read_yaml(path), path)
        validate(raw, "study", str(path))
    if seeds is not None:
        raw = raw | {"seeds": seeds}
    try:
        study = _study(str(raw.get("name", path.stem)), str(path), raw)
        check(study)
        networks = {d: paths for d, paths in study.networks.items() if (d in study.left_out) == left_out}
        away = [(d, p) for d in study.left_out for p in study.networks.get(d, ())]
        counted = tuple(f"{d}/{p}" for d, p in away if study.counts(d, p))
        study = dataclasses.replace(study, networks=networks, counted=counted)
        if not networks:
            nothing = "the study leaves out nothing that has networks" if left_out else "nothing is left of the study"
            raise LayerwiseError(f"leave_out: {nothing}; name {'more' if left_out else 'fewer'} data sets")
        check_files(study)
    except LayerwiseError as error:
        raise LayerwiseError(f"{path}: {error}") from None
    return study


def twins(study: Study) -> Iterator[str]:
    """Give a line for each two networks that nothing tells apart but their paths."""
    for dataset, networks in study.networks.items():
        seen: dict[str, str] = {}
        for path, label in networks.items():
            other = seen.setdefault(label, path)
            if other != path:
                said = f"{study.file}: networks {other!r} and {path!r} of {dataset!r} have one label"
                yield f"{said}, {text.short(label)}; give each its own"


def found(path: Path) -> bool:
    """Tell whether anything is at a path, readable or not."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # too long a name, or a folder that may not be looked into: reading it says so
        return True


def names(folder: Path, taken: Collection[str] = ()) -> list[str]:
    """Return the names of the studies in a folder, by their files alone, but for those that are taken."""
    try:
        stems = sorted(path.stem for path in folder.glob("*.yaml"))
    except OSError:
        return []
    return [name for name in stems if text.NAME.fullmatch(name) and name not in taken]


def missing(path: Path) -> str:
    """Return what to say of a study that is not there."""
    there = names(path.parent)
    hint = f"; did you mean {path.with_suffix('.yaml')}?" if path.stem in there else nearest(path.stem, there)
    return f"study {text.short(path.stem)}: no file {path}{hint}"


def no_target(name: str, folder: Path) -> str:
    """Return what to say of a target of Snakemake that is no study, no stage of one, and no file that a rule makes."""
    studies = names(folder)
    stages = [f"{study}{stage}" for study in studies for stage in (":datasets", ":networks")]
    plain = name.removeprefix(f"{folder}/").removesuffix(".yaml")  # its file, in place of the study
    if plain != name and plain in studies:
        return f"target {text.short(name)}: a study is asked for by its name; did you mean {plain!r}?"
    if text.NAME.fullmatch(name) and name not in studies:
        return missing(folder / f"{name}.yaml")
    return (
        f"target {text.short(name)}: no study, and no stage of one{nearest(name, stages if ':' in name else studies)}"
    )


def marked(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a checked study as JSON has it, with a digest that tells it from one that was written by hand."""
    plain = json.loads(json.dumps(raw))
    return {**plain, "checked": _digest(plain)}


def _digest(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _checked(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a study of JSON: held against the schema, or as it was printed where jsonschema is not installed."""
    mark = raw.pop("checked", None)
    if can_validate():
        validate(_without(raw, "name"), "study", str(path))
    elif mark != _digest(raw):
        raise LayerwiseError(
            f"{path}: not as the verb study prints a study; print it anew, or install jsonschema and PyYAML"
        )
    name = raw.get("name", path.stem)
    if not isinstance(name, str) or not text.NAME.fullmatch(name):
        raise LayerwiseError(f"{path}: name: {text.short(name)} is not what belongs here: {text.SPELLING}")
    return raw


def _extended(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a study with what it does not say itself taken from the one that it extends, as far as it fits."""
    if "extends" not in raw:
        return raw
    others = names(path.parent, taken={path.stem})
    if raw["extends"] not in others:
        hint = nearest(str(raw["extends"]), others)
        raise LayerwiseError(f"{path}: extends: no other study {text.short(raw['extends'])}{hint}")
    base = path.with_name(f"{raw['extends']}.yaml")
    whole = read_yaml(base)
    validate(whole, "study", str(base))  # which refuses one that extends a third
    validate(_without(whole, "probes", "tables", "figures") | _without(raw, "extends"), "study", str(path))
    networks = families.listed(raw.get("networks", whole["networks"]), "networks")
    there = {f"{d}/{p}" for d, paths in networks.items() for p in paths}
    taken = _without(whole, "probes", "tables", "figures", "published")
    raw["published"] = _published_of(
        raw.get("published", whole.get("published", {})), whole.get("published", {}), there
    )
    rows = works.answered(raw["published"])
    verdicts = families.listed(whole.get("verdicts", []), "verdicts")
    taken["verdicts"] = [
        v for given in verdicts for v in works.written(given, rows) if there.issuperset(works.measured_by(v))
    ]
    taken["datasets"] = {d: v for d, v in whole["datasets"].items() if d in networks}
    if isinstance(whole.get("seeds"), dict):
        taken["seeds"] = {d: n for d, n in whole["seeds"].items() if d in networks}
    taken["leave_out"] = {d: why for d, why in whole.get("leave_out", {}).items() if d in networks}
    return taken | _without(raw, "extends")


def _published_of(wanted: Any, whole: Any, there: set[str]) -> dict[str, Any]:
    """Return the published items of a study that extends one, with the networks of that one which it has, too."""
    whole = _by_item(whole)
    known = works.mapping(whole)
    taken: dict[str, Any] = {}
    for source, items in _by_item(wanted).items():
        taken[source] = {name: given or None for name, given in items.items()}
        for name in items:
            if (source, name) not in known or items[name].get("rows") not in (None, whole[source][name]["rows"]):
                continue
            rows = {
                row: {c: n for c, n in cells.items() if n is None or n in there}
                for row, cells in known[source, name].written().items()
            }
            rows = {row: cells for row, cells in rows.items() if any(cells.values())}
            held = {column for cells in rows.values() for column, network in cells.items() if network}
            columns = {c: how for c, how in whole[source][name].get("columns", {}).items() if c in held}
            given = {**_without(whole[source][name], "words"), "columns": columns, "rows": rows}
            taken[source][name] = given if rows else None
    return taken


def _by_item(published: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the items of each work with what measures their rows; empty for an item that stands alone."""
    return {
        source: families.listed({i: items[i] or {} for i in items}, f"published {source}")
        if isinstance(items, dict)
        else {i: {} for i in items}
        for source, items in published.items()
    }


def _view(kind: str, name: str, given: dict[str, Any] | None) -> View:
    given = given or {}
    module = given.get(plugins.KINDS[kind], name)
    where = f"{plugins.KINDS[kind]} {name!r}"
    options = families.listed(_without(given, plugins.KINDS[kind], "networks" if kind == "probes" else ""), where)
    every = 0
    if kind == "probes" and not any(f.name == "every" for f in dataclasses.fields(plugins.options_class(kind, module))):
        every = options.pop("every", 0)  # which is of any probe that looks, and an option of those that follow
        if type(every) is not int or every < 0:
            raise LayerwiseError(f"{where}: every: {text.short(every)} is no number of steps")
    made = plugins.options(kind, module, options, where)
    return View(name, module, made, tuple(given.get("networks", ())), every)


def _segment(name: str, given: dict[str, Any]) -> SegmentSpec:
    options = _without(given, *NOT_OPTIONS)
    where = f"segment {name!r}"
    method, layers = given["method"], _layers(given["layers"], where)
    if not isinstance(method, str):
        raise LayerwiseError(f"{where}: method: {text.short(method)} is no name of a method")
    for word in dict.fromkeys(layers):
        try:
            words.parse(word)
        except LayerwiseError as error:
            raise LayerwiseError(f"{where}: {error}") from None
    if not layers:
        raise LayerwiseError(f"{where}: its layers are repeated no times; name at least one")
    made = plugins.options("methods", method, options, where)
    return SegmentSpec(name, method, tuple(layers), made, tuple(given.get("uses", ())), _chosen(given, where))


def _chosen(given: dict[str, Any], where: str) -> Chosen | None:
    """Return which samples a segment selects; a variant may have made anything of it."""
    select = given.get("selects")
    if select is None:
        return None
    if not isinstance(select, dict) or not isinstance(select.get("selection"), str):
        raise LayerwiseError(f"{where}: selects: {text.short(select)} is no {{selection: a name, and its options}}")
    name = select["selection"]
    return Chosen(name, plugins.options("selections", name, _without(select, "selection"), f"{where}: selects"))


def _layers(given: Any, where: str) -> list[str]:
    """Return layer words, the repeated ones written out; a family or a variant may have made anything of them."""
    words_: list[str] = []
    for each in given if isinstance(given, list) else [given]:
        times, block = (each.get("repeat"), each.get("layers")) if isinstance(each, dict) else (1, [each])
        if type(times) is not int or not isinstance(block, list) or not all(isinstance(w, str) for w in block):
            raise LayerwiseError(
                f"{where}: layers: {text.short(each)} is no layer word, nor {{repeat: 2, layers: [...]}}"
            )
        if len(words_) + max(times, 0) * len(block) > MOST_LAYERS:
            raise LayerwiseError(f"{where}: more than {MOST_LAYERS:,} layers; take fewer, or several segments")
        words_ += block * times
    return words_


def _study(name: str, file: str, raw: dict[str, Any]) -> Study:
    if not raw["title"].strip():
        raise LayerwiseError("title: it is blank; say what the study is called")
    raw = raw | {"networks": families.listed(raw["networks"], "networks"), "name": name}
    networks = {d: n if isinstance(n, dict) else {p: p for p in n} for d, n in raw["networks"].items()}
    segments = families.written(raw["segments"])
    named = tuple(n for n in segments if families.PLACEHOLDER.search(n))
    raw["segments"] = families.concrete(segments, [p for paths in networks.values() for p in paths])
    for path, label in (entry for paths in networks.values() for entry in paths.items()):
        if not isinstance(label, str):
            raise LayerwiseError(
                f"networks: {path!r}: {label!r} is no label; name the numbers of a placeholder, if any"
            )
        if not label.strip():  # a node that is no network has none in fits.csv
            raise LayerwiseError(f"networks: {path!r}: its label is blank; say what the network is called")
    keep = raw.get("keep", [])
    given = raw.get("seeds", 5)
    seeds = {d: seed_list(given.get(d, 5) if isinstance(given, dict) else given) for d in networks}
    for d in given if isinstance(given, dict) else ():
        if d not in networks:
            raise LayerwiseError(f"seeds: no data set {d!r}{nearest(d, networks)}")
    return Study(
        name=name,
        file=file,
        title=raw["title"],
        description=raw.get("description", ""),
        seeds=tuple(dict.fromkeys(s for each in seeds.values() for s in each)),
        seeds_together=raw.get("seeds_together", False),
        datasets=raw["datasets"],
        segments={n: _segment(n, s) for n, s in raw["segments"].items()},
        networks=networks,
        left_out=raw.get("leave_out", {}),
        seeds_by_dataset=seeds,
        keep=None if keep == "all" else tuple(keep),
        readouts=raw.get("readouts", True),
        probes={n: _view("probes", n, v) for n, v in raw.get("probes", {}).items()},
        figures={n: _view("figures", n, v) for n, v in raw.get("figures", {}).items()},
        tables={n: _view("tables", n, v) for n, v in raw.get("tables", {}).items()},
        published=_by_item(raw.get("published", {})),
        verdicts=[_verdict(each) for each in families.listed(raw.get("verdicts", []), "verdicts")],
        raw=raw,
        families=named,
    )


def _verdict(given: dict[str, Any]) -> dict[str, Any]:
    """Return a verdict whose networks along a curve are each one network, at a number."""
    for place, network in given.get("networks", {}).items():
        if not isinstance(network, str) or not text.NUMBER.fullmatch(str(place)):
            at = f"verdict on {given['item']!r}: networks: {text.short(place)}: {text.short(network)}"
            raise LayerwiseError(f"{at}: give a number, and one network as dataset/path")
    return given


def _without(given: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k not in keys}
