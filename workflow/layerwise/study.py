"""A study file read into segments, networks and targets, with every name and option checked.

No torch here, and nothing is read but the study: Snakemake parses with this module.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerwise import plugins, words
from layerwise.datasets import Preparation, split_options
from layerwise.errors import LayerwiseError, nearest
from layerwise.schema import read_yaml, validate
from layerwise.store import read_json
from layerwise.study_check import check, measured_by
from layerwise.trie import Node, prefixes

NAME = re.compile(r"[A-Za-z0-9_-]+")  # of a study: it stands in rules, folders and commands
NOT_OPTIONS = {"segments": {"method", "layers", "uses"}, "probes": {"probe", "networks"}}


def digest_of(thing: Any) -> str:
    """Return a short digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True, default=str).encode()).hexdigest()[:16]


def changed(options: Any) -> dict[str, Any]:
    """Return the options that are not as they come: a new one, left as it comes, changes nothing."""
    return {f.name: own for f in dataclasses.fields(options) if (own := getattr(options, f.name)) != f.default}


@dataclass(frozen=True)
class SegmentSpec:
    """A segment as a study asks for it: method, layer words, options, and the networks it looks at."""

    name: str
    method: str
    layers: tuple[str, ...]
    options: Any
    uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """A probe, a figure or a table of a study: which module makes it, and with what options."""

    name: str
    module: str
    options: Any
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Study:
    """A study, checked.

    Parameters
    ----------
    networks
        For each data set, the networks as ``{path: label}``.
    left_out
        Data sets that the study names and does not run here, with why. Their published rows are *not run*, but for
        what was `measured <elsewhere>` on another machine.
    seeds, seeds_by_dataset
        The seeds of all data sets together, and those of each.
    keep
        Paths whose features stay on disk after the study; None for all.
    readouts
        Features that are no class scores are scored by a linear read-out.
    seeds_together
        One job fits all seeds of a segment (saves a torch import a seed) rather than one.
    """

    name: str
    file: str
    title: str
    description: str
    seeds: tuple[int, ...]
    seeds_together: bool
    datasets: dict[str, dict[str, Any]]
    segments: dict[str, SegmentSpec]
    networks: dict[str, dict[str, str]]
    left_out: dict[str, str]
    seeds_by_dataset: dict[str, tuple[int, ...]]
    keep: tuple[str, ...] | None
    readouts: bool
    probes: dict[str, View]
    figures: dict[str, View]
    tables: dict[str, View]
    published: dict[str, list[str]]
    verdicts: list[dict[str, Any]]
    raw: dict[str, Any] = field(repr=False)

    def paths(self, dataset: str) -> list[str]:
        """Return every node of a data set's trie, parents first, and what a node uses before it."""
        wanted = list(self.networks.get(dataset, {}))
        for path in wanted:  # grows while it is walked: a used network may use another
            wanted += [u for p in prefixes(path) for u in self.segment(p).uses if u not in wanted]
        nodes = {p for path in wanted for p in prefixes(path)}
        return sorted(nodes, key=lambda p: (self._rank(p), p.count("/"), p))

    def _rank(self, path: str) -> int:
        """Return how many networks have to be fitted one after the other for a node to use the last of them."""
        return max((1 + self._rank(u) for p in prefixes(path) for u in self.segment(p).uses), default=0)

    def nodes(self) -> list[Node]:
        """Return all nodes of the study."""
        return [Node(self.name, d, s, p) for d in self.networks for p in self.paths(d) for s in self.seeds_of(d)]

    def seeds_of(self, dataset: str) -> tuple[int, ...]:
        """Return the seeds of a data set."""
        return self.seeds_by_dataset[dataset]

    def seeds_in_words(self) -> str:
        """Return all seeds as text, a run of more than ten by its ends."""
        first, last = self.seeds[0], self.seeds[-1]
        run = self.seeds == tuple(range(first, last + 1)) and len(self.seeds) > 10
        return f"{first} to {last}" if run else ", ".join(map(str, self.seeds))

    def parts(self) -> list[Study]:
        """Return the study as parts of one list of seeds each: what one job does for all seeds is then one rule."""
        lists = dict.fromkeys(self.seeds_of(d) for d in self.networks)
        return [
            dataclasses.replace(
                self, seeds=seeds, networks={d: n for d, n in self.networks.items() if self.seeds_of(d) == seeds}
            )
            for seeds in lists
        ]

    def looks(self) -> list[tuple[str, str, str]]:
        """Return what the probes look at, as (probe, data set, path)."""
        every = [(d, p) for d, networks in self.networks.items() for p in networks]
        named = {n: [tuple(w.split("/", 1)) for w in view.networks] for n, view in self.probes.items()}
        return [(n, d, p) for n in self.probes for d, p in named[n] or every if d in self.networks]

    def follows(self, probe: str) -> bool:
        """Tell whether a probe follows a training, rather than look at what came of it."""
        tree = ast.parse(plugins.file("probes", self.probes[probe].module).read_text(encoding="utf-8"))
        return any(isinstance(node, ast.FunctionDef) and node.name == "follow" for node in tree.body)

    def kept(self, path: str) -> bool:
        """Tell whether the features of a node stay on disk."""
        return self.keep is None or path in self.keep

    @functools.cache  # noqa: B019  (a study lives as long as the process)
    def segment(self, path: str) -> SegmentSpec:
        """Return what the last segment of a path asks for; ``a+b`` joins layers, the last one has the say."""
        names = path.rsplit("/", 1)[-1].split("+")
        parts = [self._named(n, path) for n in names]
        if len({p.method for p in parts}) > 1:
            said = ", ".join(f"{p.name}: {p.method}" for p in parts)
            raise LayerwiseError(f"network {path!r}: segments fitted together need one method, here {said}")
        return dataclasses.replace(
            parts[-1],
            name="+".join(names),
            layers=tuple(w for p in parts for w in p.layers),
            uses=tuple(u for p in parts for u in p.uses),
        )

    def _named(self, name: str, path: str) -> SegmentSpec:
        if name not in self.segments:
            raise LayerwiseError(f"network {path!r}: no segment {name!r}{nearest(name, self.segments)}")
        return self.segments[name]

    @functools.cache  # noqa: B019
    def dataset(self, name: str) -> tuple[str, Any, Preparation]:
        """Return a data set's source, the source's options, and the preparation."""
        source = self.datasets[name]["source"]
        options = split_options(source, _without(self.datasets[name], "source"), f"data set {name!r}")
        return source, *options

    @functools.cache  # noqa: B019
    def dataset_spec(self, name: str) -> dict[str, Any]:
        """Return what determines a data set, for its digest."""
        source, options, preparation = self.dataset(name)
        return {
            "source": source,
            "options": dataclasses.asdict(options),
            "preparation": dataclasses.asdict(preparation),
            "code": plugins.code_digest(plugins.sources("datasets", source)),
        }

    @functools.cache  # noqa: B019
    def segment_spec(self, path: str) -> dict[str, Any]:
        """Return what determines the last segment of a path, apart from its input and seed."""
        segment = self.segment(path)
        parsed = {w: str(words.parse(w)) for w in dict.fromkeys(segment.layers)}
        return {
            "method": segment.method,
            "layers": [parsed[w] for w in segment.layers],
            "options": dataclasses.asdict(segment.options),
            "uses": list(segment.uses),
            "code": plugins.code_digest(plugins.sources("methods", segment.method)),
        }

    def digest(self, node: Node, root: str) -> str:
        """Return the digest that the record of a node's fit must have.

        Parameters
        ----------
        root
            Digest in the record of the data set.
        """
        value = root
        for each in node.lineage:
            uses = [self.digest(dataclasses.replace(node, path=u), root) for u in self.segment(each.path).uses]
            value = digest_of([self.segment_spec(each.path), each.seed, value, *uses])
        return value

    @property
    def elsewhere(self) -> Path:
        """Where the fits of the data sets that are left out here are written, by a machine that runs them."""
        return Path(self.file).parent / "elsewhere" / f"{self.name}.csv"

    def asked(self, dataset: str, path: str) -> str:
        """Return the digest of all options of a network, without the code; a fit from elsewhere must have the same."""
        source, options, preparation = self.dataset(dataset)
        segments = [self.segment(p) for p in prefixes(path)]
        own = [[s.method, [str(words.parse(w)) for w in s.layers], changed(s.options)] for s in segments]
        uses = [self.asked(dataset, u) for s in segments for u in s.uses]
        return digest_of([source, changed(options), changed(preparation), own, uses])

    def targets(self) -> list[str]:
        """Return the files, below the study's folder, that a whole run ends in."""
        figures = [f"figures/{name}.{kind}" for name in self.figures for kind in ("svg", "png")]
        tables = [f"tables/{name}.{kind}" for name in self.tables for kind in ("csv", "md")]
        return ["fits.csv", "verdicts.csv", *tables, *figures, "report.html"]

    def view_digest(self, kind: str, name: str) -> str:
        """Return what determines a probe, figure or table, apart from its input."""
        view: View = getattr(self, kind)[name]
        own = [view.module, dataclasses.asdict(view.options)]
        return digest_of(own if kind == "probes" else [*own, self.networks, self.title])  # a probe shows no label


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
    if not path.is_file():
        known = {p.stem for p in path.parent.glob("*.yaml")}
        raise LayerwiseError(f"study {path.stem!r}: no file {path}{nearest(path.stem, known)}")
    if not NAME.fullmatch(path.stem):
        raise LayerwiseError(f"study {path.stem!r}: call the file by letters, digits, _ and -")
    if path.suffix == ".json":
        raw = read_json(path)
        if missing := {"title", "datasets", "segments", "networks"} - set(raw):
            raise LayerwiseError(f"{path}: no study, {min(missing)!r} is missing; print one with the verb study")
    else:
        raw = _extended(read_yaml(path), path)
        validate(raw, "study", str(path))
    if seeds is not None:
        raw = raw | {"seeds": seeds}
    try:
        study = _study(str(raw.get("name", path.stem)), str(path), raw)
        check(study)
        networks = {d: paths for d, paths in study.networks.items() if (d in study.left_out) == left_out}
        study = dataclasses.replace(study, networks=networks)
        if not networks:
            nothing = "the study leaves out nothing that has networks" if left_out else "nothing is left of the study"
            raise LayerwiseError(f"leave_out: {nothing}; name {'more' if left_out else 'fewer'} data sets")
    except LayerwiseError as error:
        raise LayerwiseError(f"{path}: {error}") from None
    return study


