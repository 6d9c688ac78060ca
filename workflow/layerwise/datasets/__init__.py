"""Where samples come from, one file a source.

A source's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and

    def load(options: Options, *, root: Path) -> Raw

which reads, downloads or draws the samples. What is common to all sources (subsets, classes, the validation
split, standardisation) is `Preparation`, done by `prepare` after the source. As for methods, ``Options`` must
stand on the standard library and `layerwise.errors` alone.

Importing this package imports no torch, so that a study can be checked in a moment; `prepare`, `write` and
`read` import it when they are first asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from layerwise.datasets._preparation import Preparation, files, split_options

if TYPE_CHECKING:
    from torch import Tensor

    from layerwise.data import Task
    from layerwise.datasets._disk import Dataset, read, read_split, write
    from layerwise.datasets._prepare import prepare

__all__ = ["Dataset", "Preparation", "Raw", "files", "prepare", "read", "read_split", "split_options", "write"]

NEEDS_TORCH = {"prepare": "_prepare", "Dataset": "_disk", "read": "_disk", "read_split": "_disk", "write": "_disk"}


@dataclass(frozen=True)
class Raw:
    """What a source gives, before the preparation.

    Parameters
    ----------
    train, test
        Samples and labels ``(x, y)`` of each split: x ``(N, *shape)`` uint8 or float32, images as ``(C, H, W)``;
        y ``(N,)`` integer labels 0..k-1, or ``(N, outputs)`` real values for a regression.
    task
        What is to be learned, with the names of the k classes.
    valid
        A validation split of the source's own, or None: then the preparation takes one from train.
    scale
        What an x of full strength is, such as 255: without standardisation the value is x / scale.
    notes
        What the source has to say for the record, as JSON.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    task: Task
    valid: tuple[Tensor, Tensor] | None = None
    scale: float = 1.0
    notes: dict[str, Any] = field(default_factory=dict)


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used."""
    if name not in NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{NEEDS_TORCH[name]}"), name)
