"""Local learning: blocks of a network trained by gradient, one window of them at a time, each to its own decision.

Thesis chapter 6. Above the window comes a temporary decision block, below it the blocks that are trained already,
frozen (the feednet), so a training step never holds the whole model. Windows are trained from the bottom up
(Algorithm 3, deep layer-wise and segment-wise learning) or in rounds of a few epochs each (Algorithm 4). The network is
cropped at the block whose decision is best on the validation split, and that decision is its head; the last window
has the model's own head for a decision. One window over all blocks is `sgd`, to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import nn

from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import loop, partners
from layerwise.gradient.losses import loss_of
from layerwise.gradient.weights import take_over
from layerwise.layers import build as layers
from layerwise.layers import pretrained
from layerwise.layers.settings import PLAIN
from layerwise.layers.words import merged
from layerwise.methods import _cut
from layerwise.methods._concurrent import ConcurrentTraining
from layerwise.methods._inputs import Samples, held
from layerwise.methods._local_training import LocalTraining
from layerwise.methods._windows import Builder
from layerwise.options import Bounded, File, Ge, Gt, Le, Lt, MinLen


@dataclass(frozen=True)
class Options(Bounded):
    """What a study may say of a local fit."""

    window: Annotated[int, Ge(1)] = 1
    """Blocks that are trained together."""
    overlap: Annotated[int, Ge(0)] = 0
    """Blocks of a window that the next one trains again; fewer than `window`."""
    head: Annotated[int, Ge(1)] = 1
    """Blocks at the end of the model that are its head: they are trained with the last window."""
    schedule: Literal["bottom_up", "round_robin", "random_robin", "concurrent"] = "bottom_up"
    """Order of the windows: each to its end from the bottom up; or all in turn for `rounds`, in order or at random; or
    `partitions` in place of windows, all at once, each on the batches that come from the one below."""
    rounds: Annotated[int, Ge(1)] = 1
    """Rounds of a robin."""
    partitions: Annotated[int, Ge(1)] = 2
    """Runs of blocks that a schedule concurrent trains at once, by a process each or in turn. `lr_by_block` and
    `weight_decay_by_block` are then factors from partition to partition; the thesis has 0.5 for both."""
    cut: Literal["counted", "measured"] | Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = "counted"
    """Where partitions end: so that the slowest is as fast as can be, by operations counted or by times measured at the
    start, which differ from run to run; or the last blocks of all partitions but the last, such as [4, 9]."""
    allocation: tuple[Annotated[int, Ge(1)], ...] = ()
    """Processes of each partition, such as [3, 2, 2, 1], which share every batch; one each, if not given. The cut goes
    by it, also where the partitions take turns in one process."""
    queue: Annotated[int, Ge(1)] = 2
    """Batches on their way from one partition to the next, at each end, at most. The bytes are the same."""
    filter: Literal["none", "kfilter", "loss"] = "none"
    """What is left out of the samples, anew in each epoch: nothing; those whose `filter_k` nearest neighbours, itself
    the first, are all of their class; or, of partitions, those with the lowest loss of a partition's own decision
    block. One partition leaves them out of what it passes on; of windows, each above the first ones its own."""
    filter_after: Annotated[int, Ge(1)] = 1
    """The partition that filters, from 1: those above it see fewer samples. Or the windows that are not filtered."""
    filter_from: Annotated[int, Ge(1)] = 31
    """First epoch that is filtered, of each window its own."""
    filter_share: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the samples that goes, of a kfilter at most; if not given, 0.6 of a kfilter and 0.25 of a loss."""
    filter_k: Annotated[int, Ge(1)] = 10
    """Neighbours of a kfilter."""
    filter_samples: Annotated[int, Ge(1)] = 6144
    """Samples of the large mini-batches in which a filter looks, or a little more: whole batches."""
    epochs: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (20,)
    """Epochs of each window, or of its turn in a round; the last number is for all windows after it."""
    epochs_by_block: Annotated[float, Gt(0)] = 1.0
    """Factor of the epochs from block to block, rounded, from those of the first block; the thesis has 1.08 and 1.2 in
    transfer learning (Table 6.5)."""
    decision: tuple[str, ...] = ("dense outputs",)
    """Layer words of the decision block; empty for one that is searched for by `memory`."""
    decision_by: Literal["gradient", "ridge"] = "gradient"
    """What fits the affine layer that ends a decision block: gradients, or ridge regression on the features below it,
    refitted before each epoch and fixed in it, so that no gradient of it is held; its squared error then trains the
    window, whatever `loss` says. The sums of d features take 32 d^2 bytes: average them first. The last window has the
    model's own head, which gradients train by `loss`."""
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
    augment: tuple[Literal["crop", "flip", "autoaugment", "autoaugment svhn", "cutout"], ...] = ()
    """What is done to the images of each batch, in this order, drawn anew in every epoch: shifted by up to an eighth of
    their side, mirrored, two operations of AutoAugment's policy for CIFAR-10 or SVHN (8-bit images alone), a square of
    half their side set to zero."""
    init: Literal["torch", "used"] = "torch"
    """First weights of the blocks: torch's defaults, or those of the one network under the segment's ``uses``, such as
    one in closed form, whose layers with weights are of the same shapes as the segment's, or as its lowest."""
    weights: Annotated[str, File()] | None = None
    """First weights of the blocks of a model: a .safetensors file of the whole model's state dict, from which each
    block takes its own by name. Its content counts in digests, and not where it lies."""
    new: tuple[str, ...] = ()
    """Parameters of the model, or layers by name, that are drawn rather than taken from `weights`."""
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
        if self.weights is not None and self.init != "torch":
            raise LayerwiseError(f"option 'weights' and init: {self.init} both give first weights: leave one out")
        if self.schedule in ("bottom_up", "concurrent") and self.rounds > 1:
            raise LayerwiseError("option 'rounds' is for a schedule round_robin or random_robin")
        if self.decision and self.decision[-1].split() != ["dense", "outputs"]:
            raise LayerwiseError(f"option 'decision' ends in {self.decision[-1]!r}: end it with 'dense outputs'")
        self._check_partitions()

    def _check_partitions(self) -> None:
        if self.schedule != "concurrent":
            for name in ("partitions", "cut", "allocation", "queue"):
                if getattr(self, name) != getattr(type(self), name):
                    raise LayerwiseError(f"option {name!r} is for a schedule concurrent, not {self.schedule}")
            if self.filter == "loss":
                raise LayerwiseError(f"filter: loss is for a schedule concurrent, not {self.schedule}: say kfilter")
            return
        if self.filter != "none" and self.filter_after >= self.partitions:
            raise LayerwiseError(
                f"option 'filter_after' is {self.filter_after}: partition {self.partitions} passes nothing on"
            )
        if self.allocation:
            self._check_allocation(list(self.allocation))
        if isinstance(self.cut, tuple):
            if list(self.cut) != sorted(set(self.cut)):
                raise LayerwiseError(f"option 'cut' is {list(self.cut)}: give the last blocks of partitions, upwards")
            if len(self.cut) != self.partitions - 1:
                made = len(self.cut) + 1
                raise LayerwiseError(f"option 'cut' {list(self.cut)} makes {made} partitions: say partitions: {made}")
        others = {
            "window": "partitions take its place",
            "overlap": "partitions do not overlap",
            "epochs_by_block": "all partitions see the same epochs",
            "input_dropout": "statistics are taken anew after it, which needs the samples",
            "decision_by": "a ridge head is refitted to all samples, and a partition sees batches",
        }
        for name, why in others.items():
            if getattr(self, name) != getattr(type(self), name):
                raise LayerwiseError(f"option {name!r} is not for a schedule concurrent: {why}")
        if len(self.epochs) > 1 or self.features == "stored":
            name, why = ("epochs", "give one number") if len(self.epochs) > 1 else ("features", "nothing is stored")
            raise LayerwiseError(f"option {name!r}: a schedule concurrent trains all partitions on each batch: {why}")

    def _check_allocation(self, given: list[int]) -> None:
        most, made = max(given), len(given)
        if made != self.partitions:
            raise LayerwiseError(f"option 'allocation' {given} is for {made} partitions: say partitions: {made}")
        if most > 1 and self.batch < 2 * most:
            raise LayerwiseError(f"option 'allocation' {given} needs two samples a process: choose batch: {2 * most}")
        if self.filter != "none" and given[self.filter_after - 1] > 1:
            raise LayerwiseError(
                f"option 'allocation' {given}: partition {self.filter_after} filters, which looks at whole batches: "
                "give it one process"
            )

    @property
    def teams(self) -> tuple[int, ...]:
        """Processes of each partition."""
        return self.allocation or (1,) * self.partitions

    @property
    def processes(self) -> int:
        """Processes that can share a fit."""
        return sum(self.teams) if self.schedule == "concurrent" else 1


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
        ``weight_decay``, ``memory_bytes`` of a step and ``memory_share`` of the whole model's where these can be
        counted, its validation, and ``decision_by`` and ``strength`` of a ridge head),
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
    if options.filter == "kfilter" and not features.task.classifies:
        raise LayerwiseError("method 'local': filter: kfilter needs classes, and the data set has values")
    with PLAIN.applied(), loop.kept_generators(device):
        torch.manual_seed(seed)
        weights = pretrained.read(options.weights, options.new)
        parts, words = layers.assemble(segment.layers, segment.shape, segment.outputs, weights=weights)
        module = nn.Sequential(*parts)
        if options.init == "used":
            take_over(module, segment.uses, "method 'local'")
        module = layers.for_images(module.to(device, features.train.dtype))
        training = training_of(module, _samples(features.to(device), options), options, seed, hooks)
        training.run(hooks)
    if partners.rank():
        return Fitted(module, merged(words))  # process 0 has the weights of all partitions
    network, kept, decision = training.network()
    return Fitted(network, (*merged(words[:kept]), *decision), training.record())


