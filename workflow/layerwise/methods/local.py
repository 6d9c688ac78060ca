"""Local learning: blocks of a network trained by gradient, one window of them at a time, each to its own decision.

Thesis chapter 6. Above the window comes a temporary decision block, below it the blocks that are trained already,
frozen (the feednet), so a training step never holds the whole model. Windows are trained from the bottom up
(Algorithm 3, deep layer-wise and segment-wise learning) or in rounds of a few epochs each (Algorithm 4). The network is
cropped at the block whose decision is best on the validation split, and that decision is its head; the last window
has the model's own head for a decision. One window over all blocks is `sgd`, to the byte.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import loop, memory
from layerwise.gradient.augment import Augmented
from layerwise.gradient.batches import batch_sizes, normalises
from layerwise.gradient.dropout import GradientDropout
from layerwise.gradient.losses import loss_of
from layerwise.gradient.optimisers import optimizer
from layerwise.gradient.schedules import scheduled
from layerwise.layers import build as layers
from layerwise.layers.settings import PLAIN
from layerwise.layers.words import merged
from layerwise.methods import _decision
from layerwise.options import Bounded, Ge, Gt, Le, Lt, MinLen

CHUNK = 32  # samples that frozen layers take at once: a third of the memory of a whole batch, and the same bytes
STORED = 2**27  # numbers of features that are computed once a window, and not once an epoch; 512 MiB in float32
DROPPED = 0.02  # share of dropped inputs above which batch normalisation takes its statistics anew


@dataclass(frozen=True)
class Options(Bounded):
    """What a study may say of a local fit."""

    window: Annotated[int, Ge(1)] = 1
    """Blocks that are trained together."""
    overlap: Annotated[int, Ge(0)] = 0
    """Blocks of a window that the next one trains again; fewer than `window`."""
    head: Annotated[int, Ge(1)] = 1
    """Blocks at the end of the model that are its head: they are trained with the last window."""
    schedule: Literal["bottom_up", "round_robin", "random_robin"] = "bottom_up"
    """Order of the windows: each to its end from the bottom up, or all in turn for `rounds`, in order or at random."""
    rounds: Annotated[int, Ge(1)] = 1
    """Rounds of a robin."""
    epochs: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (20,)
    """Epochs of each window, or of its turn in a round; the last number is for all windows after it."""
    decision: tuple[str, ...] = ("dense outputs",)
    """Layer words of the decision block; empty for one that is searched for by `memory`."""
    memory: Annotated[float, Gt(0), Le(1)] | None = None
    """Share of the memory of the whole model's training step that a window's step may take, by which the decision
    block is searched for: as many 3x3 convolutions as fit, as wide as fits, a global average, an affine layer."""
    max_width: Annotated[int, Ge(8)] = 1024
    """Most channels of a decision block that is searched for."""
    max_convolutions: Annotated[int, Ge(0)] = 4
    """Most convolutions of a decision block that is searched for."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Rule of the updates."""
    lr: Annotated[float, Gt(0)] | None = None
    """Learning rate of the first block at the start; if not given, 0.01 for `sgd` and 0.001 for `adam` and `adamw`."""
    lr_by_block: Annotated[float, Gt(0)] = 1.0
    """Factor of the learning rate from block to block; the thesis has 0.8."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Momentum of `sgd`."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Weight decay of the first block, on all parameters."""
    weight_decay_by_block: Annotated[float, Gt(0)] = 1.0
    """Factor of the weight decay from block to block; the thesis has 1.15."""
    batch: Annotated[int, Ge(1)] = 128
    """Samples a step."""
    rate: Literal["constant", "multistep", "cosine"] = "constant"
    """Learning rate over a window's epochs: constant, a tenth from half of them and a hundredth from three quarters, or
    a cosine to 0."""
    loss: Literal["auto", "cross_entropy", "mse"] = "auto"
    """Loss: `auto` is cross-entropy for classes, mse for values."""
    input_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout on the input of a window in its first epoch (forward regularization; the thesis has 0.8)."""
    input_dropout_decay: Annotated[float, Gt(0), Le(1)] = 0.95
    """Factor of the input dropout from epoch to epoch."""
    gradient_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout on the gradient alone, from the decision block to the window (backward regularization)."""
    augment: tuple[Literal["crop", "flip", "cutout"], ...] = ()
    """What is done to the images of each batch, in this order, drawn anew in every epoch: shifted by up to an eighth of
    their side, mirrored, a square of half their side set to zero."""
    features: Literal["auto", "stored", "feed"] = "auto"
    """Where a window's inputs come from: computed once a turn and held, or fed through the frozen blocks at each step;
    `auto` holds up to 512 MiB of float32. The bytes are the same."""
    crop: bool = True
    """Crop the network at the best block by validation; without a validation split it is kept whole."""

    def __post_init__(self) -> None:
        if self.overlap >= self.window:
            raise LayerwiseError(
                f"option 'overlap' is {self.overlap}: it must be below 'window', which is {self.window}"
            )
        if bool(self.decision) == (self.memory is not None):
            raise LayerwiseError("give 'decision' words, or decision: [] with a 'memory' target, and not both")
        if self.augment and self.features == "stored":
            raise LayerwiseError("option 'augment' needs features: feed, since inputs are other ones in every epoch")
        if self.schedule == "bottom_up" and self.rounds > 1:
            raise LayerwiseError("option 'rounds' is for a schedule round_robin or random_robin")
        if self.decision and self.decision[-1].split() != ["dense", "outputs"]:
            raise LayerwiseError(f"option 'decision' ends in {self.decision[-1]!r}: end it with 'dense outputs'")


