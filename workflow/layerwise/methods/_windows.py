"""The windows of a network: which blocks are trained together, behind which frozen ones, towards which decision."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.gradient import loop, memory
from layerwise.gradient.batches import normalises
from layerwise.gradient.dropout import GradientDropout
from layerwise.gradient.losses import Loss, Targets
from layerwise.gradient.optimisers import optimizer
from layerwise.gradient.schedules import scheduled
from layerwise.layers import build as layers
from layerwise.layers import zoo
from layerwise.methods import _decision, _refits
from layerwise.methods._inputs import CHUNK, Inputs, Samples
from layerwise.methods._sifted import Sifted


@dataclass
class Window:
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
    inputs
        What it is trained on.
    loss
        Of its scores and targets.
    epochs
        Of a turn.
    training
        What trains `module`, which drops inputs and gradients.
    dropout
        Of its inputs; None without one.
    head
        The affine layer that ends the decision block, where ridge regression fits it; else None.
    row
        What to record of it.
    """

    first: int
    last: int
    feed: Sequence[nn.Module]
    trained: Sequence[nn.Module]
    decision: nn.Sequential
    words: tuple[str, ...]
    inputs: Inputs
    loss: Loss
    epochs: int
    training: loop.Training
    dropout: nn.Dropout | None
    head: nn.Linear | None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> nn.Sequential:
        """All layers from the first to those of its decision block."""
        return nn.Sequential(*self.feed, *self.trained, *self.decision)


