"""One partition in training: its steps, what it sends up, and its state after the epochs that all save together."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from layerwise.contract import Hooks
from layerwise.gradient import channels, loop, partners
from layerwise.gradient.teams import Shares, Team
from layerwise.methods._passing import Passing
from layerwise.methods._windows import Window

SLOTS = 2  # states of a partition that are kept: one that all have saved, and a newer one


class Partition:
    """One partition in training.

    Parameters
    ----------
    number
        From 0, the one that sees the samples.
    team
        The processes that train it, of which this is one; None where partitions take turns.
    """

    def __init__(self, number: int, window: Window, team: Team | None = None) -> None:
        self.number, self.window, self.training = number, window, window.training
        self.team = team if team is not None and team.several else None
        self.below: channels.Way | None = None
        self.above: Passing | None = None
        self.inputs: channels.Arrivals | None = None
        self.random: dict[str, Tensor] = {}
        self.marks = self.steps = self.images = 0
        self.seconds = self.began = 0.0  # at work, and when the epoch began
        self.clock: Callable[[], float] = lambda: self.seconds
        module = self.training.module
        assert isinstance(module, nn.Sequential)
        self.body, self.exit = module[: len(window.trained)], module[len(window.trained) :]

    def connect(self, below: channels.Way | None, above: Passing | None, like: Tensor) -> None:
        """Take batches from a way, on the device of a sample, and pass them on; None at either end of the network."""
        self.below, self.above = below, above
        if below is not None:
            self.training.batches = self.inputs = channels.Arrivals(below, like)
        elif self.team is not None:
            self.training.batches = Shares(self.training.batches, self.team)
        if above is not None:
            self.training.loss = self._loss
        if self.team is not None:
            self.team.step_together(self.training.optimizer)

    def _loss(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the loss of a batch; what the blocks make of it is on its way up before any gradient is taken."""
        assert self.above is not None
        return self.window.loss(self.above.forward(self.body, self.exit, x, t, len(self.training.history)), t)

    @property
    def done(self) -> bool:
        return len(self.training.history) >= self.training.epochs

    @property
    def can_go_on(self) -> bool:
        """Tell whether a step can be taken without waiting, where partitions take turns."""
        return not self.done and (self.below is None or bool(self.below))

    def course(self, hooks: Hooks, marks: Marks) -> Iterator[None]:
        """Train to the last epoch; gives way after each message from below, or each batch of samples."""
        training = self.training
        if not training.history:
            training.watch(hooks, 0)
        while not self.done:
            if self.team is not None:
                self.team.begin(len(training.history))
            for _ in training.epoch(hooks):
                self.steps += 1
                yield
            self.images += training.batches.samples
            saves = self._ended(marks)
            if self.above is not None:
                self.above.end(saves, self.done)
            training.history[-1]["seconds"] = round(self.clock() - self.began, 4)
            self.began = self.clock()
            if saves:
                self.marks += 1
                if self.first:  # the others are as it is
                    with marks.unhurried():
                        self._slot(hooks, self.marks).save(training.state(), self._notes())
                    marks.saved(self.number, self.marks)
            yield
        training.finish()

    @property
    def first(self) -> bool:
        """Whether this is the first process of the partition, which saves and sends its weights."""
        return self.team is None or self.team.first

    def _ended(self, marks: Marks) -> bool:
        """Tell whether to save after an epoch that ended; several processes put together what they have seen in it."""
        saves = self.inputs.saves if self.inputs is not None else self.first and marks.due()
        if self.team is None:
            return saves
        row = self.training.history[-1]
        said = [row["train_loss"], float(saves and self.first)]
        loss, saved = self.team.total(torch.tensor(said, dtype=torch.float64, device=self.training.device)).tolist()
        row["train_loss"] = loss
        return bool(saved)

    # ------------------------------------------------------------ an interrupted run

    def _slot(self, hooks: Hooks, mark: int) -> Hooks:
        return hooks.named(f"partition{self.number + 1}-{mark % SLOTS}")

    def counts(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("marks", "steps", "images", "seconds")}

    def said(self) -> dict[str, Any]:
        """Return what to record, and a digest of the weights, which all processes have but for statistics."""
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.training.module.named_parameters()}
        digest = hashlib.sha256(save(weights)).hexdigest()
        return {"history": self.training.history, "counts": self.counts(), "weights": digest}

    def _notes(self) -> dict[str, Any]:
        history = self.training.history
        return {"history": history, "counts": self.counts(), "epoch": len(history)}

    def saved(self, hooks: Hooks) -> dict[int, loop.State]:
        """Return the states that an interrupted run left, by their epoch."""
        states = [state for slot in range(SLOTS) if (state := self._slot(hooks, slot).load()) is not None]
        return {state[1]["epoch"]: state for state in states}

    def resume(self, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        self.training.resume(tensors, notes)
        for name, value in notes["counts"].items():
            setattr(self, name, value)
        self.began = self.seconds

    # ------------------------------------------------------------ in turn

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Let the body count as seconds of this partition."""
        before, begin = self.seconds, time.perf_counter()
        self.clock = lambda: before + time.perf_counter() - begin
        try:
            yield
        finally:
            self.seconds = self.clock()

    @contextlib.contextmanager
    def own_generators(self, device: torch.device) -> Iterator[None]:
        """Let the body draw from the partition's own generators."""
        if self.random:
            loop.set_random_state(self.random, device)
        try:
            yield
        finally:
            self.random = loop.random_state(device)


class Marks:
    """When all partitions save: not before all have saved what they were last told to, so that two slots will do."""

    def __init__(self, group: partners.Group | None, partitions: int, mark: int) -> None:
        self.group, self.clock, self.told = group, loop.Clock(), mark
        self.have = dict.fromkeys(range(partitions), mark)
        self.name = f"saved {group.fits}" if group else ""

    def due(self) -> bool:
        if not self.clock.due() or min(map(self._of, self.have)) < self.told:
            return False
        self.told += 1
        self.clock.restart()
        return True

    def unhurried(self) -> AbstractContextManager[None]:
        """Let no step be expected while a state is written, to whatever disk."""
        return self.group.waiting() if self.group is not None else contextlib.nullcontext()

    def saved(self, number: int, mark: int) -> None:
        self.have[number] = mark
        if (group := self.group) is not None:
            group.ask(lambda: group.store.set(f"{self.name} {number}", str(mark)))

    def _of(self, number: int) -> int:
        name = f"{self.name} {number}"
        group = self.group
        if group is not None and number != group.partition and group.ask(lambda: group.store.check([name])):
            self.have[number] = int(group.ask(lambda: group.store.get(name)))
        return self.have[number]