@dataclass
class _Window:
    """Blocks that are trained together, and what decides on them.

    Parameters
    ----------
    first, last
        The blocks, the first and the one after the last.
    feed, trained, decision
        Frozen layers below, layers in training, and those of the decision block; none where the model's head is
        among those in training.
    words
        Of the decision block.
    training
        What trains `module`, which drops inputs and gradients.
    row
        What to record of it.
    """

    first: int
    last: int
    feed: Sequence[nn.Module]
    trained: Sequence[nn.Module]
    decision: nn.Sequential
    words: tuple[str, ...]
    training: loop.Training
    row: dict[str, Any] = field(default_factory=dict)


def windows(blocks: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Return the windows over so many blocks below the head, as the first block and the one after the last."""
    starts = range(0, max(1, blocks - overlap), window - overlap)
    return [(start, min(start + window, blocks)) for start in starts]


def blocks_of(module: nn.Sequential) -> list[list[nn.Module]]:
    """Return the layers of a network as blocks: each begins with a layer that has weights (thesis section 6.2.1)."""
    result: list[list[nn.Module]] = [[]]
    started = False
    for layer in module:
        weighted = any(w.dim() > 1 for w in layer.parameters())
        if weighted and started:
            result.append([])
        started = started or weighted
        result[-1].append(layer)
    return result


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Train the segment's blocks window by window.

    Parameters
    ----------
    features
        ``x`` of shape ``(N, *segment.shape)``; its floating type is that of the weights.
    hooks
        `hooks.watch` looks at the window in training with its decision block.

    Returns
    -------
    Fitted
        The blocks up to the best one by validation, with its decision block. The record has ``blocks`` (a row a
        window: ``first`` and ``last`` block from 1, ``decision``, ``parameters`` in training, ``epochs``, ``lr``,
        ``weight_decay``, ``memory_share`` of the whole model's step where a target is given, and its validation),
        ``chosen`` (the last block that is kept) and ``history`` (a row an epoch, with its window).

    Raises
    ------
    LayerwiseError
        Where the segment does not end in scores, has too few blocks, or the memory target cannot be met.
    """
    if not layers.ends_in_scores(segment.layers):
        raise LayerwiseError("method 'local' trains towards the targets: end the layers in 'dense outputs' or a model")
    if not len(features.train):
        raise LayerwiseError("method 'local': the training split is empty")
    if options.augment and len(segment.shape) != 3:
        raise LayerwiseError(f"method 'local': option 'augment' is for images, not samples of shape {segment.shape}")
    with PLAIN.applied(), loop.kept_generators(device):
        torch.manual_seed(seed)
        parts, words = layers.assemble(segment.layers, segment.shape, segment.outputs)
        module = layers.for_images(nn.Sequential(*parts).to(device, features.train.dtype))
        fitting = _Fitting(module, words, segment, features.to(device), options, seed)
        fitting.run(hooks)
    return fitting.fitted()


class _Fitting:
    """The windows of a network in training."""

    def __init__(
        self,
        module: nn.Sequential,
        words: Sequence[str],
        segment: Segment,
        features: Features,
        options: Options,
        seed: int,
    ) -> None:
        self.module, self.features, self.options, self.seed = module, features, options, seed
        self.segment = segment
        self.blocks = blocks_of(module)
        body = len(self.blocks) - options.head
        if body < 1:
            text = f"{len(self.blocks)} blocks, and the last {options.head} of them are the head"
            raise LayerwiseError(f"method 'local': the layers are {text}: give more layers, or a smaller head")
        if options.window > body:
            raise LayerwiseError(
                f"method 'local': option 'window' is {options.window}, and {body} blocks lie below the head: give fewer"
            )
        self.words: Sequence[str] = words
        self.loss, self.targets = loss_of(options.loss, features.task, features.train.dtype)
        spans = windows(body, options.window, options.overlap)
        if options.memory is not None:
            self.whole = self._count(self.module, 0, segment.shape).peak
        self.windows = [self._window(i, *span, len(spans)) for i, span in enumerate(spans)]

    # ------------------------------------------------------------ a window

    def _window(self, number: int, first: int, last: int, count: int) -> _Window:
        o = self.options
        feed = [layer for block in self.blocks[:first] for layer in block]
        ends = number == count - 1
        trained = [layer for block in self.blocks[first : None if ends else last] for layer in block]
        decision, words, row = self._decision(number, feed, trained) if not ends else (nn.Sequential(), (), {})
        parts = [*trained, *decision]
        if o.input_dropout:
            parts.insert(0, nn.Dropout(o.input_dropout))
        if o.gradient_dropout and not ends:
            parts.insert(len(parts) - len(decision), GradientDropout(o.gradient_dropout))
        module = self.module if parts == list(self.module) else nn.Sequential(*parts)
        lr = (o.lr or (0.01 if o.optimizer == "sgd" else 0.001)) * o.lr_by_block**first
        weight_decay = o.weight_decay * o.weight_decay_by_block**first
        epochs = o.epochs[min(number, len(o.epochs) - 1)] * o.rounds
        parameters = [p for layer in parts for p in layer.parameters()]
        x, y = self.features.train.x, self.features.train.y
        sizes = batch_sizes(len(x), o.batch, 2 if normalises(module) else 1)
        if normalises(module) and min(sizes) < 2:
            raise LayerwiseError("method 'local': batchnorm needs two samples a step or more: choose batch: 2 or more")
        training = loop.Training(
            name=f"method 'local', blocks {first + 1} to {last}",
            module=module,
            loss=lambda z, t: self.loss(module(z), t),
            batches=Augmented(Split(x, self.targets(y)), sizes, self.seed + 7919 * number, o.augment),
            optimizer=optimizer(o.optimizer, parameters, lr, momentum=o.momentum, weight_decay=weight_decay),
            epochs=epochs,
            rate=lambda epoch: self._rate(module, lr, epoch, epochs),
        )
        row |= {
            "first": first + 1,
            "last": last,
            "decision": list(words),
            "parameters": sum(p.numel() for p in parameters),
            "epochs": epochs,
            "lr": lr,
            "weight_decay": weight_decay,
        }
        return _Window(first, last, feed, trained, decision, words, training, row)

    def _rate(self, module: nn.Module, lr: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of an epoch, and set the dropout of its inputs."""
        o = self.options
        if o.input_dropout:
            next(layer for layer in module.children() if isinstance(layer, nn.Dropout)).p = (
                o.input_dropout * o.input_dropout_decay**epoch
            )
        milestones = (epochs // 2, 3 * epochs // 4)
        return scheduled(o.rate, lr, epoch, epochs, milestones=milestones)

    def _decision(
        self, number: int, feed: Sequence[nn.Module], trained: Sequence[nn.Module]
    ) -> tuple[nn.Sequential, tuple[str, ...], dict[str, Any]]:
        """Return the decision block of a window, its words, and what to record of its memory."""
        o, task = self.options, self.features.task
        sample = self.features.train.x[:1]
        shape = self._shape([*feed, *trained])
        words, row = o.decision, {}
        if o.memory is not None:
            before = self._shape(feed)
            words, found = _decision.search(
                trained,
                shape,
                task.outputs,
                (o.memory + _decision.SLACK) * self.whole,
                o.max_width,
                o.max_convolutions,
                lambda module: self._count(module, len(feed), before),
            )
            _decision.demand(found, self.whole, o.memory, f"method 'local', block {number + 1}")
            row = {"memory_share": round(found / self.whole, 4)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 7919 * (number + 1))
            decision, words = layers.build(words, shape, task.outputs)
        return layers.for_images(decision.to(sample.device, sample.dtype)), words, row

    def _shape(self, below: Sequence[nn.Module]) -> tuple[int, ...]:
        """Return the shape of one sample behind the lowest layers."""
        return tuple(layers.apply(nn.Sequential(*below), self.features.train.x[:1]).shape[1:])

    def _count(self, module: nn.Module, below: int, shape: tuple[int, ...]) -> memory.Memory:
        """Count the memory of a step on this fit's batches that trains a module behind so many frozen layers."""
        task, o = self.features.task, self.options

        def loss(scores: Tensor, labels: Tensor) -> Tensor:
            return self.loss(scores, self.targets(labels if task.classifies else torch.zeros_like(scores)))

        images = prod(self.segment.shape) if below else 0
        return memory.step(
            module, shape, o.batch, feed=self._feeds[below], images=images, optimiser=o.optimizer, loss=loss
        )

    @functools.cached_property
    def _feeds(self) -> list[memory.Feed]:
        return memory.feeds(list(self.module), self.segment.shape, self.options.batch, CHUNK)

    # ------------------------------------------------------------ the order

    def run(self, hooks: Hooks) -> None:
        """Train the windows in turn, from where an interrupted run was saved."""
        turns = self._turns()
        clock, begin = loop.Clock(), 0
        saved = hooks.load()
        if saved is not None:
            begin = saved[1]["turn"]
            self._restore(*saved)
        for turn in range(begin, len(turns)):
            number = turns[turn]
            mine = self.windows[number]
            o, training = self.options, mine.training
            own = o.epochs[min(number, len(o.epochs) - 1)]
            done = sum(n == number for n in turns[:turn]) * own
            if turn:
                torch.manual_seed(self.seed + 104729 * turn)  # of the dropouts of this turn
            self._feed(mine)
            training.epochs = done + own
            part = loop.part(hooks, saved, self._around(turn))
            saved = None
            training.run(part, clock)
            self._settle(mine)
            if o.schedule == "bottom_up":
                self._validate(mine)
        if self.options.schedule != "bottom_up":
            for mine in self.windows:
                self._validate(mine)

    def _turns(self) -> list[int]:
        """Return the numbers of the windows in the order in which they are trained."""
        if self.options.schedule == "bottom_up":
            return list(range(len(self.windows)))
        generator = torch.Generator().manual_seed(self.seed)
        count, random = len(self.windows), self.options.schedule == "random_robin"
        rounds = range(self.options.rounds)
        orders = [torch.randperm(count, generator=generator) if random else torch.arange(count) for _ in rounds]
        return torch.cat(orders).tolist()

    def _feed(self, mine: _Window) -> None:
        """Let a window's batches give its inputs: features that are held, or samples that are fed to it."""
        train, o = self.features.train, self.options
        targets = mine.training.batches.split.y
        feed = nn.Sequential(*mine.feed).eval()
        for layer in self.module:
            layer.requires_grad_(False)
        for layer in (*mine.trained, *mine.decision):
            layer.requires_grad_(True)
        if not mine.feed:
            return
        numbers = len(train) * layers.apply(feed, train.x[:1]).numel()
        module, loss = mine.training.module, self.loss
        if o.features == "stored" or (o.features == "auto" and numbers <= STORED and not o.augment):
            mine.training.batches.split = Split(layers.apply(feed, train.x), targets)
            mine.training.loss = lambda z, t: loss(module(z), t)
        else:
            mine.training.batches.split = Split(train.x, targets)
            mine.training.loss = lambda x, t: loss(module(layers.apply(feed, x, batch=CHUNK)), t)

    def _settle(self, mine: _Window) -> None:
        """Take statistics of batch normalisation anew where inputs were dropped to the end, and let the batches go."""
        module, batches = mine.training.module, mine.training.batches
        norms = [m for m in module.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
        dropout = next((m for m in module.children() if isinstance(m, nn.Dropout)), None)
        if self.options.input_dropout and dropout is not None and dropout.p > DROPPED and norms:
            kept, dropout.p = dropout.p, 0.0
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the mean over all batches
            module.train()
            with torch.no_grad():
                for x, t in zip(
                    *(part.split(self.options.batch) for part in (batches.split.x, batches.split.y)), strict=True
                ):
                    if len(x) > 1:
                        mine.training.loss(x, t)
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
            dropout.p = kept
        module.eval()
        batches.split = Split(self.features.train.x, batches.split.y)  # what was held for the window goes

    def _validate(self, mine: _Window) -> None:
        """Record how good the network is that ends in a window and its decision block."""
        valid, task = self.features.valid, self.features.task
        if len(valid):
            scores = layers.apply(nn.Sequential(*mine.feed, *mine.trained, *mine.decision), valid.x)
            mine.row |= _measured(scores, valid.y, task)

    # ------------------------------------------------------------ an interrupted run

    def _around(self, turn: int) -> loop.State:
        """Return the state of all but the window whose turn it is."""
        tensors = {f"network.{k}": v for k, v in self.module.state_dict().items()}
        for i, other in enumerate(self.windows):
            tensors |= {f"{i}.decision.{k}": v for k, v in other.decision.state_dict().items()}
            if self.options.schedule != "bottom_up" and other.training.history:
                tensors |= {f"{i}.training.{k}": v for k, v in other.training.state().items()}
        histories = [each.training.history for each in self.windows]
        return tensors, {"turn": turn, "rows": [each.row for each in self.windows], "histories": histories}

    def _restore(self, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        for i, other in enumerate(self.windows):
            other.row, history = notes["rows"][i], notes["histories"][i]
            if training := loop.under(f"{i}.training.", tensors):
                other.training.resume(training, {"history": history})
            other.training.history = history
        # Last, for windows that overlap have weights in common.
        self.module.load_state_dict(loop.under("network.", tensors))
        for i, other in enumerate(self.windows):
            other.decision.load_state_dict(loop.under(f"{i}.decision.", tensors))

    # ------------------------------------------------------------ the result

    def fitted(self) -> Fitted:
        """Return the network that ends in the best window, and the record."""
        rows = [mine.row for mine in self.windows]
        best = len(rows) - 1
        if self.options.crop and len(self.features.valid):
            task = self.features.task
            values = [row["valid_accuracy"] if task.classifies else -row["valid_mse"] for row in rows]
            best = values.index(max(values))
        mine = self.windows[best]
        kept = [*mine.feed, *mine.trained]
        module = nn.Sequential(*kept, *mine.decision).requires_grad_(True).eval()
        words = (*merged(self.words[: len(kept)]), *mine.words)
        history = [{"window": i + 1, **row} for i, each in enumerate(self.windows) for row in each.training.history]
        steps = sum(len(each.training.history) * len(each.training.batches) for each in self.windows)
        record = {"blocks": rows, "chosen": mine.last, "history": history, "epochs": len(history), "steps": steps}
        return Fitted(module, words, record)


def _measured(scores: Tensor, y: Tensor, task: Task) -> dict[str, float]:
    if task.classifies:
        return {"valid_accuracy": 100 * (task.labels(scores) == y).double().mean().item()}
    return {"valid_mse": (scores - y).double().square().mean().item()}
