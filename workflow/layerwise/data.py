"""What a method is given: tensors of samples and the task that they pose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Parameters
    ----------
    kind
        ``onehot``: one target column a class. ``signs``: two classes as -1 and +1 in one column.
        ``values``: regression on real numbers.
    outputs
        Number of target columns.
    classes
        Names of the classes; empty for ``values``.
    """

    kind: Literal["onehot", "signs", "values"]
    outputs: int
    classes: tuple[str, ...] = ()

    @property
    def classifies(self) -> bool:
        return self.kind != "values"

    def targets(self, y: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the target matrix Y, ``(N, outputs)``, of the labels ``(N,)`` or values ``(N, outputs)``."""
        if self.kind == "onehot":
            return torch.nn.functional.one_hot(y, self.outputs).to(dtype)
        if self.kind == "signs":
            return (2 * y - 1).to(dtype)[:, None]
        return y.to(dtype)

    def labels(self, scores: Tensor) -> Tensor:
        """Return the class, ``(N,)`` int64, that each row of the scores ``(N, outputs)`` stands for."""
        if self.kind == "onehot":
            return scores.argmax(dim=1)
        if self.kind == "signs":
            return (scores[:, 0] > 0).long()
        raise LayerwiseError("a regression task has no labels: use the scores themselves")


@dataclass(frozen=True)
class Split:
    """Samples of one split.

    Parameters
    ----------
    x
        Features ``(N, *shape)``, float32 or float64.
    y
        Labels ``(N,)`` int64, or values ``(N, outputs)`` float32 for a regression.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Split:
        return Split(self.x.to(device), self.y.to(device))

    def rows(self, index: Tensor) -> Split:
        return Split(self.x[index], self.y[index])


@dataclass(frozen=True)
class Stream:
    """Training samples that come in batches, over and over, where memory does not hold them all.

    Parameters
    ----------
    batches
        Starts a pass: gives the samples ``(n, *shape)`` of one batch after the other, in the order of `y`. They may
        be augmented anew in each pass.
    y
        Labels ``(N,)`` or values ``(N, outputs)``.
    """

    batches: Callable[[], Iterable[Tensor]]
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Features:
    """The input of a fit: the training and the validation split (which may be empty), and the task.

    The test split is not here: no fit sees it.
    """

    train: Split
    valid: Split
    task: Task
    record: dict = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.train.x.shape[1:])

    def to(self, device: torch.device) -> Features:
        return Features(self.train.to(device), self.valid.to(device), self.task, self.record)
