"""What a Gaussian process would predict of each sample from all others, and losses made of it (DGL supplement 1).

For a kernel matrix K, ``(N, N)``, targets Y, ``(N, k)``, of zero mean, and a noise variance s2, with
B = (K + s2 I)^-1: the error of the prediction of sample n from all others is (B Y)_n / B_nn, and the variance of that
prediction 1 / B_nn, noise included. So all N leave-one-out predictions cost one inverse.
"""

from __future__ import annotations

import functools
from math import isfinite, log, pi
from typing import Any, Literal

import numpy
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from layerwise.errors import LayerwiseError
from layerwise.maths import dual, linalg
from layerwise.maths.kernels import symmetric_product

Objective = Literal["mse", "variance", "log_predictive"]


def leave_one_out(k: Tensor, y: Tensor, noise: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the errors of the leave-one-out predictions and their variances.

    Parameters
    ----------
    k, y
        Kernel matrix ``(N, N)`` and targets ``(N, k)``; the result can be differentiated with respect to `k`, by the
        closed form dL/dK = -B (dL/dA) A^T - B diag(dL/db) B for A = B Y and b = diag B: no factor is differentiated.
    noise
        Variance of the noise on the targets, above 0.

    Returns
    -------
    errors, variances
        ``(N, k)``, target minus prediction, and ``(N,)``, of a prediction with its noise.

    Raises
    ------
    LayerwiseError
        Where the noise is not above 0, for NaN, and where the matrix is not positive definite with the jitter of
        `linalg.cholesky` either.
    """
    _check_noise(noise)
    solved, diagonal = _Inverse.apply(k, y, float(noise))
    return dual.left_out(solved, diagonal), 1 / diagonal


def linear_leave_one_out(h: Tensor, y: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Return what `leave_one_out` does for the linear kernel ``h h^T``, from a matrix of features alone.

    Exact, for features ``(N, d)`` in O(N d^2): by the leverages of ridge regression. It is how kernels approximated
    by features (`nystroem`) take as many samples as their features fit into memory.
    """
    _check_noise(noise)
    moment = h.T @ h
    factor = linalg.cholesky(moment, noise)
    half = torch.linalg.solve_triangular(factor, h.T, upper=False)  # (d, N)
    # B_nn s2, next to nothing for a sample that alone has a feature. Below rounding, dividing by it gives anything.
    left = (1 - half.square().sum(dim=0)).clamp(min=10 * torch.finfo(h.dtype).eps)
    return (y - half.T @ (half @ y)) / left[:, None], noise / left


def preclassifier(h: Tensor, y: Tensor) -> Tensor:
    """Return DGL before a linear read-out to leading order in d / N and without noise, a mean over samples (eq. 8).

    |Y|^2 - tr(Y^T H (H^T H)^-1 H^T Y), over N: the least squares distance from features ``(N, d)`` to the targets.
    """
    factor = linalg.cholesky(h.T @ h)
    half = torch.linalg.solve_triangular(factor, h.T @ y, upper=False)
    return (y.square().sum() - half.square().sum()) / len(h)


def loss(errors: Tensor, variances: Tensor, objective: Objective = "mse", noise: float = 0.0) -> Tensor:
    """Return a loss of leave-one-out predictions: a mean over samples, a sum over targets.

    ``mse`` is the squared error (DGL, eq. 5 and supplement eq. 6); ``variance`` adds the variance of the prediction
    without its noise (supplement eq. 5), which makes it the expected squared error of a network drawn from the
    posterior; ``log_predictive`` is the negative log density of the left-out targets (Rasmussen and Williams 2005,
    eq. 5.10).
    """
    if objective == "mse":
        return errors.square().sum(dim=1).mean()
    if objective == "variance":
        return errors.square().sum(dim=1).mean() + variances.mean() - noise
    density = errors.square() / variances[:, None] + variances.log()[:, None] + log(2 * pi)
    return density.sum(dim=1).mean() / 2


def log_evidence(k: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    """Return the log marginal likelihood of the targets, a mean over samples and targets, differentiable."""
    n = len(k)
    factor = torch.linalg.cholesky(k + noise * torch.eye(n, dtype=k.dtype, device=k.device))
    half = torch.linalg.solve_triangular(factor, y, upper=False)
    return -half.square().mean() / 2 - factor.diagonal().log().mean() - log(2 * pi) / 2


def noise_of(k: Tensor, share: float = 1e-3) -> float:
    """Return the authors' noise variance: a share of the root mean square of the eigenvalues, sqrt(tr K^2 / N).

    The largest eigenvalue grows with the samples, and so does this: a batch of another size asks for another noise.
    """
    noise = share * float(k.detach().square().sum() / len(k)) ** 0.5
    if isfinite(noise) and noise:
        return noise
    return share * float(k.detach().double().square().sum() / len(k)) ** 0.5  # squares leave the range of float32 first


def nystroem(cross: Tensor, landmarks: Tensor, shift: float = 0.0) -> Tensor:
    """Return features ``(N, m)`` whose products approximate a kernel (Williams and Seeger 2001).

    Parameters
    ----------
    cross, landmarks
        Kernel of the samples with m of them, ``(N, m)``, and of these among themselves, ``(m, m)``.
    shift
        Added to the diagonal of `landmarks`, which is singular where two of them are alike.
    """
    factor = linalg.cholesky(landmarks, shift)
    return torch.linalg.solve_triangular(factor, cross.T, upper=False).T


def bottleneck(h: Tensor, labels: Tensor, width: float, beta: float = 100.0) -> Tensor:
    """Return the loss of the information bottleneck for noise that only pairs feel (DGL supplement eq. 9).

    Parameters
    ----------
    h, labels
        Representations ``(N, d)`` and classes ``(N,)``.
    width
        Standard deviation of the Gaussian noise that makes the information finite.
    beta
        Weight of the information on the label.

    Returns
    -------
    Mean over samples of the sum over the others of ``[beta (1 - l_n l_m) - 1] dS(|h_n - h_m|)``, where ``l_n l_m`` is
    1 for equal classes and 0 for others, and dS is the `overlap` of two Gaussians at that distance.
    """
    distances = torch.cdist(h, h, compute_mode="use_mm_for_euclid_dist") / width
    other = (labels[:, None] != labels).to(h.dtype)
    pairs = (beta * other - 1) * overlap(distances)
    return pairs.sum() / len(h) - pairs.diagonal().sum() / len(h)


def overlap(distance: Tensor) -> Tensor:
    """Return how much entropy an equal mixture of two Gaussians lacks, in nats: log 2 where they are one, 0 far apart.

    `distance` d is between their means, in standard deviations, along which alone the mixture is not a Gaussian:
    E log(1 + exp(d X - d^2 / 2)) over a normal X. Between the points of a table, within 1e-6.
    """
    table, step = _overlaps(distance.dtype, distance.device)
    place = (distance / step).clamp(max=len(table) - 1.001)
    at = place.detach().nan_to_num().long()  # what is no distance has no overlap either: NaN
    return torch.lerp(table[at], table[at + 1], place - at)


@functools.cache
def _overlaps(dtype: torch.dtype, device: torch.device, end: float = 12.0, points: int = 4097) -> tuple[Tensor, float]:
    """Return overlaps at distances from 0 to `end`, from where on they are zero, and the step between them."""
    nodes, weights = (torch.from_numpy(v) for v in numpy.polynomial.hermite_e.hermegauss(64))
    distances = torch.linspace(0, end, points, dtype=torch.float64, device="cpu")[:, None]
    values = torch.nn.functional.softplus(-distances * (nodes + distances / 2)) @ (weights / weights.sum())
    values[-1] = 0
    return values.to(device, dtype), end / (points - 1)


def _check_noise(noise: float | Tensor) -> None:
    if not float(noise) > 0:
        raise LayerwiseError(f"noise variance {float(noise):g}: a Gaussian process needs one above 0")


class _Inverse(torch.autograd.Function):
    """A = B Y and b = diag B for B = (K + s2 I)^-1, with a backward that needs B alone."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, y: Tensor, noise: float) -> tuple[Tensor, Tensor]:
        inverse = dual.inverse(k, noise)
        solved = inverse @ y
        ctx.save_for_backward(inverse, solved)
        return solved, inverse.diagonal().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_solved: Tensor, by_diagonal: Tensor) -> tuple[Tensor, None, None]:
        inverse, solved = ctx.saved_tensors
        other = inverse @ by_solved
        # All three terms in one product: B diag(-dL/db) B - (B dL/dA) A^T / 2 - A (B dL/dA)^T / 2.
        left = torch.cat([inverse * -by_diagonal, other, solved], dim=1)
        right = torch.cat([inverse, solved.T / -2, other.T / -2])
        return symmetric_product(left, right), None, None
