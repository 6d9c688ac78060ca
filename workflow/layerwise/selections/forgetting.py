"""Samples that a training forgets most often: right once, and wrong later (Toneva et al. 2019).

A network that the segment ``uses`` is trained again, and looked at every so many steps on all samples (the work looks
at a sample when it is in the mini-batch). Samples that it never has right count as forgotten most. With several
networks the events add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.options import Bounded, Ge, Gt, Le
from layerwise.selections import Candidates
from layerwise.selections._ranked import demand, highest


@dataclass(frozen=True)
class Options(Bounded):
    keep: Annotated[float, Gt(0), Le(1)]
    """Share of the samples that is kept."""
    every: Annotated[int, Ge(1)] = 100
    """Steps between two looks at all samples."""


def select(candidates: Candidates, options: Options, *, seed: int, device: torch.device) -> Tensor:
    """Return the rows forgotten most often; LayerwiseError for values, and where there is no training to follow."""
    demand(candidates, "forgetting")
    total = torch.zeros(len(candidates.samples))
    for path in candidates.networks:
        memory = Memory(candidates, options.every, device)
        candidates.follow(path, memory)
        if memory.looks < 2:
            raise LayerwiseError(
                f"selection 'forgetting': the training of {path!r} is looked at less than twice: choose a smaller "
                "'every', or a network that is trained by gradient"
            )
        total += memory.events()
    return highest(total, options.keep, seed)


class Memory:
    """An eye on a training that counts how often each sample was right and then wrong at the next look."""

    def __init__(self, candidates: Candidates, every: int, device: torch.device) -> None:
        self.candidates, self.every, self.device, self.looks = candidates, every, device, 0
        n = len(candidates.samples)
        self.right, self.ever = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
        self.forgotten = torch.zeros(n)

    def __call__(self, network: nn.Module, step: int) -> None:
        if step == 0 or step % self.every:
            return
        samples, task = self.candidates.samples, self.candidates.features.task
        right = (task.labels(layers.apply(network, samples.x, device=self.device)) == samples.y).cpu()
        self.forgotten += self.right & ~right
        self.right, self.ever, self.looks = right, self.ever | right, self.looks + 1

    def events(self) -> Tensor:
        """Return the counts ``(N,)``; one more than any for samples that were never right."""
        return torch.where(self.ever, self.forgotten, self.looks)
