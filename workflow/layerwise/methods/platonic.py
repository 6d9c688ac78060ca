"""Platonic projections: hidden targets T = alpha [Z | beta Y] P, fitted by linear least squares (thesis chapter 7).

The projection P is random (thesis section 7.5, the best of several by read-out error), the principal components of
[Z | beta Y] (Platonic PCA, 7.8.1), or the layer's weights are samples taken along the first principal component
(Sorted PCA, 7.8.2). On y = sin(2 pi x), 5,000 points, 1-16-16-1 CELU, float64, the listing of figure 7.3 has a
median error of 1.4e-4 over 1,000 seeds, and 8.5e-6 with 50 tries (CPU; the thesis has 2e-5 of one run).
Settled where the text is open: PCA is not centred, the largest loading of a component is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal

import torch
from torch import Tensor

from layerwise import greedy
from layerwise.data import Features
from layerwise.errors import LayerwiseError
from layerwise.linalg import STRENGTHS, Gram, Normal, augmented_axes, lsd, principal
from layerwise.methods import NO_HOOKS, Fitted, Hooks, Segment
from layerwise.words import parse


@dataclass(frozen=True)
class Options:
    projection: Literal["random", "pca", "sorted", "auto"] = "random"
    """``random``: P ~ N(0, 1). ``pca``: Platonic PCA, at most n + k wide. ``sorted``: Sorted PCA, samples as weights,
    bias 0. ``auto``: sorted in the segment's first layer and pca in the others (thesis section 7.8.3)."""
    alpha: float = 1.0
    """Scale of the hidden targets. Sorted PCA has none."""
    beta: float = 1.0
    """Weight of the labels Y beside the inputs Z in the hidden targets."""
    tries: int = 1
    """Random projections tried in each layer; the one of least read-out error (thesis eq. 5.3) is kept."""
    solver: Literal["pinv", "lstsq", "solve", "ridge"] = "pinv"
    """``pinv`` and ``lstsq`` on Z, ``solve`` on Z^T Z + strength I, as the thesis has them, bias column and all.
    ``ridge``: columns scaled, bias not penalised, one decomposition of streamed sums for all tries and strengths."""
    strength: Literal["gcv"] | float | None = None
    """Ridge strength. ``solve`` needs a number, as it is added to Z^T Z. ``ridge`` takes a number relative to the mean
    diagonal of the scaled Gram, or ``gcv``, its default: the one that reads Y out best by cross-validation."""
    tolerance: float | None = None
    """Singular values below it count as zero: absolute for ``pinv``, relative for ``lstsq``. Default: torch's."""
    dtype: Literal["float32", "float64"] = "float64"
    """Floating type of the computation and of the weights."""
    ema: float | None = None
    """Re-weighting of samples in Platonic PCA (thesis section 7.9.3): what the moving average of their squared errors
    keeps of its past, in [0, 1), .2 in the thesis's text. Without, all weigh the same."""
    bias: bool = True
    """Add a column of ones to Z."""

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not isfinite(getattr(self, name)) or not getattr(self, name):
                raise LayerwiseError(f"{name}: {getattr(self, name)} leaves no target to fit; use a number above 0")
        if self.tries < 1:
            raise LayerwiseError(f"tries: {self.tries} projections cannot be tried; use 1 or more")
        if self.tries > 1 and self.projection != "random":
            raise LayerwiseError(f"tries: projection {self.projection} is the same at every try; use 1, or random")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise LayerwiseError(f"ema: {self.ema} is outside [0, 1); the thesis has 0.2")
        if self.ema is not None and self.projection not in ("pca", "auto"):
            raise LayerwiseError(f"ema: projection {self.projection} does not weigh samples; use pca or auto")
        if self.tolerance is not None and not (self.tolerance > 0 and self.solver in ("pinv", "lstsq")):
            raise LayerwiseError(
                f"tolerance: {self.tolerance} with solver {self.solver}; it is a number above 0 for pinv or lstsq"
            )
        number = None if isinstance(self.strength, str) else self.strength
        if self.strength is not None and self.solver in ("pinv", "lstsq"):
            raise LayerwiseError(f"strength: solver {self.solver} has no penalty; use solver ridge or solve")
        if number is not None and not (isfinite(number) and number >= 0):
            raise LayerwiseError(f"strength: {number} is not a ridge strength; use a number of 0 or more")
        if self.solver == "ridge" and not self.bias:
            raise LayerwiseError("bias: solver ridge always has one; use another solver to go without")
        if self.solver == "solve" and number is None:
            raise LayerwiseError("strength: solver solve needs a number; ridge chooses one by cross-validation")


