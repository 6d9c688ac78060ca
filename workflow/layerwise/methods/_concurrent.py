"""Partitions of a network that train at once (thesis section 6.8): by processes of each, or in turn in this one.

A partition runs a batch forward, sends what it gives up, and only then goes backward from its own decision block: it
waits for no gradient. Every batch comes once and in order, and each partition draws from generators of its own, so the
weights are the same bytes by whatever way batches travel, however slow a partition is. All save their state after the
same epochs; an interrupted fit goes on from the last epoch that all have saved.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from layerwise.contract import Hooks
from layerwise.errors import LayerwiseError
from layerwise.gradient import channels, loop, partners, teams
from layerwise.gradient.channels import Message
from layerwise.gradient.teams import Team, Ways
from layerwise.methods import _cut
from layerwise.methods._inputs import Samples
from layerwise.methods._local_training import LocalTraining
from layerwise.methods._partition import Marks, Partition
from layerwise.methods._passing import Filtered, Passing
from layerwise.methods._windows import Window, least


class ConcurrentTraining(LocalTraining):
    """The partitions of a network in training: a `LocalTraining` whose windows are trained at once.

    Parameters
    ----------
    hooks
        Of the fit: a measured cut is kept with what is saved.
    """

    def __init__(self, module: nn.Sequential, samples: Samples, options: Any, seed: int, hooks: Hooks) -> None:
        self.group = partners.current()
        self.device = samples.sample.device
        if self.group is not None and self.group.allocation.sizes != options.teams:
            raise LayerwiseError(
                f"method 'local': partitions take {list(options.teams)} processes, and {self.group.size} were started: "
                f"start {options.processes}, or one for all"
            )
        self.plan = _cut.plan(module, samples, options, seed, hooks, self.group)
        super().__init__(module, samples, options, seed, self.plan["cut"])

    def run(self, hooks: Hooks) -> None:
        """Train the partitions, from the last epoch that all of them saved.

        Raises
        ------
        LayerwiseError
            Also where the process of another partition ended or hangs: all say the same.
        """
        try:
            self._run(hooks)
        except LayerwiseError as error:
            raise (self.group.failed(error) if self.group else error) from None

    def _run(self, hooks: Hooks) -> None:
        group, count = self.group, len(self.windows)
        team = None
        if group is not None:
            group.fits += 1
            team = Team(group, self.seed)
        numbers = range(count) if group is None else [group.partition]
        mine = [Partition(n, self.windows[n], team) for n in numbers]
        for each in mine:
            if each.number:  # the first goes on from the first weights, as one window does
                torch.manual_seed(self.seed + 104729 * each.number)
            each.random = loop.random_state(self.device)
        self._resume(mine, hooks)
        marks = Marks(group, count, mine[0].marks)
        if team is None:
            self._in_turn(mine, hooks, marks)
        else:
            self._connect(mine[0], team)
            self._alone(mine[0], team, hooks, marks)
        self._gather(mine)
        for window in self.windows:
            window.training.module.eval()
            if not partners.rank():
                self._validate(window)

    def _in_turn(self, partitions: list[Partition], hooks: Hooks, marks: Marks) -> None:
        ways = [channels.InTurn() for _ in partitions[1:]]
        above = [*(self._passing(number, way) for number, way in enumerate(ways)), None]
        for each, way, passing in zip(partitions, [None, *ways], above, strict=True):
            each.connect(way, passing, self.samples.sample)
        courses = [each.course(hooks, marks) for each in partitions]
        while not partitions[-1].done:
            for each, course in zip(partitions, courses, strict=True):
                while each.can_go_on:
                    with each.at_work(), each.own_generators(self.device):
                        next(course, None)
                    if each.below is None:
                        break
        for each, course in zip(partitions, courses, strict=True):
            with each.own_generators(self.device):
                next(course, None)  # the end of its last epoch

    # ------------------------------------------------------------ processes for each partition

    def _connect(self, mine: Partition, team: Team) -> None:
        """Connect the partition of this process to its neighbours; the other partitions leave the device."""
        group, number, training, queue = team.group, mine.number, mine.training, self.options.queue
        name = f"batches {group.fits}"
        for window in self.windows:
            if window is not mine.window:
                window.training.module.to("cpu")
        blocks = [self._shapes(window) for window in self.windows]
        for other, theirs in enumerate(group.told(blocks)):
            if theirs != blocks:
                raise group.fail(f"process {other} has other blocks than process {group.rank}: start all alike")
        below = above = None
        if number:
            below = teams.below(team, name, queue, training.epochs - len(training.history))
        if number < len(self.windows) - 1:
            above = self._passing(number, teams.above(team, name, queue))
        mine.connect(below, above, self.samples.sample)

    def _passing(self, number: int, way: channels.Way) -> Passing:
        """Return what passes on the batches of a partition."""
        if self.options.filter == "none" or number + 1 != self.options.filter_after:
            return Passing(way)
        return Filtered(way, self.options, self.windows[number].loss, least(self.module, self.options))

    def _shapes(self, window: Window) -> str:
        """Return a digest of what a partition gives and takes: its blocks, the names and shapes of its weights."""
        weights = [(name, str(w.dtype), *w.shape) for name, w in window.training.module.state_dict().items()]
        return hashlib.sha256(repr((window.first, window.last, self.samples.batch, weights)).encode()).hexdigest()

    def _alone(self, mine: Partition, team: Team, hooks: Hooks, marks: Marks) -> None:
        """Train the partition of this process beside those of the others."""
        group, begin, before = team.group, time.perf_counter(), mine.seconds
        ways = [mine.below, mine.above and mine.above.way]

        def clock() -> float:
            waited = sum(way.waited for way in ways if isinstance(way, Ways))
            return before + time.perf_counter() - begin - waited

        mine.clock, course = clock, mine.course(hooks, marks)
        with group.at_work():
            for _ in course:
                mine.seconds = clock()
                group.stepped(len(mine.training.history), mine.steps)
                group.check()
        if mine.above is not None:
            mine.above.close()
        team.close()

    def _gather(self, partitions: Sequence[Partition]) -> None:
        """Let process 0 have all weights, and all processes what to record of each partition."""
        group = self.group
        own: list[dict[str, Any]] = [each.said() for each in partitions]
        told = [each for some in group.told(own) for each in some] if group else own
        for number, window in enumerate(self.windows):
            alike = [told[rank] for rank in group.allocation.ranks(number)] if group else [told[number]]
            if len({said["weights"] for said in alike}) > 1:
                raise LayerwiseError(
                    f"partition {number + 1}: its processes ended with other weights than one another: "
                    "start them on machines alike"
                )
            said = alike[0]
            window.training.history = said["history"]
            counts = said["counts"]
            window.row |= {
                "steps": counts["steps"],
                "images": counts["images"],
                "seconds": round(counts["seconds"], 4),
                "images_per_second": round(counts["images"] / counts["seconds"], 2) if counts["seconds"] else None,
            }
        if group is None or not partitions[0].first:
            return
        name = f"weights {group.fits}"
        if group.rank:
            state = save({k: v.contiguous() for k, v in partitions[0].training.module.state_dict().items()})
            way = channels.to(group, 0, name, 1)
            way.put(Message(torch.frombuffer(bytearray(state), dtype=torch.uint8), torch.empty(0)))
            way.put(Message())
            way.close()
            return
        for number, window in enumerate(self.windows[1:], 1):
            way = channels.of(group, group.allocation.ranks(number).start, name, 1, 1)
            message, _ = way.get(), way.get()
            assert message.z is not None
            window.training.module.load_state_dict(load(message.z.numpy().tobytes()))
            window.training.module.to(self.device)

    # ------------------------------------------------------------ an interrupted run, and the record

    def _resume(self, partitions: Sequence[Partition], hooks: Hooks) -> None:
        """Go back to the last epoch that all partitions have saved."""
        states = {each.number: each.saved(hooks) for each in partitions}
        own = [sorted(states[each.number]) for each in partitions if each.first]
        told = [each for some in self.group.told(own) for each in some] if self.group else own
        common = max(set.intersection(*map(set, told)), default=None)
        for each in partitions if common is not None else ():
            if common not in states[each.number]:
                raise LayerwiseError(
                    "this process does not see what another one of its partition has saved: let all have one folder "
                    "of results"
                )
            each.resume(*states[each.number][common])
            each.random = loop.random_state(self.device)

    def record(self) -> dict[str, Any]:
        """Return what `LocalTraining` records, and of the partitions their cut and how even it is.

        ``partitions`` has ``cut``, what it was ``cut_by``, the ``costs`` of the partitions by it (operations of a
        batch, or its seconds), ``imbalance_forecast`` and ``imbalance``: how much longer the slowest
        partition takes than the mean, by the costs and by the seconds in which each was at work.
        """
        record = super().record()
        seconds = [window.row["seconds"] for window in self.windows]
        found = {**self.plan, "imbalance": round(_cut.imbalance(seconds), 4)}
        slowest = max(seconds)
        rate = {"images_per_second": self.windows[0].row["images"] / slowest} if slowest else {}
        record |= {"partitions": found, "steps": sum(window.row["steps"] for window in self.windows)}
        record["measures"] |= {"imbalance": found["imbalance"], **rate}
        return record
