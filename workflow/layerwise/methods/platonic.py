"""Platonic projections: hidden targets T = alpha [Z | beta Y] P, fitted by linear least squares (thesis chapter 7).

The projection P is random (thesis section 7.5, the best of several by read-out error), or the principal components of
[Z | Y] (Platonic PCA, 7.8.1). Or the layer's weights are samples taken along the first principal component (Sorted
PCA, 7.8.2), or differences of samples (McDonnell et al., PLoS ONE 2015). With the identity for a target it is the
pseudoinverse learning algorithm (Guo and Lyu 2004), the nearest kin that section 7.4 names. On y = sin(2 pi x), 5,000
points, 1-16-16-1 CELU, float64, the listing of figure 7.3 has a median error of 1.4e-4 over 1,000 seeds, and 8.5e-6
with 50 tries (CPU; the thesis has 2e-5 of one run).
Settled where the text is open, by what gives the thesis's tables: Platonic PCA standardises the columns of [Z | Y], so
that beta enters the targets alone; the largest loading of a component is positive; and the weights of samples (7.9.3)
are in the targets as in the PCA.

The solver ``ridge`` knows the samples by sums alone: it is exact in one pass over batches a layer, and shared among
processes. The others are the thesis's own, on the samples themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf, prod
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from layerwise.closed import driver, shards
from layerwise.closed.inputs import Inputs, Solution
from layerwise.closed.moments import moments
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers.room import demand_room
from layerwise.layers.words import parse
from layerwise.maths.linalg import Normal, lsd
from layerwise.methods._least_squares import Direct, Streamed
from layerwise.methods._projections import augmented, components, differences, fields, sorted_samples
from layerwise.options import Bounded, Ge, Gt, Le, Lt

SHARED = True


@dataclass(frozen=True)
class Options(Bounded):
    projection: Literal["random", "pca", "sorted", "auto", "differences", "identity"] = "random"
    """``random``: P ~ N(0, 1). ``pca``: Platonic PCA, at most n + k wide. ``sorted``: Sorted PCA, samples as weights,
    bias 0. ``auto``: sorted in the segment's first layer, or `first`, and pca in the others (thesis section 7.8.3).
    ``differences``: each unit tells two samples of different classes apart, drawn at random: +1 at one, -1 at the
    other. ``identity``: the pseudoinverse learning algorithm, W = Z^+, as wide as there are samples."""
    first: Literal["sorted", "differences"] = "sorted"
    """What ``auto`` takes in the segment's first layer."""
    alpha: Annotated[float, Gt(0)] = 1.0
    """Scale of the hidden targets. Sorted PCA has none."""
    beta: Annotated[float, Gt(0)] = 1.0
    """Weight of the labels Y beside the inputs Z in the hidden targets."""
    tries: Annotated[int, Ge(1), Le(1_000_000)] = 1
    """Random projections tried in each layer; the one of least read-out error (thesis eq. 5.3) is kept."""
    solver: Literal["pinv", "lstsq", "solve", "ridge"] = "pinv"
    """``pinv`` and ``lstsq`` on Z, ``solve`` on Z^T Z + strength I, as the thesis has them, bias column and all.
    ``ridge``: columns scaled, bias not penalised, one decomposition of streamed sums for all tries and strengths."""
    strength: Literal["gcv"] | Annotated[float, Ge(0)] | None = None
    """Ridge strength. ``solve`` needs a number, as it is added to Z^T Z. ``ridge`` takes a number relative to the mean
    diagonal of the scaled Gram, or ``gcv``, its default: the one that reads Y out best by cross-validation."""
    tolerance: Annotated[float, Gt(0)] | None = None
    """Singular values below it count as zero: absolute for ``pinv``, relative for ``lstsq``. Default: torch's."""
    dtype: Literal["float32", "float64"] = "float64"
    """Floating type of the computation and of the weights."""
    ema: Annotated[float, Ge(0), Lt(1)] | None = None
    """Re-weighting of samples in Platonic PCA (thesis section 7.9.3): what the moving average of their squared errors
    keeps of its past, in [0, 1), .2 in the thesis's text. Without, all weigh the same."""
    bias: bool = True
    """Add a column of ones to Z."""
    mask: Annotated[int, Ge(1)] | None = None
    """Cut each sample of Sorted PCA, or difference of samples, to a random rectangle of the image of this side at
    least, in pixels: a receptive field. Samples are then of unit length. null leaves them whole."""

    def __post_init__(self) -> None:
        if self.tries > 1 and self.projection != "random":
            raise LayerwiseError(f"tries: projection {self.projection} is the same at every try; use 1, or random")
        if self.ema is not None and self.projection not in ("pca", "auto"):
            raise LayerwiseError(f"ema: projection {self.projection} does not weigh samples; use pca or auto")
        if self.mask is not None and self.projection not in ("sorted", "auto", "differences"):
            raise LayerwiseError(f"mask: projection {self.projection} takes none; use sorted, auto or differences")
        if self.projection == "identity" and (self.solver == "ridge" or self.beta != 1):
            raise LayerwiseError(
                "projection: identity has one target a sample, no labels: leave beta out, and use pinv, lstsq or solve"
            )
        if self.tolerance is not None and self.solver not in ("pinv", "lstsq"):
            raise LayerwiseError(f"tolerance: solver {self.solver} takes none; use pinv or lstsq")
        if self.strength is not None and self.solver in ("pinv", "lstsq"):
            raise LayerwiseError(f"strength: solver {self.solver} has no penalty; use solver ridge or solve")
        if self.solver == "ridge" and not self.bias:
            raise LayerwiseError("bias: solver ridge always has one; use another solver to go without")
        if self.solver == "solve" and not isinstance(self.strength, float):
            raise LayerwiseError("strength: solver solve needs a number; ridge chooses one by cross-validation")


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Fit the dense layers of a segment; a last ``dense outputs`` is read out with the same solver.

    Where the samples stream, solver ridge takes one pass a layer (three for Sorted PCA, two for differences), and one
    more a try.
    """
    for word in segment.layers:
        if parse(word).kind == "conv":
            raise LayerwiseError(
                f"layer '{word}': platonic fits dense layers only; put it in a segment of another method"
            )
    dtype = getattr(torch, options.dtype)
    y = features.task.targets(features.train.y.to(device), dtype)
    generator = torch.Generator().manual_seed(seed)
    weight: Tensor | None = None  # of each sample in Platonic PCA
    factorise = Streamed if options.solver == "ridge" else Direct
    if factorise is Direct and shards.size() > 1:
        raise LayerwiseError(f"solver: {options.solver} needs all samples in one process; ridge is shared")
    readouts: list[_Readout] = []

    def factorised(inputs: Inputs, narrow: bool) -> Direct | Streamed:
        factor = factorise(inputs, y, options)
        readouts.append(_Readout(inputs.name, factor.error, factor.least, narrow))
        return factor

    def hidden(inputs: Inputs) -> Solution:
        nonlocal weight
        deep = "pca" if inputs.depth else options.first
        projection = deep if options.projection == "auto" else options.projection
        if projection in ("sorted", "differences"):
            field: Tensor | float = 1.0
            if options.mask is not None:
                shape = _image(segment, inputs, options.mask)
                field = fields(inputs.width, shape, options.mask, generator).to(device, dtype)
            if projection == "sorted":
                samples = field * sorted_samples(inputs)
                return Solution(samples if options.mask is None else functional.normalize(samples, dim=1))
            apart, middle = differences(inputs, generator)
            apart = field * apart
            direction = 2 * apart / apart.square().sum(dim=1, keepdim=True).clamp(min=torch.finfo(dtype).tiny)
            return Solution(direction, -(direction * middle).sum(dim=1))
        if projection == "identity":
            return _identity(inputs, y, options)
        factor = factorised(inputs, inputs.width < inputs.fan_in + y.shape[1])
        if options.ema is not None and inputs.depth:
            past = y.new_ones(len(y), 1) if weight is None else weight
            weight = options.ema * past + (1 - options.ema) * factor.errors[:, None].to(dtype)  # thesis section 7.9.3
        record: dict[str, Any] = {"input_error": factor.error, "strength": factor.strength}
        if projection == "pca":
            # The weights make the targets too: so the thesis's gain of .5 to 1.5 points comes out, and not without.
            given = augmented(inputs, factor.gram, y, weight)
            found = factor.weights(components(inputs, given.gram), given)
        else:
            found, record["lsd"] = _best(inputs, factor, y, options.tries, generator)
        return Solution(found.weight, found.bias, record)

    def read(inputs: Inputs) -> Solution:
        factor = factorised(inputs, False)
        found = factor.readout()
        return Solution(found.weight, found.bias, {"input_error": factor.error, "strength": factor.strength})

    try:
        module, words, records = driver.fit(segment, features, hidden, device=device, dtype=dtype, readout=read)
    except torch.linalg.LinAlgError:
        raise LayerwiseError(
            f"platonic: solver {options.solver} broke down in {options.dtype}: raise the strength, lower alpha, or use "
            "float64 or solver ridge"
        ) from None
    _warn(readouts, options.dtype, float((y - y.mean(dim=0)).square().sum(dim=1).mean()))
    keys = ("input_error", "lsd", "strength")
    return Fitted(module, words, {key: [record.get(key) for record in records] for key in keys})


def _image(segment: Segment, inputs: Inputs, least: int) -> tuple[int, ...]:
    """Return the shape of the images at the input of a layer; LayerwiseError where masks cannot be cut from it."""
    if inputs.depth or len(segment.shape) != 3 or prod(segment.shape) != inputs.fan_in:
        raise LayerwiseError(
            f"{inputs.name}: mask cuts rectangles out of images, and these are {inputs.fan_in} features"
        )
    if least > min(segment.shape[1:]):
        raise LayerwiseError(f"{inputs.name}: a mask of {least} pixels is larger than the images {segment.shape[1:]}")
    return segment.shape


def _identity(inputs: Inputs, y: Tensor, options: Options) -> Solution:
    """Return the weights of the pseudoinverse learning algorithm."""
    if inputs.layer.width not in (None, len(inputs)):
        raise LayerwiseError(
            f"{inputs.name}: projection identity is as wide as there are samples: write 'dense {len(inputs)}'"
        )
    demand_room(4 * len(inputs) ** 2, inputs.device, inputs.name)
    factor = Direct(inputs, y, options)
    found = factor.identity()
    return Solution(found.weight, found.bias, {"input_error": factor.error, "strength": factor.strength})


@dataclass(frozen=True)
class _Readout:
    """The linear read-out at the input of a layer: its error, the least there is, and whether the layer is narrow."""

    name: str
    error: float
    least: float
    narrow: bool


def _warn(readouts: list[_Readout], dtype: str, power: float) -> None:
    """Say, once a fit, where rounding costs accuracy and where a layer loses the targets.

    Parameters
    ----------
    power
        Variance of Y, summed over its columns: the error of a read-out that knows its mean alone.
    """
    rough = [r for r in readouts if r.error > 1.1 * r.least + 1e-6 * power]
    if rough:
        worst = max(rough, key=lambda r: r.error - r.least)
        text = (
            f"platonic: {dtype} costs accuracy in {len(rough)} of {len(readouts)} layers: at the input of {worst.name} "
            f"Y is read out with an error of {worst.error:.3g} where {worst.least:.3g} is possible: "
            f"{'use float64' if dtype == 'float32' else 'standardise the features'}, or use solver ridge"
        )
        warnings.warn(LayerwiseWarning(text), stacklevel=2)
    steps = [(before, after) for before, after in pairwise(readouts)]
    if steps:
        before, after = max(steps, key=lambda step: step[1].error - step[0].error)
        if after.error - before.error > 0.25 * power:
            what = "is narrower than n + k and loses" if before.narrow else "loses"
            do = "use a larger width or beta, or more tries" if before.narrow else "standardise the features"
            text = (
                f"platonic: {before.name} {what} the targets: the error of the read-out rises from {before.error:.3g} "
                f"to {after.error:.3g}: {do}, or lower alpha where its activation saturates"
            )
            warnings.warn(LayerwiseWarning(text), stacklevel=2)


def _best(
    inputs: Inputs, factor: Direct | Streamed, y: Tensor, tries: int, generator: torch.Generator
) -> tuple[Solution, float | None]:
    """Draw projections ``P ~ N(0, 1)`` and keep the weights whose features have the least distance from Y."""
    least, best = inf, None
    for _ in range(tries):
        drawn = torch.randn(factor.given, inputs.width, dtype=torch.float64, generator=generator, device="cpu")
        found = factor.weights(drawn.to(inputs.device))
        if tries == 1:
            return found, None
        distance = _distance(inputs, found, y)
        if distance < least:
            least, best = distance, found
    if best is None:
        raise LayerwiseError(f"{inputs.name}: no try of {tries} gave finite features: lower alpha, or use float64")
    return best, least


def _distance(inputs: Inputs, found: Solution, y: Tensor) -> float:
    """Return the least squares distance from Y of the features that weights lead to, infinite where they overflow."""
    if shards.size() == 1 and not inputs.streams:
        z = torch.cat([batch for batch, _ in inputs.after(found)])
        return lsd(z, y) if bool(torch.isfinite(z).all()) else inf  # thesis eq. 5.3

    def samples() -> Iterator[tuple[Tensor, Tensor]]:
        return ((batch, y[at]) for batch, at in inputs.after(found))

    gram = moments(samples, inputs.width_after, y.shape[1], inputs.device)
    return Normal(gram).residual(0.0) if bool(torch.isfinite(gram.second).all()) else inf
