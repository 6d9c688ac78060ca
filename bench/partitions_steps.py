"""The training steps of `bench/partitions.py`, timed by the two processes that take them together."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from partitions_memory import (
    ALONE,
    BOUND,
    DDP,
    DECISION,
    LOSS,
    ONE,
    OURS,
    OUTPUTS,
    PIECES,
    PIPES,
    PROCESSES,
    QUEUE,
    SHAPE,
    VIEWS,
    WORDS,
    joined,
    network,
    numbers,
    partition,
    stage,
)
from torch import Tensor, distributed, nn
from torch.distributed import pipelining
from torch.distributed.pipelining.schedules import ScheduleInterleavedZeroBubble

from layerwise.contract import Features, Hooks, Segment, Split, Task
from layerwise.gradient.optimisers import optimizer
from layerwise.layers import build as layers
from layerwise.maths.pipelines import Stage
from layerwise.methods import _cut, local

CPU = torch.device("cpu")
TASK = Task("onehot", OUTPUTS, tuple("0123456789"))
WARM = 2  # steps before the clock starts: both partitions are then at work


def stepping(module: nn.Module, once: Callable[[], None]) -> Callable[[], None]:
    """Return a training step: gradients of `once`, and an update of the weights of a module."""
    update = optimizer("sgd", module.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        update.zero_grad()
        once()
        update.step()

    module.train()
    return step


def own(module: nn.Module, shape: tuple[int, ...], batch: int) -> Callable[[], None]:
    """Return the training step of a module by itself."""
    x, t = images(batch, shape), torch.randint(OUTPUTS, (batch,))
    return stepping(module, lambda: LOSS(module(x), t).backward())


def images(batch: int, shape: tuple[int, ...]) -> Tensor:
    x = torch.rand(batch, *shape)
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


def wait() -> None:
    """Take no step, for the other process to take one alone."""


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def clocked(step: Callable[[], None], steps: int) -> tuple[float, float]:
    """Return the seconds of a step, and its CPU seconds, of the process that takes longest."""
    for _ in range(WARM):
        step()
    distributed.barrier()
    begin = now()
    for _ in range(steps):
        step()
    return most_of(begin, now(), steps)


def most_of(begin: tuple[float, float], end: tuple[float, float], steps: int) -> tuple[float, float]:
    found = torch.tensor([(b - a) / steps for a, b in zip(begin, end, strict=True)], dtype=torch.float64)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return float(found[0]), float(found[1])


def concurrent(batch: int, cut: int, steps: int) -> tuple[float, float]:
    """Return what `clocked` does, of the steps of a fit."""
    count = batch * (steps + WARM)
    split = Split(torch.rand(count, *SHAPE), torch.randint(OUTPUTS, (count,)))
    features = Features(split, split.rows(torch.arange(0)), TASK)
    options = local.Options(
        schedule="concurrent", partitions=PROCESSES, queue=QUEUE, cut=(cut,),
        epochs=(1,), batch=batch, decision=DECISION, crop=False,
    )  # fmt: skip
    times: list[tuple[float, float]] = []
    hooks = Hooks(watch=lambda module, step: times.append(now()))
    local.fit(Segment(WORDS, SHAPE, OUTPUTS), features, options, seed=0, device=CPU, hooks=hooks)
    return most_of(times[WARM], times[-1], steps)


def costs(batch: int) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of each block, and of a decision block behind it: the clock misleads on a busy machine."""

    def by_cpu(module: nn.Module, z: Tensor) -> tuple[float, Tensor]:
        found = []
        for _ in range(5):
            begin = time.process_time()
            out = _cut._step(module.train(), z)
            found.append(time.process_time() - begin)
        return min(found), out

    blocks = [joined([block]) for block in network()]
    own, exits, _ = _cut.costs(
        blocks, lambda _, z: layers.build(DECISION, tuple(z.shape[1:]), OUTPUTS)[0], images(batch, SHAPE), by_cpu
    )
    return own, exits


