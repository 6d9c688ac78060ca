"""(K + penalty I) A = Y: kernel in, coefficients of the samples out, and the errors of samples left out.

Ridge regression in its dual form, whose kernel is the products of features (Saunders, Gammerman and Vovk 1998), and
Gaussian processes solve the same equation; a penalty is the variance of their noise. What it takes is the number of
samples, never that of features: the kernel is a sum over runs of these, each of which may be forgotten once it is in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.maths import linalg


def standardised(x: Tensor, most: float = math.inf) -> tuple[Tensor, Tensor, Tensor]:
    """Return features ``(N, r)`` centred and times one over their deviations, float64; their means; and these factors.

    A factor is at most `most`, and 0 for a constant feature.
    """
    z, varies = x.double(), x.amin(dim=0) < x.amax(dim=0)
    mean = z.mean(dim=0)
    z = z - mean
    rest = z.mean(dim=0)  # rounding of the mean, which counts far from the origin
    variance = z.sub_(rest).square().mean(dim=0)
    scale = torch.where(varies & (variance > 0), variance.rsqrt(), 0.0).clamp(max=most)
    return z.mul_(scale), mean + rest, scale


def add(kernel: Tensor, z: Tensor) -> None:
    """Add the products ``Z Z^T`` of rows ``(N, r)`` to a kernel ``(N, N)``: products of the type of Z, sums of its own.

    What lies far below the diagonal is left out; `mirror` fills it once everything is added.
    """
    for start in range(0, len(kernel), linalg.BLOCK):
        stop = start + linalg.BLOCK
        kernel[start:stop, start:] += z[start:stop] @ z[start:].T


def mirror(kernel: Tensor) -> None:
    """Fill the half below the diagonal, in blocks and in place, from the half above it."""
    for start in range(0, len(kernel), linalg.BLOCK):
        stop = start + linalg.BLOCK
        kernel[stop:, start:stop] = kernel[start:stop, stop:].T


def inverse(k: Tensor, penalty: float) -> Tensor:
    """Return B = (K + penalty I)^-1 by one Cholesky factor, with the jitter of `linalg.cholesky` where that fails."""
    raised = k.clone()
    raised.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(raised)
    if failed or not factor.diagonal().isfinite().all():
        factor = linalg.cholesky(k, penalty)  # with jitter, or an error that says what is wrong
    return torch.cholesky_inverse(factor, out=raised)


def left_out(coefficients: Tensor, diagonal: Tensor) -> Tensor:
    """Return target minus prediction ``(N, k)`` of each sample from all others: of A = B Y and diag B, A_n / B_nn."""
    return coefficients / diagonal[:, None]


def coefficients(k: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Return A ``(N, k)`` for targets ``(N, k)``, by one Cholesky factor."""
    return torch.cholesky_solve(y, linalg.cholesky(k, penalty))


class Dual:
    """The equation decomposed once for all penalties, with the errors to be expected of each.

    Parameters
    ----------
    k, y
        Kernel ``(N, N)`` and targets ``(N, k)``.
    centred
        The features and the targets are centred, for a bias that is not penalised: it takes a degree of freedom.
    """

    def __init__(self, k: Tensor, y: Tensor, *, centred: bool = False) -> None:
        self.n, self.bias = len(k), int(centred)
        values, self.vectors = linalg.eigh(k)
        floor = self.n * torch.finfo(torch.float64).eps * values[0].clamp(min=0)
        self.values = torch.where(values > floor, values, 0.0)  # below is rounding
        self.rotated = self.vectors.T @ y.double()

    def _left(self, penalty: float) -> Tensor:
        """Return the share of the targets along each eigenvector that stays unexplained, ``(N,)``."""
        return torch.where(self.values > 0, penalty / (self.values + penalty), 1.0)

    def coefficients(self, penalty: float) -> Tensor:
        """Return A ``(N, k)``, without what lies where the kernel is zero and gives no weight."""
        scale = torch.where(self.values > 0, 1 / (self.values + penalty), 0.0)
        return self.vectors @ (scale[:, None] * self.rotated)

    def residual(self, penalty: float) -> float:
        """Return ``||Y - fit||_F^2 / N``; without penalty the least squares distance (thesis eq. 5.3)."""
        return float((self._left(penalty)[:, None] * self.rotated).square().sum()) / self.n

    def gcv(self, penalty: float) -> float:
        """Return the generalised cross-validation score (Golub, Heath and Wahba 1979); infinite without freedom."""
        left = (float(self._left(penalty).sum()) - self.bias) / self.n
        return self.residual(penalty) / left**2 if left > 1e-6 else math.inf  # below, residuals are rounding

    def best(self, penalties: Sequence[float]) -> float:
        """Return the penalty of least `gcv`, the largest of those that tie."""
        return min(sorted(penalties, reverse=True), key=self.gcv)

    def leave_one_out(self, penalty: float) -> Tensor:
        """Return the exact leave-one-out errors ``(N, k)``; mean and scale of the features stay those of all samples.

        A sample that is all that tells of a feature leaves an error without digits: `LayerwiseError` without penalty.
        """
        if not penalty > 0:
            raise LayerwiseError("leave-one-out errors need a penalty above 0")
        left = self._left(penalty)
        diagonal = self.vectors.square() @ left - self.bias / self.n
        return left_out(self.vectors @ (left[:, None] * self.rotated), diagonal)
