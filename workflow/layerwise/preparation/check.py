"""What must hold of the samples of any source, and of a prepared data set on disk."""

from __future__ import annotations

import json
from dataclasses import asdict
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from layerwise.contract import Raw, Task
from layerwise.errors import LayerwiseError
from layerwise.options import typed
from layerwise.preparation.record import TaskRecord


def check_raw(raw: Any, where: str) -> Task:
    """Demand that a source gave a Raw of the types that it declares; returns its task, checked.

    What is in the samples is `check`'s.
    """
    if not isinstance(raw, Raw):
        raise LayerwiseError(f"{where} gives {_type(raw)}, and load must return a layerwise.contract.Raw")
    for name, pair in (("train", raw.train), ("test", raw.test), ("valid", raw.valid)):
        if pair is None and name == "valid":
            continue
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(t, Tensor) for t in pair)):
            inside = ", ".join(map(_type, pair)) if isinstance(pair, (tuple, list)) else _type(pair)
            raise LayerwiseError(f"{where}: the {name} split is of {inside}; it must be two tensors, x and y")
        for t in pair:
            if t.layout != torch.strided or t.device.type != "cpu" or t.requires_grad or not t.ndim:
                raise LayerwiseError(
                    f"{where}: the {name} split must be dense tensors (N, ...) on the CPU, without gradients"
                )
    if isinstance(raw.scale, bool) or not isinstance(raw.scale, Real) or not (0 < raw.scale < float("inf")):
        raise LayerwiseError(f"{where}: scale is {_brief(raw.scale)}; it must be a finite number above 0")
    try:
        json.dumps(raw.notes)
        if not isinstance(raw.notes, dict):
            raise TypeError(f"{_type(raw.notes)}, not a dict")
    except (TypeError, ValueError, RecursionError) as error:
        raise LayerwiseError(f"{where}: notes must be a dict that JSON can hold ({error})") from None
    if not isinstance(raw.task, Task):
        raise LayerwiseError(f"{where}: task is {_type(raw.task)}; it must be a layerwise.contract.Task")
    task: TaskRecord = typed(TaskRecord, asdict(raw.task), f"{where}: task", "it")
    return Task(task.kind, task.outputs, task.classes)


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
        good_x = x.dtype in (torch.uint8, torch.float32) and x.shape[1:] == shape and shape and shape.numel()
        if not good_x or len(x) != len(y) or not good_y:
            raise LayerwiseError(
                f"{split} has x {tuple(x.shape)} {x.dtype} and y {tuple(y.shape)} {y.dtype}; x must be "
                f"(N, {', '.join(map(str, shape)) or 'features'}) uint8 or float32, "
                "y (N,) int64 or, of values, (N, outputs) float32"
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


def check_scaling(shift: Tensor, scale: Tensor, shape: tuple[int, ...], where: str) -> None:
    """Demand a shift and a scale by which samples of the shape can be standardised."""
    for name, value in (("shift", shift), ("scale", scale)):
        fits = value.ndim == len(shape) and all(n in (1, m) for n, m in zip(value.shape, shape, strict=True))
        if value.dtype != torch.float32 or not fits:
            raise LayerwiseError(
                f"{where}: the {name} is {tuple(value.shape)} {value.dtype}, which does not go with samples {shape}"
            )
        if not value.isfinite().all() or (name == "scale" and not (value > 0).all()):
            raise LayerwiseError(
                f"{where}: the {name} of a feature is 0 or beyond float32, so it cannot be standardised; "
                "bring the features to sizes near 1"
            )


def _type(value: Any) -> str:
    return type(value).__name__


def _brief(value: Any) -> str:
    return f"{_type(value)} {tuple(value.shape)}" if hasattr(value, "shape") else " ".join(repr(value).split())[:60]


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
