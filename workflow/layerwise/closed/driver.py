"""The one driver of the closed-form methods: a segment's layers from the first to the last, each fitted on its inputs.

A method brings a `Solve`: weights for one layer from its `Inputs`. The driver builds the modules, sets batch
normalisation to the statistics of its inputs, and ends a segment in the linear read-out where its last word is
``dense outputs``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from layerwise.closed import shards
from layerwise.closed.inputs import Inputs, Solution, batch_size
from layerwise.closed.moments import moments
from layerwise.contract import Features, Segment
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers import build as layers
from layerwise.layers.room import demand_room
from layerwise.layers.words import Blocks, Layer, merged, out_shape, parse
from layerwise.layers.zoo import Block
from layerwise.maths.linalg import ROUGH, STRENGTHS, ridge

Solve = Callable[[Inputs], Solution]
Model = Callable[[Blocks, tuple[int, ...]], list[Block]]  # the blocks of a word, for samples of a shape


def fit(
    segment: Segment,
    features: Features,
    solve: Solve,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    readout: Solve | None = None,
    model: Model | None = None,
) -> tuple[nn.Sequential, tuple[str, ...], list[dict]]:
    """Fit the layers of a segment one after the other.

    Parameters
    ----------
    solve
        Gives the weights of a hidden layer.
    dtype
        Floating type of inputs and weights; that of the features by default.
    readout
        Gives the weights of a last ``dense outputs``; `ridge_readout` by default.
    model
        Builds the blocks of a model, which stay as they are; by default a model is refused.

    Returns
    -------
    module, words, records
        The first two as `layers.build` gives them, and one record a weighted layer.
    """
    if not len(features.train):
        raise LayerwiseError("the training split is empty: there is nothing to fit on")
    layers.foresee(segment.layers, segment.shape, segment.outputs)
    inputs = Inputs(segment, features, device, dtype or features.train.dtype)
    parsed = [parse(word) for word in segment.layers]
    records = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # modules draw weights, only to be overwritten
        for position, layer in enumerate(parsed):
            last = layer.width == "outputs" and position == len(parsed) - 1
            if isinstance(layer, Blocks) and model is not None:
                for block in model(layer, inputs.shape):
                    frozen = block.module.to(inputs.device, inputs.dtype).eval()
                    inputs.append(block.word, frozen, block.out_shape)
                continue
            if layer.width == "outputs":
                layer = layer.with_width(segment.outputs)
            if layer.kind == "dense" and len(inputs.shape) > 1:
                inputs.append(parse("flatten"))
            out_shape(layer, inputs.shape)  # says what does not fit before anything is computed
            if layer.weighted:
                inputs.layer, inputs.number, inputs.following = layer, position + 1, _following(parsed, position)
                solution = ((readout or ridge_readout()) if last else solve)(inputs)
                inputs.append(layer.with_width(len(solution.weight)), inputs.place(solution))
                records.append({"layer": inputs.words[-1], **solution.record})
                inputs.depth += 1
            elif layer.kind == "batchnorm":
                inputs.append(layer, _normalise(inputs, layer))
            else:
                inputs.append(layer)
    return nn.Sequential(*inputs.modules).eval(), merged(inputs.words), records


def ridge_readout(strengths: Sequence[float] = STRENGTHS, floor: float = 0.0) -> Solve:
    """Return the linear read-out by ridge, its strength by generalised cross-validation, from one streamed Gram.

    `floor` is that of `linalg.Equations`.
    """

    def solve(inputs: Inputs) -> Solution:
        outputs = inputs.task.outputs
        demand_room(4 * inputs.fan_in**2, inputs.device, inputs.name)  # sums, a copy, vectors, work space

        def samples() -> Iterator[tuple[Tensor, Tensor]]:
            return ((rows, inputs.task.targets(inputs.y[at], torch.float64)) for rows, at in inputs.rows())

        found = ridge(moments(samples, inputs.fan_in, outputs, inputs.device), strengths, floor)
        warn_of_constants(inputs, found.constant)
        record = {key: getattr(found, key) for key in ("strength", "gcv", "error", "lsd")}
        return Solution(found.weight, found.bias, {**record, "constant_features": found.constant})

    return solve


def warn_of_constants(inputs: Inputs, constant: int) -> None:
    """Say that most features are constant; a few, such as a picture's corners, are nothing to speak of."""
    if 2 * constant > inputs.fan_in:
        text = f"{inputs.name}: {constant} of {inputs.fan_in} features are constant and get no weight"
        warnings.warn(LayerwiseWarning(text), stacklevel=3)


def _following(parsed: Sequence[Layer], position: int) -> list[Layer]:
    """Return the layers behind a position up to the next one that is fitted."""
    found: list[Layer] = []
    for behind in range(position + 1, len(parsed)):
        if parsed[behind].weighted or parsed[behind].kind == "batchnorm":
            break
        found.append(parsed[behind])
    return found


def _normalise(inputs: Inputs, layer: Layer) -> nn.Module:
    """Return batch normalisation with the exact statistics of its inputs."""
    norm = layers.make(layer, inputs.shape).to(inputs.device, inputs.dtype)
    assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))

    def sums(about: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the means of all values of each feature less a number, and of the squares of these."""
        total = square = torch.zeros(norm.num_features, dtype=torch.float64, device=inputs.device)
        count = 0
        for batch in inputs.samples(batch_size(inputs.device, prod(inputs.shape))):
            values = batch.double().transpose(0, 1).flatten(1) - about  # (features, rows)
            total, square, count = total + values.sum(1), square + values.square().sum(1), count + values.shape[1]
        shards.add(total, square)
        count = shards.total(count, inputs.device)
        return total / count, square / count

    mean, square = sums(0.0)
    variance = (square - mean.square()).clamp(min=0)
    rough = variance <= ROUGH[torch.float64] * square
    if bool((rough & (square > 0)).any()):  # far from the origin beside their spread, or constant: a second pass
        moved, square = sums(mean[:, None])
        variance = torch.where(rough, square - moved.square(), variance)
    norm.running_mean, norm.running_var = mean.to(inputs.dtype), variance.to(inputs.dtype)
    return norm.eval()
