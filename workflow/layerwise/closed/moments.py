"""Sums of second moments over all samples of a layer: in one pass, and a second one where rounding asks for it.

One pass over the samples as they are is enough for nearly all data. A column that lies far from the origin beside its
spread, such as the time of day in seconds since 1970, loses its variance in it. The samples are then gone through
again, about a point that lies among them, with products in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from layerwise.closed import shards
from layerwise.maths.linalg import Gram


def moments(
    samples: Callable[[], Iterable[tuple[Tensor, Tensor | None]]],
    features: int,
    targets: int = 0,
    device: torch.device | None = None,
    products: torch.dtype = torch.float64,
) -> Gram:
    """Return the sums over the samples of all processes, good for their covariance.

    Parameters
    ----------
    samples
        Starts a pass over the samples of this process: rows ``(..., features)`` with their targets, or None for those.
    products
        Type of the products of the first pass, see `Gram`.
    """
    gram = added(Gram(features, targets, device, products), samples())
    if not gram.rough:
        return gram
    return added(Gram(features, targets, device, about=gram.low), samples())


def added(gram: Gram, samples: Iterable[tuple[Tensor, Tensor | None]]) -> Gram:
    """Add the samples of all processes to a Gram."""
    for rows, y in samples:
        gram.add(rows, y)
    return shards.gathered(gram)
