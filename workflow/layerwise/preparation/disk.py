"""A prepared data set on disk: one file of tensors a split, and a record that is written last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerwise import store
from layerwise.contract import Dataset, Split, Task
from layerwise.errors import LayerwiseError

SPLITS = ("train", "valid", "test")
RECORD = "dataset.json"


def content(tensors: dict[str, dict[str, Tensor]]) -> str:
    """Return a sha256 over names, types, shapes and bytes of the tensors."""
    return store.content({f"{split}/{name}": t for split, parts in tensors.items() for name, t in parts.items()})


def write(folder: Path, tensors: dict[str, dict[str, Tensor]], record: dict[str, Any]) -> None:
    """Write what `prepare` made. A folder that has a record is whole: an old one goes first, the new one comes last."""
    folder = Path(folder)
    try:
        (folder / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise LayerwiseError(f"{folder}: cannot be written ({error.strerror}); check the permissions") from None
    for split in SPLITS:
        store.write_tensors(folder / f"{split}.safetensors", tensors[split])
    store.write_json(folder / RECORD, record)


def read(folder: Path) -> Dataset:
    """Read a prepared data set; LayerwiseError where it is missing, cut short, or does not match its record."""
    record = store.read_json(Path(folder) / RECORD)
    train, valid, test = (read_split(folder, name, record) for name in SPLITS)
    try:
        told = record["task"]
        task = Task(told["kind"], told["outputs"], tuple(told["classes"]))
    except (KeyError, TypeError):
        raise LayerwiseError(
            f"{Path(folder) / RECORD}: not the record of a data set; delete it and run again"
        ) from None
    return Dataset(train, valid, test, task, record)


def read_split(folder: Path, name: str, record: dict[str, Any] | None = None) -> Split:
    """Read one split of a prepared data set: the values (x - shift) / scale, float32, and the labels."""
    path = Path(folder) / f"{name}.safetensors"
    record = record or store.read_json(Path(folder) / RECORD)
    tensors = store.read_tensors(path)
    try:
        want = (record["counts"][name], *record["shape"])
        x, y, shift, scale = (tensors[key] for key in ("x", "y", "shift", "scale"))
    except (KeyError, TypeError):
        raise LayerwiseError(f"{path}: not a split of a data set; delete the folder and run again") from None
    if tuple(x.shape) != want or len(y) != len(x):
        raise LayerwiseError(
            f"{path}: has samples {tuple(x.shape)} where its record says {want}; delete the folder and run again"
        )
    return Split(x.to(torch.float32, copy=True).sub_(shift).div_(scale), y)
