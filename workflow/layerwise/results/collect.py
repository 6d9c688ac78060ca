"""All fits of a study gathered in one table, from the records that lie on its trie."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.run.records import dataset_record, read_fit, read_score
from layerwise.study.model import Study
from layerwise.study.trie import SPLITS, Node

TEXT = ["dataset", "path", "label", "method", "layers", "kind", "digest"]  # the columns that hold words
MEASURES = ("accuracy", "mse", "cross_entropy")
NUMBERS = ["seed", "depth", "parameters", "total_parameters", "seconds", "total_seconds", "peak_memory_mb"]
RESERVED = {*TEXT, *NUMBERS, "train_lsd", "least_layer_error", "machine", "asked"}


def records(study: Study) -> Iterator[tuple[Node, dict[str, Any]]]:
    """Give every node of a study with the record of its fit; LayerwiseError at one that is missing or stale."""
    roots = {d: dataset_record(study, d)["digest"] for d in study.networks}
    for node in study.nodes():
        yield node, read_fit(study, node, roots[node.dataset])


def owed(study: Study) -> list[Node]:
    """Return the nodes that have no fit, or no scores, of what the study asks for."""
    roots = {d: dataset_record(study, d)["digest"] for d in study.networks}
    missing = []
    for node in study.nodes():
        try:
            read_score(study, node, read_fit(study, node, roots[node.dataset]))
        except LayerwiseError:
            missing.append(node)
    return missing


def collect(study: Study) -> pd.DataFrame:
    """Gather all fits of a study.

    Returns
    -------
    One row a node. `parameters`, `seconds` and `peak_memory_mb` are of the node's own segment;
    `total_parameters` and `total_seconds` add those before it on the path. Accuracies are in per cent.
    `best_epoch`, that of the best validation while a network was trained by gradient, is there if the study names it.
    `least_layer_error` is the least squared error, summed over targets, of a linear read-out before any layer.
    `label` is empty for a node that is no network of the study but a part of one. What methods record under
    ``measures``, a number by name, are columns before `digest`, empty for fits that record none of the name; there are
    none where no fit does.
    """
    rows: list[dict[str, Any]] = []
    known: dict[Node, dict[str, Any]] = {}
    for node, fit in records(study):
        known[node] = fit
        score = read_score(study, node, fit)
        lineage = [known[n] for n in node.lineage]  # parents come first
        rows.append(
            {
                "dataset": node.dataset,
                "seed": node.seed,
                "path": node.path,
                "label": study.networks[node.dataset].get(node.path, ""),
                "method": fit["method"],
                "depth": node.depth,
                "layers": in_brief(fit["layers"]),
                "parameters": fit["parameters"],
                "total_parameters": sum(f["parameters"] for f in lineage),
                "seconds": fit["seconds"],
                "total_seconds": round(sum(f["seconds"] for f in lineage), 4),
                "peak_memory_mb": fit["peak_memory_mb"],
                "kind": score["kind"],
                **_measured(score["splits"]),
                **{name: fit["record"].get(name) for name in study.recorded()},
                "least_layer_error": _least(fit["record"].get("input_error", [])),
                **_own(node, fit),
                "digest": fit["digest"],
            }
        )
    table = pd.DataFrame(rows)
    return table[[c for c in table if c != "digest"] + ["digest"]] if rows else table


def _own(node: Node, fit: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers that the method records for the table; LayerwiseError for a taken name or no number."""
    found = fit["record"].get("measures", {})
    for name, value in found.items():
        said = f"{node}: measure {name!r} of method {fit['method']!r} is"
        if name in RESERVED or re.fullmatch(f"({'|'.join(SPLITS)})_({'|'.join(MEASURES)})", name):
            raise LayerwiseError(f"{said} a column of fits.csv; rename it")
        if isinstance(value, bool) or not isinstance(value, (int, float, NoneType)):
            raise LayerwiseError(f"{said} {value!r}, which is no number")
    return found


def machine_of(fit: dict[str, Any]) -> str:
    return fit["machine"] + ("" if fit["device"] == "cpu" else f"; {fit['device']}")


def in_brief(words: Sequence[str]) -> str:
    """Return layer words as text, in which what comes three times or more in a row is said once."""
    parts, at = [], 0
    while at < len(words):
        runs = [(_times(words, at, length), length) for length in range(1, 7)]
        times, length = max((run for run in runs if run[0] >= 3), key=lambda run: run[0] * run[1], default=(0, 0))
        if times:
            parts.append(f"{times:,} x ({', '.join(words[at : at + length])})")
            at += times * length
        else:
            parts.append(words[at])
            at += 1
    return ", ".join(parts)


def _times(words: Sequence[str], at: int, length: int) -> int:
    """Return how many times in a row the next words come; the shortest of equal ones is found first."""
    block, times = words[at : at + length], 1
    while len(block) == length and words[at + times * length : at + (times + 1) * length] == block:
        times += 1
    return times


def _least(errors: Sequence[float | None]) -> float | None:
    """Return the least error of the linear read-outs at the inputs of the layers, where the method records them."""
    return min((e for e in errors if e is not None), default=None)


def _measured(splits: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Return every measure of every split as a column; None where it was not taken."""
    columns = {f"{s}_{m}": splits.get(s, {}).get(m) for m in MEASURES for s in SPLITS}
    return {**columns, "train_lsd": splits.get("train", {}).get("lsd")}