class Direct:
    """Least squares on the inputs themselves, ``Z (m, n)`` with its column of ones, as the thesis has it."""

    def __init__(self, inputs: greedy.Inputs, y: Tensor, options: Options) -> None:
        greedy.demand_room(3 * len(inputs) * inputs.fan_in, inputs.device, inputs.name)
        z = inputs.x
        self.inputs, self.y, self.options = inputs, y, options
        self.z = torch.cat([z.new_ones(len(z), 1), z], dim=1) if options.bias else z
        self.given = self.z.shape[1] + y.shape[1]  # rows of P
        self.solve = self._solver()
        self.best = self.solve(y)
        self.errors = (y - self.z @ self.best).square().sum(dim=1)  # of the linear read-out, (m,)
        self.strength = options.strength

    def _solver(self) -> Callable[[Tensor], Tensor]:
        """Return what gives Z^+ T for targets ``T (m, w)``; what can be factorised is so once."""
        z, options = self.z, self.options
        if options.solver == "pinv":
            inverse = torch.linalg.pinv(z, atol=options.tolerance)
            return lambda target: inverse @ target
        if options.solver == "lstsq":
            return lambda target: torch.linalg.lstsq(z, target, rcond=options.tolerance).solution
        gram = z.T @ z
        gram.diagonal().add_(float(options.strength or 0.0))  # thesis section 7.6.2; the bias is penalised too
        return lambda target: torch.linalg.solve(gram, z.T @ target)

    @property
    def gram(self) -> Gram:
        return _gram(self.inputs, self.y)

    def weights(self, projection: Tensor) -> greedy.Solution:
        """Return the weights that lead to the targets of P, ``(n + k, width)`` without or with the ones among n."""
        n = self.z.shape[1]
        scaled = self.options.alpha * _pad(projection, self.given).to(self.z.dtype)
        target = self.z @ scaled[:n] + self.y @ (self.options.beta * scaled[n:])
        return self._split(self.solve(target))  # thesis section 7.3.2, W = Z^+ T

    def readout(self) -> greedy.Solution:
        return self._split(self.best)

    def _split(self, weight: Tensor) -> greedy.Solution:
        return greedy.Solution(weight[1:].T, weight[0]) if self.options.bias else greedy.Solution(weight.T)


class Streamed:
    """Ridge regression from sums of second moments alone: memory does not depend on the number of samples.

    For T = alpha [Z | beta Y] P the right-hand side Z^T T is made of Z^T Z and Z^T Y.
    """

    def __init__(self, inputs: greedy.Inputs, y: Tensor, options: Options) -> None:
        self.inputs, self.y, self.options = inputs, y, options
        self.gram = _gram(inputs, y)
        self.normal = Normal(self.gram)
        self.given = 1 + inputs.fan_in + y.shape[1]
        given = "gcv" if options.strength is None else options.strength
        self.strength = self.normal.best(STRENGTHS) if isinstance(given, str) else float(given)

    @property
    def errors(self) -> Tensor:
        """Squared errors of the linear read-out, ``(m,)``."""
        read = self.readout()
        assert read.bias is not None
        fits = [rows.flatten(1) @ read.weight.T + read.bias for rows, _ in self.inputs.rows()]
        return (self.y - torch.cat(fits)).square().sum(dim=1)

    def weights(self, projection: Tensor) -> greedy.Solution:
        """Return the weights that lead to the targets of P, ``(n + k, width)`` without or with a row for the ones."""
        normal, n = self.normal, self.inputs.fan_in
        ones, on_z, on_y = _pad(projection, self.given).double().split([1, n, self.y.shape[1]])
        scale = torch.where(normal.inverse_scale > 0, 1 / normal.inverse_scale, 0.0)[:, None]
        rotated = normal.values[:, None] * (normal.vectors.T @ (scale * on_z))
        rotated = self.options.alpha * (rotated + self.options.beta * (normal.rotated @ on_y))
        mean = self.options.alpha * (ones[0] + normal.mean_z @ on_z + self.options.beta * (normal.mean_y @ on_y))
        return self._centred(normal.weights(self.strength, rotated), mean)

    def readout(self) -> greedy.Solution:
        return self._centred(self.normal.weights(self.strength), self.normal.mean_y)

    def _centred(self, weight: Tensor, mean: Tensor) -> greedy.Solution:
        return greedy.Solution(weight.T, mean - self.normal.mean_z @ weight)


def _gram(inputs: greedy.Inputs, y: Tensor) -> Gram:
    greedy.demand_room(4 * inputs.fan_in**2, inputs.device, inputs.name)
    gram = Gram(inputs.fan_in, y.shape[1], inputs.device)
    for rows, samples in inputs.rows():
        gram.add(rows, y[samples])
    return gram


def _pad(projection: Tensor, rows: int) -> Tensor:
    """Put a row of zeros, for the column of ones, before a projection that was found without it."""
    missing = rows - len(projection)
    return torch.cat([projection.new_zeros(missing, projection.shape[1]), projection]) if missing else projection


