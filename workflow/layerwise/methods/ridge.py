"""The linear read-out in closed form: ridge regression on the targets, its strength by generalised cross-validation.

One pass over the samples sums their second moments, one decomposition of these serves all strengths (Golub, Heath
and Wahba 1979), so memory does not depend on the number of samples. As a segment it is ``layers: [dense outputs]``;
`readout` is the same for any representation. Its error without penalty is the least squares distance of thesis
section 5.3.1.

The decomposition takes minutes at ten thousand features. There the validation split may choose (``select: valid``):
one Cholesky factorisation a strength, a tenth of the time each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Literal

import torch
from torch import Tensor

from layerwise.closed import driver, shards
from layerwise.closed.inputs import Inputs, Solution
from layerwise.closed.moments import moments
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers.room import demand_room
from layerwise.maths.linalg import STRENGTHS, Equations
from layerwise.options import Bounded, Ge

SHARED = True

# What the validation split chooses from by itself: half decades again, where the best of many features lies.
STRENGTHS_VALID = tuple(10 ** (half / 2) for half in range(-8, 0))


@dataclass(frozen=True)
class Options(Bounded):
    strengths: tuple[Annotated[float, Ge(0)], ...] = ()
    """Ridge strengths to choose from, relative to the mean diagonal of the column-scaled Gram; empty for half decades
    from 1e-10 to 100, with ``select: valid`` from 1e-4 to 0.3."""
    select: Literal["gcv", "valid"] = "gcv"
    """What chooses the strength: ``gcv``, generalised cross-validation on the training samples, or ``valid``, the
    accuracy (of values, the squared error) on the validation split, which is faster beyond some 3,000 features."""
    floor: Annotated[float, Ge(0)] = 0.0
    """Least standard deviation that a feature is scaled by before the penalty, as a share of the median of all that
    vary. A unit that all but died, and fires on a few training samples, is else blown up to the size of the others,
    and answers a test sample with hundreds. 0 scales every feature to unit variance; .1 is a good number where values
    matter, not classes alone."""


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Fit a segment whose one layer with weights is its last, ``dense outputs``."""

    def refuse(inputs: Inputs) -> Solution:
        raise LayerwiseError(f"{inputs.name}: ridge fits 'dense outputs' as the last layer alone; use another method")

    if options.select == "valid":
        read = validated_readout(options.strengths or STRENGTHS_VALID, options.floor)
    else:
        read = driver.ridge_readout(options.strengths or STRENGTHS, options.floor)
    module, words, records = driver.fit(segment, features, refuse, device=device, readout=read)
    return Fitted(module, words, {"layers": records})


def validated_readout(strengths: Sequence[float], floor: float = 0.0) -> driver.Solve:
    """Return the read-out with the strength that is best on the validation split, the largest of those that tie.

    Products are of the type of the features, sums are float64.
    """

    def solve(inputs: Inputs) -> Solution:
        valid, task = inputs.valid, inputs.task
        if not len(valid):
            raise LayerwiseError(
                f"{inputs.name}: select: valid has no validation split to choose on: give the data set one, as in "
                "'valid: 0.1', or use select: gcv"
            )
        demand_room(4 * inputs.fan_in**2, inputs.device, inputs.name)  # sums, equations, a copy, a factor
        # About their mean, float32 products keep the digits that centring would cost.
        middle = inputs.total()
        shards.add(middle)
        middle /= shards.total(len(inputs), inputs.device)

        def samples() -> Iterator[tuple[Tensor, Tensor]]:
            return ((rows - middle, task.targets(inputs.y[at], inputs.dtype)) for rows, at in inputs.batches())

        equations = Equations(moments(samples, inputs.fan_in, task.outputs, inputs.device, inputs.dtype), floor)
        driver.warn_of_constants(inputs, equations.constant)
        losses: dict[float, float] = {}
        chosen = None
        for strength in sorted(strengths, reverse=True):
            weight = equations.solve(strength).T
            bias = equations.mean_y - weight @ (equations.mean_z + middle)
            scores = valid.x @ weight.T.to(inputs.dtype) + bias.to(inputs.dtype)
            loss = _loss(task, scores, valid.y)
            if loss < min(losses.values(), default=inf):
                chosen, solution = strength, Solution(weight, bias)
            losses[strength] = loss
        if chosen is None:
            raise LayerwiseError(
                f"{inputs.name}: no strength gives finite scores on the validation split: mend or scale the targets"
            )
        record = {"strength": chosen, "valid_loss": {f"{s:.3g}": loss for s, loss in losses.items()}}
        return replace(solution, record={**record, "constant_features": equations.constant})

    return solve


def _loss(task: Task, scores: Tensor, y: Tensor) -> float:
    """Return the share of wrong classes, or for values the squared error, summed over targets."""
    if task.classifies:
        return float((task.labels(scores) != y).double().mean())
    return float((scores - task.targets(y, scores.dtype)).square().sum(dim=1).double().mean())


def readout(train: Split, task: Task, *, device: torch.device | None = None) -> Fitted:
    """Fit the linear read-out of a representation.

    Parameters
    ----------
    train
        Representation ``(N, *shape)`` of the training samples, with their labels or values.

    Returns
    -------
    Fitted
        A module from ``(N, *shape)`` to scores ``(N, outputs)``; its record holds the chosen ``strength``, the
        training ``error`` (squared, summed over targets, mean over samples) and the ``lsd`` (thesis eq. 5.3).
    """
    features = Features(train, Split(train.x[:0], train.y[:0]), task)
    segment = Segment(("dense outputs",), features.shape, task.outputs)
    fitted = fit(segment, features, Options(), seed=0, device=device or train.x.device)
    return Fitted(fitted.module, fitted.layers, fitted.record["layers"][0])
