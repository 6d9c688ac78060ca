"""The user's own images: ``<folder>/train/<class>/*.png`` and ``<folder>/test/<class>/*.png``, all made one size.

PNG, JPEG and BMP files count as images. A folder ``valid`` beside the two is the validation split; without it the
option ``valid`` of the preparation takes one from train. Classes are the folders of ``train``, sorted by name.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from layerwise.contract import Raw, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.options import Bounded, Ge, Le
from layerwise.preparation.folder import IMAGES, scan

# What Pillow raises for files of all sorts that are damaged.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Options(Bounded):
    folder: str
    """Folder of the images; a relative one is under the working directory."""
    size: Annotated[int, Ge(1), Le(1024)]
    """Height and width in pixels to which every image is resized (its sides are not kept in proportion)."""
    grey: bool = False
    """One grey channel in place of red, green and blue."""


def load(options: Options, *, root: Path) -> Raw:
    """Load the images as x ``(N, C, size, size)`` uint8 with C = 3, or 1 for grey; `root` is not used.

    Raises
    ------
    LayerwiseError
        For a folder without images, an unknown class in test, and a file that cannot be read: it is named.
    """
    found = scan(options.folder)
    if found.ignored:
        text = f"{options.folder}: {len(found.ignored)} files are no images ({', '.join(IMAGES)}) and were left out"
        warnings.warn(f"{text}, such as {found.ignored[0]}", LayerwiseWarning, stacklevel=2)
    splits = {name: _read(rows, options) for name, rows in found.splits.items()}
    task = Task("onehot", len(found.classes), found.classes)
    notes = {"left_out": len(found.ignored)}
    return Raw(splits["train"], splits["test"], task, valid=splits.get("valid"), scale=255.0, notes=notes)


def _read(rows: list[tuple[Path, int]], options: Options) -> tuple[Tensor, Tensor]:
    """Read the images of one split."""
    x = np.empty((len(rows), 1 if options.grey else 3, options.size, options.size), np.uint8)
    for image, (path, _) in zip(x, rows, strict=True):
        image[:] = read_image(path, options.size, options.grey)
    return torch.from_numpy(x), torch.tensor([label for _, label in rows])


def read_image(path: Path, size: int, grey: bool) -> np.ndarray:
    """Read one image as ``(C, size, size)`` uint8, turned as its camera says."""
    try:
        with Image.open(path) as file:
            if file.mode in ("F", "I") or file.mode.startswith("I;"):  # Pillow would cut these off at 255
                raise LayerwiseError(f"{path}: an image of more than 8 bits a channel; save it with 8 bits")
            image = ImageOps.exif_transpose(file).convert("L" if grey else "RGB")
    except BROKEN as error:
        text = " ".join(str(error).split())
        raise LayerwiseError(f"{path}: not a whole image ({text}); mend the file or remove it") from None
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
