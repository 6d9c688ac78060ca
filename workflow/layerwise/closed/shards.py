"""One fit shared by several processes: each holds a part of the training samples, and sums over samples are added up.

Process r of R holds the samples r, r + R, r + 2R, … What a closed-form method knows of the samples are sums, so
that it finds the weights of the whole on every process; a method says so by ``SHARED = True`` in its file. One
process alone, the usual case, shares nothing, and every function here is then the identity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, distributed

from layerwise.contract import Split
from layerwise.errors import LayerwiseError
from layerwise.maths.linalg import Gram

_alone = ContextVar("alone", default=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let the fits of the body be of this process alone, whatever it shares with others for its own purposes."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def size() -> int:
    """Return the number of processes that share a fit."""
    if _alone.get() or not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def rank() -> int:
    """Return the number of this process; 0 writes the results."""
    return distributed.get_rank() if size() > 1 else 0


def add(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over the processes; LayerwiseError on all that are left where one ended."""
    for tensor in tensors if size() > 1 else ():
        with _together():
            distributed.all_reduce(tensor)


def told(thing: Any) -> list[Any]:
    """Return what each process has to tell, by its number; LayerwiseError on all that are left where one ended."""
    things = [thing] * size()
    if size() > 1:
        with _together():
            distributed.all_gather_object(things, thing)
    return things


@contextlib.contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        raise LayerwiseError(
            f"process {rank()} of {size()}: another process of this fit ended, or cannot be reached; see what it "
            "said, and run the same command again"
        ) from None


def total(count: int, device: torch.device) -> int:
    """Return the sum of a count over the processes."""
    value = torch.tensor(count, device=device)
    add(value)
    return int(value)


def gathered(gram: Gram) -> Gram:
    """Return the Gram of the samples of all processes."""
    add(gram.second, gram.sums)
    gram.n = total(gram.n, gram.second.device)
    if size() > 1:
        distributed.all_reduce(gram.low, distributed.ReduceOp.MIN)
        distributed.all_reduce(gram.high, distributed.ReduceOp.MAX)
    return gram


def part(split: Split) -> Split:
    """Return the samples of this process."""
    return Split(split.x[rank() :: size()], split.y[rank() :: size()]) if size() > 1 else split


def own(samples: Tensor) -> Tensor:
    """Return which of its own samples this process contributes to samples numbered over all processes."""
    return samples[samples % size() == rank()] // size()
