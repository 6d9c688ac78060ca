"""End-to-end training by gradient descent: the backpropagation twin of every other method, and the trained heads.

All layers of the segment are trained together on mini-batches, by SGD with momentum, Adam or AdamW. The data set
stays on the device as tensors and is batched there by index. The same seed gives the same bytes on a CPU with the
same number of threads, also when the fit was interrupted and went on from what it had saved.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import inf
from typing import Annotated, Literal

import torch
from torch import nn

from layerwise.closed import shards
from layerwise.coding.coders import coder
from layerwise.coding.words import demand_coder
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment, Split
from layerwise.errors import LayerwiseError
from layerwise.gradient.augment import Augmented
from layerwise.gradient.batches import batch_sizes, normalises
from layerwise.gradient.exchange import Exchange, Worker, parts, seed_of
from layerwise.gradient.loop import Training, kept_generators, random_state
from layerwise.gradient.losses import TARGETED, loss_of
from layerwise.gradient.optimisers import optimizer
from layerwise.gradient.schedules import scheduled
from layerwise.gradient.validation import Scored, validation
from layerwise.gradient.weights import glorot_, take_over
from layerwise.layers import build as layers
from layerwise.layers import pretrained
from layerwise.options import Bounded, File, Ge, Gt, Le, Lt

SHARED = True  # where workers exchange weights


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
    epochs: Annotated[int, Ge(1), Le(1_000_000)] = 20
    """Passes over the training split, at most."""
    batch: Annotated[int, Ge(1), Le(1_000_000_000)] = 128
    """Samples a step."""
    schedule: Literal["constant", "step", "multistep", "cosine"] = "constant"
    """Learning rate over the epochs: times `gamma` every `step` epochs or at the `milestones`, or a cosine to 0."""
    step: Annotated[int, Ge(0)] = 0
    """Epochs between two reductions by the schedule `step`."""
    milestones: tuple[Annotated[int, Ge(1)], ...] = ()
    """Epochs after which the schedule `multistep` reduces the learning rate."""
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1
    """Factor of one reduction of the learning rate."""
    loss: Literal[
        "auto", "cross_entropy", "mse", "half_squares", "sigmoid", "tanh", "tanh_squares", "exp_ga", "pow3_ga"
    ] = "auto"
    """Loss: `auto` is cross-entropy (logistic, where two classes are one column) for classes, mse for values. The
    gradient of the others at the scores x is y - t: `half_squares` has the output y = x, `sigmoid` and `tanh` theirs,
    `exp_ga` alpha exp(x), `pow3_ga` alpha x^3 + beta. `tanh_squares` is the squared error of tanh(x)."""
    target_low: float | None = None
    """Target t of the columns of the other classes; by itself 0, but -1 for `half_squares` and the two of tanh."""
    target_high: float | None = None
    """Target t of the column of a sample's own class; by itself 1, but 16 for `exp_ga` and 10 for `pow3_ga`."""
    alpha: Annotated[float, Gt(0)] | None = None
    """Factor of the output; by itself 0.1 for `exp_ga` and 0.001 for `pow3_ga`."""
    beta: Annotated[float, Ge(0)] | None = None
    """Offset of the output of `pow3_ga`; by itself 0.4."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] | None = None
    """Share of a target that all classes get alike, for `cross_entropy`."""
    patience: Annotated[int, Ge(0)] = 0
    """Epochs without a better validation result after which to stop and go back to the best; 0 is off."""
    augment: tuple[Literal["crop", "flip", "autoaugment", "autoaugment svhn", "cutout"], ...] = ()
    """What is done to the images of each batch, in this order, drawn anew in every epoch: shifted by up to an eighth of
    their side, mirrored, two operations of AutoAugment's policy for CIFAR-10 or SVHN (8-bit images alone), a square of
    half their side set to zero."""
    init: Literal["torch", "glorot", "used"] = "torch"
    """First weights: torch's defaults, Glorot's uniform weights with zero biases, or those of the one network under
    the segment's ``uses``, whose layers with weights are of the same shapes as the segment's, or as its lowest."""
    weights: Annotated[str, File()] | None = None
    """First weights of the blocks of a model: a .safetensors file of the whole model's state dict, from which each
    block takes its own by name. Its content counts in digests, and not where it lies."""
    new: tuple[str, ...] = ()
    """Parameters of the model, or layers by name such as ``classifier.1``, that are drawn rather than taken from
    `weights`: a head for other classes, a first convolution for other channels."""
    exchange: str = "none"
    """How the workers send their weights after every epoch, from which all go on as they are received: float32; entropy
    C [of M] (bins, C bits above the entropy, estimated with M); fixed N (bins of N bits); groups N [of SIZE]; float8 4
    or 5 (bits of the exponent); top SHARE; rank R. With ``changes`` at the end they send what changed since."""
    workers: Annotated[int, Ge(1), Le(4096)] = 1
    """Workers of an `exchange`, each of which trains on its part of the samples; processes may share them out."""

    def __post_init__(self) -> None:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise LayerwiseError("option 'nesterov' needs optimizer sgd with a momentum above 0")
        if (self.schedule == "step") != (self.step > 0):
            raise LayerwiseError("schedule step and option 'step' (epochs between two reductions) go together")
        if (self.schedule == "multistep") != bool(self.milestones):
            raise LayerwiseError("schedule multistep and option 'milestones' (epochs of the reductions) go together")
        if self.weights is not None and self.init != "torch":
            raise LayerwiseError(f"option 'weights' and init: {self.init} both give first weights: leave one out")
        self._check_targets()
        self._check_exchange()

    def _check_targets(self) -> None:
        outputs = {  # of the losses with targets: where they lie; with targets beyond, the loss has no minimum
            "half_squares": (-inf, inf),
            "sigmoid": (0, 1),
            "tanh": (-1, 1),
            "tanh_squares": (-1, 1),
            "exp_ga": (0, inf),
            "pow3_ga": (-inf, inf),
        }
        low, high = self.target_low, self.target_high
        amplified = ("exp_ga", "pow3_ga")
        of = {
            "target_low": outputs,
            "target_high": outputs,
            "alpha": amplified,
            "beta": ("pow3_ga",),
            "label_smoothing": ("cross_entropy",),
        }
        for name, losses in of.items():
            if getattr(self, name) is not None and self.loss not in losses:
                raise LayerwiseError(f"option {name!r} is for loss {' or '.join(losses)}, not for {self.loss}")
        if (low is None) != (high is None):
            raise LayerwiseError("options 'target_low' and 'target_high' go together: give both, or neither")
        if low is not None and high is not None:
            least, most = outputs[self.loss]
            if not least <= low < high <= most:
                within = (
                    f" and both from {least:g} to {most:g}, where {self.loss} has its outputs" if least > -inf else ""
                )
                raise LayerwiseError(f"targets {low:g} and {high:g}: target_low must be below target_high{within}")

    def _check_exchange(self) -> None:
        if self.exchange != "none":
            words, said = self.exchange.removesuffix(" changes"), f"option 'exchange' is {self.exchange!r}: none, "
            demand_coder(words, said, ", and 'changes' at the end of any but none")
        if self.workers > 1 and self.exchange == "none":
            raise LayerwiseError("option 'workers' needs an 'exchange', such as exchange: float32")


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
    # The global generators are seeded for the first weights and for dropout.
    with kept_generators(device):
        torch.manual_seed(seed)
        weights = pretrained.read(options.weights, options.new)
        module, words = layers.build(segment.layers, segment.shape, segment.outputs, weights=weights)
        if options.init == "glorot":
            module.apply(glorot_)
        elif options.init == "used":
            take_over(module, segment.uses, "method 'sgd'")
        module = layers.for_images(module.to(device, features.train.dtype))
        features = features.to(device)
        training = _training(module, features, options, seed)
        if options.exchange != "none":
            training = _exchange(training, module, features, options, seed)
        training.run(hooks)
        if not layers.apply(module, features.train.x[: options.batch]).isfinite().all():
            raise LayerwiseError(
                "method 'sgd': the training diverged: the network's scores overflow: lower lr, or scale the samples"
            )
    return Fitted(module.eval(), words, training.record())


def _training(module: nn.Sequential, features: Features, options: Options, seed: int) -> Training:
    """Return the training of the module on the task, from the first epoch."""
    train, valid, o = features.train, features.valid, options
    loss, targets = loss_of(o.loss, features.task, train.dtype, vars(o))
    least = 2 if normalises(module) else 1
    if len(train) < least:
        raise LayerwiseError(
            "method 'sgd': batchnorm needs two samples or more, and here is one: ask for fewer workers, or select more"
        )
    sizes = batch_sizes(len(train), o.batch, least)
    if min(sizes) < least:
        raise LayerwiseError("method 'sgd': batchnorm needs two samples a step or more: choose batch: 2 or more")
    lr = o.lr or (0.01 if o.optimizer == "sgd" else 0.001)

    def scored() -> Scored:
        yield layers.apply(module, valid.x), valid.y

    return Training(
        name="method 'sgd'",
        module=module,
        loss=lambda x, t: loss(module(x), t),
        batches=Augmented(Split(train.x, targets(train.y)), sizes, seed, o.augment, features.pixels),
        optimizer=optimizer(
            o.optimizer,
            module.parameters(),
            lr,
            momentum=o.momentum,
            nesterov=o.nesterov,
            weight_decay=o.weight_decay,
        ),
        epochs=o.epochs,
        rate=lambda epoch: scheduled(
            o.schedule, lr, epoch, o.epochs, step=o.step, milestones=o.milestones, gamma=o.gamma
        ),
        validation=validation(features.task, scored) if len(valid) else None,
        patience=o.patience,
    )


def _exchange(whole: Training, module: nn.Sequential, features: Features, options: Options, seed: int) -> Exchange:
    """Return the training by workers in the place of one on all samples of this process."""
    workers = []
    for number, rows in parts(options.workers):
        train = Split(features.train.x[rows], features.train.y[rows])
        if not len(train):
            raise LayerwiseError("method 'sgd': there are more workers than training samples; ask for fewer workers")
        own = seed_of(seed, number) if number else seed  # one worker trains as a fit without workers does
        batches = _training(module, replace(features, train=train), options, own).batches
        if number:
            torch.manual_seed(own)
        workers.append(Worker(number, batches, random_state(whole.device)))
    kept = {f.name: getattr(whole, f.name) for f in fields(whole)}
    changes = options.exchange.endswith(" changes")
    return Exchange(
        **kept, coder=coder(options.exchange.removesuffix(" changes")), changes=changes, seed=seed, workers=workers
    )


def _check(segment: Segment, features: Features, options: Options) -> None:
    if not layers.ends_in_scores(segment.layers):
        raise LayerwiseError(
            "method 'sgd' trains towards the targets: end the layers in 'dense outputs', "
            "or join the segment to a head with '+'"
        )
    if shards.size() > 1 and (options.exchange == "none" or options.workers % shards.size()):
        raise LayerwiseError(
            f"method 'sgd': {shards.size()} processes share a fit whose 'workers' exchange weights, as many each: set "
            f"exchange, and workers to a multiple of {shards.size()}; or start one process alone"
        )
    if not len(features.train):
        raise LayerwiseError("method 'sgd': the training split is empty")
    if options.patience and not len(features.valid):
        raise LayerwiseError(
            "method 'sgd': 'patience' needs a validation split: give the data set one, or set patience: 0"
        )
    if options.loss not in ("auto", "mse") and not features.task.classifies:
        raise LayerwiseError(
            f"method 'sgd': loss {options.loss} is for classes; this data set has values: choose mse or auto"
        )
    if options.loss in TARGETED and features.task.kind == "signs":
        raise LayerwiseError(
            f"method 'sgd': loss {options.loss} needs a column for each class, and here one stands for both: set "
            "targets: onehot in the data set, or choose another loss"
        )
