"""How many directions a representation uses at each depth: the singular values of its centred training samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from torch import nn

from layerwise.contract import Dataset
from layerwise.maths import linalg
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import representations, sample


@dataclass(frozen=True)
class Options(Bounded):
    samples: Annotated[int, Ge(2)] = 2000
    """Training samples that are looked at, at most; drawn by the seed."""
    top: Annotated[int, Ge(1)] = 100
    """How many of the largest singular values to keep at each depth."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Take the singular values s of the centred representation ``(N, features)`` at every depth.

    Returns
    -------
    One row a singular value: depth (0 is the input), stage, features, rank (1 is the largest), value (s over the
    largest s) and share (of the variance, s^2 over the sum of all s^2). All are 0 where nothing varies.
    """
    x = sample(data, options.samples, seed)["train"].x
    tables = []
    for depth, stage, z in representations(network, {"train": x}, device):
        s = linalg.spectrum(z["train"], centre=True).cpu()
        s = torch.where(s > s[0] * torch.finfo(z["train"].dtype).eps, s, 0.0)  # what is below is rounding alone
        tiny = torch.finfo(s.dtype).tiny
        largest, total = s[0].clamp(min=tiny), s.square().sum().clamp(min=tiny)
        kept = s[: options.top]
        table = pd.DataFrame(
            {"rank": range(1, len(kept) + 1), "value": (kept / largest).tolist(), "share": (kept**2 / total).tolist()}
        )
        table.insert(0, "features", z["train"].shape[1])
        table.insert(0, "stage", stage)
        table.insert(0, "depth", depth)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
