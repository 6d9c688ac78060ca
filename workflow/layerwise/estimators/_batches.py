"""Fits on samples that come in batches: a list of them, a DataLoader, or a function that starts a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def samples(
    start: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]], shaped: Callable[[np.ndarray], Tensor]
) -> Callable[[], Iterator[Tensor]]:
    """Return what starts a pass over the samples alone, as tensors."""

    def again() -> Iterator[Tensor]:
        with torch.no_grad():
            for x, _ in start():
                yield shaped(x)

    return again
