"""Networks on data sets that the study leaves out here, as another machine measured them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from layerwise.maths.intervals import interval
from layerwise.results.study_results import StudyResults

MEASURES = ("total_seconds", "train_accuracy", "valid_accuracy", "test_accuracy", "train_mse", "test_mse")


@dataclass(frozen=True)
class Options:
    pass


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    fits = results.elsewhere
    networks = fits[fits["label"] != ""] if len(fits) else fits  # the others are parts of one
    rows = []
    for (dataset, path, label), mine in networks.groupby(["dataset", "path", "label"], sort=False):
        row: dict[str, object] = {
            "dataset": dataset,
            "network": label,
            "parameters": round(mine["total_parameters"].mean()),
        }
        for measure in MEASURES:
            row[measure], row[f"{measure}_half_width"] = interval(mine[measure].dropna())
        rows.append(row | {"n": len(mine), "path": path})
    measured = [f"{m}{end}" for m in MEASURES for end in ("", "_half_width")]
    return pd.DataFrame(rows, columns=["dataset", "network", "parameters", *measured, "n", "path"])


def caption(results: StudyResults, options: Options) -> str:
    machines = "; ".join(sorted(set(results.elsewhere["machine"]))) or "no machine yet"
    return (
        "Mean ± half width of the 95 % Student-t interval over n seeds, of networks that the study leaves out on this "
        "machine. Accuracies in %; seconds are wall-clock, of all fits on a network's path, most with other fits "
        f"beside them. Measured on {machines}. Source: {results.study.elsewhere}."
    )
