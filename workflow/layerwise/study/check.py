"""What one part of a study says of another: every data set, network, seed and verdict that is named exists.

No torch here, and nothing is read but the study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerwise.errors import LayerwiseError, nearest
from layerwise.layers import words
from layerwise.study import works
from layerwise.study.trie import prefixes

if TYPE_CHECKING:
    from layerwise.study.model import Study


def check(study: Study) -> None:
    """Refuse a study in which a name stands for nothing; LayerwiseError says which."""
    for seeds in study.seeds_by_dataset.values():
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise LayerwiseError(f"seeds: {list(seeds)}: give each once, and none below 0")
    for name in study.left_out:
        if name not in study.datasets:
            raise LayerwiseError(f"leave_out: no data set {name!r}{nearest(name, study.datasets)}")
    for name in study.datasets:
        study.dataset(name)
    for dataset, networks in study.networks.items():
        if dataset not in study.datasets:
            raise LayerwiseError(f"networks: no data set {dataset!r}{nearest(dataset, study.datasets)}")
        for path in networks:
            _check_uses(study, path)
        for path in study.paths(dataset):
            study.segment(path)
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


def _check_uses(study: Study, path: str, above: tuple[str, ...] = ()) -> None:
    """Refuse a fit that would have to be there before itself."""
    for node in prefixes(path):
        if node in above:
            raise LayerwiseError(f"segment {study.segment(node).name!r}: it uses a network that {node!r} is part of")
        for used in study.segment(node).uses:
            _check_uses(study, used, (*above, node))
