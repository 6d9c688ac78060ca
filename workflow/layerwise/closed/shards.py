"""One fit shared by several processes: each holds a part of the training samples, and sums over samples are added up.

Process r of R holds the samples r, r + R, r + 2R, … What a closed-form method knows of the samples are sums, so
that it finds the weights of the whole on every process; a method says so by ``SHARED = True`` in its file. One
process alone, the usual case, shares nothing, and every function here is then the identity.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, distributed

from layerwise.contract import Split
from layerwise.maths.linalg import Gram


def join(device: torch.device) -> None:
    """Join the other processes that ``torchrun`` started, if it did; a GPU each where fits run on GPUs."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def size() -> int:
    """Return the number of processes that share a fit."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 writes the results."""
    return distributed.get_rank() if size() > 1 else 0


def add(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over the processes."""
    for tensor in tensors if size() > 1 else ():
        distributed.all_reduce(tensor)


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
