"""Fits on samples that come in batches: a list of them, a DataLoader, or a function that starts a pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.estimators._checks import as_array
from layerwise.estimators._scaling import Columns
from layerwise.layers.settings import Settings

Batches = Iterable[tuple[Any, Any]] | Callable[[], Iterable[tuple[Any, Any]]]
Check = Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]

KINDS = {"U": "text", "T": "text", "O": "text", "S": "bytes"}  # and numbers
HEAD = 1000  # samples of the first batch that are kept, to look at a finished fit


class Passes:
    """Passes over a user's batches; what the first one gave, the later ones are held against.

    Labels are compared one by one: a sample that is trained towards another sample's label fits nothing. X may come
    augmented anew, so of X the number of features alone is compared.

    Attributes
    ----------
    y
        All labels or values of the first pass, as they came.
    head
        Some first samples ``(n, d)``.
    columns
        Mean and spread of the columns in the first pass.
    """

    def __init__(self, batches: Batches, check: Check) -> None:
        self._given, self._check, self._settings = batches, check, Settings.now()
        if not callable(batches) and not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
            raise ValueError(f"batches is {type(batches).__name__}: give a list of (X, y), a DataLoader, or a function")
        if not callable(batches) and iter(batches) is batches:
            raise ValueError(
                "batches can be gone through once alone, and each layer needs a pass: give a list, a DataLoader, or a "
                "function that starts a generator"
            )
        parts: list[np.ndarray] = []
        head: np.ndarray | None = None
        self.columns = Columns()
        for number, x, y in self._batches():
            if head is None:
                head = x[:HEAD]
            _demand_alike(number, x, y, head, parts)
            parts.append(y)
            self.columns.add(x)
        if head is None:
            raise ValueError("batches hold no batch with a sample: give one at least")
        self.head, self.y = head, np.concatenate(parts)

    def again(self) -> Iterator[np.ndarray]:
        """Start another pass: the samples ``(n, d)`` of each batch; ValueError where they are not those of before."""
        done = 0
        for number, x, y in self._batches():
            _demand_alike(number, x, y, self.head, [self.y])
            known = self.y[done : done + len(y)]
            done += len(y)
            if done > len(self.y):
                break
            if not np.array_equal(known, y):
                raise ValueError(
                    f"batch {number} has other labels in this pass than in the first: give the same samples in the "
                    "same order in each pass, from a DataLoader without shuffling"
                )
            yield x
        if done != len(self.y):
            raise ValueError(f"{done} samples came in this pass, and {len(self.y)} before: give the same in each")

    def _batches(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Start a pass: the number of each batch, its samples ``(n, d)`` and its labels, both copied.

        A generator may fill one buffer again and again.
        """
        for number, batch in enumerate(self._theirs(), 1):
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                length = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
                raise ValueError(f"batch {number} is a {type(batch).__name__}{length}: give pairs (X, y)")
            try:
                x, y = map(as_array, batch)
                if np.shape(x)[:1] == np.shape(y)[:1] == (0,):
                    continue
                x, y = self._check(x, y)
            except (ValueError, TypeError) as error:
                raise ValueError(f"batch {number}: {' '.join(str(error).split())}") from None
            yield number, np.array(x.reshape(len(x), -1)), np.array(y)

    def _theirs(self) -> Iterator[Any]:
        """Go through what was given, under the settings of torch that it was given under."""
        with self._settings.applied():
            started = self._given() if callable(self._given) else self._given
            if not isinstance(started, Iterable) and not hasattr(started, "__getitem__"):
                raise ValueError(f"batches() returned {type(started).__name__}: let it return batches (X, y)")
            iterator = iter(started)
        end = object()
        while True:
            with self._settings.applied():
                batch = next(iterator, end)
            if batch is end:
                return
            yield batch


def _demand_alike(number: int, x: np.ndarray, y: np.ndarray, head: np.ndarray, parts: list[np.ndarray]) -> None:
    """Refuse a batch of other features, or whose labels are of another kind or shape than those before."""
    if x.shape[1] != head.shape[1]:
        raise ValueError(
            f"batch {number}: a batch of {x.shape} samples with {len(y)} labels does not go with {head.shape[1]} "
            "features"
        )
    for first in parts[:1]:
        kinds = [KINDS.get(each.dtype.kind, "numbers") for each in (first, y)]
        if kinds[0] != kinds[1] or first.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"batch {number}: y is {kinds[1]} of shape {y.shape[1:]} a sample, and {kinds[0]} of shape "
                f"{first.shape[1:]} before: give one kind"
            )


@dataclass(frozen=True)
class BatchSource:
    """The `Source` whose samples come in batches, over and over, where memory does not hold them all.

    Parameters
    ----------
    passes
        Passes over rows ``(n, d)``.
    shaped
        Makes a tensor ``(n, *shape)`` of rows.
    y
        Labels ``(N,)`` or values ``(N, outputs)``.
    head
        Some first samples ``(n, *shape)``.
    """

    passes: Passes
    shaped: Callable[[np.ndarray], Tensor]
    y: Tensor
    head: Tensor
    streams = True

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.head.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        return self.head.dtype

    @property
    def x(self) -> Tensor:
        raise LayerwiseError("this fit looks at all samples at once; solver ridge takes them in batches")

    def batches(self) -> Iterator[Tensor]:
        yield from map(self.shaped, self.passes.again())

    def to(self, device: torch.device) -> BatchSource:
        return dataclasses.replace(self, y=self.y.to(device))
