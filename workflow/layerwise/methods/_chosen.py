"""The strength of a ridge read-out, chosen by what its weights are worth on the validation samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from torch import Tensor

from layerwise.closed.inputs import Inputs, Solution
from layerwise.contract import Task
from layerwise.errors import LayerwiseError


@dataclass(frozen=True)
class Tried:
    """A strength, its weights ``(outputs, d)`` and bias, and the scores ``(M, outputs)`` of the validation samples."""

    strength: float
    weight: Tensor
    bias: Tensor
    scores: Tensor


def demand_validation(inputs: Inputs) -> None:
    if not len(inputs.sources[1]):
        raise LayerwiseError(
            f"{inputs.name}: select: valid has no validation split to choose on: give the data set one, as in "
            "'valid: 0.1', or use select: gcv"
        )


def chosen(inputs: Inputs, tried: Iterable[Tried]) -> Solution:
    """Return the first of those that are best on the validation samples, with a record."""
    y = inputs.sources[1].y.to(inputs.device)
    losses: dict[float, float] = {}
    best = None
    for each in tried:
        value = loss(inputs.task, each.scores, y)
        if value < min(losses.values(), default=inf):
            best = each
        losses[each.strength] = value
    if best is None:
        raise LayerwiseError(
            f"{inputs.name}: no strength gives finite scores on the validation split: mend or scale the targets"
        )
    record = {"strength": best.strength, "valid_loss": {f"{s:.3g}": value for s, value in losses.items()}}
    return Solution(best.weight, best.bias, record)


def loss(task: Task, scores: Tensor, y: Tensor) -> float:
    """Return the share of wrong classes, or for values the squared error, summed over targets."""
    if task.classifies:
        return float((task.labels(scores) != y).double().mean())
    return float((scores - task.targets(y, scores.dtype)).square().sum(dim=1).double().mean())
