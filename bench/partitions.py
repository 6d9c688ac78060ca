"""Partitions that train at once against other ways to share a training: `python bench/partitions.py`.

Two processes of one thread each, over gloo: a VGG-13 of half the width with batch normalisation, SGD with momentum, on
random images of 16 x 16, since speed does not depend on what is in them. The schedule `concurrent` runs as in a fit; beside it one process
with two threads, torch's DistributedDataParallel, and torch's pipelines. First all at one batch; then each at the
largest batch whose training step fits into the same memory a process, counted and not sampled. All take turns in one
run; a row has the median of its images a second, and that of the ratios of `concurrent` to it with their range.

The bound is the slowest partition without any transfer, both processes at work. At the end, what
`layerwise.maths.pipelines` foresees from the seconds of the stages stands beside what was measured.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import pipelining
from torch.distributed.pipelining.schedules import ScheduleInterleavedZeroBubble

from layerwise.contract import Features, Hooks, Segment, Split, Task
from layerwise.gradient import memory, partners
from layerwise.gradient.channels import Network
from layerwise.gradient.optimisers import optimizer
from layerwise.layers import build as layers
from layerwise.maths import pipelines
from layerwise.maths.pipelines import Stage
from layerwise.methods import _cut, local
from layerwise.methods._windows import blocks_of
from layerwise.run import machine

CPU, MIB = torch.device("cpu"), 2**20
SHAPE, OUTPUTS = (3, 16, 16), 10
WIDTHS, POOLED = (32, 32, 64, 64, 128, 128, 256, 256, 256, 256), (1, 3, 5, 7)
WORDS = tuple(
    word
    for i, width in enumerate(WIDTHS)
    for word in (f"conv 3 {width} pad 1", "batchnorm", "relu", *(["maxpool 2"] if i in POOLED else []))
) + ("dense 256", "relu", "dense 256", "relu", "dense outputs")
DECISION = ("dense outputs",)
TASK = Task("onehot", OUTPUTS, tuple("0123456789"))
LOSS = nn.functional.cross_entropy
QUEUE, PROCESSES = 2, 2
WARM = 2  # steps before the clock starts: both partitions are then at work
MOST = 4096  # images that a batch is tried with

# Schedules of torch's pipelines, and micro-batches of a batch.
PIPES: dict[str, tuple[str, Any, int]] = {
    "naive": ("naive", pipelining.ScheduleGPipe, 1),
    "GPipe, 4": ("gpipe", pipelining.ScheduleGPipe, 4),
    "1F1B, 4": ("1f1b", pipelining.Schedule1F1B, 4),
    "1F1B, 16": ("1f1b", pipelining.Schedule1F1B, 16),
    "zero bubble, 4": ("zero_bubble", ScheduleInterleavedZeroBubble, 4),
}
OURS, ONE, DDP, VIEWS, BOUND, ALONE = "concurrent", "one process", "DDP", "DDP, views", "bound", "alone"
PEERS = (ONE, DDP, VIEWS, *PIPES)


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
    low, high = least, 2 * least
    if taken(low * step) > cap:
        return 0
    while high * step <= MOST and taken(high * step) <= cap:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if taken(middle * step) <= cap else (low, middle)
    return low * step


# ------------------------------------------------------------ what takes a step


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


def clocked(step: Callable[[], None], steps: int) -> float:
    """Return the seconds of a step, of the process that takes longest."""
    for _ in range(WARM):
        step()
    distributed.barrier()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return slowest((time.perf_counter() - begin) / steps)


def slowest(seconds: float) -> float:
    found = torch.tensor([seconds], dtype=torch.float64)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return float(found)


def concurrent(batch: int, cut: int | str, steps: int) -> tuple[float, dict[str, Any]]:
    """Return the seconds of a step of a fit, and its record, which process 0 has whole."""
    count = batch * (steps + WARM)
    split = Split(torch.rand(count, *SHAPE), torch.randint(OUTPUTS, (count,)))
    features = Features(split, split.rows(torch.arange(0)), TASK)
    options = local.Options(
        schedule="concurrent", partitions=PROCESSES, queue=QUEUE, cut=cut if isinstance(cut, str) else (cut,),
        epochs=(1,), batch=batch, decision=DECISION, crop=False,
    )  # fmt: skip
    times: list[float] = []
    hooks = Hooks(watch=lambda module, step: times.append(time.perf_counter()))
    fitted = local.fit(Segment(WORDS, SHAPE, OUTPUTS), features, options, seed=0, device=CPU, hooks=hooks)
    return slowest((times[-1] - times[WARM]) / steps), fitted.record


class Rows:
    """All that is measured, by name, of one process."""

    def __init__(self, rank: int, cuts: dict[str, int]) -> None:
        self.rank, self.cuts = rank, cuts

    def seconds(self, row: str, batch: int, steps: int) -> float:
        """Return the seconds of a step."""
        torch.manual_seed(self.rank)
        if row == OURS:
            return concurrent(batch, self.cuts[OURS], steps)[0]
        if row == BOUND:
            return clocked(own(*partition(self.cuts[OURS], self.rank), batch), steps)
        if row == ALONE:
            step = own(*partition(self.cuts[OURS], self.rank), batch)
            idle: Callable[[], None] = lambda: None
            return max(clocked(step if self.rank == r else idle, steps) for r in range(PROCESSES))
        if row == ONE:
            torch.set_num_threads(PROCESSES if self.rank == 0 else 1)
            try:
                return clocked(own(joined(network()), SHAPE, batch) if self.rank == 0 else lambda: None, steps)
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
        """Return the seconds of the stages of a row, as measured without transfers, with both processes at work."""
        pieces = PIPES[row][2] if row in PIPES else PROCESSES if row == DDP else 1
        cut = self.cuts[OURS if row in (OURS, DDP) else "pipes"]
        module, shape = stage(cut, self.rank)
        mine = torch.zeros(PROCESSES, 6, dtype=torch.float64)
        x, t = images(batch // pieces, shape), torch.randint(OUTPUTS, (batch // pieces,))
        update = optimizer("sgd", module.parameters(), 0.01, momentum=0.9)
        exit = list(partition(cut, self.rank)[0][-2:]) if not self.rank else []
        weights, found = list(module.parameters()), []
        for _ in range(WARM + steps):
            distributed.barrier()
            start = x.detach().requires_grad_(bool(self.rank))
            marks = [time.perf_counter()]
            out = module(start)
            loss = LOSS(out, t) if self.rank else (out * torch.ones_like(out)).sum()
            marks.append(time.perf_counter())
            if self.rank:
                torch.autograd.grad(loss, [start], retain_graph=True)
            marks.append(time.perf_counter())
            for w, g in zip(weights, torch.autograd.grad(loss, weights, retain_graph=True), strict=True):
                w.grad = g
            marks.append(time.perf_counter())
            update.step()
            marks.append(time.perf_counter())
            if exit and row == OURS:
                LOSS(nn.Sequential(*exit)(out.detach().permute(0, 3, 1, 2)), t).backward()
            marks.append(time.perf_counter())
            forward, inputs, both, step, end = (b - a for a, b in zip(marks, marks[1:], strict=False))
            inputs = min(inputs, both)
            found.append([forward, inputs, both - inputs, step, end])
        *passes, step, end = (statistics.median(column) for column in zip(*found[WARM:], strict=True))
        send, reduce = self._transfers(batch // pieces, cut, module)
        mine[self.rank] = torch.tensor([*(p * pieces for p in passes), step, end, reduce], dtype=torch.float64)
        distributed.all_reduce(mine)
        return [Stage(f, i, w, u, exit=e, reduce=r, send=send * pieces) for f, i, w, u, e, r in mine.tolist()]

    def _transfers(self, batch: int, cut: int, module: nn.Module) -> tuple[float, float]:
        """Return the seconds to send what a batch gives, and to add up the gradients of a module with the other's."""
        z, sends, adds = torch.rand(batch * numbers(cut)), [], []
        gradients = torch.zeros(int(slowest(sum(p.numel() for p in module.parameters()))))
        for _ in range(5):
            distributed.barrier()
            begin = time.perf_counter()
            (distributed.recv if self.rank else distributed.send)(z, 1 - self.rank)
            sends.append(time.perf_counter() - begin)
            distributed.barrier()
            begin = time.perf_counter()
            distributed.all_reduce(gradients)
            adds.append(time.perf_counter() - begin)
        own_share = sum(p.numel() for p in module.parameters()) / len(gradients)
        return slowest(statistics.median(sends)), statistics.median(adds) * own_share


