"""Losses by name. Another one is a function and an entry of `LOSSES`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from layerwise.contract import Task

Loss = Callable[[Tensor, Tensor], Tensor]
Targets = Callable[[Tensor], Tensor]


def mse(task: Task, dtype: torch.dtype) -> tuple[Loss, Targets]:
    """Squared error, a mean over samples and columns."""
    return functional.mse_loss, lambda y: task.targets(y, dtype)


def cross_entropy(task: Task, dtype: torch.dtype) -> tuple[Loss, Targets]:
    """Cross-entropy of the softmax, or of the logistic function where one column stands for two classes."""
    if task.kind == "signs":
        return functional.binary_cross_entropy_with_logits, lambda y: y.to(dtype)[:, None]
    return functional.cross_entropy, lambda y: y


def auto(task: Task, dtype: torch.dtype) -> tuple[Loss, Targets]:
    """`cross_entropy` for classes, `mse` for values."""
    return (cross_entropy if task.classifies else mse)(task, dtype)


LOSSES = {"auto": auto, "cross_entropy": cross_entropy, "mse": mse}


def loss_of(name: str, task: Task, dtype: torch.dtype = torch.float32) -> tuple[Loss, Targets]:
    """Return a loss of scores ``(n, outputs)`` and targets, a mean over the batch, and what makes targets of labels.

    Parameters
    ----------
    name
        A key of `LOSSES`.
    dtype
        Floating type of the scores.
    """
    return LOSSES[name](task, dtype)
