"""The share of samples that rank highest."""

from __future__ import annotations

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.selections import Candidates


def highest(values: Tensor, share: float, seed: int) -> Tensor:
    """Return the rows of the highest values, a share of all, in their order; equal ones are drawn by the seed."""
    count = max(1, round(share * len(values)))
    shuffled = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    order = shuffled[values.cpu()[shuffled].argsort(descending=True, stable=True)]
    return order[:count].sort().values


def demand(candidates: Candidates, name: str) -> None:
    """Demand classes and a network to look at; LayerwiseError where they are not there."""
    if not candidates.features.task.classifies:
        raise LayerwiseError(f"selection {name!r} needs classes, and the data set has values")
    if not candidates.networks:
        raise LayerwiseError(
            f"selection {name!r} looks at trained networks that end in scores: name them under the segment's uses"
        )
