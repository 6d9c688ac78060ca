"""After how many epochs trained networks reach accuracies on the validation split: which of them learn faster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval
from layerwise.options import Bounded, Gt, Le, MinLen
from layerwise.results.study_results import StudyResults

MEASURE = "valid_accuracy"


@dataclass(frozen=True)
class Options(Bounded):
    dataset: str
    """Data set of the networks, with a validation split."""
    reach: Annotated[tuple[Annotated[float, Gt(0), Le(100)], ...], MinLen(1)]
    """Accuracies in per cent to be reached."""
    networks: Annotated[tuple[str, ...], MinLen(1)]
    """Paths of networks whose last segment is trained by gradient."""

    def __post_init__(self) -> None:
        if len({f"{accuracy:g}" for accuracy in self.reach}) < len(self.reach):
            raise LayerwiseError("option 'reach': two accuracies are alike to six digits: leave one out")


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    if options.dataset in results.study.left_out:
        return pd.DataFrame(columns=["network", "n"])
    for path, label in results.networks(options.dataset, options.networks).items():
        table = results.history(options.dataset, path, MEASURE)
        best = table.loc[table.groupby("seed")[MEASURE].idxmax()]  # the first of equals
        row: dict[str, object] = {"network": label}
        for name, column in (("best", MEASURE), ("best_epoch", "epoch")):
            row[name], row[f"{name}_half_width"] = interval(best[column])
        for accuracy in options.reach:
            first = table[table[MEASURE] >= accuracy].groupby("seed")["epoch"].min()
            told = interval(first) if len(first) == len(best) else (np.nan, np.nan)
            row[f"to_{accuracy:g}"], row[f"to_{accuracy:g}_half_width"] = told
            row[f"seeds_{accuracy:g}"] = len(first)
        rows.append(row | {"n": len(best)})
    return pd.DataFrame(rows)


def caption(results: StudyResults, options: Options) -> str:
    return (
        f"Best accuracy on the validation split of {options.dataset}, %, and its epoch; the first epoch with at least "
        "an accuracy where all seeds reach it, and how many seeds do. Mean ± half width of the 95 % Student-t interval "
        f"over n seeds. Measured on {'; '.join(results.machines)}. "
        f"Source: results/{results.study.name}/networks/*/fit.json."
    )
