"""What local training takes from a user's data loader: its batches, checked as they come, and never held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.contract import Task
from layerwise.errors import LayerwiseError
from layerwise.gradient.losses import Targets
from layerwise.gradient.validation import Scored
from layerwise.layers import build as layers
from layerwise.layers.settings import Settings
from layerwise.methods._inputs import Inputs, Samples, fed


class Loader:
    """Passes over the batches ``(x, y)`` of a user's loader.

    It runs under the user's settings of torch, and what it draws from torch's global generator is apart from what a
    training draws: shuffling changes no dropout.

    Parameters
    ----------
    given
        What gives the batches: a DataLoader, a list, anything that can be gone through again and again.
    name
        What it is, in an error.
    seed
        Of the global generator as the loader sees it.
    """

    def __init__(self, given: Iterable[Any], name: str, seed: int) -> None:
        if not isinstance(given, Iterable) and not hasattr(given, "__getitem__"):
            raise LayerwiseError(f"{name} is {type(given).__name__}: give a DataLoader, or a list of batches (x, y)")
        if isinstance(given, Iterator):
            raise LayerwiseError(
                f"{name} can be gone through once alone, and each epoch is a pass: give a DataLoader or a list"
            )
        self.given, self.name = given, name
        self.classes: int | None = None  # labels are below it, where it is known
        self.shape: tuple[int, ...] | None = None  # of a sample; that of the first one
        self._settings, self._random = Settings.now(), torch.Generator().manual_seed(seed).get_state()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Start a pass: samples ``(n, *shape)`` and labels ``(n,)`` int64, each batch with one or more.

        Raises
        ------
        LayerwiseError
            For a batch that is none, or does not go with the first or the classes, and where there is no batch.
        """
        number = 0
        for number, batch in enumerate(self._theirs(), 1):
            yield self._checked(batch, f"{self.name}, batch {number}")
        if not number:
            raise LayerwiseError(f"{self.name} gives no batch: give one with samples (drop_last may have left none)")

    def _theirs(self) -> Iterator[Any]:
        iterator = self._with_own_draws(lambda: iter(self.given))
        end = object()
        while (batch := self._with_own_draws(lambda: next(iterator, end))) is not end:
            yield batch

    def _with_own_draws(self, act: Callable[[], Any]) -> Any:
        before = torch.get_rng_state()
        torch.set_rng_state(self._random)
        try:
            with self._settings.applied():
                return act()
        finally:
            self._random = torch.get_rng_state()
            torch.set_rng_state(before)

    def _checked(self, batch: Any, where: str) -> tuple[Tensor, Tensor]:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            length = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise LayerwiseError(f"{where} is a {type(batch).__name__}{length}: give pairs (x, y)")
        x, y = batch
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
            raise LayerwiseError(f"{where}: x is {kind}: give a tensor of floats, such as transforms.ToTensor() makes")
        if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex() or y.dim() != 1:
            kind = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise LayerwiseError(f"{where}: y is {kind}: give the number of each sample's class, (n,) int64")
        if x.dim() < 2 or not len(x) or len(x) != len(y):
            raise LayerwiseError(
                f"{where}: x is {tuple(x.shape)} and y {tuple(y.shape)}: give as many labels as samples"
            )
        self.shape = self.shape or tuple(x.shape[1:])
        if tuple(x.shape[1:]) != self.shape:
            raise LayerwiseError(f"{where}: samples of shape {tuple(x.shape[1:])}, and {self.shape} before: give one")
        y = y.long()
        low, high = int(y.min()), int(y.max())
        if low < 0 or (self.classes is not None and high >= self.classes):
            wrong = low if low < 0 else high
            most = f" to {self.classes - 1}" if self.classes is not None else ""
            raise LayerwiseError(f"{where}: label {wrong} is out of range: labels go from 0{most}")
        return x, y


class Loaded(Inputs):
    """The `Inputs` that come from a loader, and run through the frozen layers at each step.

    Parameters
    ----------
    like
        Whose device and floating type they are brought to.
    least
        Samples that a batch must have.
    """

    def __init__(self, loader: Loader, targets: Targets, like: Tensor, seed: int, least: int) -> None:
        self.loader, self.targets, self.like, self.least = loader, targets, like, least
        self.generator = torch.Generator().manual_seed(seed)  # of which nothing is drawn
        self.feed = nn.Sequential()
        self._samples = self._steps = 0

    @property
    def samples(self) -> int:
        return self._samples

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        samples = step = 0
        for step, (x, t) in enumerate(self.once(), 1):
            if len(x) < self.least:
                text = f"{self.loader.name}, batch {step} has one sample, and batchnorm needs two or more"
                if self.least > 2:
                    text = f"{self.loader.name}, batch {step} has {len(x)} samples, and a step needs {self.least}"
                raise LayerwiseError(f"{text}: set drop_last, or another batch size")
            samples += len(x)
            yield x, t
        self._samples, self._steps = samples, step

    def once(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in self.loader:
            yield fed(self.feed, x.to(self.like)), self.targets(y.to(self.like.device))

    def enter(self, feed: nn.Sequential) -> None:
        self.feed = feed

    def leave(self) -> None:
        self.feed = nn.Sequential()

    def finite(self) -> bool:
        return all(bool(x.isfinite().all()) for x, _ in self.loader)


def loaded(train: Loader, valid: Loader | None, task: Task, targets: Targets, sample: Tensor, batch: int) -> Samples:
    """Return samples that come from loaders: `sample` is one of them, and `batch` as many as come together."""

    def inputs(seed: int, least: int) -> Inputs:
        return Loaded(train, targets, sample, seed, least)

    def scored(network: nn.Module) -> Scored:
        assert valid is not None
        for x, y in valid:
            yield layers.apply(network, x.to(sample)), y.to(sample.device)

    return Samples(task, sample, batch, inputs, scored if valid is not None else None)
