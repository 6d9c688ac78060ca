"""The memory of the training steps of networks that are left out, beside the published shares where there are any.

Thesis tables 6.2 and 6.3: a network is trained in windows, and the largest step of any of them, with the frozen blocks
below it, is held against the step of the whole model.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from layerwise.results.study_results import StudyResults
from layerwise.run import steps
from layerwise.study import works


@dataclass(frozen=True)
class Options:
    pass


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    published = _published(results)
    rows = []
    for (dataset, path), windows in results.steps.groupby(["dataset", "path"], sort=False):
        below = steps.decided(windows)
        largest, least = (below.nlargest(1, column).iloc[0] for column in ("percent", "least_percent"))
        rows.append(
            {
                "dataset": dataset,
                "network": path,
                "windows": len(windows),
                "published_percent": published.get(f"{dataset}/{path}"),
                "percent": largest["percent"],
                "step_mb": largest["step_mb"],
                "least_percent": least["least_percent"],
                "block_of_least": int(least["first"]),
                "last_window_percent": windows["percent"].iloc[-1],
            }
        )
    return pd.DataFrame(rows)


def _published(results: StudyResults) -> dict[str, float]:
    """Return the published shares by the networks that they are measured by."""
    items = works.mapping(results.study.published)
    shares = {}
    for v in works.answered(results.study.published):
        found = items[v.source, v.item].measures(v.row, v.metric) if (v.source, v.item) in items else None
        if found and found[1] == steps.SHARE:
            shares[found[0]] = v.value
    return shares


def caption(results: StudyResults, options: Options) -> str:
    return (
        "Memory of a training step, in % of the whole model's at the same batch, optimiser and images, with the frozen "
        "blocks below: `percent` of the largest window with the decision block that was searched for, `least_percent` "
        "with an affine decision layer alone, and the block that sets it. The last window trains the model's own head "
        "and has no decision block. Counted on fake tensors, float32; nothing was trained. "
        f"Source: results/{results.study.name}/steps.csv."
    )