# ------------------------------------------------------------ side by side


def compared(rows: Rows, batches: dict[str, int], rounds: int, count: int) -> dict[str, list[float]]:
    """Return the images a second of each row, a number a round, all in turn; one round warms up."""
    found: dict[str, list[float]] = {row: [] for row in batches}
    for _ in range(rounds + 1):
        for row, batch in batches.items():
            found[row].append(batch / rows.seconds(row, batch, max(3, count // batch)))
    return {row: each[1:] for row, each in found.items()}


def told(what: str, rates: dict[str, list[float]], batches: dict[str, int], taken: dict[str, int]) -> dict[str, Any]:
    """Print a table of rates and memory, and return it."""
    print(f"\n{what}\n{'':16} {'batch':>6} {'MiB':>8} {'images/s':>9}  concurrent over it")
    said: dict[str, Any] = {}
    for row, each in rates.items():
        ratios = sorted(a / b for a, b in zip(rates[OURS], each, strict=True))
        ratio, rate = statistics.median(ratios), statistics.median(each)
        said[row] = {"batch": batches[row], "bytes": taken.get(row), "images_per_second": round(rate, 2)}
        said[row] |= {"ratio": round(ratio, 3), "range": [round(ratios[0], 3), round(ratios[-1], 3)]}
        held = f"{taken[row] / MIB:8.1f}" if row in taken else " " * 8
        print(f"{row:16} {batches[row]:6} {held} {rate:9.1f}  {ratio:5.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    best = max((row for row in rates if row in PEERS), key=lambda row: statistics.median(rates[row]))
    print(f"best of the others: {best}")
    return {"rows": said, "best": best}


def foreseen(rows: Rows, batch: int, rates: dict[str, list[float]]) -> dict[str, Any]:
    """Print what the simulation foresees of two devices beside what was measured, and return it."""
    found, schedules = {}, {OURS: "concurrent", DDP: "ddp", **{row: pipe[0] for row, pipe in PIPES.items()}}
    for row, schedule in schedules.items():
        micro = PIPES[row][2] if row in PIPES else 1
        stages = rows.stages(row, batch, 3)
        rate = batch / pipelines.period(schedule, stages, micro=micro, queue=QUEUE)
        found[row] = {"foreseen": round(rate, 1), "measured": round(statistics.median(rates[row]), 1)}
        if rows.rank == 0:
            off = rate / statistics.median(rates[row]) - 1
            print(f"{row:16} {rate:9.1f} foreseen {statistics.median(rates[row]):9.1f} measured  {off:+.0%}")
    return found


def process(rank: int, port: int, args: argparse.Namespace) -> None:
    """Measure as one of the processes; the first one prints."""
    machine.deterministic(CPU, 1)
    machine.keep_freed_memory()
    store = distributed.TCPStore("127.0.0.1", port, PROCESSES, is_master=rank == 0)
    where = distributed.PrefixStore("group", store)
    distributed.init_process_group("gloo", store=where, rank=rank, world_size=PROCESSES)
    partners.join(partners.Group(rank, PROCESSES, distributed.PrefixStore("partners", store), Network()))
    try:
        said = side_by_side(rank, args)
    except Exception:
        import traceback; traceback.print_exc(); raise
    finally:
        partners.leave()
        distributed.destroy_process_group()
    if rank == 0:
        with Path(__file__).with_name("results.jsonl").open("a") as file:
            file.write(json.dumps({"bench": "partitions", "processor": machine.processor(), **said}) + "\n")


def side_by_side(rank: int, args: argparse.Namespace) -> dict[str, Any]:
    cuts = {OURS: args.cut, "pipes": args.cut}
    if not args.cut:
        record = concurrent(args.batch, "measured", 3)[1]
        if rank == 0:
            found, blocks = record["partitions"], record["partitions"]["block_costs"]
            cuts = {OURS: found["cut"][0], "pipes": _cut.balanced(blocks, [0.0] * len(blocks), PROCESSES)[0]}
    shared = [cuts]
    distributed.broadcast_object_list(shared)
    rows, cuts = Rows(rank, shared[0]), shared[0]
    say = print if rank == 0 else lambda *words: None
    say(f"{machine.processor()}, {PROCESSES} processes of 1 thread, torch {torch.__version__}, {args.rounds} rounds")
    say(f"blocks below the cut: {cuts[OURS]} of concurrent, {cuts['pipes']} of the pipelines, of {len(network())}")

    kinds = (OURS, *PEERS)
    equal = dict.fromkeys((*kinds, BOUND, ALONE), args.batch)
    rates = compared(rows, equal, args.rounds, args.images)
    cap = int(args.cap * MIB)
    steps = {row: PIPES[row][2] if row in PIPES else PROCESSES if row in (DDP, VIEWS) else 1 for row in kinds}
    most = {row: largest(lambda n, row=row: step_bytes(row, n, cuts), cap, steps[row]) for row in kinds}
    fits = {row: batch for row, batch in most.items() if batch}
    fits |= dict.fromkeys((BOUND,), fits[OURS])
    capped = compared(rows, fits, args.rounds, args.images)
    said: dict[str, Any] = {"batch": args.batch, "cap": cap, "cuts": cuts}
    if rank == 0:
        taken = {row: step_bytes(row, args.batch, cuts) for row in kinds}
        said["equal"] = told(f"all at batch {args.batch}", rates, equal, taken)
        taken = {row: step_bytes(row, fits[row], cuts) for row in fits if row in kinds}
        said["capped"] = told(f"each at its largest batch in {args.cap:g} MiB a process", capped, fits, taken)
        for row in (row for row in kinds if row not in fits):
            print(f"{row:16} does not fit with two images")
        print("\nby the simulation, at the equal batch")
    said["foreseen"] = foreseen(rows, args.batch, rates)
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64, help="images a step where all have the same")
    parser.add_argument("--cap", type=float, default=64.0, help="MiB a process where each has its largest batch")
    parser.add_argument("--images", type=int, default=384, help="images of a row in a round, in whole steps")
    parser.add_argument("--cut", type=int, default=0, help="blocks below the cut; measured if not given")
    args = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(process, (port, args), PROCESSES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
