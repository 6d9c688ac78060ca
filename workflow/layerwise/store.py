"""Atomic reads and writes of tensors and records.

Every file is written under a temporary name in its own folder, then renamed: a file under its final name is
whole. A file that is not, because something else cut it short, is refused with what to do about it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` once the body has ended well."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise LayerwiseError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise LayerwiseError(f"{path}: cannot be written ({error.strerror}); nothing was left there") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: Any) -> None:
    """Write a pandas DataFrame, without its index."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_csv(path: Path, columns: Iterable[str], **how: Any) -> Any:
    """Read a pandas DataFrame; LayerwiseError where it is missing, cut short, or lacks one of the columns."""
    import pandas

    try:
        table = pandas.read_csv(path, **how)
        if set(columns) <= set(table):
            return table
    except FileNotFoundError:
        raise LayerwiseError(f"{path}: no such file; run the step that makes it") from None
    except (ValueError, OSError):
        pass
    raise LayerwiseError(f"{path}: not a readable table; delete it and run again")


def write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1, sort_keys=True, allow_nan=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a record; LayerwiseError where it is missing or cut short."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LayerwiseError(f"{path}: no such file; run the step that makes it") from None
    except (ValueError, OSError):
        raise LayerwiseError(f"{path}: not a readable record; delete it and run again") from None


def write_tensors(path: Path, tensors: dict[str, Any], notes: dict[str, str] | None = None) -> None:
    """Write tensors in safetensors; `notes` are strings kept in the file's header."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, temporary, notes)
        except SafetensorError as error:  # what the library makes of a full disk
            raise LayerwiseError(f"{path}: cannot be written ({error}); nothing was left there") from None


def read_tensors(path: Path) -> dict[str, Any]:
    """Read all tensors of a file; LayerwiseError where it is missing, cut short or something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise LayerwiseError(f"{path}: no such file; run the step that makes it") from None
    except (SafetensorError, OSError, ValueError):
        raise LayerwiseError(f"{path}: cut short, or not a safetensors file; delete it and run again") from None


def describe(path: Path, name: str) -> tuple[int, tuple[int, ...], Any]:
    """Return the number of rows of a tensor in a file, the shape of one row, and its type."""
    with _opened(path) as file:
        if name not in file.keys():  # noqa: SIM118  (no mapping)
            raise LayerwiseError(f"{path}: holds no {name!r}; delete it and run again")
        part = file.get_slice(name)
        rows, *shape = part.get_shape()
        return rows, tuple(shape), part[:0].dtype


def read_rows(path: Path, name: str, size: int) -> Iterator[Any]:
    """Read a tensor of a file, so many rows at once."""
    with _opened(path) as file:
        part = file.get_slice(name)
        for first in range(0, part.get_shape()[0], size):
            yield part[first : first + size]


def read_notes(path: Path) -> dict[str, str]:
    """Read the notes in the header of a file of tensors."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file of tensors; LayerwiseError where it is missing, cut short or something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise LayerwiseError(f"{path}: no such file; run the step that makes it") from None
    except (SafetensorError, OSError, ValueError):
        raise LayerwiseError(f"{path}: cut short, or not a safetensors file; delete it and run again") from None


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the folder for this process; where another one holds it, LayerwiseError at once, or wait for it to end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise LayerwiseError(f"{folder}: cannot be written ({error.strerror}); check the permissions") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LayerwiseError(f"{folder}: another process is at work here; wait for it to end, or stop it") from None
        yield
    finally:
        os.close(handle)
