"""New samples from a user's files: images, tables of numbers, tensors; as a data set's source has them, unscaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.options import Bounded, Ge, MinLen
from layerwise.preparation.folder import IMAGES, shown
from layerwise.preparation.paths import expanded

SUFFIXES = (*IMAGES, ".csv", ".safetensors")
AT_ONCE = 2**22  # numbers of images that are held as raw samples at once


@dataclass(frozen=True)
class Inputs(Bounded):
    """What a network takes in.

    Parameters
    ----------
    shape
        Shape of one sample.
    pixels
        Whether samples are square images of 8 bits, so that image files can be read as them.
    background
        What transparent pixels are put on; none refuses images that have some.
    """

    shape: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    pixels: bool = False
    background: Literal["none", "black", "grey", "white"] = "none"

    def __post_init__(self) -> None:
        if self.pixels and not (len(self.shape) == 3 and self.shape[0] in (1, 3) and self.shape[1] == self.shape[2]):
            raise LayerwiseError(f"images of 8 bits are square, grey or coloured, and these are {self.shape}")

    def files(self, given: Sequence[str | Path]) -> list[Path]:
        """Return the files that are named, and for a folder the images in it and below, sorted by their path.

        Raises
        ------
        LayerwiseError
            For a path where there is nothing, a folder without images, and a kind of file that is none of ours.
        """
        found: list[Path] = []
        for each in given:
            path = expanded(each, "file")
            if path.is_dir():
                inside = sorted(p for p in path.rglob("*") if _is_image(p.relative_to(path)) and p.is_file())
                if not inside:
                    raise LayerwiseError(f"{shown(path)}: no image in this folder ({', '.join(IMAGES)}); name others")
                found += inside
            elif not path.exists():
                raise LayerwiseError(f"{shown(path)}: no such file or folder; check the path")
            elif path.suffix.lower() not in SUFFIXES:
                raise LayerwiseError(f"{shown(path)}: no kind of file that is read here ({', '.join(SUFFIXES)})")
            else:
                found.append(path)
        return found

    def read(self, path: str | Path) -> Tensor:
        """Read the samples of one file, ``(N, *shape)``: one of an image, as many as rows of a table or tensor.

        An image is resized to the side of the network's images, grey or in colours as they are. A table has a sample a
        row, its numbers in the order of `shape`, with or without names above. A safetensors file holds one tensor, or
        one called x.

        Raises
        ------
        LayerwiseError
            For a file that cannot be read, or whose samples are of another shape.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix in IMAGES:
            return self._image(path)
        x = _table(path) if suffix == ".csv" else _tensor(path)
        if x.shape[1:] not in (self.shape, (prod(self.shape),)):
            raise LayerwiseError(f"{shown(path)}: samples of {_said(x.shape[1:])}, and the network takes {self}")
        if not x.isfinite().all():
            raise LayerwiseError(f"{shown(path)}: holds NaN or infinity; fill or drop those rows")
        return x.reshape(-1, *self.shape)

    def batches(self, files: Sequence[Path]) -> Iterator[tuple[list[tuple[Path, int]], Tensor]]:
        """Give the samples of files, images together so many at once, and for each its file and its row in it."""
        many = max(1, AT_ONCE // prod(self.shape))
        images: list[Path] = []
        for place, path in enumerate(files):
            if path.suffix.lower() in IMAGES:
                images.append(path)
                after = files[place + 1].suffix.lower() if place + 1 < len(files) else ""
                if len(images) == many or after not in IMAGES:
                    yield [(p, 0) for p in images], torch.cat([self._image(p) for p in images])
                    images = []
            else:
                x = self.read(path)
                yield [(path, row) for row in range(len(x))], x

    def _image(self, path: Path) -> Tensor:
        if not self.pixels:
            raise LayerwiseError(
                f"{shown(path)}: an image, and the network takes {self} that are no pixels of 8 bits; give them as "
                ".csv or .safetensors"
            )
        from layerwise.datasets._image import read_image  # which takes Pillow

        channels, side, _ = self.shape
        return torch.from_numpy(np.array(read_image(path, side, channels == 1, self.background)[0]))[None]

    def __str__(self) -> str:
        return _said(self.shape)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _said(shape: Sequence[int]) -> str:
    return f"{shape[0]} numbers" if len(shape) == 1 else " x ".join(map(str, shape))


def _table(path: Path) -> Tensor:
    """Read a table of numbers, ``(N, columns)``; a first line without any number has names, as has 0, 1, 2, ...: what
    pandas writes over columns without a name. Two columns or one may be a sample of that."""
    lines = [line for line in store.read_text(path).lstrip("\ufeff").splitlines() if line.strip()]
    first = [cell.strip().strip('"') for cell in lines[0].split(",")] if lines else []
    names = bool(first) and (
        not any(map(_is_number, first)) or (len(first) > 2 and first == list(map(str, range(len(first)))))
    )
    if len(lines) == names:
        raise LayerwiseError(f"{shown(path)}: no row of numbers in it")
    try:
        values = np.loadtxt(lines[names:], delimiter=",", comments=None, quotechar='"', ndmin=2)
    except ValueError as error:
        text = str(error).partition(";")[0].rstrip(".")
        raise LayerwiseError(f"{shown(path)}: not a table of numbers ({text}); mend that row") from None
    return torch.from_numpy(values).float()


def _is_number(cell: str) -> bool:
    try:
        return bool(cell) and float(cell) is not None
    except ValueError:
        return False


def _tensor(path: Path) -> Tensor:
    """Read the tensor ``x`` of a file, or the only one."""
    try:
        tensors = store.read_tensors(path)
    except store.Damaged:
        raise LayerwiseError(f"{shown(path)}: cut short, or not a safetensors file") from None
    if "x" not in tensors and len(tensors) != 1:
        named = ", ".join(sorted(tensors)) or "none"
        raise LayerwiseError(f"{shown(path)}: no tensor 'x' in it, and not one alone ({named}); call the samples x")
    x = tensors["x"] if "x" in tensors else next(iter(tensors.values()))
    if x.ndim < 2 or not len(x) or x.is_complex() or x.dtype == torch.bool:
        raise LayerwiseError(f"{shown(path)}: a tensor {tuple(x.shape)} {x.dtype}; give numbers, a sample a row")
    return x
