"""A random subset: the control of every selection that looks at the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from layerwise.options import Bounded, Gt, Le
from layerwise.selections import Candidates
from layerwise.selections._ranked import highest


@dataclass(frozen=True)
class Options(Bounded):
    keep: Annotated[float, Gt(0), Le(1)]
    """Share of the samples that is kept."""


def select(candidates: Candidates, options: Options, *, seed: int, device: torch.device) -> Tensor:
    """Return rows drawn by the seed."""
    return highest(torch.zeros(len(candidates.features.train)), options.keep, seed)
