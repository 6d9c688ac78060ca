"""The network of `bench/partitions.py`, how it is shared by two processes, and what memory each way takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import pipelining
from torch.distributed.pipelining.schedules import ScheduleInterleavedZeroBubble

from layerwise.gradient import memory
from layerwise.layers import build as layers
from layerwise.methods._windows import blocks_of

SHAPE, OUTPUTS = (3, 16, 16), 10
WIDTHS, POOLED = (32, 32, 64, 64, 128, 128, 256, 256, 256, 256), (1, 3, 5, 7)
CONVOLUTIONS = [
    [f"conv 3 {width} pad 1", "batchnorm", "relu", *(["maxpool 2"] if i in POOLED else [])]
    for i, width in enumerate(WIDTHS)
]
WORDS = (*(word for block in CONVOLUTIONS for word in block), "dense 256", "relu", "dense 256", "relu", "dense outputs")
DECISION = ("dense outputs",)
LOSS = nn.functional.cross_entropy
QUEUE, PROCESSES = 2, 2
MOST = 512  # images of a batch at most, as more say no more

# Schedules of torch's pipelines, and micro-batches of a batch.
PIPES: dict[str, tuple[str, Any, int]] = {
    "naive": ("naive", pipelining.ScheduleGPipe, 1),
    "GPipe, 4": ("gpipe", pipelining.ScheduleGPipe, 4),
    "1F1B, 4": ("1f1b", pipelining.Schedule1F1B, 4),
    "1F1B, 16": ("1f1b", pipelining.Schedule1F1B, 16),
    "zero bubble, 4": ("zero_bubble", ScheduleInterleavedZeroBubble, 4),
}
SCHEDULES = {"concurrent": "concurrent", "DDP": "ddp", "DDP, views": "ddp", **{row: PIPES[row][0] for row in PIPES}}
OURS, ONE, DDP, VIEWS, BOUND, ALONE = "concurrent", "one process", "DDP", "DDP, views", "bound", "alone"
PEERS = (ONE, DDP, VIEWS, *PIPES)
# In how many parts a batch is trained with, by row.
PIECES = {OURS: 1, ONE: 1, DDP: PROCESSES, VIEWS: PROCESSES, **{row: pipe[2] for row, pipe in PIPES.items()}}


class Up(nn.Module):
    """Lays images as they travel, channels last, which is how they lie."""

    def forward(self, z: Tensor) -> Tensor:
        return z.permute(0, 2, 3, 1).contiguous() if z.dim() == 4 else z


class Arrived(nn.Module):
    """Takes images as they travel; a leaf that wants a gradient, where nothing came from below."""

    def forward(self, z: Tensor) -> Tensor:
        z = z if z.requires_grad else z.detach().requires_grad_()
        return z.permute(0, 3, 1, 2) if z.dim() == 4 else z


# ------------------------------------------------------------ the network and its parts


def network() -> list[list[nn.Module]]:
    """Return the blocks; the first weights are the same wherever it is called."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts, _ = layers.assemble(WORDS, SHAPE, OUTPUTS)
    blocks = blocks_of(layers.for_images(nn.Sequential(*parts)))
    return [*blocks[:-1][:-1], [*blocks[-2], *blocks[-1]]]  # the head goes with the last block


def joined(blocks: Sequence[Sequence[nn.Module]]) -> nn.Sequential:
    return nn.Sequential(*(layer for block in blocks for layer in block))


def shape_after(blocks: Sequence[Sequence[nn.Module]]) -> tuple[int, ...]:
    return tuple(layers.apply(joined(blocks), torch.zeros(1, *SHAPE)).shape[1:])


def partition(cut: int, rank: int) -> tuple[nn.Sequential, tuple[int, ...]]:
    """Return what a process of `concurrent` trains, its decision block last, and the shape of a sample there."""
    blocks = network()
    if rank:
        return joined(blocks[cut:]), shape_after(blocks[:cut])
    decision, _ = layers.build(DECISION, shape_after(blocks[:cut]), OUTPUTS)
    return nn.Sequential(*joined(blocks[:cut]), *decision), SHAPE


def stage(cut: int, rank: int) -> tuple[nn.Sequential, tuple[int, ...]]:
    """Return what a process of a pipeline trains, and the shape of a sample as it gets there."""
    blocks = network()
    if not rank:
        return nn.Sequential(*joined(blocks[:cut]), Up()), SHAPE
    c, *sides = shape_after(blocks[:cut])
    return nn.Sequential(Arrived(), *joined(blocks[cut:])), (*sides, c)


# ------------------------------------------------------------ memory


def numbers(cut: int) -> int:
    """Return how many numbers the blocks below a cut give for a sample."""
    return int(torch.Size(shape_after(network()[:cut])).numel())


def arriving(z: Tensor, labels: Tensor) -> Tensor:
    """A loss whose gradient lies in memory as one that comes from the stage above."""
    return (z * torch.empty_like(z)).sum()


def step_bytes(row: str, batch: int, cuts: dict[str, int]) -> int:
    """Return the bytes that a training step takes in the process that takes most.

    Counted for the peers' good: a pipeline holds micro-batches between their passes alone, and no buffers ahead.

    Parameters
    ----------
    batch
        Images of a step, over all processes.
    cuts
        Blocks below the cut, of `concurrent` and of the pipelines.
    """
    if row == OURS:
        sent = 4 * batch * numbers(cuts[OURS])
        found = [memory.step(*partition(cuts[OURS], r), batch, optimiser="sgd").peak for r in range(PROCESSES)]
        # Of what is sent one more waits for its place; what a process works on is counted with its step.
        return max(found[0] + (QUEUE + 1) * sent, found[1] + QUEUE * sent)
    if row in (ONE, DDP, VIEWS):
        whole = joined(network())
        share = batch if row == ONE else -(-batch // PROCESSES)
        buckets = sum(4 * p.numel() for p in whole.parameters()) if row == DDP else 0
        return memory.step(whole, SHAPE, share, optimiser="sgd").peak + buckets
    schedule, _, count = PIPES[row]
    micro, sent, found = batch // count, 4 * numbers(cuts["pipes"]), []
    for rank in range(PROCESSES):
        top = rank == PROCESSES - 1
        module, shape = stage(cuts["pipes"], rank)
        step = memory.step(module, shape, micro, optimiser="sgd", loss=LOSS if top else arriving)
        held = {"naive": 1, "gpipe": count, "1f1b": PROCESSES - rank, "zero_bubble": PROCESSES}[schedule]
        outputs = 0 if top else min(held, count) * micro * sent
        found.append(step.peak + (min(held, count) - 1) * step.saved + outputs)
    return max(found)


def largest(taken: Callable[[int], int], cap: int, step: int = 1, least: int = 2) -> int:
    """Return the most images, a multiple of `step`, that take no more than `cap`; 0 where `least` steps do not."""
    low, high = least, MOST // step + 1
    if taken(low * step) > cap:
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if taken(middle * step) <= cap else (low, middle)
    return low * step