def training_of(
    module: nn.Sequential, samples: Samples, options: Options, seed: int, hooks: Hooks = NO_HOOKS
) -> LocalTraining:
    """Return the training of a network's windows, or of its partitions."""
    if options.schedule == "concurrent":
        return ConcurrentTraining(module, samples, options, seed, hooks)
    return LocalTraining(module, samples, options, seed)


def count(segment: Segment, task: Task, options: Options) -> list[dict[str, Any]]:
    """Count the memory of each window's training step, without data and without training; nothing is computed.

    Returns
    -------
    A row a window: ``first`` and ``last`` block from 1, ``decision``, ``parameters`` in training, ``memory_bytes`` of a
    step, ``memory_share`` of the whole model's step, and ``least_share`` with an affine decision layer alone. Where the
    memory target cannot be met, the decision is that layer.
    """
    with PLAIN.applied(), torch.random.fork_rng(devices=[]):
        module, samples = _unseen(segment, task, options)
        loss, targets = loss_of(options.loss, task, torch.float32)
        cut = _counted_plan(module, samples, options)["cut"] if options.schedule == "concurrent" else None
        builder = Builder(module, samples, options, 0, loss, targets, nearest=True, cut=cut)
        return [window.row | {"least_share": builder.least(window)} for window in builder.windows()]


