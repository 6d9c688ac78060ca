"""k-filtering: samples whose k nearest neighbours are all of their class are redundant, and go (thesis section 5.4).

Neighbours are sought in large mini-batches of the samples as they come; that a sample is the first of its own
neighbours, in mini-batches of 5,000 in the order of the file, is what gives the published fractions of thesis table
5.1. What is kept is what edited nearest neighbours (Wilson 1972) would remove, mislabelled samples among it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.maths.neighbours import pure_runs
from layerwise.options import Bounded, Ge
from layerwise.selections import Candidates


@dataclass(frozen=True)
class Options(Bounded):
    k: Annotated[int, Ge(1)] = 10
    """Neighbours that must be of a sample's class for it to go."""
    batch: Annotated[int, Ge(0)] = 5000
    """Samples of a mini-batch, in their order, among which neighbours are sought; 0 is all."""
    itself: bool = True
    """A sample is the first of its own neighbours."""

    def __post_init__(self) -> None:
        if self.itself and self.k < 2:
            raise LayerwiseError("option 'k' counts the sample itself: choose 2 or more, or itself: false")


def select(candidates: Candidates, options: Options, *, seed: int, device: torch.device) -> Tensor:
    """Return the rows that are not redundant; LayerwiseError for values, which have no classes."""
    train = candidates.features.train
    if not candidates.features.task.classifies:
        raise LayerwiseError("selection 'kfilter' needs classes, and the data set has values")
    runs = pure_runs(train.x.flatten(1).to(device), train.y.to(device), batch=options.batch) + options.itself
    return (runs < options.k).nonzero()[:, 0]
