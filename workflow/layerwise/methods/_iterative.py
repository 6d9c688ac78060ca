"""The ridge read-out by block conjugate gradients, where memory holds neither products of features nor of samples.

Each step is a pass over the samples in batches, with products of their type and sums in float64. What is stated is the
relative residual of the normal equations, of the weights themselves (`maths.conjugate`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from layerwise.closed import driver, shards
from layerwise.closed.inputs import ROWS, Inputs, Solution
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.maths import conjugate, linalg
from layerwise.methods._chosen import Tried, chosen, demand_validation

NUMBERS = 2**24  # in one batch


def readout(strengths: Sequence[float], valid: bool, floor: float, residual: float, passes: int) -> driver.Solve:
    """Return the read-out of one strength, or of that which the validation split chooses of several.

    Parameters
    ----------
    residual
        ``||Z^T Y - (Z^T Z + penalty) W|| / ||Z^T Y||`` on standardised features; LayerwiseWarning where it is more.
    passes
        Over the samples, at most, for each strength.
    """

    def solve(inputs: Inputs) -> Solution:
        if valid:
            demand_validation(inputs)
        normal = _Normal(inputs, floor)
        driver.warn_of_constants(inputs, normal.constant)
        taken: dict[str, dict] = {}

        def tried() -> Iterator[Tried]:
            x = inputs.valid.x.flatten(1) if valid else inputs.valid.x.new_zeros(0, inputs.fan_in)
            start = None
            for strength in sorted(set(strengths), reverse=True):  # each from the one before
                found = conjugate.solve(
                    lambda p, s=strength: normal.product(p, s),  # type: ignore[misc]
                    normal.cross,
                    residual=residual,
                    products=passes,
                    start=start,
                )
                start = found.x
                taken[f"{strength:.3g}"] = {"residual": found.residual, "passes": found.products}
                if found.residual > residual:
                    text = (
                        f"{inputs.name}: strength {strength:.3g} has a residual of {found.residual:.1e} after "
                        f"{found.products} passes, and {residual:.1e} was asked for: allow more passes or a larger "
                        "residual, or use float64"
                    )
                    warnings.warn(LayerwiseWarning(text), stacklevel=2)
                weight = (normal.scale[:, None] * found.x).T
                bias = normal.mean_y - weight @ normal.mean
                yield Tried(strength, weight, bias, x @ weight.T.to(x.dtype) + bias.to(x.dtype))

        if valid:
            solution = chosen(inputs, tried())
        else:
            (only,) = tried()
            solution = Solution(only.weight, only.bias, {"strength": only.strength})
        record = {"form": "iterative", "constant_features": normal.constant, "conjugate_gradients": taken}
        return replace(solution, record={**solution.record, **record})

    return solve


class _Normal:
    """The normal equations of standardised features, known by their products alone."""

    def __init__(self, inputs: Inputs, floor: float) -> None:
        self.inputs = inputs
        self.n = shards.total(len(inputs), inputs.device)
        y = inputs.task.targets(inputs.y, torch.float64)
        self.mean_y = self._summed(y.sum(dim=0)) / self.n
        total = torch.zeros(inputs.fan_in, dtype=torch.float64, device=inputs.device)
        for rows in self._batches():
            total += rows.sum(dim=0, dtype=torch.float64)
        self.mean = (self._summed(total) / self.n).to(inputs.dtype).double()
        square, cross, done = torch.zeros_like(total), total.new_zeros(len(total), y.shape[1]), 0
        for rows in self._batches():
            z = rows.double() - self.mean
            square += z.square().sum(dim=0)
            cross += z.T @ (y[done : done + len(z)] - self.mean_y)
            done += len(z)
        variance = self._summed(square) / self.n
        rounding = (
            torch.finfo(inputs.dtype).eps * self.mean.abs()
        )  # a constant lies so far from what its mean rounds to
        self.scale = torch.where(variance > rounding.square(), variance.rsqrt(), 0.0)
        self.constant = len(total) - int(self.scale.count_nonzero())
        if self.constant == len(total):
            raise LayerwiseError(linalg.CONSTANT)
        if floor:
            self.scale = self.scale.clamp(max=float(self.scale[self.scale > 0].median()) / floor)
        self.cross = self.scale[:, None] * self._summed(cross) / self.n

    def product(self, p: Tensor, strength: float) -> Tensor:
        """Return ``(Z^T Z / n + strength) P`` for ``P (d, k)``."""
        middle, scaled = self.mean.to(self.inputs.dtype), (self.scale[:, None] * p).to(self.inputs.dtype)
        total = torch.zeros_like(p)
        for rows in self._batches():
            z = rows - middle
            total += z.T @ (z @ scaled)
        return self.scale[:, None] * self._summed(total) / self.n + strength * p

    def _batches(self) -> Iterator[Tensor]:
        size = max(64, min(ROWS, NUMBERS // self.inputs.fan_in))
        return (batch.flatten(1) for batch in self.inputs.samples(size))

    @staticmethod
    def _summed(part: Tensor) -> Tensor:
        shards.add(part)
        return part
