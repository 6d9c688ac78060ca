"""Which classes a network takes for which: how many samples of each class it gives to each class.

For the table `per_class` and the figure `confusion`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import torch
from torch import nn

from layerwise.contract import Dataset
from layerwise.errors import LayerwiseError
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import classified, representations


@dataclass(frozen=True)
class Options(Bounded):
    split: Literal["train", "valid", "test"] = "test"
    """Split that is looked at."""
    samples: Annotated[int, Ge(2)] = 1_000_000
    """Samples that are looked at, at most; drawn by the seed."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Count.

    Returns
    -------
    One row a pair of classes that occurs, and one a class with itself: true, predicted (names), samples.
    """
    split = classified(data, options.split, options.samples, seed, "confusion")
    *_, (_, _, last) = representations(network, {"z": split.x}, device)
    scores, task = last["z"], data.task
    if scores.shape[1] != task.outputs or not list(network[-1].parameters()):
        raise LayerwiseError("probe confusion: a network gives features, no scores; name networks with a read-out")
    count = len(task.classes)
    pairs = split.y * count + task.labels(scores).cpu()
    cells = torch.bincount(pairs, minlength=count**2).reshape(count, count).tolist()
    rows = [
        {"true": true, "predicted": predicted, "samples": samples}
        for i, (true, row) in enumerate(zip(task.classes, cells, strict=True))
        for j, (predicted, samples) in enumerate(zip(task.classes, row, strict=True))
        if samples or i == j
    ]
    return pd.DataFrame(rows)
