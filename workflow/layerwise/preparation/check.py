"""What must hold of the samples of any source."""

from __future__ import annotations

import torch
from torch import Tensor

from layerwise.contract import Task
from layerwise.errors import LayerwiseError


def check(splits: dict[str, tuple[Tensor, Tensor]], task: Task, where: str) -> None:
    """Raise LayerwiseError where a split cannot be learned from or tested on.

    Parameters
    ----------
    splits
        Samples and labels of ``train``, ``valid`` (which may be empty) and ``test``.
    where
        What to call the data in an error.
    """
    shape = splits["train"][0].shape[1:]
    for name, (x, y) in splits.items():
        split = f"{where}: the {name} split"
        if not len(x) and name != "valid":
            raise LayerwiseError(f"{split} is empty: check the data")
        good_y = (y.shape[1:], y.dtype) == (((), torch.int64) if task.classifies else ((task.outputs,), torch.float32))
        if x.dtype not in (torch.uint8, torch.float32) or x.shape[1:] != shape or len(x) != len(y) or not good_y:
            raise LayerwiseError(
                f"{split} has x {tuple(x.shape)} {x.dtype} and y {tuple(y.shape)} {y.dtype}; x must be "
                f"(N, {', '.join(map(str, shape))}) uint8 or float32, y (N,) int64 or, of values, (N, outputs) float32"
            )
        _finite(x, split, "features")
        if not task.classifies:
            _finite(y, split, "targets")
        elif len(y):
            low, high = int(y.min()), int(y.max())
            if low < 0 or high >= len(task.classes):
                raise LayerwiseError(
                    f"{split} has labels from {low} to {high}, and its {len(task.classes)} classes are 0 to "
                    f"{len(task.classes) - 1}: check the label file"
                )
    if task.classifies:
        _classes(splits["train"][1], task, where)


def _finite(values: Tensor, split: str, what: str) -> None:
    if values.is_floating_point():
        bad = ~values.flatten(1).isfinite().all(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            raise LayerwiseError(
                f"{split} has NaN or infinite {what} in {int(bad.sum())} of {len(values)} samples, "
                f"the first of them number {first}: remove or mend them"
            )


def _classes(y: Tensor, task: Task, where: str) -> None:
    if len(task.classes) < 2:
        raise LayerwiseError(f"{where} has one class, {task.classes[0]!r}: two are needed to tell apart")
    counts = torch.bincount(y, minlength=len(task.classes))
    if not counts.all():
        empty = task.classes[int((counts == 0).nonzero()[0])]
        raise LayerwiseError(f"{where}: class {empty!r} has no training sample; add some, or take the class out")