def spans(blocks: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Return the windows over so many blocks below the head, as the first block and the one after the last."""
    starts = range(0, max(1, blocks - overlap), window - overlap)
    return [(start, min(start + window, blocks)) for start in starts]


def blocks_of(module: Iterable[nn.Module]) -> list[list[nn.Module]]:
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


def least(module: nn.Module, options: Any) -> int:
    """Return how many samples a batch needs: for each process of a partition one, or two to take statistics of."""
    return (2 if normalises(module) else 1) * max(options.teams)


class Builder:
    """Makes the windows of a network; `options` are those of ``local``.

    Parameters
    ----------
    module
        The layers, which end in scores.
    loss, targets
        Loss of scores and targets, and what makes targets of labels.
    nearest
        Take an affine decision layer where no decision block meets the memory target, in place of refusing it.
    cut
        Blocks before each partition but the first, where the windows are partitions that train at once.
    """

    def __init__(
        self,
        module: nn.Sequential,
        samples: Samples,
        options: Any,
        seed: int,
        loss: Loss,
        targets: Targets,
        nearest: bool = False,
        cut: Sequence[int] | None = None,
    ) -> None:
        self.module, self.samples, self.options, self.seed = module, samples, options, seed
        self.loss, self.targets, self.nearest, self.cut = loss, targets, nearest, cut
        self.blocks = blocks_of(module)

    def windows(self) -> list[Window]:
        """Return the windows, the lowest first.

        Raises
        ------
        LayerwiseError
            For too few blocks, and a memory target that cannot be met.
        """
        o, body = self.options, self.body
        if self.cut is not None:
            found = list(itertools.pairwise([0, *self.cut, body]))
            return [self._window(number, *span, ends=span[1] == body) for number, span in enumerate(found)]
        if o.window > body:
            raise LayerwiseError(
                f"method 'local': option 'window' is {o.window}, and {body} blocks lie below the head: give fewer"
            )
        found = spans(body, o.window, o.overlap)
        return [self._window(number, *span, ends=number == len(found) - 1) for number, span in enumerate(found)]

    @property
    def body(self) -> int:
        """Number of blocks below the head; LayerwiseError where there are none."""
        body = len(self.blocks) - self.options.head
        if body < 1:
            text = f"{len(self.blocks)} blocks, and the last {self.options.head} of them are the head"
            raise LayerwiseError(f"method 'local': the layers are {text}: give more layers, or a smaller head")
        return body

    def _window(self, number: int, first: int, last: int, *, ends: bool) -> Window:
        o, at = self.options, first if self.cut is None else number  # factors go by block, or by partition
        feed = [layer for block in self.blocks[:first] for layer in block]
        trained = [layer for block in self.blocks[first : None if ends else last] for layer in block]
        decision, words = (nn.Sequential(), ()) if ends else self.decision(number, feed, trained)
        parts = [*trained, *decision]
        head = self._head(list(decision))
        row = self._memory(nn.Sequential(*parts), feed, head)
        dropout = nn.Dropout(o.input_dropout) if o.input_dropout else None
        if dropout is not None:
            parts.insert(0, dropout)
        if o.gradient_dropout and not ends:
            parts.insert(len(parts) - len(decision), GradientDropout(o.gradient_dropout))
        module = self.module if parts == list(self.module) else nn.Sequential(*parts)
        lr = (o.lr or (0.01 if o.optimizer == "sgd" else 0.001)) * o.lr_by_block**at
        weight_decay = o.weight_decay * o.weight_decay_by_block**at
        own = max(1, round(o.epochs[min(number, len(o.epochs) - 1)] * o.epochs_by_block**at))
        epochs = own * o.rounds
        parameters = [p for layer in parts for p in layer.parameters() if p.requires_grad]
        whole = self.module if self.cut is not None else module  # all partitions train on the same batches
        needed = least(whole, o)
        inputs = self.samples.inputs(self.seed + 7919 * number, needed)
        if self.cut is None and o.filter != "none" and number >= o.filter_after:
            inputs = Sifted(inputs, o, needed)
        training = loop.Training(
            name=f"method 'local', blocks {first + 1} to {last}",
            module=module,
            loss=lambda z, t: self._loss(head, module(z), t),
            batches=inputs,
            optimizer=optimizer(o.optimizer, parameters, lr, momentum=o.momentum, weight_decay=weight_decay),
            epochs=epochs,
            rate=lambda epoch: scheduled(o.rate, lr, epoch, epochs, milestones=(epochs // 2, 3 * epochs // 4)),
            prepare=lambda epoch: self._prepare(module, inputs, dropout, head, epoch),
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
        row |= {"decision_by": o.decision_by} if head is not None else {}
        loss = functools.partial(self._loss, head)
        return Window(first, last, feed, trained, decision, words, inputs, loss, own, training, dropout, head, row)

    def _loss(self, head: nn.Linear | None, scores: Tensor, targets: Tensor) -> Tensor:
        if head is None:
            return self.loss(scores, targets)
        return _refits.squared_error(self.samples.task, scores, targets)

    def _prepare(
        self, module: nn.Sequential, inputs: Inputs, dropout: nn.Dropout | None, head: nn.Linear | None, epoch: int
    ) -> None:
        """Set the filter and the dropout of an epoch's inputs, and refit a ridge head to the features as they are."""
        if isinstance(inputs, Sifted):
            inputs.epoch = epoch
        if dropout is not None:
            dropout.p = self.options.input_dropout * self.options.input_dropout_decay**epoch
        if head is not None:
            if not epoch:  # there are no statistics yet
                _refits.normalise(module, inputs.once, dropout)
            _refits.refit(module, inputs.once, self.samples.task)

    # ------------------------------------------------------------ the decision block

    def decision(
        self, number: int, feed: Sequence[nn.Module], trained: Sequence[nn.Module]
    ) -> tuple[nn.Sequential, tuple[str, ...]]:
        """Return the decision block of a window, and its words."""
        o, outputs, sample = self.options, self.samples.task.outputs, self.samples.sample
        shape, words = self._shape([*feed, *trained]), o.decision
        if o.memory is not None:
            words, found = _decision.search(
                trained,
                shape,
                outputs,
                (o.memory + _decision.SLACK) * self._whole,
                o.max_width,
                o.max_convolutions,
                lambda module: self._count(module.to(sample.dtype), feed, self._head(list(module.children()))),
            )
            if not self.nearest:
                _decision.demand(found, self._whole, o.memory, f"method 'local', block {number + 1}")
        with torch.random.fork_rng(devices=[]), sample.device if sample.is_meta else contextlib.nullcontext():
            torch.manual_seed(self.seed + 7919 * (number + 1))
            decision, words = layers.build(words, shape, outputs)
        return layers.for_images(decision.to(sample.device, sample.dtype)), words

    def _head(self, decision: Sequence[nn.Module]) -> nn.Linear | None:
        """Return the affine layer that ends a decision block, held fixed, where ridge regression fits it; else None."""
        if self.options.decision_by == "gradient" or not decision:
            return None
        head = decision[-1].requires_grad_(False)
        assert isinstance(head, nn.Linear)
        return head

    def _shape(self, below: Sequence[nn.Module]) -> tuple[int, ...]:
        """Return the shape of one sample behind the lowest layers."""
        return tuple(layers.apply(nn.Sequential(*below), self.samples.sample).shape[1:])

    # ------------------------------------------------------------ memory

    def _memory(self, module: nn.Module, feed: Sequence[nn.Module], head: nn.Linear | None) -> dict[str, Any]:
        """Return what a step of a window takes, without its dropouts; nothing where that cannot be counted."""
        try:
            peak = self._count(module, feed, head).peak
            return {"memory_bytes": peak, "memory_share": round(peak / self._whole, 4)}
        except LayerwiseError:
            return {}

    def least(self, window: Window) -> float:
        """Return the share of the whole model's step that a window takes with an affine decision layer alone."""
        if not window.words:
            return window.row["memory_share"]
        shape, outputs = self._shape([*window.feed, *window.trained]), self.samples.task.outputs
        with torch.device("meta"):
            decision, _ = layers.build(_decision.words(shape, 0, 0), shape, outputs)
        module = nn.Sequential(*window.trained, *decision.to(self.samples.sample.dtype))
        return round(self._count(module, window.feed, self._head(list(decision))).peak / self._whole, 4)

    def _count(self, module: nn.Module, feed: Sequence[nn.Module], head: nn.Linear | None = None) -> memory.Memory:
        """Count the memory of a step that trains a module behind frozen layers; LayerwiseError where it cannot be."""
        task, shape = self.samples.task, self.samples.shape

        def loss(scores: Tensor, labels: Tensor) -> Tensor:
            return self._loss(head, scores, self.targets(labels if task.classifies else torch.zeros_like(scores)))

        try:
            fed = bool(feed) and self.cut is None  # a partition is given its inputs
            found = memory.step(
                module,
                self._shape(feed) if feed else shape,
                self.samples.batch,
                feed=self._feeds[len(feed)] if fed else memory.NONE,
                images=prod(shape) if fed else 0,
                optimiser=self.options.optimizer,
                loss=loss,
            )
        except zoo.NO_RUN as error:  # of layers that go by numbers, which fake tensors do not have
            said = " ".join(str(error).split())[:160]
            raise LayerwiseError(f"method 'local': the memory of a step cannot be counted ({said})") from None
        if head is None:
            return found
        return replace(found, peak=max(found.peak, found.parameters + found.optimiser + _refits.bytes_of(head)))

    @functools.cached_property
    def _whole(self) -> int:
        """Bytes of a step that trains all."""
        return self._count(self.module, []).peak

    @functools.cached_property
    def _feeds(self) -> list[memory.Feed]:
        return memory.feeds(list(self.module), self.samples.shape, self.samples.batch, CHUNK)