def components(inputs: greedy.Inputs, gram: Gram, y: Tensor, beta: float) -> Tensor:
    """Return the principal components of ``[Z | beta Y]``, not centred, as columns ``(n + k, width)``.

    The Gram is that of the Y without weights of samples; `y` is with them (thesis section 7.9.3).
    """
    n, most = inputs.fan_in, inputs.fan_in + y.shape[1]
    if inputs.width > most:
        raise LayerwiseError(
            f"{inputs.name}: Platonic PCA has n + k = {most} components here, and {inputs.width} are asked for: "
            "use a smaller width, or projection sorted or random"
        )
    second, y = gram.second.clone(), y.double()
    cross = sum((rows.flatten(1).T @ y[samples] for rows, samples in inputs.rows()), torch.zeros_like(second[:n, n:]))
    second[:n, n:], second[n:, :n], second[n:, n:] = cross, cross.T, y.T @ y
    return augmented_axes(second, n, beta)[:, : inputs.width]


def sorted_samples(inputs: greedy.Inputs) -> greedy.Solution:
    """Return as weights the samples at even steps along the first principal component (thesis figure 7.14)."""
    if inputs.width > len(inputs):
        raise LayerwiseError(
            f"{inputs.name}: Sorted PCA takes {inputs.width} samples as weights, and there are {len(inputs)}: "
            "use a smaller width, or projection random"
        )
    gram = Gram(inputs.fan_in, device=inputs.device)
    for rows, _ in inputs.rows():
        gram.add(rows)
    _, vectors = principal(gram)
    if not vectors.shape[1]:
        raise LayerwiseError(f"{inputs.name}: its inputs are all zero: check the layers and the data before")
    along = torch.cat([rows.flatten(1) @ vectors[:, 0] for rows, _ in inputs.rows()])
    step = torch.arange(inputs.width, device=along.device) * (len(along) / inputs.width)
    picked = along.argsort(stable=True)[step.round().long().clamp(max=len(along) - 1)]
    return greedy.Solution(inputs.x[picked])


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Fit the dense layers of a segment; a last ``dense outputs`` is read out with the same solver."""
    for word in segment.layers:
        if parse(word).kind == "conv":
            raise LayerwiseError(
                f"layer '{word}': platonic fits dense layers only; put it in a segment of another method"
            )
    dtype = getattr(torch, options.dtype)
    y = features.task.targets(features.train.y.to(device), dtype)
    generator = torch.Generator().manual_seed(seed)
    weight = y.new_ones(len(y), 1)  # of each sample in Platonic PCA
    factorise = Streamed if options.solver == "ridge" else Direct

    def hidden(inputs: greedy.Inputs) -> greedy.Solution:
        nonlocal weight
        deep = "pca" if inputs.depth else "sorted"
        projection = deep if options.projection == "auto" else options.projection
        if projection == "sorted":
            return sorted_samples(inputs)
        factor = factorise(inputs, y, options)
        error = factor.errors
        if options.ema is not None and inputs.depth:
            weight = options.ema * weight + (1 - options.ema) * error[:, None]  # thesis section 7.9.3
        record: dict[str, Any] = {"input_error": float(error.mean()), "strength": factor.strength}
        if projection == "pca":
            found = factor.weights(components(inputs, factor.gram, weight * y, options.beta))
        else:
            found, record["lsd"] = _best(inputs, factor, y, options.tries, generator)
        return greedy.Solution(found.weight, found.bias, record)

    def read(inputs: greedy.Inputs) -> greedy.Solution:
        factor = factorise(inputs, y, options)
        found = factor.readout()
        record = {"input_error": float(factor.errors.mean()), "strength": factor.strength}
        return greedy.Solution(found.weight, found.bias, record)

    try:
        module, words, records = greedy.fit(segment, features, hidden, device=device, dtype=dtype, readout=read)
    except torch.linalg.LinAlgError:
        raise LayerwiseError(
            f"platonic: solver {options.solver} broke down in {options.dtype}: raise the strength, lower alpha, or use "
            "float64 or solver ridge"
        ) from None
    keys = ("input_error", "lsd", "strength")
    return Fitted(module, words, {key: [record.get(key) for record in records] for key in keys})


def _best(
    inputs: greedy.Inputs, factor: Direct | Streamed, y: Tensor, tries: int, generator: torch.Generator
) -> tuple[greedy.Solution, float | None]:
    """Draw projections ``P ~ N(0, 1)`` and keep the weights whose features have the least distance from Y."""
    least, best = inf, None
    for _ in range(tries):
        drawn = torch.randn(factor.given, inputs.width, dtype=torch.float64, generator=generator)
        found = factor.weights(drawn.to(inputs.device))
        if tries == 1:
            return found, None
        after = inputs.after(found).flatten(1)
        distance = lsd(after, y) if bool(torch.isfinite(after).all()) else inf  # thesis eq. 5.3
        if distance < least:
            least, best = distance, found
    if best is None:
        raise LayerwiseError(f"{inputs.name}: no try of {tries} gave finite features: lower alpha, or use float64")
    return best, least
