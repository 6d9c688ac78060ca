"""What a trained network reaches when its weights are sent once by each coder: the probe `coding`."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval
from layerwise.results.study_results import StudyResults, last_looks

COLUMNS = ("bits_raw", "bits_sent", "error", "valid_accuracy", "test_accuracy", "test_mse")


@dataclass(frozen=True)
class Options:
    probe: str = "coding"
    """The probe of the study; of one that looks during the training, what it saw last."""


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    seen, rows = results.probe(options.probe), []
    if seen.empty:  # all that it looks at is left out
        return seen
    if "coder" not in seen:
        raise LayerwiseError(f"table rates: probe {options.probe} is not of the kind coding: name one that is")
    of = ["dataset", "path", "label", "coder"]
    for (_, _, label, coder), group in last_looks(seen).groupby(of, sort=False):
        row: dict[str, object] = {"network": label, "coder": coder}
        for name in COLUMNS:
            if name in group and group[name].notna().any():
                row[name], row[f"{name}_half_width"] = interval(group[name])
        rows.append(row | {"n": len(group)})
    return pd.DataFrame(rows)


def caption(results: StudyResults, options: Options) -> str:
    return (
        "Trained networks whose weights are sent once by each coder: bits a parameter without and with an entropy code "
        "(biases and codebooks counted), relative error of the weights, accuracy in %. Mean ± half width of the 95 % "
        f"Student-t interval over n seeds. Measured on {'; '.join(results.machines)}. "
        f"Source: results/{results.study.name}/networks/*/{options.probe}.csv."
    )
