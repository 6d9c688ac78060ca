"""What every network reaches on every split, what it cost, and how far it is from a named control."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval
from layerwise.results.study_results import StudyResults
from layerwise.study.trie import SPLITS

MEASURED = [f"{name}{end}" for name in (*SPLITS, "difference") for end in ("", "_half_width")]
COLUMNS = ["dataset", "network", "method", "parameters", "seconds", "seconds_half_width", "measure", *MEASURED]
COLUMNS += ["n", "path"]


@dataclass(frozen=True)
class Options:
    datasets: tuple[str, ...] = ()
    """Data sets of the table; all of the study where absent. Those that the study leaves out here have no rows."""
    control: dict[str, str] = field(default_factory=dict)
    """For each data set, the path of the network from which the others' differences are taken."""


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    datasets = _datasets(results, options)
    for dataset, path in options.control.items():
        if dataset not in datasets and dataset not in results.study.left_out:
            raise LayerwiseError(f"table accuracy: control for {dataset!r}, which is none of its data sets")
        if dataset in datasets:
            results.networks(dataset, (path,))  # says what is wrong with the path
    rows = [_row(results, d, p, options.control.get(d)) for d in datasets for p in results.networks(d)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table if options.control else table.drop(columns=["difference", "difference_half_width"])


def _datasets(results: StudyResults, options: Options) -> list[str]:
    """Return the data sets of the table that run here."""
    return [d for d in options.datasets or results.study.networks if d not in results.study.left_out]


def _row(results: StudyResults, dataset: str, path: str, control: str | None) -> dict[str, object]:
    measure = results.measure(dataset)
    row: dict[str, object] = {
        "dataset": dataset,
        "network": results.networks(dataset, (path,))[path],
        "method": results.method(path),
        "parameters": round(results.interval(dataset, path, "total_parameters")[0]),
    }
    row["seconds"], row["seconds_half_width"] = results.interval(dataset, path, "total_seconds")
    row["measure"] = "accuracy %" if measure == "accuracy" else "mse"
    for split in SPLITS:
        row[split], row[f"{split}_half_width"] = results.interval(dataset, path, f"{split}_{measure}")
    own = control in (None, path)
    gap = (np.nan, np.nan) if own else difference(results, dataset, path, str(control), f"test_{measure}")
    row["difference"], row["difference_half_width"] = gap
    row["n"] = len(results.values(dataset, path, f"train_{measure}"))
    row["path"] = path
    return row


def difference(results: StudyResults, dataset: str, path: str, control: str, measure: str) -> tuple[float, float]:
    """Return the mean, and the half width of its interval, of a network minus its control, paired by seed."""
    fits = results.fits[results.fits["dataset"] == dataset]
    mine, other = (fits[fits["path"] == p].set_index("seed")[measure] for p in (path, control))
    return interval((mine - other).dropna())


def caption(results: StudyResults, options: Options) -> str:
    datasets = _datasets(results, options)
    if not datasets:
        return f"No row: {', '.join(options.datasets)} left out here."
    counts = sorted({len(results.study.seeds_of(d)) for d in datasets})
    n = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    text = (
        f"Mean ± half width of the 95 % Student-t interval over n seeds ({n} asked for). Seconds are wall-clock, of "
        f"all fits on a network's path; parameters are of the whole network (the mean over seeds)."
    )
    if options.control:
        told = ", ".join(f"{results.networks(d, (p,))[p]} ({d})" for d, p in options.control.items() if d in datasets)
        text += f" Difference: test value minus that of the control, paired by seed; the control is {told}."
    return f"{text} Measured on {'; '.join(results.machines)}. Source: results/{results.study.name}/fits.csv."
