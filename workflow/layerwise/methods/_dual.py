"""The ridge read-out in its dual form: one coefficient a sample, from the products of features of all samples.

The features come in runs (`closed.runs`) that are used and forgotten: one pass over the runs sums the N x N products, a
second one makes the weights of each run from the coefficients. Memory holds four such matrices (six for generalised
cross-validation), one run, and the weights; it does not grow with the features of a sample but for these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

import torch
from torch import Tensor

from layerwise.closed import driver, shards
from layerwise.closed.inputs import Inputs, Solution
from layerwise.closed.runs import runs
from layerwise.errors import LayerwiseError
from layerwise.layers.room import demand_room
from layerwise.maths import dual, linalg
from layerwise.methods._chosen import Tried, chosen, demand_validation


def readout(strengths: Sequence[float], valid: bool, floor: float) -> driver.Solve:
    """Return the read-out whose strength generalised cross-validation chooses, or the validation split.

    Products are float64, or of the type of the features where the validation split chooses; sums are float64.
    """

    def solve(inputs: Inputs) -> Solution:
        if shards.size() > 1:
            raise LayerwiseError(f"{inputs.name}: form: dual needs all samples in one process; form: primal is shared")
        if valid:
            demand_validation(inputs)
        demand_room((4 if valid else 6) * len(inputs) ** 2, inputs.device, inputs.name)
        y = inputs.task.targets(inputs.y, torch.float64)
        mean = y.mean(dim=0)
        most = _most(inputs, floor)
        kernel, constant = _kernel(inputs, inputs.dtype if valid else torch.float64, most)
        driver.warn_of_constants(inputs, constant)
        record = {"form": "dual", "constant_features": constant}
        if valid:
            tried = sorted(set(strengths), reverse=True)
            found = [dual.coefficients(kernel, y - mean, len(y) * strength) for strength in tried]
            del kernel
            solution = chosen(inputs, _tried(inputs, tried, torch.cat(found, dim=1), mean, most))
            return replace(solution, record={**solution.record, **record})
        equation = dual.Dual(kernel, y - mean, centred=True)
        del kernel
        penalties = {len(y) * strength: strength for strength in strengths}
        penalty = equation.best(list(penalties))
        ((weight, bias, _),) = _weights(inputs, equation.coefficients(penalty), mean, most)
        errors = {"gcv": equation.gcv(penalty), "error": equation.residual(penalty), "lsd": equation.residual(0.0)}
        if penalty:
            errors["leave_one_out"] = float(equation.leave_one_out(penalty).square().sum()) / len(y)
        return Solution(weight.T, bias, {"strength": penalties[penalty], **errors, **record})

    return solve


def _most(inputs: Inputs, floor: float) -> float:
    """Return the largest factor that a feature is scaled by, as `linalg.Equations` has it; a pass of its own."""
    if not floor:
        return inf
    scale = torch.cat([dual.standardised(x)[2] for _, x, _ in runs(inputs)])
    return float(scale[scale > 0].median()) / floor if bool(scale.any()) else inf


def _kernel(inputs: Inputs, products: torch.dtype, most: float) -> tuple[Tensor, int]:
    """Return the products of the standardised features of all samples ``(N, N)``, and how many are constant."""
    kernel = torch.zeros(len(inputs), len(inputs), dtype=torch.float64, device=inputs.device)
    constant = 0
    for _, x, _ in runs(inputs):
        z, _, scale = dual.standardised(x, most)
        dual.add(kernel, z.to(products))
        constant += len(scale) - int(scale.count_nonzero())
    if constant == inputs.fan_in:
        raise LayerwiseError(linalg.CONSTANT)
    dual.mirror(kernel)
    return kernel, constant


def _weights(
    inputs: Inputs, coefficients: Tensor, mean_y: Tensor, most: float, parts: int = 1, valid: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield weights ``(d, k)``, bias ``(k,)`` and validation scores of each of the parts of `coefficients (N, S k)`."""
    weight = coefficients.new_empty(inputs.fan_in, coefficients.shape[1])
    bias = mean_y.repeat(parts)
    scores = bias.expand(len(inputs.sources[1]) if valid else 0, -1).clone()
    for index, x, other in runs(inputs, valid):
        z, mean, scale = dual.standardised(x, most)
        weight[index] = scale[:, None] * (z.T @ coefficients)
        bias = bias - mean @ weight[index]
        scores += (other.double() - mean) @ weight[index] if valid else 0.0
    yield from zip(*(t.tensor_split(parts, dim=-1) for t in (weight, bias, scores)), strict=True)


def _tried(
    inputs: Inputs, strengths: Sequence[float], coefficients: Tensor, mean_y: Tensor, most: float
) -> Iterator[Tried]:
    found = _weights(inputs, coefficients, mean_y, most, len(strengths), valid=True)
    for strength, (weight, bias, scores) in zip(strengths, found, strict=True):
        yield Tried(strength, weight.T, bias, scores)
