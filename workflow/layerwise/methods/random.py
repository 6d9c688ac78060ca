"""Frozen random features, dense or convolutional: the control of every method that fits its filters.

With a ridge read-out behind it this is the extreme learning machine (thesis section 7.4); thesis table 7.2 draws
weights and biases from N(0, 1): ``scale: 1, bias: 1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Literal

import torch
from torch import Tensor

from layerwise.closed import driver
from layerwise.closed.inputs import Inputs, Solution
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment
from layerwise.layers import pretrained, zoo
from layerwise.layers.words import Blocks
from layerwise.options import Bounded, File, Ge, Gt

SHARED = True


@dataclass(frozen=True)
class Options(Bounded):
    distribution: Literal["normal", "orthogonal"] = "normal"
    """``normal``: independent normal weights. ``orthogonal``: the filters of a layer are orthogonal to each other, as
    many as its inputs allow, then a new such set begins."""
    scale: Literal["he", "unit"] | Annotated[float, Gt(0)] = "he"
    """Standard deviation s of a weight: ``he`` is sqrt(2 / fan-in), ``unit`` is sqrt(1 / fan-in). Orthogonal filters
    get the length s sqrt(fan-in)."""
    bias: Annotated[float, Ge(0)] = 0.0
    """Standard deviation of the normal biases; 0 leaves them at zero."""
    weights: Annotated[str, File()] | None = None
    """Weights of the blocks of a model: a .safetensors file of the whole model's state dict, from which each block
    takes its own by name; without it blocks have the first weights of the model. Its content counts in digests."""
    new: tuple[str, ...] = ()
    """Parameters of the model, or layers by name, that are drawn rather than taken from `weights`."""


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Draw the weights of every layer; a last ``dense outputs`` is read out by ridge.

    Blocks of a model have the weights that `sgd` would start them from.
    """
    weights = pretrained.read(options.weights, options.new)
    if weights is not None:
        weights.demand_one_model(segment.layers)
    generator = torch.Generator().manual_seed(seed)

    def solve(inputs: Inputs) -> Solution:
        weight = draw(inputs.width, inputs.fan_in, options, generator)
        if not options.bias:
            return Solution(weight)
        return Solution(weight, options.bias * _normal(inputs.width, generator=generator))

    def model(word: Blocks, shape: tuple[int, ...]) -> list[zoo.Block]:
        torch.manual_seed(seed)  # within the driver, which keeps the generator
        return zoo.run(word, shape, segment.outputs, weights)

    module, words, records = driver.fit(segment, features, solve, device=device, model=model)
    return Fitted(module, words, {"layers": records})


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator, device="cpu")


def draw(width: int, fan_in: int, options: Options, generator: torch.Generator) -> Tensor:
    """Return random weights ``(width, fan_in)``, float64."""
    scale = {"he": sqrt(2 / fan_in), "unit": sqrt(1 / fan_in)}.get(str(options.scale), options.scale)
    if options.distribution == "normal":
        return float(scale) * _normal(width, fan_in, generator=generator)
    sets = []
    for start in range(0, width, fan_in):
        size = min(fan_in, width - start)
        frame, triangle = torch.linalg.qr(_normal(fan_in, size, generator=generator))
        sets.append((frame * triangle.diagonal().sign()).T)  # uniform over frames only with positive diagonals
    return float(scale) * sqrt(fan_in) * torch.cat(sets)
