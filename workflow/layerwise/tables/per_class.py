"""How well each class is told by itself: recall, precision, and the class that it is mistaken for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval
from layerwise.results.study_results import StudyResults

MEASURED = [f"{name}{end}" for name in ("recall", "precision") for end in ("", "_half_width")]
COLUMNS = ["dataset", "network", "class", "samples", *MEASURED, "mistaken_for", "mistaken", "n", "path"]


@dataclass(frozen=True)
class Options:
    probe: str = "confusion"
    """The probe of the study, of kind confusion."""


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    seen, rows = results.probe(options.probe), []
    if len(seen) and not {"true", "predicted", "samples"} <= set(seen):
        raise LayerwiseError(f"table per_class: probe {options.probe} is of another kind; name one of kind confusion")
    for (dataset, path), network in seen.groupby(["dataset", "path"], sort=False) if len(seen) else ():
        last = network[network["step"] == network["step"].max()] if "step" in seen else network
        own = last["true"] == last["predicted"]
        for name in last.loc[own, "true"].unique():
            true, given = last["true"] == name, last["predicted"] == name
            hits, of, among = (last[rows].groupby("seed")["samples"].sum() for rows in (true & own, true, given))
            row: dict[str, object] = {"dataset": dataset, "network": network["label"].iloc[0], "class": name}
            row["samples"] = round(of.mean())
            for measure, total in (("recall", of), ("precision", among.reindex(of.index, fill_value=0))):
                row[measure], row[f"{measure}_half_width"] = interval(100 * hits / total.replace(0, np.nan))
            wrong = last[true & ~own].groupby("predicted")["samples"].sum()
            row["mistaken_for"] = wrong.idxmax() if len(wrong) else ""
            row["mistaken"] = 100 * wrong.max() / of.sum() if len(wrong) else 0.0
            rows.append(row | {"n": len(of), "path": path})
    return pd.DataFrame(rows, columns=COLUMNS)


def caption(results: StudyResults, options: Options) -> str:
    split = getattr(results.study.probes[options.probe].options, "split", "test")
    return (
        f"Each class on the {split} split: its samples; recall, % of them that the network gives to it; precision, % "
        "of what the network gives to it that is of it; the class that it is most often mistaken for, and % "
        "of its samples that are. Mean ± half width of the 95 % Student-t interval over n seeds. Measured on "
        f"{'; '.join(results.machines)}. Source: results/{results.study.name}/networks/*/{options.probe}.csv."
    )
