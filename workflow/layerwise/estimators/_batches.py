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
from layerwise.estimators._base import FLOATS

Batches = Iterable[tuple[Any, Any]] | Callable[[], Iterable[tuple[Any, Any]]]


def passes(batches: Batches) -> Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Return what starts a pass over batches ``(n, d), (n, …)``; ValueError for what can be gone through but once."""
    if not callable(batches) and iter(batches) is batches:
        raise ValueError(
            "batches can be gone through once alone, and each layer needs a pass: give a list, a DataLoader, or a "
            "function that starts a generator"
        )

    def start() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for x, y in batches() if callable(batches) else batches:
            rows = np.asarray(x).reshape(len(x), -1)
            yield rows if rows.dtype in FLOATS else rows.astype(np.float64), np.asarray(y)

    return start


def first_pass(start: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return an empty array ``(0, d)`` of the samples' kind, and all labels or values."""
    told, empty = [], None
    for x, y in start():
        if empty is None:
            empty = x[:0]
        if x.shape[1] != empty.shape[1] or len(x) != len(y):
            raise ValueError(
                f"a batch of {x.shape} samples with {len(y)} labels does not go with {empty.shape[1]} features"
            )
        told.append(y)
    if empty is None:
        raise ValueError("batches hold no batch: give one at least")
    return empty, np.concatenate(told)


@dataclass(frozen=True)
class BatchSource:
    """The `Source` whose samples come in batches, over and over, where memory does not hold them all.

    Parameters
    ----------
    start
        Starts a pass over ``(x, y)``; x ``(n, d)`` may be augmented anew in each pass.
    shaped
        Makes a tensor ``(n, *shape)`` of rows.
    y
        Labels ``(N,)`` or values ``(N, outputs)``.
    empty
        No samples ``(0, *shape)``, for their shape and type.
    """

    start: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
    shaped: Callable[[np.ndarray], Tensor]
    y: Tensor
    empty: Tensor
    streams = True

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.empty.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        return self.empty.dtype

    @property
    def x(self) -> Tensor:
        raise LayerwiseError("this fit looks at all samples at once; solver ridge takes them in batches")

    def batches(self) -> Iterator[Tensor]:
        with torch.no_grad():
            for x, _ in self.start():
                yield self.shaped(x)

    def to(self, device: torch.device) -> BatchSource:
        return dataclasses.replace(self, y=self.y.to(device))
