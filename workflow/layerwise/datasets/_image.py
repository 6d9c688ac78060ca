"""One foreign image: opened as the formats that we name and no other, checked, read as bytes of one size."""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from layerwise.errors import LayerwiseError
from layerwise.preparation.folder import shown

# Pillow knows some forty, of which one starts Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SIDE = 2**15
# What Pillow raises for files of all sorts that are damaged.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
GREYS = {"black": 0, "grey": 128, "white": 255}


def check_image(path: Path) -> None:
    """Raise LayerwiseError where the head of an image says that it cannot be read as it is meant."""
    with _opened(path):
        pass


def read_image(path: Path, size: int, grey: bool, background: str) -> tuple[np.ndarray, list[str]]:
    """Read one image as ``(C, size, size)`` uint8, turned as its camera says; with what Pillow finds odd about it."""
    with _opened(path) as (file, told):
        hidden = _hidden_alpha(file, path)
        image = ImageOps.exif_transpose(file)
        if hidden is not None:
            image.putalpha(hidden)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if image.getchannel("A").getextrema()[0] != 255:
                if background == "none":
                    raise LayerwiseError(
                        f"{shown(path)}: has transparent pixels; say what they are put on, such as background: white"
                    )
                below = Image.new("RGBA", image.size, (GREYS[background],) * 3 + (255,))
                image = Image.alpha_composite(below, image)
        image = image.convert("L" if grey else "RGB").resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    odd = [" ".join(str(each.message).split()) for each in told]
    return pixels[None] if grey else pixels.transpose(2, 0, 1), list(dict.fromkeys(odd))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, list[warnings.WarningMessage]]]:
    """Open an image whose head is checked; what goes wrong with it, then or later, is one line that names it."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as file:
                _check(file, path)
                yield file, told
    except LayerwiseError:
        raise
    except UnidentifiedImageError:
        text = f"not a whole image: no {', '.join(FORMATS)} file, whatever its name says; save it as one, or remove it"
        raise LayerwiseError(f"{shown(path)}: {text}") from None
    except BOMBS:
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise LayerwiseError(f"{shown(path)}: an image of more than {most} pixels; make it smaller") from None
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise LayerwiseError(
                f"{shown(path)}: cannot be read ({error.strerror}); check its permissions, links and disk"
            ) from None
        text = " ".join(str(error).split())
        raise LayerwiseError(f"{shown(path)}: not a whole image ({text}); mend the file or remove it") from None


def _hidden_alpha(file: Image.Image, path: Path) -> Image.Image | None:
    """Return the fourth byte of the pixels of a BMP file where it is an alpha channel that the head does not tell of.

    Pillow leaves it out, as the format has it; many programs write one there, and those that do not, a constant.
    """
    tiles: Any = getattr(file, "tile", ())
    if file.format != "BMP" or len(tiles) != 1 or "BGRX" not in str(tiles[0][3]):
        return None
    _, (_, _, width, height), offset, (_, _, direction) = tiles[0]
    with path.open("rb") as data:
        data.seek(offset)
        rows = data.read(4 * width * height)
    if len(rows) < 4 * width * height or len(set(rows[3::4])) == 1:
        return None
    return Image.frombytes("L", (width, height), rows[3::4], "raw", "L", 0, direction)


def _check(file: Image.Image, path: Path) -> None:
    """Demand an image that Pillow does not cut short: one picture, of 8 bits a channel, of a size that can be."""
    # Pillow reads the first eight of 16 bits of red, green and blue, and cuts grey off at 255.
    raw = [str(tile[3]) for tile in getattr(file, "tile", ())]
    deep = file.format in ("PNG", "TIFF") and any("16" in each for each in raw)  # a BMP may have 16 bits in all
    if deep or file.mode in ("F", "I") or file.mode.startswith("I;"):
        raise LayerwiseError(f"{shown(path)}: an image of more than 8 bits a channel; save it with 8 bits")
    if getattr(file, "is_animated", False):
        raise LayerwiseError(f"{shown(path)}: a moving image, or several; save the picture that is meant by itself")
    if max(file.size) > SIDE:
        width, height = file.size
        raise LayerwiseError(f"{shown(path)}: an image of {width} x {height} pixels; make no side longer than {SIDE:,}")
