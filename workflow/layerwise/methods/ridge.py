"""The linear read-out in closed form: ridge regression on the targets, its strength by generalised cross-validation.

One pass over the samples sums their second moments, one decomposition of these serves all strengths (Golub, Heath
and Wahba 1979), so memory does not depend on the number of samples. As a segment it is ``layers: [dense outputs]``;
`readout` is the same for any representation. Its error without penalty is the least squares distance of thesis
section 5.3.1.

The decomposition takes minutes at ten thousand features. There the validation split may choose (``select: valid``):
one Cholesky factorisation a strength, a tenth of the time each. Beyond that, `form` has equations of one row a sample,
or none at all (`methods._dual`, `methods._iterative`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from layerwise.closed import driver, shards
from layerwise.closed.inputs import Inputs, Solution
from layerwise.closed.moments import moments
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers.room import demand_room, has_room
from layerwise.maths.linalg import STRENGTHS, Equations
from layerwise.methods import _dual, _iterative
from layerwise.methods._chosen import Tried, chosen, demand_validation
from layerwise.options import Bounded, Ge, Gt, Le, Lt

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
    form: Literal["primal", "dual", "iterative", "auto"] = "primal"
    """What is solved: ``primal``, equations of one row a feature; ``dual``, of one row a sample, for features in any
    number; ``iterative``, neither, by conjugate gradients on the samples themselves, for one strength or with ``select:
    valid``; ``auto`` takes the smaller of the first two, and the third where memory holds neither. The weights are
    the same up to rounding, those of ``iterative`` up to `residual`."""
    residual: Annotated[float, Gt(0), Lt(1)] = 1e-6
    """For ``iterative``: relative residual of the normal equations to stop at; the record has what was reached."""
    passes: Annotated[int, Ge(2), Le(1_000_000)] = 1000
    """For ``iterative``: passes over the samples for each strength, at most."""

    def __post_init__(self) -> None:
        if self.form == "iterative" and self.select == "gcv" and len(self.strengths) != 1:
            raise LayerwiseError("form: iterative takes one of strengths, or chooses with select: valid")


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

    valid = options.select == "valid"
    strengths = options.strengths or (STRENGTHS_VALID if valid else STRENGTHS)

    def read(inputs: Inputs) -> Solution:
        form = _smallest(inputs, options) if options.form == "auto" else options.form
        match form:
            case "dual":
                solve = _dual.readout(strengths, valid, options.floor)
            case "iterative":
                solve = _iterative.readout(strengths, valid, options.floor, options.residual, options.passes)
            case _ if valid:
                solve = validated_readout(strengths, options.floor)
            case _:
                solve = driver.ridge_readout(strengths, options.floor)
        return solve(inputs)

    module, words, records = driver.fit(segment, features, refuse, device=device, readout=read)
    return Fitted(module, words, {"layers": records})


def _smallest(inputs: Inputs, options: Options) -> str:
    """Return the form of the smaller matrix, that of features where they tie; ``iterative`` where memory holds none."""
    samples, matrices = len(inputs), 4 if options.select == "valid" else 6
    dual = samples < inputs.fan_in and shards.size() == 1  # products of samples that lie apart there are none
    numbers = matrices * (samples if dual else inputs.fan_in) ** 2
    can = options.select == "valid" or len(options.strengths) == 1
    return "iterative" if can and not has_room(numbers, inputs.device) else "dual" if dual else "primal"


def validated_readout(strengths: Sequence[float], floor: float = 0.0) -> driver.Solve:
    """Return the read-out with the strength that is best on the validation split, the largest of those that tie.

    Products are of the type of the features, sums are float64.
    """

    def solve(inputs: Inputs) -> Solution:
        demand_validation(inputs)
        valid, task = inputs.valid, inputs.task
        demand_room(4 * inputs.fan_in**2, inputs.device, inputs.name)  # sums, equations, a copy, a factor
        # About their mean, float32 products keep the digits that centring would cost.
        middle = inputs.total()
        shards.add(middle)
        middle /= shards.total(len(inputs), inputs.device)

        def samples() -> Iterator[tuple[Tensor, Tensor]]:
            return ((rows - middle, task.targets(inputs.y[at], inputs.dtype)) for rows, at in inputs.batches())

        equations = Equations(moments(samples, inputs.fan_in, task.outputs, inputs.device, inputs.dtype), floor)
        driver.warn_of_constants(inputs, equations.constant)

        def tried() -> Iterator[Tried]:
            for strength in sorted(strengths, reverse=True):
                weight = equations.solve(strength).T
                bias = equations.mean_y - weight @ (equations.mean_z + middle)
                yield Tried(strength, weight, bias, valid.x @ weight.T.to(inputs.dtype) + bias.to(inputs.dtype))

        solution = chosen(inputs, tried())
        return replace(solution, record={**solution.record, "constant_features": equations.constant})

    return solve


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
