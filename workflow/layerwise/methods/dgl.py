"""Deep Gaussian layer-wise losses (Ben-David and Ringel 2019): each layer alone, by what the layers above could do.

The layers above the one at hand are taken as infinitely wide, and so as a Gaussian process on its output. How well
that process predicts each sample from the others of a mini-batch is the loss of the layer (eq. 5), and Adam lowers it.
No gradient passes from one layer to another. Of the layers above only the variances of weights and biases are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from layerwise.closed import driver
from layerwise.closed.inputs import Inputs, Solution
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers.words import parse
from layerwise.maths import kernels
from layerwise.methods._layer_training import LayerTraining, Progress
from layerwise.methods._wide import Wide
from layerwise.options import Bounded, Ge, Gt, Le, MinLen


@dataclass(frozen=True)
class Options(Bounded):
    kernel: Literal["nngp", "ntk"] = "nngp"
    """Kernel of the layers above: of random networks (``nngp``), or of some trained by gradient descent (``ntk``)."""
    objective: Literal["mse", "variance", "log_predictive", "bottleneck"] = "mse"
    """``mse``: squared error of the leave-one-out predictions, the published loss. ``variance`` adds their variance.
    ``log_predictive``: their negative log density. ``bottleneck``: the information bottleneck of the supplement."""
    variances: Literal["evidence", "initial", "used"] = "evidence"
    """Variances of weights and biases above. ``evidence``: those under which the labels are likeliest, given the
    layer's outputs before training. ``initial``: those of the first weights. ``used``: those of the network under the
    segment's ``uses``, the published way; it may be a trained one or a random one."""
    noise: Literal["evidence"] | Annotated[float, Gt(0)] = 1e-3
    """Noise variance of the Gaussian process: a share of the root mean square eigenvalue of the kernel of the first
    mini-batch before training (1e-3 is the authors' rule), or fitted to the labels as the variances are."""
    init: Literal["xavier", "he"] = "xavier"
    """First weights: normal with Xavier's variance and the gain 5/3 (the authors'), or with He's variance."""
    bias: Annotated[float, Ge(0), Le(1e6)] = 0.5
    """Standard deviation of the first biases."""
    lr: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] | Annotated[float, Gt(0)] = 0.01
    """Learning rate of Adam; of several the best by the loss on the validation split, for each layer."""
    weight_decay: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] | Annotated[float, Ge(0)] = 0.0
    """Weight decay, or several to choose from as for `lr`."""
    epochs: Annotated[int, Ge(0), Le(1_000_000)] = 50
    """Passes over the training split for each layer, at most; 0 leaves the first weights."""
    batch: Annotated[int, Ge(2), Le(1_000_000_000)] = 500
    """Samples a step. The loss predicts each of them from the others."""
    landmarks: Annotated[int, Ge(0), Le(1_000_000_000)] = 0
    """Approximate the kernel of a batch by its values at so many of its samples (Nystroem), for batches of ten
    thousands; 0 takes the kernel itself."""
    patience: Annotated[int, Ge(0)] = 0
    """Epochs without a better validation loss after which to stop and go back to the best; 0 is off."""
    centre: bool = True
    """Let the targets of a sample sum to zero: for k classes 1 - 1/k and -1/k, which a process of zero mean suits."""
    above: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Hidden layers between the segment and the read-out that belong to other segments."""
    width: Annotated[float, Gt(0)] = 0.5
    """For ``bottleneck``: standard deviation of its noise, as a share of the median distance between samples."""
    beta: Annotated[float, Gt(0)] = 100.0
    """For ``bottleneck``: weight of the information on the label."""

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if isinstance(value, tuple) else (value,))


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Train the dense layers of a segment one after the other; a last ``dense outputs`` is read out by ridge.

    Returns
    -------
    Fitted
        Its record has ``layers`` (for each the variances and the noise of its process, the rate and decay chosen, its
        loss on the training and on the validation split) and ``history``, a row an epoch of each layer.

    Raises
    ------
    LayerwiseError
        For a convolution, an activation above without a kernel, options that need a validation split where there is
        none, a batch whose kernel does not fit into memory, and where the training diverges.
    """
    _check(segment, features, options)
    state = Progress(hooks)

    def solve(inputs: Inputs) -> Solution:
        if inputs.depth < len(state.finished):
            return state.finished[inputs.depth]
        return state.finish(LayerTraining(inputs, _above(segment, inputs, options), options, seed, state).train())

    module, words, records = driver.fit(segment, features, solve, device=device)
    history = [row for solution in state.finished for row in solution.record["history"]]
    rows = [{key: value for key, value in record.items() if key != "history"} for record in records]
    return Fitted(module, words, {"layers": rows, "history": history})


def _above(segment: Segment, inputs: Inputs, options: Options) -> Wide:
    """Return what is known of the layers above the one at hand."""
    behind = [parse(word) for word in segment.layers[inputs.number :]]
    kinds = sorted({layer.kind for layer in behind if layer.kind in layers.ACTIVATIONS})
    hidden = sum(layer.kind == "dense" and layer.width != "outputs" for layer in behind)
    count = hidden + options.above + 1  # with the read-out
    activation = kinds[0] if kinds else "relu"
    if count > 1 and (len(kinds) != 1 or activation not in kernels.ACTIVATIONS):
        raise LayerwiseError(
            f"{inputs.name}: there is no kernel of layers with {' and '.join(kinds) or 'no activation'} above it: use "
            f"one of {', '.join(kernels.ACTIVATIONS)} throughout, or another method"
        )
    if options.variances != "used":
        weight = 2.0 if options.init == "he" else (5 / 3) ** 2  # Xavier's, between layers of equal width
        return Wide(activation, [weight] * count, [options.bias**2] * count, options.kernel == "ntk")
    if len(segment.uses) != 1:
        raise LayerwiseError(
            f"method 'dgl': variances: used needs one network under uses, and there are {len(segment.uses)}"
        )
    path, network = next(iter(segment.uses.items()))
    known = [m for m in network.modules() if isinstance(m, nn.Linear)]
    if len(known) <= count:
        raise LayerwiseError(
            f"{inputs.name}: there are {count} layers above it and {len(known)} in all of {path!r}: use a network of "
            "the same depth"
        )
    return Wide.of(known[-count:], activation, options.kernel == "ntk")


def _check(segment: Segment, features: Features, options: Options) -> None:
    for word in segment.layers:
        if parse(word).kind not in ("dense", "flatten") and parse(word).kind not in layers.ACTIVATIONS:
            raise LayerwiseError(f"layer '{word}': dgl trains dense layers and their activations; use another method")
    several = len(options.lr) * len(options.weight_decay) > 1  # type: ignore[arg-type]
    if (several or options.patience) and len(features.valid) < 2:
        raise LayerwiseError(
            "method 'dgl': patience, and a choice of lr or weight_decay, need a validation split: give the data set one"
        )
    if len(features.train) < 2:
        raise LayerwiseError("method 'dgl': one sample cannot be predicted from others: give more")
    if options.objective == "bottleneck" and not features.task.classifies:
        raise LayerwiseError("method 'dgl': objective bottleneck is for classes; this data set has values")
