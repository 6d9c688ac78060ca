"""End-to-end training by gradient descent: the backpropagation twin of every other method, and the trained heads.

All layers of the segment are trained together on mini-batches, by SGD with momentum, Adam or AdamW. The data set
stays on the device as tensors and is batched there by index. The same seed gives the same bytes on a CPU with the
same number of threads, also when the fit was interrupted and went on from what it had saved.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment, Split
from layerwise.errors import LayerwiseError
from layerwise.gradient import optim
from layerwise.layers import build as layers
from layerwise.options import Bounded, Ge, Gt, Le, Lt

SAVE_SECONDS = 5.0  # between two savings of a long fit


@dataclass(frozen=True)
class Options(Bounded):
    """What a study may say of a fit by gradient."""

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Rule of the updates."""
    lr: Annotated[float, Gt(0)] | None = None
    """Learning rate at the start; if not given, 0.01 for `sgd` and 0.001 for `adam` and `adamw`."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Momentum of `sgd`; `adam` and `adamw` do not use it."""
    nesterov: bool = False
    """Nesterov's form of the momentum (`sgd` only)."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Strength of the weight decay on all parameters: in the gradient (`sgd`, `adam`) or apart from it (`adamw`)."""
    epochs: Annotated[int, Ge(1)] = 20
    """Passes over the training split, at most."""
    batch: Annotated[int, Ge(1)] = 128
    """Samples a step."""
    schedule: Literal["constant", "step", "multistep", "cosine"] = "constant"
    """Learning rate over the epochs: times `gamma` every `step` epochs or at the `milestones`, or a cosine to 0."""
    step: Annotated[int, Ge(0)] = 0
    """Epochs between two reductions by the schedule `step`."""
    milestones: tuple[Annotated[int, Ge(1)], ...] = ()
    """Epochs after which the schedule `multistep` reduces the learning rate."""
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1
    """Factor of one reduction of the learning rate."""
    loss: Literal["auto", "cross_entropy", "mse"] = "auto"
    """Loss: `auto` is cross-entropy (logistic, where two classes are one column) for classes, mse for values."""
    patience: Annotated[int, Ge(0)] = 0
    """Epochs without a better validation result after which to stop and go back to the best; 0 is off."""
    init: Literal["torch", "glorot", "used"] = "torch"
    """First weights: torch's defaults, Glorot's uniform weights with zero biases, or those of the one network under
    the segment's ``uses``, whose layers with weights are of the same shapes."""

    def __post_init__(self) -> None:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise LayerwiseError("option 'nesterov' needs optimizer sgd with a momentum above 0")
        if (self.schedule == "step") != (self.step > 0):
            raise LayerwiseError("schedule step and option 'step' (epochs between two reductions) go together")
        if (self.schedule == "multistep") != bool(self.milestones):
            raise LayerwiseError("schedule multistep and option 'milestones' (epochs of the reductions) go together")


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Train the segment's layers on the task.

    Parameters
    ----------
    features
        ``x`` of shape ``(N, *segment.shape)``; its floating type is that of the weights.
    hooks
        After a resumed run, `hooks.watch` goes on from the step where the run was interrupted.

    Returns
    -------
    Fitted
        The weights of the last epoch, or with `patience` those of the best epoch. The record has ``history`` (a row
        an epoch: ``epoch`` from 1, ``lr``, ``train_loss`` as it was while training, ``valid_accuracy`` in per cent or
        ``valid_mse``), ``epochs`` and ``steps`` done, ``best_epoch`` by validation (None without a validation
        split).

    Raises
    ------
    LayerwiseError
        Where the segment does not end in ``dense outputs``, where options and data do not go together, and where
        the training diverges.
    """
    _check(segment, features, options)
    # The global generators are seeded for the first weights and for dropout, and left as they were found.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        module, words = layers.build(segment.layers, segment.shape, segment.outputs)
        if options.init == "glorot":
            module.apply(optim.glorot_)
        elif options.init == "used":
            _take_over(module, segment)
        module = layers.for_images(module.to(device, features.train.x.dtype))
        run = _Run(module, features, options, seed, device, hooks)
        run.train()
    return Fitted(module.eval(), words, run.record())


class _Run:
    """One training run: the module, and everything that an interrupted run needs to go on."""

    def __init__(
        self,
        module: nn.Sequential,
        features: Features,
        options: Options,
        seed: int,
        device: torch.device,
        hooks: Hooks,
    ) -> None:
        self.module, self.options, self.device, self.hooks = module, options, device, hooks
        self.task = features.task
        self.loss, targets = optim.objective(options.loss, features.task, features.train.x.dtype)
        train, self.valid = features.train.to(device), features.valid.to(device)
        self.train_split = Split(train.x, targets(train.y))
        least = 2 if optim.normalises(module) else 1
        self.sizes = optim.batch_sizes(len(train), options.batch, least)
        if min(self.sizes) < least:
            raise LayerwiseError("method 'sgd': batchnorm needs two samples a step or more: choose batch: 2 or more")
        self.lr = options.lr or (0.01 if options.optimizer == "sgd" else 0.001)
        self.optimizer = optim.optimizer(
            options.optimizer,
            module.parameters(),
            self.lr,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
        )
        self.order = torch.Generator().manual_seed(seed)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}

    def train(self) -> None:
        """Run all epochs, from where an interrupted run stopped."""
        kept = self.hooks.load()
        if kept:
            self._resume(*kept)
        else:
            self._watch(0)
        saved = time.monotonic()
        while len(self.history) < self.options.epochs and not self._has_stalled():
            self._epoch()
            if self.options.patience and self._best_epoch() == len(self.history):
                self.best = {k: v.clone() for k, v in self.module.state_dict().items()}
            if len(self.history) < self.options.epochs and time.monotonic() - saved >= SAVE_SECONDS:
                self.hooks.save(self._state(), {"history": self.history})
                saved = time.monotonic()
        if not all(p.isfinite().all() for p in self.module.parameters()):
            self._say_diverged(len(self.history))
        if self.best:
            self.module.load_state_dict(self.best)
        self.optimizer.zero_grad()

    def _epoch(self) -> None:
        epoch, o = len(self.history), self.options
        lr = optim.scheduled(o.schedule, self.lr, epoch, o.epochs, step=o.step, milestones=o.milestones, gamma=o.gamma)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.module.train()
        total = torch.zeros((), device=self.device, dtype=torch.float64)  # stays there: reading it would wait
        for i, (x, t) in enumerate(optim.batches(self.train_split, self.sizes, self.order), 1):
            self.optimizer.zero_grad()
            loss = self.loss(self.module(x), t)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(x)
            self._watch(epoch * len(self.sizes) + i)
        row = {"epoch": epoch + 1, "lr": lr, "train_loss": total.item() / len(self.train_split), **self._validate()}
        if not all(isfinite(v) for v in row.values()):
            self._say_diverged(epoch + 1)
        self.history.append(row)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        if not len(self.valid):
            return {}
        scores = layers.apply(self.module, self.valid.x)
        if self.task.classifies:
            return {"valid_accuracy": 100 * (self.task.labels(scores) == self.valid.y).double().mean().item()}
        return {"valid_mse": (scores - self.valid.y).double().square().mean().item()}

    def _best_epoch(self) -> int | None:
        """Return the first epoch (from 1) with the best validation result."""
        if not len(self.valid):
            return None
        if self.task.classifies:
            values = [row["valid_accuracy"] for row in self.history]
        else:
            values = [-row["valid_mse"] for row in self.history]
        return values.index(max(values)) + 1 if values else 0

    def _has_stalled(self) -> bool:
        best = self._best_epoch()
        return bool(self.options.patience and best and len(self.history) - best >= self.options.patience)

    def _watch(self, step: int) -> None:
        """Let a probe look; what it draws at random or switches off does not change the training."""
        if self.hooks.watch is not None:
            with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                self.hooks.watch(self.module, step)
            self.module.train()

    def _say_diverged(self, epoch: int) -> None:
        if not self.train_split.x.isfinite().all() or not self.train_split.y.isfinite().all():
            raise LayerwiseError("method 'sgd': the features or targets hold NaN or infinite values; mend the data set")
        raise LayerwiseError(
            f"method 'sgd': the training diverged in epoch {epoch} (lr {self.lr:g}); choose a lower lr"
        )

    def record(self) -> dict:
        """Return what the fit has to say, as JSON."""
        done = len(self.history)
        return {
            "history": self.history,
            "epochs": done,
            "steps": done * len(self.sizes),
            "best_epoch": self._best_epoch(),
        }

    def _state(self) -> dict[str, Tensor]:
        """Return all that the rest of the run depends on, beside the history, as tensors of its own."""
        state = {
            **{f"weights.{k}": v for k, v in self.module.state_dict().items()},
            **{f"best.{k}": v for k, v in self.best.items()},
            **{f"optimizer.{k}": v for k, v in optim.state_tensors(self.optimizer).items()},
            "random.order": self.order.get_state(),
            "random.cpu": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return {k: v.detach().clone() for k, v in state.items()}

    def _resume(self, tensors: dict[str, Tensor], notes: dict) -> None:
        """Go back to a saved state."""

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}

        self.module.load_state_dict(part("weights."))
        self.best = {k: v.to(self.device) for k, v in part("best.").items()}
        optim.load_state_tensors(self.optimizer, part("optimizer."))
        self.order.set_state(tensors["random.order"].cpu())
        torch.set_rng_state(tensors["random.cpu"].cpu())
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), self.device)
        self.history = list(notes["history"])


def _take_over(module: nn.Sequential, segment: Segment) -> None:
    """Start from the weights of the one network that the segment uses."""
    if len(segment.uses) != 1:
        raise LayerwiseError(
            f"method 'sgd': init: used needs one network under uses, and there are {len(segment.uses)}"
        )
    (path, used), kept = next(iter(segment.uses.items())), [m for m in module.children() if m.state_dict()]
    given = [m for m in used.children() if m.state_dict()]
    shapes = [[[tuple(t.shape) for t in m.state_dict().values()] for m in each] for each in (kept, given)]
    if shapes[0] != shapes[1]:
        raise LayerwiseError(
            f"method 'sgd': init: used: the weights of {path!r} are of the shapes {shapes[1]}, and the segment's of "
            f"{shapes[0]}: use a network of the same layers"
        )
    for mine, theirs in zip(kept, given, strict=True):
        mine.load_state_dict(theirs.state_dict())


def _check(segment: Segment, features: Features, options: Options) -> None:
    if not layers.ends_in_scores(segment.layers):
        raise LayerwiseError(
            "method 'sgd' trains towards the targets: end the layers in 'dense outputs', "
            "or join the segment to a head with '+'"
        )
    if not len(features.train):
        raise LayerwiseError("method 'sgd': the training split is empty")
    if options.patience and not len(features.valid):
        raise LayerwiseError(
            "method 'sgd': 'patience' needs a validation split: give the data set one, or set patience: 0"
        )
    if options.loss == "cross_entropy" and not features.task.classifies:
        raise LayerwiseError(
            "method 'sgd': loss cross_entropy is for classes; this data set has values: choose mse or auto"
        )
