"""Mathematics of the closed-form methods: tensors in, tensors out; no files, no study, no random numbers.

Sums and decompositions are float64 whatever comes in. What is accumulated over batches (`Gram`, `triangle`)
depends on the number of features alone, never on the number of samples.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError, LayerwiseWarning

# Ridge strengths relative to the mean diagonal of the column-scaled Gram, half a decade apart.
STRENGTHS = tuple(10 ** (half / 2) for half in range(-20, 5))
BLOCK = 2048  # columns of a Gram that are summed at once
# Share of a second moment, by the type of the products, below which a variance is lost in rounding, and below which
# rounding has left three or four digits of it alone: where its sums are worth a second pass.
LOST = {torch.float64: 1e-12, torch.float32: 1e-5}
ROUGH = {torch.float64: 1e-12, torch.float32: 1e-4}

CONSTANT = (
    "all features are constant: nothing can be read out of them: standardise the samples, so that no activation "
    "saturates, or check the layers and the data before"
)


def fix_signs(vectors: Tensor) -> Tensor:
    """Flip the columns ``(d, k)`` whose loading of largest magnitude is negative.

    Of loadings that tie within 1e-6 the first decides, so that rounding does not.
    """
    size = vectors.abs()
    first = (size >= (1 - 1e-6) * size.amax(dim=0)).int().argmax(dim=0, keepdim=True)
    return torch.where(vectors.gather(0, first) < 0, -vectors, vectors)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose a symmetric matrix in float64, with the signs of `fix_signs`.

    Returns
    -------
    values, vectors
        Eigenvalues ``(d,)``, largest first, and their eigenvectors as the columns of ``(d, d)``.
    """
    matrix = matrix.double()
    if not torch.isfinite(matrix).all():
        raise LayerwiseError("the features hold NaN or infinity: remove or fill those values first")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values.flip(0), fix_signs(vectors.flip(1))


def cholesky(matrix: Tensor, shift: float = 0.0) -> Tensor:
    """Return the lower factor ``(d, d)`` of a positive semidefinite matrix, with jitter where rounding asks for it.

    The matrix is symmetrised first, and `shift` added to its diagonal. The jitter is a multiple of the mean
    diagonal, from 1e-10 (float64) or 1e-6 (float32) in steps of ten over five rungs; LayerwiseWarning states the one
    that was used.
    """
    symmetric = (matrix + matrix.mT).div_(2)
    symmetric.diagonal().add_(shift)
    scale = symmetric.diagonal().mean()
    if not torch.isfinite(symmetric).all():
        raise LayerwiseError("Cholesky: the matrix holds NaN or infinity: check the features that it was made of")
    lowest = 1e-10 if matrix.dtype == torch.float64 else 1e-6
    for jitter in (0.0, *(lowest * 10**rung for rung in range(5))):
        if jitter:
            raised = symmetric + jitter * scale * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        factor, failed = torch.linalg.cholesky_ex(raised if jitter else symmetric)
        if not failed:
            if jitter:
                text = f"Cholesky: added {jitter:.0e} of the mean diagonal to a {len(matrix)}x{len(matrix)} matrix"
                warnings.warn(LayerwiseWarning(text), stacklevel=2)
            return factor
    raise LayerwiseError(
        f"Cholesky: a {len(matrix)}x{len(matrix)} matrix is not positive definite even with {jitter:.0e} of its mean "
        "diagonal added: raise the ridge strength or noise, drop repeated features, or use float64"
    )


