"""Every method beside what it must beat: its random control, its backpropagation twin, or what else there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults
from layerwise.tables.accuracy import difference


@dataclass(frozen=True)
class Options(Bounded):
    against: Annotated[dict[str, Annotated[dict[str, str], MinLen(1)]], MinLen(1)]
    """For each kind of control, such as ``random`` or ``backprop``, the path of the control beside each network, which
    is named as dataset/path."""

    def __post_init__(self) -> None:
        for name in (name for controls in self.against.values() for name in controls):
            if "/" not in name:
                raise LayerwiseError(f"network {name!r}: name it as dataset/path")


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    rows = []
    for name in dict.fromkeys(name for controls in options.against.values() for name in controls):
        dataset, path = name.split("/", 1)
        if dataset in results.study.left_out:
            continue
        label = results.networks(dataset, (path,))[path]
        measure = results.measure(dataset)
        row: dict[str, object] = {
            "dataset": dataset,
            "network": label,
            "measure": "accuracy %" if measure == "accuracy" else "mse",
        }
        row["test"], row["test_half_width"] = results.interval(dataset, path, f"test_{measure}")
        row["n"] = len(results.values(dataset, path, f"test_{measure}"))
        for kind, controls in options.against.items():
            row |= _against(results, dataset, path, kind, controls.get(name), f"test_{measure}")
        rows.append(row)
    if not rows:
        return pd.DataFrame(columns=["dataset", "network", "measure", "test", "test_half_width", "n"])
    return pd.DataFrame(rows)


def _against(
    results: StudyResults, dataset: str, path: str, kind: str, control: str | None, measure: str
) -> dict[str, object]:
    """Return the columns that hold a network against one control; empty ones where it has none."""
    label, gap, ratio = "", (np.nan, np.nan), np.nan
    if control is not None:
        label = results.networks(dataset, (control,))[control]
        gap = difference(results, dataset, path, control, measure)
        seconds = [results.interval(dataset, p, "total_seconds")[0] for p in (path, control)]
        ratio = seconds[0] / seconds[1] if seconds[1] else np.nan
    return {
        f"{kind}_control": label,
        f"minus_{kind}": gap[0],
        f"minus_{kind}_half_width": gap[1],
        f"seconds_over_{kind}": ratio,
    }


def caption(results: StudyResults, options: Options) -> str:
    named = {name.split("/", 1)[0] for controls in options.against.values() for name in controls}
    if named <= set(results.study.left_out):
        return f"No row: {', '.join(sorted(named))} left out here."
    return (
        f"Test value of each network, and its difference from its controls ({', '.join(options.against)}), "
        "paired by seed (mean ± half width of the 95 % Student-t interval); and the ratio of their mean fit seconds. "
        "For a mean squared error a negative difference is the better one. "
        f"Measured on {'; '.join(results.machines)}. Source: results/{results.study.name}/fits.csv."
    )
