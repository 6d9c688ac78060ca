"""A prepared data set on disk: one file of tensors a split, and a record that is written last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerwise import store
from layerwise.contract import Dataset, Pixels, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.preparation import record as records
from layerwise.preparation.check import check, check_scaling
from layerwise.preparation.record import RECORD, SPLITS

PARTS = ("x", "y", "shift", "scale")


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
    """Read a prepared data set: the values (x - shift) / scale, float32, and the labels, of each split.

    Raises
    ------
    LayerwiseError
        Where it is missing, cut short, or not what was prepared: the record has a sha256 of all of it.
    """
    path = Path(folder) / RECORD
    record = records.read(path)
    tensors = {name: store.read_tensors(Path(folder) / f"{name}.safetensors") for name in SPLITS}
    for name in SPLITS:
        _demand_shapes(Path(folder) / f"{name}.safetensors", tensors[name], (record["counts"][name], *record["shape"]))
    told = record["task"]
    task = Task(told["kind"], told["outputs"], tuple(told["classes"]))
    if content(tensors) != record["content"]:
        raise LayerwiseError(f"{path}: the samples beside it are not those it was written for; delete it and run again")
    check({name: (parts["x"], parts["y"]) for name, parts in tensors.items()}, task, str(folder))
    for parts in tensors.values():
        check_scaling(parts["shift"], parts["scale"], tuple(record["shape"]), str(folder))
    pixels = _pixels(tensors["train"], record)
    train, valid, test = (_values(tensors.pop(name)) for name in SPLITS)
    return Dataset(train, valid, test, task, record, pixels)


def _demand_shapes(path: Path, tensors: dict[str, Tensor], want: tuple[int, ...]) -> None:
    types = {tensor.dtype for tensor in tensors.values()}
    if sorted(tensors) != sorted(PARTS) or types - {torch.uint8, torch.float32, torch.int64} or not tensors["y"].ndim:
        raise LayerwiseError(f"{path}: not a split of a data set; delete the folder and run again")
    x, y = tensors["x"], tensors["y"]
    if tuple(x.shape) != want or len(y) != len(x):
        raise LayerwiseError(
            f"{path}: has samples {tuple(x.shape)} where its record says {want}; delete the folder and run again"
        )


def _pixels(parts: dict[str, Tensor], record: dict[str, Any]) -> Pixels | None:
    """Return how the values came of pixels, where the samples are grey or coloured images of 8 bits."""
    images = parts["x"].dtype == torch.uint8 and parts["x"].ndim == 4 and parts["x"].shape[1] in (1, 3)
    return Pixels(parts["shift"], parts["scale"]) if images and record.get("full") == 255 else None


def _values(parts: dict[str, Tensor]) -> Split:
    return Split(parts["x"].to(torch.float32, copy=True).sub_(parts["shift"]).div_(parts["scale"]), parts["y"])
