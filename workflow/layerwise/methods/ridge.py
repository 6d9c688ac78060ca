"""The linear read-out in closed form: ridge regression on the targets, its strength by generalised cross-validation.

One pass over the samples sums their second moments, one decomposition of these serves all strengths (Golub, Heath
and Wahba 1979), so memory does not depend on the number of samples. As a segment it is ``layers: [dense outputs]``;
`readout` is the same for any representation. Its error without penalty is the least squares distance of thesis
section 5.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch

from layerwise import greedy
from layerwise.data import Features, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.linalg import STRENGTHS
from layerwise.methods import NO_HOOKS, Fitted, Hooks, Segment

SHARED = True


@dataclass(frozen=True)
class Options:
    strengths: tuple[float, ...] = ()
    """Ridge strengths to choose from, relative to the mean diagonal of the column-scaled Gram; empty for half decades
    from 1e-10 to 100."""

    def __post_init__(self) -> None:
        for strength in self.strengths:
            if not (isfinite(strength) and strength >= 0):
                raise LayerwiseError(f"strengths: {strength} is not a ridge strength; use numbers of 0 or more")


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

    def refuse(inputs: greedy.Inputs) -> greedy.Solution:
        raise LayerwiseError(f"{inputs.name}: ridge fits 'dense outputs' as the last layer alone; use another method")

    read = greedy.ridge_readout(options.strengths or STRENGTHS)
    module, words, records = greedy.fit(segment, features, refuse, device=device, readout=read)
    return Fitted(module, words, {"layers": records})


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