def _extended(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a study with what it does not say itself taken from the one that it extends, as far as it fits."""
    if "extends" not in raw:
        return raw
    base = path.with_name(f"{raw['extends']}.yaml")
    if not base.is_file() or base == path:
        known = sorted({p.stem for p in path.parent.glob("*.yaml")} - {path.stem})
        raise LayerwiseError(f"{path}: extends: no other study {raw['extends']!r}{nearest(str(raw['extends']), known)}")
    whole = read_yaml(base)
    validate(whole, "study", str(base))  # which refuses one that extends a third
    networks = raw.get("networks", whole["networks"])
    there = {f"{d}/{p}" for d, paths in networks.items() for p in paths}
    taken = _without(whole, "probes", "tables", "figures")
    taken["verdicts"] = [v for v in whole.get("verdicts", []) if there.issuperset(measured_by(v))]
    taken["datasets"] = {d: v for d, v in whole["datasets"].items() if d in networks}
    if isinstance(whole.get("seeds"), dict):
        taken["seeds"] = {d: n for d, n in whole["seeds"].items() if d in networks}
    taken["leave_out"] = {d: why for d, why in whole.get("leave_out", {}).items() if d in networks}
    return taken | _without(raw, "extends")


def _seeds(given: int | list[int]) -> tuple[int, ...]:
    return tuple(range(given)) if isinstance(given, int) else tuple(given)


def _without(given: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k not in keys}


def _view(kind: str, name: str, given: dict[str, Any] | None) -> View:
    given = given or {}
    module = given.get(plugins.KINDS[kind], name)
    options = _without(given, plugins.KINDS[kind], "networks" if kind == "probes" else "")
    where = f"{plugins.KINDS[kind]} {name!r}"
    return View(name, module, plugins.options(kind, module, options, where), tuple(given.get("networks", ())))


def _segment(name: str, given: dict[str, Any]) -> SegmentSpec:
    options = _without(given, *NOT_OPTIONS["segments"])
    where = f"segment {name!r}"
    layers = [
        w for each in given["layers"] for w in ([each] if isinstance(each, str) else each["layers"] * each["repeat"])
    ]
    for word in dict.fromkeys(layers):
        try:
            words.parse(word)
        except LayerwiseError as error:
            raise LayerwiseError(f"{where}: {error}") from None
    options = plugins.options("methods", given["method"], options, where)
    return SegmentSpec(name, given["method"], tuple(layers), options, tuple(given.get("uses", ())))


def _study(name: str, file: str, raw: dict[str, Any]) -> Study:
    networks = {d: n if isinstance(n, dict) else {p: p for p in n} for d, n in raw.get("networks", {}).items()}
    keep = raw.get("keep", "all")
    given = raw.get("seeds", 5)
    seeds = {d: _seeds(given.get(d, 5) if isinstance(given, dict) else given) for d in networks}
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
        published=raw.get("published", {}),
        verdicts=raw.get("verdicts", []),
        raw={**raw, "name": name},
    )
