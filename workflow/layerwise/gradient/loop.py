"""The one training loop: epochs of mini-batches, validated, watched, and saved, so that a rerun resumes to the byte.

A method says what is trained, on which batches, by which loss, rate and optimiser (`Training`), and what a validation
measures (`Validation`). A fit of several trainings, one after the other, gives each the hooks of its `part`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.contract import NO_HOOKS, Hooks
from layerwise.errors import LayerwiseError
from layerwise.gradient.batches import MiniBatches
from layerwise.gradient.optimisers import load_state_tensors, state_tensors
from layerwise.gradient.progress import Progress

SAVE_SECONDS = 5.0  # between two savings of a long fit

State = tuple[dict[str, Tensor], dict[str, Any]]  # what `Hooks` save and load: tensors, and notes as JSON


class Clock:
    """Tells when a fit is to be saved next. Trainings that follow one another in a fit share one."""

    def __init__(self) -> None:
        self.saved = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.saved >= SAVE_SECONDS

    def restart(self) -> None:
        self.saved = time.monotonic()


@dataclass(frozen=True)
class Validation:
    """What is measured after every epoch.

    Parameters
    ----------
    column
        Name of the measurement in the history, such as ``valid_accuracy``.
    measure
        Returns it, of the module as it is. It draws nothing at random.
    more_is_better
        True for an accuracy, False for an error or a loss.
    """

    column: str
    measure: Callable[[], float]
    more_is_better: bool = False


@dataclass
class Training:
    """The training of a module, and how far it is.

    Dropout draws from the global generators, and a resumed training sets them: run it with `kept_generators`.

    Parameters
    ----------
    name
        Who trains, in an error: ``method 'sgd'``.
    module
        What is trained. It ends with the weights of the last epoch, or with `patience` with those of the best.
    loss
        Loss of a batch ``(x, t)``, a mean over its samples.
    batches
        The epochs' mini-batches.
    optimizer
        Holds parameters of the module.
    epochs
        Passes over the training split, at most.
    rate
        Learning rate of an epoch, counted from 0.
    prepare
        Called before an epoch, counted from 0, and draws nothing at random: what is saved after an epoch is all that
        the next one depends on.
    validation
        What to measure after every epoch; None for nothing.
    patience
        Epochs without a better validation after which to stop and go back to the best; 0 is off.

    Attributes
    ----------
    history
        A row an epoch: ``epoch`` from 1, ``lr``, ``train_loss`` as it was while training, the column of `validation`.
    best
        With `patience`, the module's state after the best epoch.
    """

    name: str
    module: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: MiniBatches
    optimizer: torch.optim.Optimizer
    epochs: int
    rate: Callable[[int], float]
    prepare: Callable[[int], None] = lambda epoch: None
    validation: Validation | None = None
    patience: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def best_epoch(self) -> int | None:
        """The first epoch (from 1) with the best validation; None without one."""
        if self.validation is None or not self.history:
            return None
        values = [row[self.validation.column] for row in self.history]
        return values.index((max if self.validation.more_is_better else min)(values)) + 1

    def run(self, hooks: Hooks = NO_HOOKS, clock: Clock | None = None) -> None:
        """Train to the last epoch, from where an interrupted run was saved.

        Raises
        ------
        LayerwiseError
            Where a loss, a validation or a weight is no finite number.
        """
        clock = clock or Clock()
        # An optimiser puts the number of its steps on torch's default device, whatever a program made of that.
        with contextlib.nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu"):
            self._run(hooks, clock)

    def _run(self, hooks: Hooks, clock: Clock) -> None:
        saved = hooks.load()
        if saved is None:
            self.watch(hooks, 0)
        else:
            self.resume(*saved)
        while len(self.history) < self.epochs and not self._has_stalled():
            for _ in self.epoch(hooks):
                pass
            if clock.due():
                hooks.save(self.state(), {"history": self.history})
                clock.restart()
        self.finish()

    def finish(self) -> None:
        """End the training, with `patience` at the best epoch; LayerwiseError for weights that are not finite."""
        if not all(t.isfinite().all() for t in self.module.state_dict().values()):
            raise self._diverged(len(self.history))
        if self.best:
            self.module.load_state_dict(self.best)
        self.optimizer.zero_grad()

    def record(self) -> dict[str, Any]:
        """Return history, epochs and steps done, and the best epoch, as JSON."""
        done = len(self.history)
        return {
            "history": self.history,
            "epochs": done,
            "steps": done * len(self.batches),
            "best_epoch": self.best_epoch,
        }

    @torch.enable_grad()
    def epoch(self, hooks: Hooks) -> Iterator[None]:
        """Train for an epoch; gives way after every step."""
        done = len(self.history)
        self.prepare(done)
        lr = self.rate(done)
        row = {"epoch": done + 1, "lr": lr, **(yield from self._pass(lr, hooks))}
        if isfinite(row["train_loss"]) and self.validation is not None:
            row[self.validation.column] = self.validation.measure()
        if not all(isfinite(value) for value in row.values()):
            raise self._diverged(done + 1)
        self.history.append(row)
        if self.patience and self.best_epoch == done + 1:
            self.best = {k: v.clone() for k, v in self.module.state_dict().items()}

    def _pass(self, lr: float, hooks: Hooks) -> Generator[None, None, dict[str, float]]:
        """Take a step on every batch; returns what the history has to say of it, ``train_loss`` first."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.module.train()
        done = len(self.history)
        total = torch.zeros((), device=self.device, dtype=torch.float64)  # stays there: reading it would wait
        for step, (x, t) in enumerate(self.batches, len(self.history) * len(self.batches) + 1):
            self.optimizer.zero_grad()
            loss = self.loss(x, t)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(x)
            self.watch(hooks, step)
            # An epoch whose steps are not known yet counts once it is over.
            self.progress.tell(self.name, step / len(self.batches) if len(self.batches) else done, self.epochs)
            yield
        return {"train_loss": total.item() / self.batches.samples, **self.batches.counts()}

    def _has_stalled(self) -> bool:
        best = self.best_epoch
        return bool(self.patience and best and len(self.history) - best >= self.patience)

    def watch(self, hooks: Hooks, step: int) -> None:
        """Let a probe look; what it draws at random or switches off does not change the training."""
        if hooks.watch is not None:
            with kept_generators(self.device):
                hooks.watch(self.module, step)
            self.module.train()

    def _diverged(self, epoch: int) -> LayerwiseError:
        if not self.batches.finite():
            return LayerwiseError(
                f"{self.name}: the features or targets hold NaN or infinite values; mend the data set"
            )
        return LayerwiseError(
            f"{self.name}: the training diverged in epoch {epoch} (lr {self.rate(0):g}); choose a lower lr"
        )

    def state(self) -> dict[str, Tensor]:
        """Return all that the rest of the run depends on, beside the history, as tensors of its own."""
        state = {
            **prefixed("weights.", self.module.state_dict()),
            **prefixed("best.", self.best),
            **prefixed("optimizer.", state_tensors(self.optimizer)),
            "random.batches": self.batches.generator.get_state(),
            **prefixed("random.", random_state(self.device)),
        }
        return {k: v.detach().clone() for k, v in state.items()}

    def resume(self, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.module.load_state_dict(under("weights.", tensors))
        self.best = {k: v.to(self.device) for k, v in under("best.", tensors).items()}
        load_state_tensors(self.optimizer, under("optimizer.", tensors))
        self.batches.generator.set_state(tensors["random.batches"].cpu())
        set_random_state(under("random.", tensors), self.device)
        self.history = list(notes["history"])


def part(hooks: Hooks, saved: State | None, around: State) -> Hooks:
    """Return hooks for one part of a fit, which save its state together with what is around it.

    Parameters
    ----------
    hooks
        Those of the whole fit, or of the part of it that this one is a part of.
    saved
        What `hooks` loaded, if that was saved during this very part, else None.
    around
        Tensors and notes that the fit has beside this part, such as finished layers.
    """

    def load() -> State | None:
        return saved and (under("part.", saved[0]), saved[1]["part"])

    def save(tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        hooks.save({**around[0], **prefixed("part.", tensors)}, {**around[1], "part": notes})

    return Hooks(load, save, hooks.watch)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the global generators that a training on a device draws from."""
    return {"cpu": torch.get_rng_state()} | (
        {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    )


def set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def kept_generators(device: torch.device) -> AbstractContextManager[None]:
    """Let a body use torch's global generators, and put them back as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
