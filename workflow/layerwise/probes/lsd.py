"""How linear a problem has become at each depth: the least squares distance from a representation to the targets.

LSD = ||Y - Z Z^+ Y||_F^2 / N on the training split (thesis eq. 5.3), and beside it what a ridge read-out of the
same representation reaches on every split, which the LSD of a representation as wide as its samples are many does
not tell. Any network can be looked at, also one that was trained end to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from torch import nn

from layerwise.contract import Dataset, Split
from layerwise.layers import build as layers
from layerwise.maths import linalg
from layerwise.methods import ridge
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import representations, sample
from layerwise.run.scores import measures


@dataclass(frozen=True)
class Options(Bounded):
    samples: Annotated[int, Ge(2)] = 5000
    """Samples of each split that are looked at, at most; drawn by the seed."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Measure the representation at every depth.

    Returns
    -------
    One row a depth: depth (0 is the input), stage, features, samples (of train), train_lsd, and for every split
    ``<split>_accuracy`` (%, classes only) and ``<split>_mse`` of the ridge read-out.
    """
    splits = {name: split.to(device) for name, split in sample(data, options.samples, seed).items()}
    rows = []
    for depth, stage, z in representations(network, {name: split.x for name, split in splits.items()}, device):
        row = {"depth": depth, "stage": stage, "features": z["train"].shape[1], "samples": len(z["train"])}
        targets = data.task.targets(splits["train"].y, torch.float64)
        row["train_lsd"] = linalg.lsd(z["train"].double(), targets)  # thesis eq. 5.3
        readout = ridge.readout(Split(z["train"], splits["train"].y), data.task).module
        for name, split in splits.items():
            said = measures(layers.apply(readout, z[name]), split.y, data.task)
            row |= {f"{name}_{k}": said[k] for k in ("accuracy", "mse") if k in said}
        rows.append(row)
    return pd.DataFrame(rows)
