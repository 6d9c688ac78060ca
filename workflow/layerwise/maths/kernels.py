"""Kernels of infinitely wide networks, which stand for the layers above the one at hand: NNGP and NTK.

Network: z_0 = W_0 x + b_0, z_l = W_l phi(z_{l-1}) + b_l, entries of W_l of variance ``weight_variances[l] / fan-in``
and of b_l of variance ``bias_variances[l]``; the last pair is the linear read-out, so that one pair alone is a linear
network. `nngp` is the covariance of its output over random weights (Lee et al. 2018), `ntk` the kernel of its training
by gradient descent in the NTK parameterisation (Jacot et al. 2018).

Without gradients a kernel is made in blocks of rows: beside the result it takes `BLOCK` numbers a few times. With
gradients every hidden layer keeps two matrices of the size of the result (three for `ntk`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from layerwise.errors import LayerwiseError, nearest

BLOCK = 2**18  # numbers of a matrix that are worked on at once: what a processor's cache holds
STRIP = 256  # rows of a symmetric product that are computed at once


def nngp(
    x: Tensor,
    weight_variances: Sequence[float] | Tensor,
    bias_variances: Sequence[float] | Tensor,
    other: Tensor | None = None,
    *,
    activation: str = "relu",
) -> Tensor:
    """Return the covariance of the outputs of random networks.

    Parameters
    ----------
    x
        Samples ``(N, d)``, float32 or float64.
    weight_variances, bias_variances
        One number a layer of weights, from the first to the linear read-out; tensors may ask for gradients.
    other
        Further samples ``(M, d)`` for the cross-kernel; `x` itself by default.
    activation
        ``relu`` (Cho and Saul 2009, n = 1) or ``erf`` (Williams 1997).

    Returns
    -------
    ``(N, N)``, or ``(N, M)`` with `other`. It can be differentiated with respect to all that it is made of.

    Raises
    ------
    LayerwiseError
        For an activation without a kernel, and for variances that are not one a layer, or below zero.
    """
    return _kernel(x, weight_variances, bias_variances, other, activation, tangent=False)


def ntk(
    x: Tensor,
    weight_variances: Sequence[float] | Tensor,
    bias_variances: Sequence[float] | Tensor,
    other: Tensor | None = None,
    *,
    activation: str = "relu",
) -> Tensor:
    """Return the neural tangent kernel; parameters, shapes and errors as for `nngp`.

    Its ReLU gradient grows without bound where two different samples become the same; within 1e-6 (float64, 1e-3 in
    float32) of the same direction it is left out, as it is on the diagonal, where it is zero.
    """
    return _kernel(x, weight_variances, bias_variances, other, activation, tangent=True)


def conv_nngp(
    x: Tensor,
    weight_variances: Sequence[float] | Tensor,
    bias_variances: Sequence[float] | Tensor,
    other: Tensor | None = None,
    *,
    size: int = 3,
    pool: bool = False,
    activation: str = "relu",
) -> Tensor:
    """Return the covariance of the outputs of random convolutional networks (Novak et al. 2019).

    Convolutions of stride 1, padded with zeros to keep the size of the image, then a linear read-out.

    Parameters
    ----------
    x, other
        Images ``(N, C, H, W)`` and ``(M, C, H, W)``.
    size
        Side of the filters, odd.
    pool
        Read out the mean over the image (global average pooling) instead of all places. That takes the covariance of
        every two places, ``N M (H W)^2`` numbers in blocks: for small images.

    Returns
    -------
    ``(N, M)``; the other parameters and errors are those of `nngp`.
    """
    weights, biases, step, diagonal = _checked(weight_variances, bias_variances, activation)
    if size % 2 == 0:
        raise LayerwiseError(f"size {size}: the filters of this kernel have an odd side, such as 3")
    same, other = other is None, x if other is None else other
    _finite(x, other)
    numbers = prod(x.shape[2:]) ** (2 if pool else 1)
    rows = len(x) if torch.is_grad_enabled() else max(1, BLOCK // (numbers * len(other)))
    parts = []
    for start in range(0, len(x), rows):
        images = x[start : start + rows]
        if pool:
            k = torch.einsum("ncab,mcde->nmabde", images, other) / x.shape[1]
            q = torch.einsum("ncab,ncde->nabde", images, images)[:, None] / x.shape[1]
            p = torch.einsum("ncab,ncde->nabde", other, other)[None] / x.shape[1]
        else:
            k = torch.einsum("ncab,mcab->nmab", images, other) / x.shape[1]
            q, p = images.square().mean(dim=1)[:, None], other.square().mean(dim=1)[None]
        smooth = _smooth_pairs if pool else _smooth
        for number, (w, b) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
            if number:
                k = step(k, _places(q, pool, first=True), _places(p, pool, first=False), None)[0]
                q, p = (
                    step(c, _places(c, pool, first=True), _places(c, pool, first=False), None)[0]
                    if pool
                    else diagonal(c)
                    for c in (q, p)
                )
            k, q, p = (b + w * smooth(c, size) for c in (k, q, p))
        if len(weights) > 1:
            k = step(k, _places(q, pool, first=True), _places(p, pool, first=False), None)[0]
        parts.append(biases[-1] + weights[-1] * k.flatten(2).mean(dim=2))
    found = torch.cat(parts)
    return (found + found.T) / 2 if same else found


def _places(c: Tensor, pool: bool, first: bool) -> Tensor:
    """Return the variance at every place of the one or the other image, to be broadcast over a covariance."""
    if not pool:
        return c
    variance = torch.einsum("nmabab->nmab", c)
    return variance[..., None, None] if first else variance[:, :, None, None]


def _smooth(c: Tensor, size: int) -> Tensor:
    """Average over windows of the two last dimensions, with zeros around."""
    flat = c.reshape(-1, 1, *c.shape[2:])
    return torch.nn.functional.avg_pool2d(flat, size, 1, size // 2).reshape(c.shape)


def _smooth_pairs(c: Tensor, size: int) -> Tensor:
    """Average the covariance of two places over the windows around both, moved together."""
    margin, (height, width) = size // 2, c.shape[-2:]
    padded = torch.nn.functional.pad(c, [margin] * 8)
    total = torch.zeros_like(c)
    for i in range(size):
        for j in range(size):
            total = total + padded[..., i : i + height, j : j + width, i : i + height, j : j + width]
    return total / size**2


def _kernel(
    x: Tensor,
    weight_variances: Sequence[float] | Tensor,
    bias_variances: Sequence[float] | Tensor,
    other: Tensor | None,
    activation: str,
    tangent: bool,
) -> Tensor:
    weights, biases, step, diagonal = _checked(weight_variances, bias_variances, activation)
    same, other = other is None, x if other is None else other
    _finite(x, other)
    gradients = torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in (x, other, *weights, *biases)
    )
    rows = len(x) if gradients else max(1, BLOCK // max(len(other), 1))
    found = x.new_empty(0 if gradients else len(x), len(other))
    fan_in = x.shape[1]
    squares = other.square().sum(dim=1)[None] / fan_in
    if not squares.isfinite().all():
        raise _too_large()
    for start in range(0, len(x), rows):
        some = x[start : start + rows]
        scaled = some * (weights[0] / fan_in) ** 0.5
        k = _Products.apply(scaled) if same and gradients else scaled @ (other * (weights[0] / fan_in) ** 0.5).T
        k = k + biases[0]
        q = biases[0] + weights[0] * (squares[0, start : start + rows] if same else some.square().sum(1) / fan_in)
        q, p, theta = q[:, None], biases[0] + weights[0] * squares, k
        for w, b in zip(weights[1:], biases[1:], strict=True):
            f, slope = step(k, q, p, start if same else None)
            q, p, k = b + w * diagonal(q), b + w * diagonal(p), (w * f).add_(b)
            if tangent:
                theta = k + w * slope * theta
        if gradients:
            return theta if tangent else k
        found[start : start + rows] = theta if tangent else k
    return found


Step = Callable[[Tensor, Tensor, Tensor, "int | None"], tuple[Tensor, Tensor]]


def _checked(weights: Any, biases: Any, activation: str) -> tuple[list[Any], list[Any], Step, Callable]:
    """Return the variances as lists, and what the activation does to a covariance and to a variance."""
    if activation not in ACTIVATIONS:
        raise LayerwiseError(f"activation {activation!r} has no kernel{nearest(activation, ACTIVATIONS)}")
    weights, biases = list(weights), list(biases)
    if not weights or len(weights) != len(biases):
        raise LayerwiseError(
            f"{len(weights)} weight variances and {len(biases)} bias variances: give one of each a layer of weights"
        )
    if not all(w > 0 for w in weights) or not all(b >= 0 for b in biases):
        raise LayerwiseError("variances of weights are above 0, and those of biases are 0 or more")
    return weights, biases, *ACTIVATIONS[activation]


def _finite(*samples: Tensor) -> None:
    if not all(x.sum().isfinite() for x in samples):
        raise LayerwiseError("the samples of a kernel hold NaN or infinity, or overflow: scale or mend them")


class _Products(torch.autograd.Function):
    """``x x^T``, of which half is computed, and whose gradient takes one product where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return symmetric_product(x, x.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_products: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (by_products + by_products.T) @ x


def symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right``, ``(N, N)``, where that is symmetric: half is computed, the other half is its mirror."""
    found = left.new_empty(len(left), len(left))
    for start in range(0, len(left), STRIP):
        stop = start + STRIP
        torch.mm(left[start:stop], right[:, start:], out=found[start:stop, start:])
        found[stop:, start:stop] = found[start:stop, stop:].T
    return found


class _ArcCosine(torch.autograd.Function):
    """E[relu(u) relu(v)] and E[relu'(u) relu'(v)] of two normal numbers with covariance k and variances q and p.

    With cos t = k / sqrt(q p): sqrt(q p) / 2 pi (sin t + (pi - t) cos t), and (pi - t) / 2 pi. The derivatives of the
    first, (pi - t) / 2 pi by k and sqrt(q p) sin t / 4 pi q by q, are finite everywhere, also on the diagonal.
    """

    @staticmethod
    def forward(ctx: Any, k: Tensor, q: Tensor, p: Tensor, first: int | None) -> tuple[Tensor, Tensor]:
        f, slope, sine = torch.empty_like(k), torch.empty_like(k), torch.empty_like(k)
        rows = max(1, BLOCK // max(k[0].numel(), 1))
        for start in range(0, len(k), rows):
            some = slice(start, start + rows)
            size = (q[some] if len(q) > 1 else q).sqrt() * p.sqrt()  # (n, M)
            size.clamp_(min=torch.finfo(k.dtype).tiny)  # a sample of zeros without biases has no direction
            cosine = torch.div(k[some], size, out=slope[some]).clamp_(-1, 1)
            if first is not None:  # a sample with itself, whatever the rounding
                cosine.diagonal(first + start).fill_(1)
            torch.mul(cosine, cosine, out=sine[some]).neg_().add_(1).sqrt_()
            angle = torch.acos(cosine).neg_().add_(pi)  # pi - t
            torch.addcmul(sine[some], angle, cosine, out=f[some]).mul_(size).div_(2 * pi)
            sine[some].mul_(size)
            torch.div(angle, 2 * pi, out=slope[some])
        ctx.save_for_backward(slope, sine, k, q, p)
        ctx.set_materialize_grads(False)
        return f, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_f: Tensor | None, by_slope: Tensor | None) -> tuple[Tensor | None, ...]:
        if by_f is None and by_slope is None:
            return None, None, None, None
        slope, sine, k, q, p = ctx.saved_tensors
        q, p = (c.clamp(min=torch.finfo(k.dtype).tiny) for c in (q, p))
        by_k = by_q = by_p = torch.zeros((), dtype=k.dtype, device=k.device)
        if by_f is not None:
            by_k, share = by_f * slope, by_f * sine
            by_q, by_p = (share.sum_to_size(c.shape) / (4 * pi * c) for c in (q, p))
        if by_slope is not None:
            near = (1e-6 if k.dtype == torch.float64 else 1e-3) * (q.sqrt() * p.sqrt())
            share = torch.where(sine > near, by_slope / (2 * pi * sine), 0.0)
            by_k, share = by_k + share, share * k
            by_q, by_p = (by - share.sum_to_size(c.shape) / (2 * c) for by, c in ((by_q, q), (by_p, p)))
        return by_k, by_q, by_p, None


def _relu(k: Tensor, q: Tensor, p: Tensor, first: int | None) -> tuple[Tensor, Tensor]:
    return _ArcCosine.apply(k, q, p, first)


def _erf(k: Tensor, q: Tensor, p: Tensor, first: int | None) -> tuple[Tensor, Tensor]:
    """E[erf(u) erf(v)] and E[erf'(u) erf'(v)]: an arcsine, and what it is differentiated to.

    That k^2 is at most q p bounds both. Rounding passes the bounds of large variances, and only there are they put in:
    further operations would change the last digits of gradients.
    """
    size = (1 + 2 * q) * (1 + 2 * p)
    if not size.detach().amax().isfinite():
        raise _too_large()
    f, left = 2 / pi * _arcsine(2 * k / size.sqrt()), size - 4 * k.square()
    least = (0.5 + q + p).detach()
    if bool((left.detach() < least).any()):
        left = torch.maximum(left, least)
    return f, 4 / pi * left.rsqrt()


def _arcsine(x: Tensor) -> Tensor:
    """Return the arcsine, whose slope at one has no number."""
    most = 1 - torch.finfo(x.dtype).eps
    return torch.asin(x.clamp(-most, most) if bool(x.detach().abs().amax() > most) else x)


def _too_large() -> LayerwiseError:
    return LayerwiseError("the samples of a kernel overflow: scale them to about 1, or use float64")


ACTIVATIONS: dict[str, tuple[Step, Callable[[Tensor], Tensor]]] = {
    "relu": (_relu, lambda q: q / 2),
    "erf": (_erf, lambda q: 2 / pi * _arcsine(2 * q / (1 + 2 * q))),
}