class Rows:
    """All that is measured, by name, of one process."""

    def __init__(self, rank: int, cuts: dict[str, int]) -> None:
        self.rank, self.cuts = rank, cuts

    def seconds(self, row: str, batch: int, steps: int) -> tuple[float, float]:
        """Return the seconds of a step, and its CPU seconds in the busier process."""
        torch.manual_seed(self.rank)
        if row == OURS:
            return concurrent(batch, self.cuts[OURS], steps)
        if row == BOUND:
            return clocked(own(*partition(self.cuts[OURS], self.rank), batch), steps)
        if row == ALONE:
            step = own(*partition(self.cuts[OURS], self.rank), batch)
            found = [clocked(step if self.rank == r else wait, steps) for r in range(PROCESSES)]
            return max(wall for wall, _ in found), max(cpu for _, cpu in found)
        if row == ONE:
            torch.set_num_threads(PROCESSES if self.rank == 0 else 1)
            try:
                return clocked(own(joined(network()), SHAPE, batch) if self.rank == 0 else wait, steps)
            finally:
                torch.set_num_threads(1)
        if row in (DDP, VIEWS):
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # its name changes after torch 2.11
                copy = nn.parallel.DistributedDataParallel(
                    joined(network()), broadcast_buffers=False, gradient_as_bucket_view=row == VIEWS
                )
            return clocked(own(copy, SHAPE, batch // PROCESSES), steps)
        return clocked(self._pipeline(row, batch), steps)

    def _pipeline(self, row: str, batch: int) -> Callable[[], None]:
        _, kind, count = PIPES[row]
        module, _ = stage(self.cuts["pipes"], self.rank)
        place: Any = pipelining.PipelineStage(module, self.rank, PROCESSES, CPU)
        schedule = kind([place] if kind is ScheduleInterleavedZeroBubble else place, count, loss_fn=LOSS)
        x, t = images(batch, SHAPE), torch.randint(OUTPUTS, (batch,))

        def once() -> None:
            if self.rank:
                schedule.step(target=t, losses=[])
            else:
                schedule.step(x)

        return stepping(module, once)

    # -------------------------------------------------------- for the simulation

    def stages(self, row: str, batch: int, steps: int) -> list[Stage]:
        """Return the CPU seconds of the stages of a row for a whole batch, and the seconds of transfers."""
        cut, pieces = self.cuts["pipes" if row in PIPES else OURS], PIECES[row]
        micro = batch // pieces
        module, shape = stage(cut, self.rank)
        exit = nn.Sequential(*partition(cut, 0)[0][-2:]) if row == OURS and not self.rank else None
        x, t = images(micro, shape), torch.randint(OUTPUTS, (micro,))
        update = optimizer("sgd", module.parameters(), 0.01, momentum=0.9)
        found = []
        for _ in range(1 + steps):
            distributed.barrier()
            found.append(self._passes(module, x, t, update, exit))
        *passes, step, end = (min(column) for column in zip(*found[1:], strict=True))
        z = torch.rand(micro * numbers(cut))
        send = least(lambda: (distributed.recv if self.rank else distributed.send)(z, 1 - self.rank))
        sizes = [sum(p.numel() for p in stage(cut, rank)[0].parameters()) for rank in range(PROCESSES)]
        reduce = [least(lambda size=size: distributed.all_reduce(torch.zeros(size))) for size in sizes]
        mine = torch.zeros(PROCESSES, 5, dtype=torch.float64)
        mine[self.rank] = torch.tensor([*(pieces * each for each in passes), step, end], dtype=torch.float64)
        distributed.all_reduce(mine)
        rows = zip(mine.tolist(), reduce, strict=True)
        return [Stage(f, i, w, u, exit=e, send=pieces * send, reduce=r) for (f, i, w, u, e), r in rows]

    def _passes(
        self, module: nn.Module, x: Tensor, t: Tensor, update: torch.optim.Optimizer, exit: nn.Module | None
    ) -> list[float]:
        """Return the CPU seconds of the forward pass, the two gradients, the update, and the decision block."""
        weights = list(module.parameters())
        start = x.detach().requires_grad_(bool(self.rank))
        marks = [time.process_time()]
        out = module(start)
        loss = LOSS(out, t) if self.rank else (out * torch.ones_like(out)).sum()
        marks.append(time.process_time())
        if self.rank:
            torch.autograd.grad(loss, [start], retain_graph=True)
        marks.append(time.process_time())
        gradients = torch.autograd.grad(loss, [*weights, *([start] if self.rank else [])])
        marks.append(time.process_time())
        for w, g in zip(weights, gradients, strict=False):
            w.grad = g
        update.step()
        marks.append(time.process_time())
        if exit is not None:
            LOSS(exit(out.detach().permute(0, 3, 1, 2)), t).backward()
        marks.append(time.process_time())
        forward, inputs, both, step, end = (b - a for a, b in itertools.pairwise(marks))
        inputs = min(inputs, both) if self.rank else both / 2  # a lowest stage has inner inputs all the same
        return [forward, inputs, both - inputs, step, end]


def least(transfer: Callable[[], Any]) -> float:
    """Return the seconds of a transfer between the processes, of several tries."""
    found = []
    for _ in range(5):
        distributed.barrier()
        begin = time.perf_counter()
        transfer()
        found.append(time.perf_counter() - begin)
    longest = torch.tensor(min(found), dtype=torch.float64)
    distributed.all_reduce(longest, distributed.ReduceOp.MAX)
    return float(longest)
