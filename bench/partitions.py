"""Partitions that train at once against other ways to share a training: `python bench/partitions.py`.

Two processes of one thread each, over gloo: a VGG-13 of half the width with batch normalisation, SGD with momentum, on
random images of 16 x 16, since speed does not depend on what is in them. The schedule `concurrent` runs as in a fit;
beside it one process with two threads, torch's DistributedDataParallel, and torch's pipelines. First all at one batch;
then each at the largest batch whose training step fits into the same memory a process, counted and not sampled. All
take turns in one run; a row has the median of its images a second, and that of the ratios of `concurrent` to it with
their range.

Where other programmes take the cores, waiting costs nothing and images a second mislead. Two columns beside them hold
then too: images by a CPU second of the busier process, and that times the share of time in which
`layerwise.maths.pipelines` foresees it at work, which is the pace of two idle cores; of one process the most that two
threads can reach. The bound is the slowest partition by itself, without any transfer, both processes at work; `alone`
is the same with one at work at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from partitions_memory import (
    ALONE,
    BOUND,
    DDP,
    MOST,
    ONE,
    OURS,
    PEERS,
    PIECES,
    PIPES,
    PROCESSES,
    QUEUE,
    SCHEDULES,
    VIEWS,
    largest,
    network,
    step_bytes,
)
from partitions_steps import CPU, Rows, costs
from torch import distributed

from layerwise.errors import LayerwiseError
from layerwise.gradient import partners
from layerwise.gradient.allocation import Allocation
from layerwise.gradient.network import Network
from layerwise.maths import pipelines
from layerwise.maths.pipelines import Stage
from layerwise.methods import _cut
from layerwise.run import machine

MIB = 2**20


def compared(rows: Rows, batches: dict[str, int], rounds: int, count: int) -> dict[str, Measured]:
    """Return what was measured of each row, all in turn; one round warms up, unseen."""
    found: dict[str, Measured] = {row: Measured(batch) for row, batch in batches.items()}
    for number in range(rounds + 1):
        for row, batch in batches.items():
            wall, cpu = rows.seconds(row, batch, max(2, count // batch))
            if number:
                found[row].rates.append(batch / wall)
                found[row].by_cpu.append(batch / cpu)
    for row, schedule in SCHEDULES.items():
        if row in found:
            micro = PIPES[row][2] if row in PIPES else 1
            stages = rows.stages(row, batches[row], 3)
            period = pipelines.period(schedule, stages, micro=micro, queue=QUEUE)
            found[row].foreseen = batches[row] / period
            # What DDP adds up takes CPU seconds, which are measured, beside the work on its gradients.
            found[row].share = 1.0 if row in (DDP, VIEWS) else worked(row, stages) / period
    if ONE in found:
        found[ONE].share = float(PROCESSES)  # its CPU seconds are those of all its threads
    return found


def worked(row: str, stages: Sequence[Stage]) -> float:
    """Return the seconds of a step in which the busier device works."""
    return max([*pipelines.busy(stages[:-1], row == OURS), *pipelines.busy(stages[-1:], False)])


@dataclass
class Measured:
    """Of a row: images a second, and by a CPU second of the busier process, a number a round.

    `foreseen` is what the simulation says, and `share` how much of the time it sees the busier process at work; of one
    process it is the number of its threads, as if they shared all work evenly: more than it reaches.
    """

    batch: int
    rates: list[float] = field(default_factory=list)
    by_cpu: list[float] = field(default_factory=list)
    foreseen: float = 0.0
    share: float = 0.0

    @property
    def idle_cores(self) -> list[float]:
        """Images a second of two idle cores: by CPU seconds, and the share of time in which these are used."""
        return [rate * self.share for rate in self.by_cpu] if self.share else []


def told(what: str, found: dict[str, Measured], taken: dict[str, int]) -> dict[str, Any]:
    """Print a table of rates and memory, and return it.

    Parameters
    ----------
    taken
        Bytes of a step.
    """
    print(f"\n{what}; concurrent over each: median (range)\n{'':15}{'':>6} {'':>7}  {'measured':^30}"
          f"  by CPU s, and on idle cores")  # fmt: skip
    print(f"{'':15}{'batch':>6} {'MiB':>7}  {'images/s':>8}  {'':20}  {'per CPU s':>9} {'images/s':>9}")
    said: dict[str, Any] = {}
    for row, mine in found.items():
        held = f"{taken[row] / MIB:7.1f}" if row in taken else " " * 7
        said[row] = {"batch": mine.batch, "bytes": taken.get(row)}
        text = f"{row:15}{mine.batch:6} {held}"
        for name, width in (("rates", 9), ("by_cpu", 10), ("idle_cores", 10)):
            each, ours = getattr(mine, name), getattr(found[OURS], name)
            if not each:
                continue
            ratios = sorted(a / b for a, b in zip(ours, each, strict=True))
            said[row][name] = round(statistics.median(each), 2)
            text += f" {statistics.median(each):{width}.1f}"
            if name != "by_cpu":
                low, middle, high = ratios[0], statistics.median(ratios), ratios[-1]
                said[row][f"{name}_ratio"] = [round(ratio, 3) for ratio in (middle, low, high)]
                text += f"  {middle:4.2f} ({low:4.2f} to {high:4.2f}) "
        if mine.foreseen:
            said[row]["foreseen"] = round(mine.foreseen, 1)
        print(text)
    for name, words in (("rates", "as measured"), ("idle_cores", "on idle cores")):
        there = {row: said[row][name] for row in found if row in PEERS and name in said[row]}
        best = max(there, key=lambda row: there[row])
        print(f"best of the others {words}: {best}; concurrent is {said[best][f'{name}_ratio'][0]:.2f} times as fast")
    ours, bound = said[OURS], said[BOUND]
    print(f"concurrent has {ours['rates'] / bound['rates']:.0%} of its bound as measured, "
          f"{ours['by_cpu'] / bound['by_cpu']:.0%} by CPU seconds")  # fmt: skip
    return said


def foreseen(found: dict[str, Measured]) -> None:
    """Print what the simulation says of two devices beside what was measured."""
    print("\nimages/s by the simulation, from CPU seconds of the stages alone, and as measured at the equal batch")
    for row, mine in found.items():
        if mine.foreseen:
            rate, idle = statistics.median(mine.rates), statistics.median(mine.idle_cores)
            said = mine.foreseen
            print(f"{row:15} {said:8.1f} {rate:8.1f} ({said / rate - 1:+.0%}); on idle cores {idle:8.1f} "
                  f"({said / idle - 1:+.0%})")  # fmt: skip


def process(rank: int, port: int, args: argparse.Namespace) -> None:
    """Measure as one of the processes; the first one prints."""
    machine.deterministic(CPU, 1)
    machine.keep_freed_memory()
    store = distributed.TCPStore("127.0.0.1", port, PROCESSES, is_master=rank == 0)
    where = distributed.PrefixStore("group", store)
    distributed.init_process_group("gloo", store=where, rank=rank, world_size=PROCESSES)
    store = distributed.PrefixStore("partners", store)
    partners.join(partners.Group(rank, Allocation((1,) * PROCESSES), store, Network()))
    try:
        said = side_by_side(rank, args)
    finally:
        partners.leave()
        distributed.destroy_process_group()
    if rank == 0:
        with Path(__file__).with_name("results.jsonl").open("a") as file:
            file.write(json.dumps({"bench": "partitions", "processor": machine.processor(), **said}) + "\n")


def side_by_side(rank: int, args: argparse.Namespace) -> dict[str, Any]:
    cuts: dict[str, int] = {OURS: args.cut, "pipes": args.cut}
    if not args.cut and rank == 0:
        own, exits = costs(args.batch)
        ours, theirs = (_cut.balanced(own, behind, PROCESSES)[0] for behind in (exits, [0.0] * len(own)))
        cuts = {OURS: ours, "pipes": theirs}
    shared: list[Any] = [cuts]
    distributed.broadcast_object_list(shared)
    rows, cuts = Rows(rank, shared[0]), shared[0]
    say = print if rank == 0 else lambda *words: None
    say(f"{machine.processor()}, {PROCESSES} processes of 1 thread, torch {torch.__version__}, {args.rounds} rounds")
    say(f"blocks below the cut: {cuts[OURS]} of concurrent, {cuts['pipes']} of the pipelines, of {len(network())}")

    kinds = (OURS, *PEERS)
    found = compared(rows, dict.fromkeys((*kinds, BOUND, ALONE), args.batch), args.rounds, args.images)
    cap = int(args.cap * MIB)
    if rank == 0:
        most = {row: largest(lambda n, row=row: step_bytes(row, n, cuts), cap, PIECES[row]) for row in kinds}
        shared = [most]
    distributed.broadcast_object_list(shared)
    most = shared[0]
    if not most[OURS]:
        raise LayerwiseError(f"--cap {args.cap:g} is too little for two images of a step: give more MiB")
    batches = {**{row: batch for row, batch in most.items() if batch}, BOUND: most[OURS]}
    capped = compared(rows, batches, args.rounds, args.images)
    if rank:
        return {}
    said: dict[str, Any] = {"batch": args.batch, "cap": cap, "cuts": cuts, "load": os.getloadavg()}
    taken = {row: step_bytes(row, args.batch, cuts) for row in kinds}
    said["equal"] = told(f"all at batch {args.batch}", found, taken)
    taken = {row: step_bytes(row, batch, cuts) for row, batch in batches.items() if row in kinds}
    said["capped"] = told(f"each at its largest batch in {args.cap:g} MiB a process, at most {MOST}", capped, taken)
    for row in (row for row in kinds if not most[row]):
        print(f"{row:15} does not fit with two images a process")
    foreseen(found)
    print(f"load of the machine over 1, 5, 15 minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128, help="images a step where all have the same")
    parser.add_argument("--cap", type=float, default=40.0, help="MiB a process where each has its largest batch")
    parser.add_argument("--images", type=int, default=256, help="images of a row in a round, in whole steps")
    parser.add_argument("--cut", type=int, default=0, help="blocks below the cut; measured if not given")
    args = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the cores from other programmes
    torch.multiprocessing.spawn(process, (port, args), PROCESSES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
