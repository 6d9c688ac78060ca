"""The images of a folder, found and checked by their names alone. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError, nearest
from layerwise.preparation.paths import expanded

IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class Found:
    """The images of a folder.

    Parameters
    ----------
    classes
        Names of the folders in ``train``, sorted.
    splits
        For ``train``, ``test`` and, where there is one, ``valid``: each image and the number of its class.
    ignored
        Files that stand among the images and are none, by their suffix.
    """

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[Path, int]]]
    ignored: list[Path]

    @property
    def files(self) -> list[Path]:
        return [path for rows in self.splits.values() for path, _ in rows]


def scan(folder: str | Path) -> Found:
    """Find the images ``<folder>/<split>/<class>/*``; a relative folder is under the working directory.

    Raises
    ------
    LayerwiseError
        For a folder that is missing or empty, a class without images, and a class that ``train`` has not.
    """
    top = expanded(folder, "folder")
    shape = f"images belong in {top}/train/<class>/ and {top}/test/<class>/"
    if not top.is_dir():
        raise LayerwiseError(f"{top}: no such folder; {shape}")
    classes = tuple(path.name for path in _folders(top / "train"))
    if not classes:
        raise LayerwiseError(f"{top}/train: no class folder in it; {shape}")
    splits, ignored = {}, []
    for split in ("train", "valid", "test"):
        if split == "valid" and not (top / split).is_dir():
            continue
        splits[split], other = _images(top / split, classes)
        ignored += other
        if not splits[split]:
            raise LayerwiseError(f"{top / split}: no class folder in it; {shape}")
    return Found(classes, splits, ignored)


def _images(split: Path, classes: tuple[str, ...]) -> tuple[list[tuple[Path, int]], list[Path]]:
    """Return the images of a split with their labels, and the files that are no images."""
    rows, ignored = [], []
    for folder in _folders(split):
        if folder.name not in classes:
            hint = nearest(folder.name, classes)
            raise LayerwiseError(f"{folder}: class {folder.name!r} is not among those of train{hint}")
        inside = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        images = [path for path in inside if path.suffix.lower() in IMAGES]
        if not images:
            raise LayerwiseError(f"{folder}: no image in it ({', '.join(IMAGES)}); add some, or remove the folder")
        rows += [(path, classes.index(folder.name)) for path in images]
        ignored += [path for path in inside if path.suffix.lower() not in IMAGES]
    return rows, ignored


def _folders(path: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name; none where it does not exist."""
    inside = path.iterdir() if path.is_dir() else ()
    return sorted(each for each in inside if each.is_dir() and not each.name.startswith("."))


def files(options: Any) -> list[Path]:
    """Return the user's own files that a source reads: the images in its option ``folder``, where it has one."""
    folder = getattr(options, "folder", None)
    return [] if folder is None else scan(folder).files
