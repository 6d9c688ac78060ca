"""What several probes saw at each depth of the same networks, side by side: one row a network and depth.

For networks of one shape that different methods fitted: which of them separates the classes sooner (thesis chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pandas as pd

from layerwise.errors import LayerwiseError, nearest
from layerwise.maths.intervals import interval
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults, numbers

PLACE = ["dataset", "path", "label", "depth"]


@dataclass(frozen=True)
class Options(Bounded):
    columns: Annotated[dict[str, str], MinLen(1)]
    """Columns of the table, each as probe/column: a column of a probe of the study, a mean over its rows at a depth."""
    where: dict[str, float] = field(default_factory=dict)
    """Rows that count, as {column: value}, of probes that have the column, such as k of redundancy."""


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    columns = {name: _column(results, name, named, options.where) for name, named in options.columns.items()}
    rows: dict[Any, dict[str, Any]] = {}
    for name, seen in columns.items():
        for place, group in seen.groupby(PLACE, sort=False):
            dataset, path, label, depth = place
            row = rows.setdefault(place, {"dataset": dataset, "network": label, "depth": depth, "path": path})
            row[name], row[f"{name}_half_width"] = interval(group.groupby("seed")[name].mean())
            row["n"] = group["seed"].nunique()
    shown = [end for name in columns for end in (name, f"{name}_half_width")]
    table = pd.DataFrame(list(rows.values()), columns=["dataset", "network", "depth", *shown, "n", "path"])
    table["at"] = table.groupby(["dataset", "path"], sort=False).ngroup()  # networks as they first come
    return table.sort_values(["at", "depth"], kind="stable", ignore_index=True).drop(columns="at")


def _column(results: StudyResults, name: str, named: str, where: dict[str, float]) -> pd.DataFrame:
    """Return a column of a probe under its name in the table, with the network, the seed and the depth of each row."""
    probe, _, column = named.partition("/")
    seen = results.probe(probe)
    for needed in ("depth", column) if len(seen) else ():
        if needed not in seen:
            close = nearest(needed, map(str, seen))
            raise LayerwiseError(f"table by_depth: {named!r}: probe {probe} has no column {needed!r}{close}")
    if len(seen):
        numbers(seen, column, f"table by_depth: {named!r}")
    for key, value in where.items():
        seen = seen[seen[key] == value] if key in seen else seen
    return seen.rename(columns={column: name}) if len(seen) else pd.DataFrame(columns=[*PLACE, "seed", name])


def caption(results: StudyResults, options: Options) -> str:
    named = "; ".join(f"{name}: {column}" for name, column in options.columns.items())
    at = "".join(f", where {column} is {value:g}" for column, value in options.where.items())
    return (
        f"What probes saw at each depth of a network, 0 for its input ({named}){at}. Mean ± half width of the 95 % "
        f"Student-t interval over n seeds. Measured on {'; '.join(results.machines)}. "
        f"Source: results/{results.study.name}/networks/*/*.csv."
    )
