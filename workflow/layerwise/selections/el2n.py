"""Samples that networks err on most: the largest EL2N scores (Paul et al. 2021, section 2).

The score of a sample is the norm of the softmax of its scores minus its target, a mean over the networks that the
segment ``uses``: a few, trained for a few epochs. They choose for any network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from layerwise.contract import Task
from layerwise.layers import build as layers
from layerwise.options import Bounded, Gt, Le
from layerwise.selections import Candidates
from layerwise.selections._ranked import demand, highest


@dataclass(frozen=True)
class Options(Bounded):
    keep: Annotated[float, Gt(0), Le(1)]
    """Share of the samples that is kept."""


def select(candidates: Candidates, options: Options, *, seed: int, device: torch.device) -> Tensor:
    """Return the rows with the largest errors; LayerwiseError for values, and where no network is named."""
    demand(candidates, "el2n")
    samples, task = candidates.samples, candidates.features.task
    errors = [
        error(layers.apply(net, samples.x, device=device), samples.y, task) for net in candidates.networks.values()
    ]
    return highest(torch.stack(errors).mean(0), options.keep, seed)


def error(scores: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Return the norm ``(N,)`` of probabilities minus targets."""
    if task.kind == "signs":  # two classes in one column
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    targets = torch.nn.functional.one_hot(labels, scores.shape[1])
    return (scores.double().softmax(1) - targets).norm(dim=1)
