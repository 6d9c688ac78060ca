"""Image sets that torchvision knows: MNIST, FashionMNIST, KMNIST, CIFAR10, CIFAR100, SVHN and STL10 (labelled part).

Files are looked for in the data root first, in torchvision's layout, and every one is checked against the md5 that
torchvision publishes; a known copy of a set passes too, with a note in the record. Only what is missing or damaged is
downloaded, one process at a time. The MNIST-like sets are read from their ``.gz`` files, so nothing is unpacked and a
data root may be read-only.
"""

from __future__ import annotations

import dataclasses
import importlib
import socket
import tarfile
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

import torch

from layerwise import store
from layerwise.contract import Raw, Task
from layerwise.datasets._idx import read_idx, verify
from layerwise.errors import LayerwiseError

SECONDS = 60  # without a byte from a server before a download is given up
# What torchvision raises for a file that is missing or damaged, and for a download that fails.
FAILURES = (RuntimeError, OSError, EOFError, HTTPException, tarfile.TarError, zlib.error)
SAMPLES = {  # shape of one image, and the number of classes
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST"), ((1, 28, 28), 10)),
    **dict.fromkeys(("CIFAR10", "SVHN"), ((3, 32, 32), 10)),
    "CIFAR100": ((3, 32, 32), 100),
    "STL10": ((3, 96, 96), 10),
}
DIGITS = tuple(str(digit) for digit in range(10))
# Known copies of a set, read where the published files are not: what a copy is, and its own md5 by file.
COPIES = {
    "CIFAR100": (
        "pixels, labels and split as published; 123 of the 60,000 images, of beavers, shrews and skunks, may stand in "
        "each other's place within their class and split",
        {"train": "996a95375358b9a9502103a334e63867", "test": "8ff34ef6a7d397116c2d6ad2dccafc6e"},
    )
}


@dataclass(frozen=True)
class Options:
    name: Literal["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100", "SVHN", "STL10"]
    """Which set, as torchvision calls it."""
    download: bool = True
    """Download what the data root has not; false never touches the network."""


def sample(options: Options) -> tuple[tuple[int, ...], int]:
    """Return the shape of one image, and the number of classes; no file is needed."""
    return SAMPLES[options.name]


def load(options: Options, *, root: Path) -> Raw:
    """Load the set as x ``(N, C, H, W)`` uint8 and y ``(N,)``.

    Parameters
    ----------
    root
        The data root: the folder that holds ``MNIST/raw``, ``cifar-10-batches-py``, ``train_32x32.mat``, ...

    Raises
    ------
    LayerwiseError
        Where a file is missing or damaged and cannot be downloaded: which, where it was looked for, what supplies it.
    """
    try:
        kind = getattr(importlib.import_module("torchvision.datasets"), options.name)
    except ImportError:
        raise LayerwiseError("source 'torchvision' needs the package torchvision: install it beside torch") from None
    try:
        return _read(kind, root)
    except FAILURES:
        if (copy := _copy(kind, root)) is not None:
            return copy
        if not options.download:
            hint = "put it there, set data_root to a folder that has it, or allow download: true"
            raise _lacking(kind, root, hint) from None
    patience = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(SECONDS)
        with store.alone(root, wait=True):  # another process may be at the same download
            _download(kind, root)
        return _read(kind, root)
    except (*FAILURES, LayerwiseError) as error:  # the second of a data root that cannot be written
        text = " ".join(str(error).split())[:160]
        hint = f"put it there, set data_root to a folder that has it, or run again, since the download failed: {text}"
        raise _lacking(kind, root, hint) from None
    finally:
        socket.setdefaulttimeout(patience)


def _read(kind: Any, root: Path) -> Raw:
    """Read both splits from the data root; one of FAILURES where a file is missing or damaged."""
    name = kind.__name__
    if hasattr(kind, "resources"):  # MNIST and its likes
        parts = [read_idx(root / name / "raw" / file, md5) for file, md5 in kind.resources]
        splits = [(parts[0][:, None], parts[1].long()), (parts[2][:, None], parts[3].long())]
        classes = DIGITS if name == "MNIST" else tuple(kind.classes)
    elif name.startswith("CIFAR"):
        sets = [kind(root, train=train, download=False) for train in (True, False)]
        splits = [(torch.from_numpy(s.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(s.targets)) for s in sets]
        classes = tuple(sets[0].classes)
    else:
        sets = [kind(root, split=split, download=False) for split in ("train", "test")]
        splits = [(torch.from_numpy(s.data).contiguous(), torch.from_numpy(s.labels).long()) for s in sets]
        classes = tuple(getattr(sets[0], "classes", DIGITS))
    return Raw(splits[0], splits[1], Task("onehot", len(classes), classes), scale=255.0, notes={"name": name})


def _copy(kind: Any, root: Path) -> Raw | None:
    """Read a known copy of the set; None where there is none."""
    if kind.__name__ not in COPIES:
        return None
    told, md5 = COPIES[kind.__name__]
    lists = {f"{split}_list": [[split, md5[split]]] for split in md5}
    try:
        raw = _read(type(kind.__name__, (kind,), lists), root)
    except FAILURES:
        return None
    return dataclasses.replace(raw, notes={**raw.notes, "copy": told})


def _download(kind: Any, root: Path) -> None:
    """Let torchvision download what is missing or damaged; it checks the md5."""
    if not hasattr(kind, "resources"):
        which: list[dict[str, Any]] = (
            [{}] if kind.__name__.startswith("CIFAR") else [{"split": s} for s in ("train", "test")]
        )
        for split in which:
            kind(root, download=True, **split)
        return
    download_url = importlib.import_module("torchvision.datasets.utils").download_url
    for file, md5 in kind.resources:
        for mirror in kind.mirrors:
            try:
                download_url(mirror + file, root / kind.__name__ / "raw", file, md5)
                break
            except FAILURES:
                if mirror == kind.mirrors[-1]:
                    raise


def _lacking(kind: Any, root: Path, hint: str) -> LayerwiseError:
    """Return the error that names the first file that is missing or damaged."""
    where = "data_root: a key of config.yaml, or the environment variable LAYERWISE_DATA_ROOT"
    for path, md5 in _files(kind, root):
        try:
            read_idx(path, md5) if hasattr(kind, "resources") else verify(path, md5)
        except FileNotFoundError:
            return LayerwiseError(f"{kind.__name__}: no file {path}; {hint} ({where})")
        except FAILURES as error:
            reason = getattr(error, "strerror", None)
            what = f"cannot be read ({reason}); check its permissions, or" if reason else f"{error}; delete it, then"
            return LayerwiseError(f"{kind.__name__}: {path}: {what} {hint} ({where})")
    return LayerwiseError(f"{kind.__name__}: its files in {root} cannot be read; {hint} ({where})")


def _files(kind: Any, root: Path) -> list[tuple[Path, str]]:
    """Return the files that a set is read from, with their md5."""
    if hasattr(kind, "resources"):
        return [(root / kind.__name__ / "raw" / file, md5) for file, md5 in kind.resources]
    if hasattr(kind, "split_list"):  # SVHN
        return [(root / kind.split_list[split][1], kind.split_list[split][2]) for split in ("train", "test")]
    rows = [*kind.train_list, *kind.test_list]
    if hasattr(kind, "meta"):  # CIFAR
        rows.append([kind.meta["filename"], kind.meta["md5"]])
    return [(root / kind.base_folder / file, md5) for file, md5 in rows]
