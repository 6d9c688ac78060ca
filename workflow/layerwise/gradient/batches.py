"""The mini-batches of a training split: every sample once an epoch, in an order drawn anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from layerwise.contract import Split

BLOCK = 2**23  # numbers gathered at once while batching: 32 MB of float32


class MiniBatches(Protocol):
    """What a training goes through once an epoch: to iterate is to start one.

    Attributes
    ----------
    generator
        All that is random in an epoch's samples is drawn from it, where a resumed training is to get the same.
    """

    generator: torch.Generator

    @property
    def samples(self) -> int:
        """Samples of an epoch; known once one was gone through."""

    def __len__(self) -> int:
        """Return the steps of an epoch; known once one was gone through."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def finite(self) -> bool:
        """Tell whether all samples and targets are finite."""

    def counts(self) -> dict[str, int]:
        """Return ``samples`` and ``steps`` of the last epoch, where epochs differ in them; else nothing."""
        return {}


class Batches:
    """Mini-batches of samples and targets. To iterate is to start an epoch.

    Parameters
    ----------
    split
        Samples ``(N, *shape)`` and targets ``(N, ...)``, on the device of the training.
    sizes
        Number of samples of each batch, N together, as `batch_sizes` gives them.
    seed
        Seed of the `generator`.

    Attributes
    ----------
    generator
        All that is random in an epoch's samples is drawn from it, and nothing else is: a training that saves its state
        gets the same samples when it resumes. Whoever wraps batches to change their samples at random draws from it.
    """

    def __init__(self, split: Split, sizes: list[int], seed: int) -> None:
        self.split, self.sizes = split, sizes
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def samples(self) -> int:
        return sum(self.sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # The rows are gathered on the device of the data in blocks of many batches, which are then views: on a tiny
        # network the gathering would else take as long as a step.
        order = torch.randperm(self.samples, generator=self.generator, device="cpu").to(self.split.x.device)
        width = max(1, self.split.x[:1].numel())
        together = max(1, BLOCK // (width * max(self.sizes)))
        at = 0
        for first in range(0, len(self.sizes), together):
            some = self.sizes[first : first + together]
            rows = self.split.rows(order[at : at + sum(some)])
            yield from zip(rows.x.split(some), rows.y.split(some), strict=True)
            at += sum(some)

    def finite(self) -> bool:
        """Tell whether all samples and targets are finite."""
        return bool(self.split.x.isfinite().all() and self.split.y.isfinite().all())

    def counts(self) -> dict[str, int]:
        return {}


def batch_sizes(count: int, batch: int, least: int = 1) -> list[int]:
    """Split `count` samples into batches; a rest of fewer than `least` joins the batch before it."""
    sizes = [batch] * (count // batch)
    rest = count % batch
    if rest >= least or not sizes:
        return [*sizes, rest] if rest else sizes
    return [*sizes[:-1], batch + rest]


def normalises(module: nn.Module) -> bool:
    """Tell whether the module takes statistics over a batch, which one sample does not have."""
    return any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in module.modules())
