"""What one part of a study says of another: every data set, network, seed and verdict that is named exists.

No torch here, and nothing is read but the study.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from layerwise.errors import LayerwiseError, nearest
from layerwise.layers import words
from layerwise.study import text, works
from layerwise.study.identity import files
from layerwise.study.trie import prefixes

if TYPE_CHECKING:
    from layerwise.study.model import Study, View


def check(study: Study) -> None:
    """Refuse a study in which a name stands for nothing; LayerwiseError says which."""
    _check_names(study)
    for name in study.left_out:
        if name not in study.datasets:
            raise LayerwiseError(f"leave_out: no data set {name!r}{nearest(name, study.datasets)}")
    for name in study.datasets:
        study.dataset(name)
    for dataset, networks in study.networks.items():
        if dataset not in study.datasets:
            raise LayerwiseError(f"networks: no data set {dataset!r}{nearest(dataset, study.datasets)}")
        done: set[str] = set()
        for path in networks:
            _check_uses(study, path, (), done)
        for path in study.paths(dataset):
            study.segment(path)
        text.check_apart(study.paths(dataset), "path")
        for path in networks:
            if not words.parse(study.segment(path).layers[-1]).scores:
                raise LayerwiseError(f"network {path!r} of {dataset!r} ends in features: end it with 'dense outputs'")
    known = {f"{d}/{p}" for d in study.networks for p in study.paths(d)}
    paths = {path for dataset in study.networks for path in study.paths(dataset)}
    for path in study.keep or ():
        if path not in paths:
            raise LayerwiseError(f"keep: no path {path!r}{nearest(path, paths)}")
    for probe in study.probes.values():
        for each in probe.networks:
            if each not in known:
                raise LayerwiseError(f"probe {probe.name!r}: no network {each!r}{nearest(each, known)}")
    works.check(study, known)
    for view in (*study.figures.values(), *study.tables.values()):
        items = getattr(view.options, "item", ()) if getattr(view.options, "source", "") else ()
        for item in (items,) if isinstance(items, str) else items:
            try:
                works.mapped(study, view.options.source, item)
            except LayerwiseError as error:
                raise LayerwiseError(f"{view.name!r}: {error}") from None
        _check_shown(study, view, known)


def check_files(study: Study) -> None:
    """Refuse a study whose segments name files that are not here, as far as it runs here."""
    for path in sorted({path for dataset in study.networks for path in study.paths(dataset)}):
        segment = study.segment(path)
        files(segment.options, f"segment {segment.name!r}")


def _check_shown(study: Study, view: View, known: set[str]) -> None:
    """Refuse a figure or a table of a data set, a network or a probe that is not there: it is made after all fits.

    The options of a plugin from outside the package may mean anything by these names, and are left alone.
    """
    if "." in view.module:
        return
    given, where = vars(view.options), f"{view.name!r}"
    dataset = given.get("dataset", "")
    for name in (*given.get("datasets", ()), *given.get("control", ()), *([dataset] if "dataset" in given else [])):
        if name not in study.networks:
            raise LayerwiseError(f"{where}: no data set {name!r} with networks{nearest(name, study.networks)}")
    columns = given.get("columns", ())
    probes = [each.partition("/")[0] for each in columns.values()] if isinstance(columns, dict) else []
    for name in [*probes, *([given["probe"]] if "probe" in given else [])]:
        if name not in study.probes:
            raise LayerwiseError(f"{where}: no probe {name!r}{nearest(name, study.probes)}")
    named = [(dataset, each) for each in given.get("networks", ())] + [("", each) for each in given.get("own", ())]
    named += [("", given["network"])] if given.get("network") else []
    for option in ("panels", "baseline", "control", "against"):
        named += _leaves(given.get(option, {}), "")
    for key, each in named:
        above = key if key in study.networks else key.split("/")[0]  # a data set, or a network of it
        if each not in known and f"{above}/{each}" not in known:
            raise LayerwiseError(f"{where}: no network {each!r}{nearest(f'{above}/{each}'.lstrip('/'), known)}")
        if "/" in key and key not in known and key.split("/")[0] in study.networks:
            raise LayerwiseError(f"{where}: no network {key!r}{nearest(key, known)}")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Give the texts in a mapping, each with the data set or the network below which it stands."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, str(name) if not key or "/" in str(name) else key)
    elif isinstance(value, str):
        yield key, value


def _check_names(study: Study) -> None:
    """Refuse names, given or made of placeholders, that would leave the folder of the results or meet one another."""
    kinds = {
        "study": [study.name],
        "data set": study.datasets,
        "segment": study.segments,
        "probe": study.probes,
        "figure": study.figures,
        "table": study.tables,
    }
    for what, names in kinds.items():
        for name in names:
            text.check_name(name, what)
        if what != "segment":  # the same name in other folders is another's
            text.check_apart(names, what)
    for path in (path for networks in study.networks.values() for path in networks):
        text.check_path(path)
    for segment in study.segments.values():
        for path in segment.uses:
            text.check_path(path)


def _check_uses(study: Study, path: str, above: tuple[str, ...], done: set[str]) -> None:
    """Refuse a fit that would have to be there before itself.

    Parameters
    ----------
    above
        The nodes that use the network, one after the other.
    done
        Nodes that were looked at.
    """
    for node in prefixes(path):
        if node in above:
            raise LayerwiseError(f"segment {study.segment(node).name!r}: it uses a network that {node!r} is part of")
        if len(above) > text.DEEPEST:
            raise LayerwiseError(
                f"segment {study.segment(above[0]).name!r}: networks use networks too deep, at {node!r}"
            )
        if node not in done:
            for used in study.segment(node).uses:
                _check_uses(study, used, (*above, node), done)
            done.add(node)
