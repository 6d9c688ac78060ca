"""Losses by name. Another one is a function and an entry of `LOSSES`, or of `TARGETED` where it has targets of its own.

A loss with targets makes an output y of each score x, and has a target t for it. Canonical ones have the gradient
``y - t`` at the scores (thesis section 4.3), which is bounded where y is. Gradient amplification (thesis chapter 4)
takes a y without bounds, and targets that lie further apart than 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import log

import torch
from torch import Tensor
from torch.nn import functional

from layerwise.contract import Task

Loss = Callable[[Tensor, Tensor], Tensor]
Targets = Callable[[Tensor], Tensor]


def mse(task: Task, dtype: torch.dtype) -> tuple[Loss, Targets]:
    """Squared error, a mean over samples and columns: its gradient is ``2 (y - t) / columns``."""
    return functional.mse_loss, lambda y: task.targets(y, dtype)


def cross_entropy(task: Task, dtype: torch.dtype, smoothing: float = 0.0) -> tuple[Loss, Targets]:
    """Cross-entropy of the softmax, or of the logistic function where one column stands for two classes.

    Label smoothing (Szegedy et al. 2016, section 7) shares so much of each target out among all classes.
    """
    if task.kind == "signs":
        loss = functional.binary_cross_entropy_with_logits
        return loss, lambda y: ((1 - smoothing) * y.to(dtype) + smoothing / 2)[:, None]
    return partial(functional.cross_entropy, label_smoothing=smoothing), lambda y: y


def auto(task: Task, dtype: torch.dtype) -> tuple[Loss, Targets]:
    """`cross_entropy` for classes, `mse` for values."""
    return (cross_entropy if task.classifies else mse)(task, dtype)


LOSSES = {"auto": auto, "cross_entropy": cross_entropy, "mse": mse}

# ---------------------------------------------------------------- losses with targets, canonical but for tanh_squares


def half_squares(x: Tensor, t: Tensor) -> Tensor:
    """Return ``(x - t)^2 / 2``; y is x."""
    return (x - t).square() / 2


def sigmoid(x: Tensor, t: Tensor) -> Tensor:
    """Return the cross-entropy of each column by itself; y is the logistic function of x."""
    return functional.softplus(x) - t * x


def tanh(x: Tensor, t: Tensor) -> Tensor:
    """Return ``log(2 cosh x) - t x``; y is tanh x."""
    return functional.softplus(2 * x) - (1 + t) * x


def tanh_squares(x: Tensor, t: Tensor) -> Tensor:
    """Return ``(tanh x - t)^2 / 2``; y is tanh x, and the gradient ``(y - t) (1 - y^2)``."""
    return (x.tanh() - t).square() / 2


def exp_ga(x: Tensor, t: Tensor, alpha: float) -> Tensor:
    """Return the sparse cross-entropy ``y - t log y`` (thesis section 4.6); y is alpha exp(x)."""
    return alpha * x.exp() - t * (x + log(alpha))


def pow3_ga(x: Tensor, t: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the negative correlation loss (thesis section 4.8); y is alpha x^3 + beta."""
    return alpha / 4 * x**4 + (beta - t) * x


@dataclass(frozen=True)
class Targeted:
    """A loss with targets, and its numbers where a study gives none.

    Parameters
    ----------
    loss
        Of scores and targets ``(n, columns)``, and of the `numbers`: the loss of each column.
    low, high
        Targets of a column: where the sample is of another class, and where it is of the column's.
    numbers
        alpha, and beta after it.
    """

    loss: Callable[..., Tensor]
    low: float
    high: float
    numbers: tuple[float, ...] = ()


# Targets and numbers of exp_ga and pow3_ga as in thesis sections 4.5 and 4.7, targets of half_squares as in table 4.2.
TARGETED = {
    "half_squares": Targeted(half_squares, -1, 1),
    "sigmoid": Targeted(sigmoid, 0, 1),
    "tanh": Targeted(tanh, -1, 1),
    "tanh_squares": Targeted(tanh_squares, -1, 1),
    "exp_ga": Targeted(exp_ga, 0, 16, (0.1,)),
    "pow3_ga": Targeted(pow3_ga, 0, 10, (0.001, 0.4)),
}


def loss_of(
    name: str, task: Task, dtype: torch.dtype = torch.float32, given: Mapping[str, float | None] | None = None
) -> tuple[Loss, Targets]:
    """Return a loss of scores ``(n, outputs)`` and targets, a mean over the batch, and what makes targets of labels.

    Parameters
    ----------
    name
        A key of `LOSSES` or of `TARGETED`; the latter are for classes of a column each.
    dtype
        Floating type of the scores.
    given
        Of a loss with targets: ``target_low``, ``target_high``, ``alpha``, ``beta``; None leaves its own. Of
        ``cross_entropy``: ``label_smoothing``.
    """
    if name == "cross_entropy":
        return cross_entropy(task, dtype, (given or {}).get("label_smoothing") or 0.0)
    if name in LOSSES:
        return LOSSES[name](task, dtype)
    own = TARGETED[name]
    chosen = {key: value for key, value in (given or {}).items() if value is not None}
    low, high = chosen.get("target_low", own.low), chosen.get("target_high", own.high)
    numbers = [chosen.get(key, value) for key, value in zip(("alpha", "beta"), own.numbers, strict=False)]
    return (
        # A sum over the columns, as of cross-entropy: a mean would divide the gradient by their number.
        lambda x, t: own.loss(x, t, *numbers).sum(dim=1).mean(),
        lambda y: low + (high - low) * task.targets(y, dtype),
    )