class Gram:
    """Sums of second moments of features Z and targets Y over batches, in float64.

    Exact up to rounding however the rows are split; ``a + b`` is the Gram of both parts together. A column far from the
    origin beside its spread loses digits, unless the sums are about a point near to it (`rough` says where).

    Parameters
    ----------
    products
        Type of the products within one batch. float32 takes half the time and loses little where the features are
        not far from the origin and a penalty above its rounding follows.
    about
        What is subtracted from every row of ``[Z Y]`` before anything is summed, ``(d + k,)``; nothing by default.

    Attributes
    ----------
    second
        ``[Z Y]^T [Z Y]``, ``(d + k, d + k)``.
    sums
        Column sums of ``[Z Y]``, ``(d + k,)``.
    n
        Number of rows.
    low, high
        Two values of each column, that differ where any two do, ``(d + k,)``.
    """

    def __init__(
        self,
        features: int,
        targets: int = 0,
        device: torch.device | None = None,
        products: torch.dtype = torch.float64,
        about: Tensor | None = None,
    ) -> None:
        self.features, self.targets, self.n, self.products, self.about = features, targets, 0, products, about
        self.second = torch.zeros(features + targets, features + targets, dtype=torch.float64, device=device)
        self.sums = torch.zeros(features + targets, dtype=torch.float64, device=device)
        self.low, self.high = torch.full_like(self.sums, math.inf), torch.full_like(self.sums, -math.inf)

    def add(self, z: Tensor, y: Tensor | None = None) -> Gram:
        """Add rows ``(..., d)`` with their targets ``(..., k)``; returns itself."""
        rows = z.reshape(-1, self.features).to(self.products)
        if y is not None:
            rows = torch.cat([rows, y.reshape(-1, self.targets).to(self.products)], dim=1)
        self._look(rows)
        if self.about is not None:
            rows = rows - self.about.to(self.products)
        for start in range(0, len(self.second), BLOCK):  # the half below the diagonal is the half above it
            stop = start + BLOCK
            product = rows[:, start:stop].T @ rows[:, start:]
            self.second[start:stop, start:] += product
            self.second[stop:, start:stop] += product[:, BLOCK:].T
        self.sums += rows.sum(dim=0, dtype=torch.float64)
        self.n += len(rows)
        return self

    def _look(self, rows: Tensor) -> None:
        """See which columns vary: `low` and `high` of one that does are left as they are, whatever follows."""
        still = (self.low >= self.high).nonzero()[:, 0]
        if len(rows) and len(still):
            least, most = (rows if len(still) == len(self.low) else rows[:, still]).aminmax(dim=0)
            self.low[still] = torch.minimum(self.low[still], least.double())
            self.high[still] = torch.maximum(self.high[still], most.double())

    def __add__(self, other: Gram) -> Gram:
        products = torch.float32 if torch.float32 in (self.products, other.products) else torch.float64
        about = other.about if self.about is None else self.about
        both = Gram(self.features, self.targets, self.second.device, products, about)
        for part in (self, other):
            second, sums = part._sums_about(about)
            both.second += second.to(both.second.device)
            both.sums += sums.to(both.sums.device)
        both.n = self.n + other.n
        both.low = torch.minimum(self.low, other.low.to(self.low.device))
        both.high = torch.maximum(self.high, other.high.to(self.high.device))
        return both

    def _sums_about(self, about: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return `second` and `sums` as they are about another point."""
        if about is None or about is self.about:
            return self.second, self.sums
        moved = (0.0 if self.about is None else self.about) - about
        sums = self.sums + self.n * moved
        return self.second + torch.outer(moved, self.sums) + torch.outer(sums, moved), sums

    @property
    def varies(self) -> Tensor:
        """Whether any two values of a column of ``[Z Y]`` differ, ``(d + k,)``."""
        return self.low < self.high

    @property
    def rough(self) -> bool:
        """Whether rounding leaves few digits of the variance of a column that varies."""
        size = self.second.diagonal() / max(self.n, 1)
        variance = size - (self.sums / max(self.n, 1)).square()
        return bool((self.varies & (variance <= ROUGH[self.products] * size)).any())

    @property
    def mean(self) -> Tensor:
        """The mean of ``[Z Y]``, ``(d + k,)``."""
        mean = self.sums / self.n
        return mean if self.about is None else mean + self.about

    def moment(self, centre: bool = False) -> Tensor:
        """Return the mean second moment of ``[Z Y]`` (its covariance with `centre`), ``(d + k, d + k)``."""
        if not self.n:
            raise LayerwiseError("there is no sample to fit on: check the split and the fraction of it that is used")
        mean, moment = self.sums / self.n, self.second / self.n
        if centre or self.about is not None:
            moment = moment.addr_(mean, mean, alpha=-1)
        return moment if centre or self.about is None else moment.addr_(self.mean, self.mean)


def principal(gram: Gram, centre: bool = False) -> tuple[Tensor, Tensor]:
    """Return the principal values ``(r,)`` and components ``(d, r)`` of the features, those above rounding alone."""
    moment = gram.moment(centre)[: gram.features, : gram.features]
    values, vectors = eigh(moment)
    # Centring subtracts numbers of the size of the uncentred moment, and leaves the rounding of that size.
    size = float(gram.second.diagonal()[: gram.features].sum()) / gram.n
    if gram.about is not None and not centre:
        size = float(moment.trace())
    rank = int((values > gram.features * torch.finfo(torch.float64).eps * size).sum())
    return values[:rank], vectors[:, :rank]


def whitening(gram: Gram, epsilon: float) -> Tensor:
    """Return the symmetric (ZCA) whitening ``(d, d)`` of the features, ``V (values + epsilon)^-1/2 V^T``.

    Values and vectors are those of the covariance; directions without variance are left out.
    """
    values, vectors = principal(gram, centre=True)
    return (vectors * (values + epsilon).rsqrt()) @ vectors.T


def correlation_axes(gram: Gram) -> Tensor:
    """Return the principal components of ``[Z Y]`` with each column standardised, as columns ``(d + k, d + k)``.

    Those without variance, of constant columns, come last.
    """
    moment = gram.moment(centre=True)
    scale = inverse_scale(gram, moment)
    return eigh(moment.mul_(scale).mul_(scale[:, None]))[1]


def inverse_scale(gram: Gram, covariance: Tensor) -> Tensor:
    """Return one over the standard deviation of each column of ``[Z Y]``, ``(d + k,)``, zero for constant ones.

    Zero as well, with a warning, where a column that varies does so by less than the rounding of its sums.
    """
    variance = covariance.diagonal().clamp(min=0)
    known = gram.varies & (variance > LOST[gram.products] * gram.second.diagonal() / gram.n)
    if lost := int((gram.varies & ~known).sum()):
        text = (
            f"{lost} of {len(known)} columns vary by less than the rounding of their sums, and get no weight: "
            "subtract their mean and scale them first"
        )
        warnings.warn(LayerwiseWarning(text), stacklevel=3)
    return torch.where(known, variance.rsqrt(), 0.0)


class Equations:
    """Normal equations of a `Gram` for the ridge read-out.

    Features are centred, so that the bias is not penalised, and scaled to unit variance; a strength is relative
    to the mean diagonal of the Gram so scaled (``strength * n`` is the penalty of scikit-learn's Ridge there).
    Constant features get no weight.

    Parameters
    ----------
    floor
        Least standard deviation to scale a feature by, as a share of the median one of those that vary. A feature that
        one sample in a thousand has would else be blown up to the size of the others, and its weight with it.
    """

    def __init__(self, gram: Gram, floor: float = 0.0) -> None:
        d = gram.features
        moment = gram.moment(centre=True)
        self.n, mean = gram.n, gram.mean
        self.mean_z, self.mean_y = mean[:d], mean[d:]
        self.inverse_scale = inverse_scale(gram, moment)[:d]
        self.constant = d - int(self.inverse_scale.count_nonzero())
        if self.constant == d and bool(torch.isfinite(moment).all()):
            raise LayerwiseError(CONSTANT)
        if floor:
            most = self.inverse_scale[self.inverse_scale > 0].median() / floor
            self.inverse_scale = self.inverse_scale.clamp(max=most)
        self.cross = moment[:d, d:] * self.inverse_scale[:, None]  # (d, k)
        self.power = moment.diagonal()[d:].sum()
        # In place, for at ten thousand features each copy is a gigabyte.
        self.correlation = moment[:d, :d].mul_(self.inverse_scale).mul_(self.inverse_scale[:, None])

    def solve(self, strength: float) -> Tensor:
        """Return the weights ``(d, k)`` on the features as they came, by one Cholesky factorisation."""
        return self.inverse_scale[:, None] * torch.cholesky_solve(self.cross, cholesky(self.correlation, strength))


class Normal(Equations):
    """Normal equations decomposed once for all strengths, which also gives the errors to be expected of each."""

    def __init__(self, gram: Gram, floor: float = 0.0) -> None:
        super().__init__(gram, floor)
        values, self.vectors = eigh(self.correlation)
        self.values = values.clamp(min=0)
        self.rotated = self.vectors.T @ self.cross

    def inverse(self, strength: float) -> Tensor:
        """Return ``1 / (value + strength)``, ``(d,)``, zero where that is rounding."""
        raised = self.values + strength
        floor = len(raised) * torch.finfo(torch.float64).eps * self.values[0]
        return torch.where(raised > floor, 1 / raised, 0.0)

    def residual(self, strength: float) -> float:
        """Return ``||Y - fit||_F^2 / n`` on the rows of the Gram; with strength 0 this is thesis eq. 5.3."""
        inverse = self.inverse(strength)
        explained = (2 * inverse - self.values * inverse.square()) @ self.rotated.square().sum(dim=1)
        return max(float(self.power - explained), 0.0)

    def gcv(self, strength: float) -> float:
        """Return the generalised cross-validation score (Golub, Heath and Wahba 1979); infinite without freedom."""
        left = 1 - (1 + float(self.values @ self.inverse(strength))) / self.n
        return self.residual(strength) / left**2 if left > 1e-6 else math.inf  # below, residuals are rounding

    def best(self, strengths: Sequence[float] = STRENGTHS) -> float:
        """Return the strength of least `gcv`, the largest of those that tie."""
        return min(sorted(strengths, reverse=True), key=self.gcv)

    def weights(self, strength: float, rotated: Tensor | None = None) -> Tensor:
        """Return the weights ``(d, k)`` on the features as they came, for Y or for other rotated targets."""
        rotated = self.rotated if rotated is None else rotated
        return self.inverse_scale[:, None] * (self.vectors @ (self.inverse(strength)[:, None] * rotated))

    def leave_one_out(self, z: Tensor, y: Tensor, strength: float) -> Tensor:
        """Return the exact leave-one-out errors ``(m, k)`` of rows ``(m, d)`` that are in the Gram.

        The mean and the scale of the features stay those of all rows.
        """
        rows = ((z.double() - self.mean_z) * self.inverse_scale) @ self.vectors
        inverse = self.inverse(strength)
        leverage = 1 / self.n + rows.square() @ inverse / self.n
        fit = self.mean_y + rows @ (inverse[:, None] * self.rotated)
        return (y.double() - fit) / (1 - leverage)[:, None]


@dataclass(frozen=True)
class Ridge:
    """A linear read-out: weights ``(k, d)``, bias ``(k,)``, its relative strength, its errors on the rows it has seen.

    `lsd` is the least squares distance of the features themselves (thesis eq. 5.3), `error` that of the read-out.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    gcv: float
    error: float
    lsd: float
    constant: int


def ridge(gram: Gram, strengths: Sequence[float] = STRENGTHS, floor: float = 0.0) -> Ridge:
    """Fit the ridge read-out of a `Gram`, with the strength by generalised cross-validation."""
    normal = Normal(gram, floor)
    strength = normal.best(strengths)
    weight = normal.weights(strength).T
    return Ridge(
        weight=weight,
        bias=normal.mean_y - weight @ normal.mean_z,
        strength=strength,
        gcv=normal.gcv(strength),
        error=normal.residual(strength),
        lsd=normal.residual(0.0),
        constant=normal.constant,
    )


def triangle(batches: Iterable[Tensor]) -> Tensor:
    """Return R, at most ``(d, d)``, of the QR decomposition of the stacked batches ``(n, d)``, in float64.

    Unlike a Gram it does not square the condition number; ``R^T R`` is the Gram.
    """
    factor: Tensor | None = None
    for batch in batches:
        rows = batch.double() if factor is None else torch.cat([factor, batch.double()])
        factor = torch.linalg.qr(rows, mode="r").R
    if factor is None:
        raise LayerwiseError("there is no sample to decompose")
    return factor


def lsd(z: Tensor, y: Tensor, *, bias: bool = True) -> float:
    """Return the least squares distance ``||Y - Z Z^+ Y||_F^2 / m`` of features from targets (thesis eq. 5.3).

    Parameters
    ----------
    z, y
        Features ``(m, d)`` and targets ``(m, k)``.
    bias
        Add a column of ones to Z.
    """
    m, columns = len(z), z.shape[1] + bias
    batch = max(4 * (columns + y.shape[1]), 4096)
    pairs = zip(z.split(batch), y.split(batch), strict=True)
    factor = triangle(torch.cat([*([b.new_ones(len(b), 1)] * bias), b, t.to(b)], dim=1) for b, t in pairs)
    if not torch.isfinite(factor).all():
        raise LayerwiseError("the features hold NaN or infinity: remove or fill those values first")
    left, right = factor[:, :columns], factor[:, columns:]  # [Z Y] = Q [left right]
    norms = left.norm(dim=0)
    directions, values, _ = torch.linalg.svd(left / torch.where(norms > 0, norms, 1.0), full_matrices=False)
    range_z = directions[:, values > max(m, columns) * torch.finfo(torch.float64).eps * values[0]]
    return float((right - range_z @ (range_z.T @ right)).square().sum()) / m


def spectrum(z: Tensor, centre: bool = False) -> Tensor:
    """Return the singular values of ``Z`` ``(m, d)``, largest first, float64; of its deviations with `centre`."""
    mean = z.double().mean(dim=0) if centre else 0.0
    return torch.linalg.svdvals(triangle(b.double() - mean for b in z.split(max(4 * z.shape[1], 4096))))
