"""The user's own images: ``<folder>/train/<class>/*.png`` and ``<folder>/test/<class>/*.png``, all made one size.

PNG, JPEG, BMP, GIF, TIFF and WebP files of one picture are images, also in folders within a class. A folder ``valid``
beside the two is the validation split; without it the option ``valid`` of the preparation takes one from train. Classes
are the folders of ``train``, sorted by name.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from layerwise.contract import Raw, Task
from layerwise.datasets._image import check_image, read_image
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.options import Bounded, Ge, Le
from layerwise.preparation.folder import Found, scan, shown


@dataclass(frozen=True)
class Options(Bounded):
    folder: str
    """Folder of the images; a relative one is under the working directory."""
    size: Annotated[int, Ge(1), Le(1024)]
    """Height and width in pixels to which every image is resized (its sides are not kept in proportion)."""
    grey: bool = False
    """One grey channel in place of red, green and blue."""
    background: Literal["none", "black", "grey", "white"] = "none"
    """What transparent pixels are put on; none refuses images that have some."""


def load(options: Options, *, root: Path) -> Raw:
    """Load the images as x ``(N, C, size, size)`` uint8 with C = 3, or 1 for grey; `root` is not used.

    Raises
    ------
    LayerwiseError
        For a folder without images, an unknown class in test, and a file that cannot be read: it is named.
    """
    found = scan(options.folder)
    _demand_memory(found, options)
    for rows in found.splits.values():  # in seconds, what else would show after many minutes of reading
        for path, _ in rows:
            check_image(path)
    odd: dict[str, list[Path]] = {}
    splits = {name: _read(rows, options, odd) for name, rows in found.splits.items()}
    told = [f"{shown(paths[0])}: {text} (so in {len(paths)} images)" for text, paths in odd.items()]
    for text in [*found.warnings, *told]:
        warnings.warn(text, LayerwiseWarning, stacklevel=2)
    task = Task("onehot", len(found.classes), found.classes)
    notes = {"left_out": found.left_out}
    return Raw(splits["train"], splits["test"], task, valid=splits.get("valid"), scale=255.0, notes=notes)


def _demand_memory(found: Found, options: Options) -> None:
    """Demand that the images fit into this machine's memory: as bytes, and as the float32 that fits take in."""
    number, channels = sum(map(len, found.splits.values())), 1 if options.grey else 3
    held = number * channels * options.size**2
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 5 * held > memory:
        raise LayerwiseError(
            f"{shown(options.folder)}: {number:,} images of {channels} x {options.size} x {options.size} take "
            f"{5 * held / 2**30:,.1f} GiB, and this machine has {memory / 2**30:,.1f}; set a smaller size"
        )


def _read(rows: list[tuple[Path, int]], options: Options, odd: dict[str, list[Path]]) -> tuple[Tensor, Tensor]:
    """Read the images of one split; `odd` gathers what is odd about them."""
    x = np.empty((len(rows), 1 if options.grey else 3, options.size, options.size), np.uint8)
    for image, (path, _) in zip(x, rows, strict=True):
        image[:], told = read_image(path, options.size, options.grey, options.background)
        for text in told:
            odd.setdefault(text, []).append(path)
    return torch.from_numpy(x), torch.tensor([label for _, label in rows])
