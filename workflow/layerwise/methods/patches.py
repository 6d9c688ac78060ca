"""Filters that are patches of the training samples, drawn by seed, whitened and brought to unit length.

Coates, Ng and Lee (AISTATS 2011) show that filters of whitened patches need no more than k-means, and Coates and Ng
(ICML 2011, section 4) that patches as they come serve as well, with a soft threshold behind them. The layer stays an
ordinary one: whitening is a matrix and a shift, which go into its weights and its bias. Their patches are of
normalised contrast (``conv 6 400 contrast 1e-3``) and their threshold is ``softshrink 0.25, crelu``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from layerwise.closed import driver
from layerwise.closed.inputs import Inputs, Solution
from layerwise.closed.moments import moments
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment
from layerwise.errors import LayerwiseError
from layerwise.layers.room import demand_room
from layerwise.maths.linalg import whitening
from layerwise.options import Bounded, Ge, Le


@dataclass(frozen=True)
class Options(Bounded):
    whiten: Annotated[float, Ge(0)] | None = 0.1
    """What is added to the eigenvalues of the covariance of the patches before they are brought to unit variance
    (ZCA), in squared units of the layer's input; null leaves the patches as they are."""
    samples: Annotated[int, Ge(1), Le(1_000_000_000)] = 5000
    """Number of training samples, drawn by seed, whose patches are whitened and drawn from; at most all there are."""
    count: Annotated[int, Ge(1), Le(1_000_000_000)] | None = None
    """Number of filters of each layer whose word gives no width."""


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Fit the layers of a segment by patches of their inputs; a last ``dense outputs`` is read out by ridge."""
    generator = torch.Generator().manual_seed(seed)

    def solve(inputs: Inputs) -> Solution:
        return filters(inputs, options, generator)

    module, words, records = driver.fit(segment, features, solve, device=device)
    return Fitted(module, words, {"layers": records})


def filters(inputs: Inputs, options: Options, generator: torch.Generator) -> Solution:
    """Return the filters of one layer, whitening and all, and what was looked at."""
    count = inputs.width if options.count is None or inputs.layer.width is not None else options.count
    samples = torch.randperm(len(inputs), generator=generator, device="cpu")[: options.samples].to(inputs.device)
    drawn = _lively(draw(inputs, samples, 2 * count, generator), inputs)  # twice as many, for some are flat
    record = {"samples": len(samples), "whiten": options.whiten}
    if options.whiten is None:
        return Solution(_directions(drawn, count, inputs), record=record)
    demand_room(5 * inputs.fan_in**2, inputs.device, inputs.name)
    gram = moments(lambda: ((rows, None) for rows, _ in inputs.rows(samples)), inputs.fan_in, device=inputs.device)
    mean, matrix = gram.mean, whitening(gram, options.whiten)
    weight = _directions(_lively(drawn - mean, inputs) @ matrix, count, inputs) @ matrix
    return Solution(weight, -weight @ mean, record)  # f . W (p - mean) is (f W) . p - (f W) . mean


def draw(inputs: Inputs, samples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return up to `count` different patches ``(count, fan_in)`` of the samples, float64, in random order."""
    numbers = torch.randperm(len(samples) * inputs.places, generator=generator, device="cpu")[:count]
    numbers = numbers.to(inputs.device)
    places, found, done = numbers % inputs.places, [], 0
    for rows, batch in inputs.rows(samples[numbers // inputs.places]):
        found.append(rows[torch.arange(len(batch), device=rows.device), places[done : done + len(batch)]])
        done += len(batch)
    return torch.cat(found)


def _lively(patches: Tensor, inputs: Inputs) -> Tensor:
    """Return the patches that have a direction: what is left of a clear sky is rounding, beside the size of a patch."""
    size = 1.0 if inputs.layer.contrast else inputs.mean_square() ** 0.5
    rounding = 1e-13 if inputs.dtype == torch.float64 and not inputs.layer.contrast else 1e-6
    return patches[patches.norm(dim=1) > rounding * size * inputs.fan_in**0.5]


def _directions(patches: Tensor, count: int, inputs: Inputs) -> Tensor:
    """Return the first `count` patches at unit length."""
    if len(patches) < count:
        raise LayerwiseError(
            f"{inputs.name}: {count} filters are asked for and {len(patches)} patches that are not flat were drawn: "
            "ask for fewer, or raise samples"
        )
    return nn.functional.normalize(patches[:count], dim=1)
