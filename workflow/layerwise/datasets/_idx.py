"""Files with a published md5, and the IDX format in which MNIST and its likes come."""

from __future__ import annotations

import gzip
import hashlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Damaged(RuntimeError):
    """A file that is not what its publisher put out."""


def verify(path: Path, md5: str) -> None:
    """Raise Damaged where the file's md5 is another one, OSError where it cannot be read."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise Damaged(f"damaged (its md5 is {found}, not {md5})")


def read_idx(packed: Path, md5: str) -> Tensor:
    """Read a gzipped IDX file of bytes as a uint8 tensor of the shape that its header says.

    Where there is no such file, the same one unpacked, without ``.gz``, is taken; no md5 is published for that.

    Raises
    ------
    OSError, Damaged
        Where there is neither, or it is not whole.
    """
    if packed.exists() or not packed.with_suffix("").exists():
        verify(packed, md5)
        data = gzip.decompress(packed.read_bytes())
    else:
        data = packed.with_suffix("").read_bytes()
    # Two zero bytes, the type (8: bytes), the number of dimensions, and each dimension in four bytes.
    start = 4 + 4 * data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    if not shape or len(data) - start != prod(shape):
        raise Damaged("not a whole IDX file")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())
