"""What windows of blocks learn from: mini-batches of a training split, as the frozen blocks before a window leave them.

A fit by `local` holds its samples as tensors (`Held`); whoever has them otherwise says so by `Samples`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from torch import Tensor, nn

from layerwise.contract import Pixels, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient.augment import Augmented
from layerwise.gradient.batches import MiniBatches, batch_sizes
from layerwise.gradient.validation import Scored
from layerwise.layers import build as layers

CHUNK = 32  # samples that frozen layers take at once: a third of the memory of a whole batch, and the same bytes
STORED = 2**27  # numbers of features that are computed once a window, and not once an epoch; 512 MiB in float32


class Inputs(MiniBatches, Protocol):
    """The mini-batches of one window. Before its turn they are samples of the training split."""

    def enter(self, feed: nn.Sequential) -> None:
        """Give what frozen layers make of the samples, for a turn of the window."""

    def leave(self) -> None:
        """Let go of what was held for the turn."""

    def once(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples, as `enter` has them, with nothing of the training drawn."""


@dataclass(frozen=True)
class Samples:
    """What local training learns from.

    Parameters
    ----------
    task
        What is to be learned.
    sample
        One sample ``(1, *shape)``, which tells the shape, the floating type and the device.
    batch
        Samples a step, by which its memory is counted.
    inputs
        Makes the mini-batches of a window, of a seed, each of so many samples or more; a batch is ``(x, targets)``.
    scored
        Gives the scores that a network has for the validation split, batch by batch, and what they should be; None
        without one.
    """

    task: Task
    sample: Tensor
    batch: int
    inputs: Callable[[int, int], Inputs]
    scored: Callable[[nn.Module], Scored] | None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sample.shape[1:])


def held(
    train: Split,
    valid: Split,
    task: Task,
    targets: Tensor,
    *,
    batch: int,
    augment: Sequence[str],
    features: str,
    pixels: Pixels | None = None,
) -> Samples:
    """Return samples that are tensors; `targets` are those of the training split, the rest is as options have it.

    `pixels` tells how the samples came of images.
    """

    def inputs(seed: int, least: int) -> Inputs:
        sizes = batch_sizes(len(train), batch, least)
        if min(sizes) < least:
            need = "batchnorm needs two samples a step or more: choose batch: 2 or more"
            if least > 2:
                need = f"a step of so many processes needs {least} samples, and there are {min(sizes)}: allocate fewer"
            raise LayerwiseError(f"method 'local': {need}")
        return Held(Split(train.x, targets), sizes, seed, augment, features, batch, pixels)

    def scored(network: nn.Module) -> Scored:
        yield layers.apply(network, valid.x), valid.y

    return Samples(task, train.x[:1], batch, inputs, scored if len(valid) else None)


class Held(Augmented):
    """The `Inputs` whose samples are tensors: what frozen layers make of them is held, or computed at each step."""

    def __init__(
        self,
        split: Split,
        sizes: list[int],
        seed: int,
        augment: Sequence[str],
        features: str,
        batch: int,
        pixels: Pixels | None = None,
    ) -> None:
        super().__init__(split, sizes, seed, augment, pixels)
        self.given, self.batch = split, batch
        self.holds = features == "stored" or (features == "auto" and not augment)
        self.most = STORED if features == "auto" else inf
        self.feed = nn.Sequential()

    def enter(self, feed: nn.Sequential) -> None:
        self.feed = feed
        numbers = len(self.given) * layers.apply(feed, self.given.x[:1]).numel()
        if len(feed) and self.holds and numbers <= self.most:
            self.split, self.feed = Split(layers.apply(feed, self.given.x), self.given.y), nn.Sequential()

    def leave(self) -> None:
        self.split = self.given

    def once(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, t in zip(self.split.x.split(self.batch), self.split.y.split(self.batch), strict=True):
            yield fed(self.feed, x), t

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, t in super().__iter__():
            yield fed(self.feed, x), t


def fed(feed: nn.Sequential, x: Tensor) -> Tensor:
    """Return what frozen layers make of a batch."""
    return layers.apply(feed, x, batch=CHUNK) if len(feed) else x
