"""The images of a folder, found and checked by their names alone. No torch here."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from layerwise.errors import LayerwiseError, nearest
from layerwise.preparation.paths import expanded
from layerwise.preparation.record import SPLITS, is_name

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# What the splits are called elsewhere.
ALIASES = {"val": "valid", "validation": "valid", "dev": "valid", "training": "train", "testing": "test"}
# What systems leave behind in folders, beside names that begin with a dot.
SYSTEM = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"}


class File(NamedTuple):
    """A file below a folder, with what `os.stat` says of it."""

    path: str
    status: os.stat_result


@dataclass(frozen=True)
class Found:
    """The images of a folder.

    Parameters
    ----------
    classes
        Names of the folders in ``train``, sorted.
    splits
        For ``train``, ``test`` and, where there is one, ``valid``: each image and the number of its class.
    left_out
        For each place, such as ``train/cat``: how many files of which suffix are not read.
    warnings
        What a user should know of the folder, as text.
    digest
        Digest of the names, sizes and times of all files: another one means that the folder was changed.
    """

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[Path, int]]]
    left_out: dict[str, dict[str, int]]
    warnings: list[str]
    digest: str


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as text that fits on one line, whatever bytes are in it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(path))


def scan(folder: str | Path) -> Found:
    """Find the images ``<folder>/<split>/<class>/**``; a relative folder is under the working directory.

    Raises
    ------
    LayerwiseError
        For a folder that is missing, empty or called otherwise, a class without images, a class that ``train`` has
        not, a link that leads nowhere or to what is read already, and what cannot be read.
    """
    top = expanded(folder, "folder")
    beside = _demand_splits(top)
    seen = _Seen(top)
    classes = tuple(_classes(top / "train"))
    if not classes:
        raise LayerwiseError(f"{shown(top)}/train: no class folder in it; {_shape(top)}")
    splits: dict[str, list[tuple[Path, int]]] = {}
    left_out: dict[str, dict[str, int]] = {}
    everything: list[File] = []
    for split in SPLITS:
        if split == "valid" and not _is_folder(top / split):
            continue
        splits[split] = []
        for place, label, inside in _places(top, split, classes, seen):
            images = [] if label is None else [Path(f.path) for f in inside if _is_image(f)]
            others = Counter(_kind(f) for f in inside if label is None or not _is_image(f))
            if label is not None and not images:
                what = f"{shown(top / place)}: no image in it ({', '.join(IMAGES)}){_instead(others)}"
                raise LayerwiseError(f"{what}; add some, or remove the folder")
            splits[split] += [(path, label) for path in images if label is not None]
            left_out |= {place: dict(sorted(others.items()))} if others else {}
            everything += inside
        if not splits[split]:
            raise LayerwiseError(f"{shown(top / split)}: no class folder in it; {_shape(top)}")
    return Found(classes, splits, left_out, _warnings(top, left_out, beside), _digest(top, everything))


def digest(source: str, options: Any) -> str:
    """Return a digest of names, sizes and times of the user's own files that a source reads from its option ``folder``.

    Another digest means that the data set is to be prepared again, though the study is the same. Without such an
    option, or such a folder, the digest is empty.
    """
    folder = getattr(options, "folder", None)
    if source == "imagefolder":
        return scan(options.folder).digest
    if not isinstance(folder, str) or not _is_folder(expanded(folder, "folder")):
        return ""
    top = expanded(folder, "folder")  # of a source from outside: only it knows which of the files it reads
    paths = sorted(Path(at, name) for at, _, names in os.walk(top) for name in names)
    return _digest(top, [File(str(path), path.lstat()) for path in paths])


# ---------------------------------------------------------------- what belongs where


def _shape(top: Path) -> str:
    return f"images belong in {shown(top)}/train/<class>/ and {shown(top)}/test/<class>/"


def _demand_splits(top: Path) -> list[str]:
    """Demand folders of the names of the splits; returns the names of other folders beside them."""
    if not _is_folder(top):
        raise LayerwiseError(f"{shown(top)}: no such folder; {_shape(top)}")
    inside = [Path(e.path) for e in _entries(top) if not _is_system(e.name)]
    names = sorted(p.name for p in inside if (_status(p) if p.name in SPLITS else None) or _is_folder(p))
    for name in names:
        known = ALIASES.get(name.lower(), name.lower())
        if known in SPLITS and known != name:
            raise LayerwiseError(f"{shown(top / name)}: this split is called {known}; rename it, or move it elsewhere")
    for split in ("train", "test"):
        if split not in names:
            deeper = [top / name for name in names if _is_folder(top / name / split)]
            near = difflib.get_close_matches(split, names, n=1)
            meant = deeper or [top / name for name in near if name not in SPLITS]
            hint = f"did you mean the folder {shown(meant[0])}?" if meant else _shape(top)
            raise LayerwiseError(f"{shown(top)}/{split}: no class folder in it; {hint}")
    return [name for name in names if name not in SPLITS]


def _classes(split: Path) -> dict[str, Path]:
    """Return the class folders of a split by their names, composed as Unicode wants it (macOS takes names apart)."""
    found: dict[str, Path] = {}
    for entry in _entries(split):
        path = Path(entry.path)
        if _is_system(entry.name) or not stat.S_ISDIR(_status(path).st_mode):
            continue
        name = unicodedata.normalize("NFC", entry.name)
        if not is_name(name):
            raise LayerwiseError(f"{shown(path)}: no name of a class (UTF-8 on one line); rename the folder")
        if name in found:
            raise LayerwiseError(f"{shown(path)}: there are two folders of this name, spelt in two ways; rename one")
        found[name] = path
    return dict(sorted(found.items()))


def _places(
    top: Path, split: str, classes: tuple[str, ...], seen: _Seen
) -> Iterator[tuple[str, int | None, list[File]]]:
    """Give the name, the class and the files of each class folder of a split, and first of the split itself."""
    seen.enter(top / split)
    yield split, None, [each for each in seen.inside(top / split) if isinstance(each, File)]
    for name, folder in _classes(top / split).items():
        if name not in classes:
            hint = nearest(name, classes)
            raise LayerwiseError(f"{shown(folder)}: class {name!r} is not among those of train{hint}")
        yield f"{split}/{name}", classes.index(name), list(seen.walk(folder))


def _is_image(file: File) -> bool:
    return stat.S_ISREG(file.status.st_mode) and _suffix(file) in IMAGES


def _suffix(file: File) -> str:
    return os.path.splitext(file.path)[1].lower()  # noqa: PTH122  (a Path each would take half the time of a plan)


def _kind(file: File) -> str:
    """Return what a file that is not read is called where it is counted."""
    if not stat.S_ISREG(file.status.st_mode):
        return "no plain file"
    return shown(_suffix(file)) or "without suffix"


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _instead(others: Counter[str]) -> str:
    return f", but {', '.join(f'{n} {kind}' for kind, n in sorted(others.items()))}" if others else ""


def _warnings(top: Path, left_out: dict[str, dict[str, int]], beside: list[str]) -> list[str]:
    """Return what is left out as text, some places in full."""
    told = []
    if left_out:
        number = sum(sum(counts.values()) for counts in left_out.values())
        said = [f"{n} {kind} in {shown(place)}" for place, counts in left_out.items() for kind, n in counts.items()]
        more = f", and more in {len(said) - 6} other places" if len(said) > 6 else ""
        told.append(
            f"{shown(top)}: {number} files are no images in a class folder ({', '.join(IMAGES)}) and were left out: "
            f"{', '.join(said[:6])}{more}"
        )
    if beside:
        some = ", ".join(shown(name) for name in beside[:6])
        told.append(f"{shown(top)}: folders that are no split ({', '.join(SPLITS)}) were left out: {some}")
    return told


# ---------------------------------------------------------------- the file system


class _Seen:
    """Walks over folders, each of which is entered once, whatever links lead to it."""

    def __init__(self, top: Path) -> None:
        # What the top lies in: a link to it would lead round in a circle, and all over the disk before.
        self.entered = {_identity(_status(folder)): folder for folder in top.resolve().parents}

    def enter(self, folder: Path) -> None:
        identity = _identity(_status(folder))
        if identity in self.entered:
            first = shown(self.entered[identity])
            raise LayerwiseError(f"{shown(folder)}: leads to the folder {first}, which is read already; remove it")
        self.entered[identity] = folder

    def inside(self, folder: Path) -> Iterator[File | Path]:
        """Give the files and folders in a folder, sorted by name."""
        for entry in sorted(_entries(folder), key=lambda e: e.name):
            if not _is_system(entry.name):
                status = _status(entry)
                yield Path(entry.path) if stat.S_ISDIR(status.st_mode) else File(entry.path, status)

    def walk(self, folder: Path) -> Iterator[File]:
        """Give the files below a folder: its own by name, then those of each folder in it."""
        todo = [folder]
        while todo:
            at = todo.pop()
            self.enter(at)
            inside = list(self.inside(at))
            yield from (each for each in inside if isinstance(each, File))
            todo += [each for each in reversed(inside) if isinstance(each, Path)]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as inside:
            return list(inside)
    except OSError as error:
        raise _unread(folder, error) from None


def _is_folder(path: Path) -> bool:
    """Tell whether there is a folder of this name; LayerwiseError where that cannot be told."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a name that cannot be one
        return False
    except OSError as error:
        raise _unread(path, error) from None


def _status(path: Path | os.DirEntry[str]) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        leads = f"a link to {shown(os.readlink(path))}, which is not there" if path.is_symlink() else "gone"  # noqa: PTH115
        raise LayerwiseError(f"{shown(path)}: {leads}; bring back what it stands for, or take it out") from None
    except OSError as error:
        raise _unread(path, error) from None


def _unread(path: Path | os.DirEntry[str], error: OSError) -> LayerwiseError:
    return LayerwiseError(f"{shown(path)}: cannot be read ({error.strerror}); check its permissions, links and disk")


def _digest(top: Path, files: list[File]) -> str:
    known = hashlib.sha256()
    for path, status in files:
        name = os.fsencode(path.removeprefix(str(top)))
        known.update(b"%d %b %d %d\n" % (len(name), name, status.st_size, status.st_mtime_ns))
    return known.hexdigest()[:16]
