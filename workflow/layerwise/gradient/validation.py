"""How good scores are: what a training measures on a validation split, and what is compared by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from layerwise.contract import Task
from layerwise.gradient.loop import Validation

Scored = Iterable[tuple[Tensor, Tensor]]  # scores ``(n, outputs)``, and the labels or values that they should be


def validation(task: Task, scored: Callable[[], Scored]) -> Validation:
    """Return what measures scores: the accuracy in per cent, or for values the mean squared error.

    Parameters
    ----------
    scored
        Starts a pass over the validation split: the scores of each batch, and its labels ``(n,)`` or values
        ``(n, outputs)``.
    """

    def mean(measure: Callable[[Tensor, Tensor], Tensor]) -> float:
        total, count = torch.zeros((), dtype=torch.float64), 0
        for scores, y in scored():
            each = measure(scores, y).double()
            total, count = total.to(each.device) + each.sum(), count + each.numel()
        return (total / count).item()

    if task.classifies:
        return Validation("valid_accuracy", lambda: 100 * mean(lambda s, y: task.labels(s) == y), more_is_better=True)
    return Validation("valid_mse", lambda: mean(lambda s, y: (s - y).double().square()))
