"""Conjugate gradients for several right-hand sides at once: solve A X = B where A is known by its products alone.

The block method (O'Leary 1980) in the form of Dubrulle (2001), which brings the residuals to orthonormal columns in
each step: columns that have converged, or depend on others, such as the classes of one-hot targets, do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Found:
    """What was found: X ``(d, k)``, its residual ``||B - A X||_F / ||B||_F``, and the products with A that it took."""

    x: Tensor
    residual: float
    products: int


def solve(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    residual: float,
    products: int,
    start: Tensor | None = None,
) -> Found:
    """Solve ``A X = B`` for a symmetric positive definite A.

    Parameters
    ----------
    product
        Returns ``A P`` for ``P (d, k)``, float64, rounded as it may be.
    right
        ``B (d, k)``, float64.
    residual
        When to stop. It is that of X itself: where the products are rounded, what the recursion has of it is checked by
        a product, and the search goes on from X where it is too small.
    products
        How often to multiply with A at most; two are the least.
    start
        A first X, such as the solution of a problem nearby; zero by default.

    Returns
    -------
    The X of the least residual that was checked. It is above `residual` where rounding or `products` allow no less.
    """
    size = float(right.norm())
    x = torch.zeros_like(right) if start is None else start
    if not size:
        return Found(torch.zeros_like(right), 0.0, 0)
    rest, used = (right.clone(), 0) if start is None else (right - product(x), 1)
    best = Found(x, float(rest.norm()) / size, used)
    while best.residual > residual and used + 2 <= products:
        moved, more = _descend(product, rest, size * residual / 2, products - used - 1)
        x, used = best.x + moved, used + more + 1
        rest = right - product(x)
        now = Found(x, float(rest.norm()) / size, used)
        if not now.residual < best.residual / 2:  # rounding is what is left
            return now if now.residual < best.residual else Found(best.x, best.residual, used)
        best = now
    return best


def _descend(product: Callable[[Tensor], Tensor], rest: Tensor, small: float, products: int) -> tuple[Tensor, int]:
    """Return X for a right-hand side, as far as the recursion takes its residual below a number, and the products."""
    directions, lengths = torch.linalg.qr(rest)
    search, x, used = directions, torch.zeros_like(rest), 0
    while used < products and float(lengths.norm()) > small:
        used += 1
        after = product(search)
        inner = search.T @ after
        step = torch.linalg.solve((inner + inner.T) / 2, torch.eye(len(inner), dtype=x.dtype, device=x.device))
        x = x + search @ (step @ lengths)
        directions, change = torch.linalg.qr(directions - after @ step)
        lengths = change @ lengths
        search = directions + search @ change.T
    return x, used
