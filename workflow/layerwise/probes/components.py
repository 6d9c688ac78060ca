"""How far classes lie apart at each depth: samples along the first two principal components (thesis figure 5.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Dataset
from layerwise.errors import LayerwiseError
from layerwise.maths import linalg
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import classified, representations


@dataclass(frozen=True)
class Options(Bounded):
    split: Literal["train", "valid", "test"] = "test"
    """Split that is looked at."""
    samples: Annotated[int, Ge(3)] = 1000
    """Samples that are looked at, at most; drawn by the seed, then those of `classes` are kept."""
    classes: Annotated[int, Ge(0)] = 4
    """Classes that are looked at, the first ones; 0 is all."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Place the samples at every depth.

    Returns
    -------
    One row a sample: depth (0 is the input), stage, class (its name), first and second (its places along the
    components), share (of the variance, that the two have together).
    """
    split = classified(data, options.split, options.samples, seed, "components")
    if options.classes:
        split = split.rows((split.y < options.classes).nonzero()[:, 0])
    if len(split) < 3:
        raise LayerwiseError("probe components: fewer than three samples of its classes; give more samples or classes")
    names = [data.task.classes[label] for label in split.y.tolist()]
    tables = []
    for depth, stage, z in representations(network, {"z": split.x}, device):
        places, share = plane(z["z"])
        front = {"depth": depth, "stage": stage, "class": names, "first": places[:, 0].tolist()}
        tables.append(pd.DataFrame({**front, "second": places[:, 1].tolist(), "share": share}))
    return pd.concat(tables, ignore_index=True)


def plane(z: Tensor) -> tuple[Tensor, float]:
    """Return the places ``(N, 2)`` of samples ``(N, d)`` along their two principal components, and their share."""
    z = z.double()
    z = z - z.mean(0)
    values, vectors = linalg.eigh(z @ z.T)  # few samples, and any number of features
    sizes = values.clamp(min=0)
    return vectors[:, :2] * sizes[:2].sqrt(), float(sizes[:2].sum() / sizes.sum().clamp(min=1e-300))