def foreseen(segment: Segment, task: Task, options: Options) -> dict[str, Any]:
    """Count what the partitions of a schedule concurrent cost, without data and without training: what the record of a
    fit has under ``partitions``, in operations also where a fit would measure."""
    with PLAIN.applied(), torch.random.fork_rng(devices=[]):
        return _counted_plan(*_unseen(segment, task, options), options)


def _counted_plan(module: nn.Sequential, samples: Samples, options: Options) -> dict[str, Any]:
    return _cut.plan(module, samples, replace(options, cut="counted") if options.cut == "measured" else options, 0)


def _unseen(segment: Segment, task: Task, options: Options) -> tuple[nn.Sequential, Samples]:
    """Return a network, and samples that are nothing but shapes."""
    parts, _ = layers.assemble(segment.layers, segment.shape, segment.outputs)
    split = Split(torch.empty(options.batch, *segment.shape, device="meta"), torch.empty(0))
    how: dict[str, Any] = {"batch": options.batch, "augment": (), "features": options.features}
    return nn.Sequential(*parts).to("meta"), held(split, Split(split.x[:0], split.y), task, split.y, **how)


def counted_by(options: Options) -> list[Any]:
    """Return the options that the memory of the steps depends on."""
    names = ("window", "overlap", "head", "decision", "memory", "max_width", "max_convolutions", "optimizer", "batch")
    more = ("schedule", "partitions", "cut", "teams") if options.schedule == "concurrent" else ()
    return [getattr(options, name) for name in (*names, "loss", "decision_by", *more)]


def _samples(features: Features, o: Options) -> Samples:
    """Return the samples of a fit, which are tensors."""
    train, valid = (Split(split.x, split.y) for split in (features.train, features.valid))
    _, targets = loss_of(o.loss, features.task, train.dtype)
    how: dict[str, Any] = {"batch": o.batch, "augment": o.augment, "features": o.features, "pixels": features.pixels}
    return held(train, valid, features.task, targets(train.y), **how)
