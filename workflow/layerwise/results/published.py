"""The verdict on each published value that a study answers for.

`study.works` has the published values and the networks that measure them, `rules` what counts as good and as near.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from layerwise.errors import LayerwiseError, nearest
from layerwise.maths.intervals import interval, spread
from layerwise.results.rules import (
    COMPARED,
    OTHER_HARDWARE,
    RULES,
    VERDICTS,
    WIDTHS,
    Rule,
    judge,
    rule,
    seeds_to_settle,
)
from layerwise.run import steps
from layerwise.study import works
from layerwise.study.model import Study
from layerwise.study.works import Value, values

__all__ = ["COLUMNS", "OTHER_HARDWARE", "RULES", "VERDICTS", "Rule", "Value", "judge", "rule", "values", "verdicts"]
COLUMNS = ["source", "item", "row", "metric", "published", "measured", "half_width", "n", "verdict", "reason"]
TEXT = ["source", "item", "row", "metric", "verdict", "reason"]  # the columns that hold words
NOBODY = "no network of this study measures it"
LEFT_OUT = "the data set {} is left out: {}; delete its line under leave_out in {} to run it"
NO_CAUSE = "no cause found yet"
WIDE = "the interval of {} seeds is wider than the tolerance of {:.2g}"
SETTLED = "; about {:,} seeds would settle it ({} no wider than that)"
COUNTED = "counted without training"
ONE_SEED = "one seed has no standard deviation; run the study with more seeds"


Probed = Callable[[str], pd.DataFrame]


def verdicts(
    study: Study,
    fits: pd.DataFrame,
    elsewhere: pd.DataFrame | None = None,
    counted: pd.DataFrame | None = None,
    probed: Probed | None = None,
) -> pd.DataFrame:
    """Hold what a study measured against every published value that it answers for.

    Parameters
    ----------
    fits
        The study's fits, as `results.collect` gives them.
    elsewhere
        Fits of data sets that are left out here, with their machine, as `StudyResults.elsewhere` has them.
    counted
        Memory of the training steps of networks that are left out, as `StudyResults.steps` has it.
    probed
        Returns what a probe saw, as `StudyResults.probe` does; needed where a verdict names one.

    Returns
    -------
    One row a published value, with the columns `COLUMNS`. Absent numbers are nan.
    """
    rows, items = works.answered(study.published), works.mapping(study.published)
    ranges = {(v.source, v.item, v.row, v.metric): v.value for v in rows}
    away: dict[str, str] = {}  # networks from elsewhere, with their machine
    if elsewhere is not None and len(elsewhere):
        fits = pd.concat([fits, elsewhere], ignore_index=True)
        away = dict(zip(elsewhere["dataset"] + "/" + elsewhere["path"], elsewhere["machine"], strict=True))
    least = pd.DataFrame(columns=["dataset", "path"]) if counted is None else steps.networks(counted)
    return pd.DataFrame([_row(v, study, items, fits, ranges, away, least, probed) for v in rows], columns=COLUMNS)


def _row(
    v: Value,
    study: Study,
    items: dict[tuple[str, str], works.Item],
    fits: pd.DataFrame,
    ranges: dict[tuple[str, str, str, str], float],
    away: dict[str, str],
    counted: pd.DataFrame,
    probed: Probed | None,
) -> dict[str, Any]:
    entry = works.entry_on(study.verdicts, v)
    said = {"source": v.source, "item": v.item, "row": v.row, "metric": v.metric, "published": v.value}
    networks, measure = works.networks(entry, v, items)
    if measure in counted.columns and set(networks) <= set(counted["dataset"] + "/" + counted["path"]):
        fits, away = counted.assign(seed=0), dict.fromkeys(networks, COUNTED)
    absent = [d for d in study.left_out if any(n.startswith(f"{d}/") and n not in away for n in networks)]
    if not networks or absent:
        unmeasured = {"measured": math.nan, "half_width": math.nan, "n": 0}
        reason = (
            LEFT_OUT.format(absent[0], study.left_out[absent[0]], study.file) if absent else entry.get("reason", NOBODY)
        )
        return {**said, **unmeasured, "verdict": "not run", "reason": reason}
    if "probe" in entry and probed is not None:
        fits = _seen(probed(entry["probe"]), works.place(entry, v), f"verdict on {v.item!r} {v.metric!r}")
    measured, half_width, n = (_place if "networks" in entry else _measure)(entry, v, networks, measure, fits)
    said |= {"measured": measured, "half_width": half_width, "n": n}
    how = rule(v.metric)
    devices = dict.fromkeys(away[n].rpartition("; ")[2] for n in networks if n in away)  # a GPU stands last
    where = [device if device == COUNTED else f"measured on {device}" for device in devices]
    how_measured = [*([entry["note"]] if "note" in entry else []), *where]
    if how.never or math.isnan(measured):
        return {**said, "verdict": "not run", "reason": "; ".join([how.never or ONE_SEED, *how_measured])}
    low, high = (ranges.get((v.source, v.item, v.row, end), v.value) for end in _ends(v.metric))
    verdict = judge(measured, half_width, low, high, how)
    reason = entry.get("reason", NO_CAUSE) if verdict == "worse" else ""
    if verdict == "inconclusive":
        reason = _open(half_width, n, how.tolerance(low, high), _statistic(entry, v))
    return {**said, "verdict": verdict, "reason": "; ".join([*([reason] if reason else []), *how_measured])}


def _open(half_width: float, n: int, tolerance: float, statistic: str) -> str:
    """Return why a value is inconclusive, and how many seeds would settle it."""
    statistic = statistic if statistic in WIDTHS else "mean"  # the mean place on a curve
    enough = seeds_to_settle(half_width, n, tolerance, statistic)
    return WIDE.format(n, tolerance) + (SETTLED.format(enough, WIDTHS[statistic][0]) if enough else "")


def _statistic(entry: dict[str, Any], v: Value) -> str:
    return entry.get("statistic") or ("std" if v.metric.endswith("_std") else "mean")


def _ends(metric: str) -> tuple[str, str]:
    """Return the metrics that hold the lower and the upper end of a published range; the metric itself for a point."""
    stem, _, end = metric.rpartition("_")
    return (f"{stem}_low", f"{stem}_high") if end in ("low", "high") else (metric, metric)


def _measure(
    entry: dict[str, Any], v: Value, networks: list[str], measure: str, fits: pd.DataFrame
) -> tuple[float, float, int]:
    """Return what the study measured for a published value, its half width and the number of seeds."""
    found = _values(networks[0], measure, fits, f"verdict on {v.item!r} {v.metric!r}")
    for how, other in entry.get("against", {}).items():
        found = COMPARED[how](found, _values(other, measure, fits, f"verdict on {v.item!r} {v.metric!r}"))
    found = found * entry.get("scale", 1.0)
    match _statistic(entry, v):
        case "mean":
            return *interval(found), len(found)
        case "std":
            return *spread(found), len(found)
        case "min":
            return float(found.min()), math.nan, len(found)
        case _:
            return float(found.max()), math.nan, len(found)


def _place(
    entry: dict[str, Any], v: Value, networks: list[str], measure: str, fits: pd.DataFrame
) -> tuple[float, float, int]:
    """Return the place on a curve that a published value tells of: its mean over the seeds, half width, their number.

    For each seed the place of the best network, or with the statistic ``enough`` the smallest place from which a
    network comes within the tolerance of the best one.
    """
    how = rule(measure)
    where = f"verdict on {v.item!r} {v.metric!r}"
    filled = dict(zip(entry["networks"], networks, strict=True))
    curve = {float(x): _values(network, measure, fits, where) for x, network in filled.items()}
    table = how.good * pd.DataFrame(curve).sort_index(axis=1).dropna()  # a row a seed, a column a place
    best = table.max(axis=1)
    if entry.get("statistic", "best") == "enough":
        slack = best.abs().map(how.tolerance)
        places = (table.ge(best - slack, axis=0)).idxmax(axis=1)  # the first that is
    else:
        places = table.idxmax(axis=1)
    return *interval(places), len(places)


def _seen(table: pd.DataFrame, place: dict[str, Any], where: str) -> pd.DataFrame:
    """Return the rows at one place of what a probe saw, a mean for each network and seed."""
    for name, value in place.items():
        if name not in table:
            raise LayerwiseError(f"{where}: the probe has no column {name!r}{nearest(name, map(str, table))}")
        column = table[name]
        try:
            here = column == float(value) if pd.api.types.is_numeric_dtype(column) else column.astype(str) == str(value)
        except ValueError:
            raise LayerwiseError(f"{where}: {name} is {value!r} under where, and the probe has numbers there") from None
        if not here.any():
            raise LayerwiseError(f"{where}: the probe saw nothing where {name} is {value}")
        table = table[here]
    return table.groupby(["dataset", "path", "seed"], as_index=False).mean(numeric_only=True)


def _values(network: str, measure: str, fits: pd.DataFrame, where: str) -> pd.Series:
    """Return what a network, named as dataset/path, measured with each seed."""
    dataset, path = network.split("/", 1)
    seeds = fits[(fits["dataset"] == dataset) & (fits["path"] == path)].set_index("seed")
    if seeds.empty:
        raise LayerwiseError(f"{where}: fits.csv has no network {network!r}; run the verb fits again")
    found = column(seeds, measure, where).dropna()
    if found.empty:
        raise LayerwiseError(f"{where}: {network} has no {measure}; name another measure or data with that split")
    return found


def column(fits: pd.DataFrame, measure: str, where: str) -> pd.Series:
    """Return a column of the fits; ``<split>_error`` is what is missing of an accuracy of 100 %."""
    if measure not in fits and measure.endswith("_error"):
        return 100 - column(fits, measure.removesuffix("_error") + "_accuracy", where)
    if measure not in fits or not pd.api.types.is_numeric_dtype(fits[measure]):
        known = [str(c) for c in fits if pd.api.types.is_numeric_dtype(fits[c])]
        raise LayerwiseError(f"{where}: fits.csv has no numbers {measure!r}{nearest(measure, known)}")
    return fits[measure]
