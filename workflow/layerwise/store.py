"""Atomic reads and writes of tensors and records.

Every file is written in a temporary folder beside it, then renamed: a file under its final name is whole. A file that
is not, because something else cut it short, is refused with what to do about it.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import functools
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError, LayerwiseWarning

# What is being written lies in a folder of this name, with what libraries put beside it on their way. A lock in it
# tells whether its writer lives. Git and DVC ignore the name, which is short however long the final one is.
WRITING = ".writing-"


class Damaged(LayerwiseError):
    """A file that can be read, and is not as it was written: who makes it may make it anew."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path on the disk of `path`, and rename it to `path` once the body has ended well.

    What is under the name `path` is replaced, never written into: where it is a link (to another disk, or into a cache
    of DVC or git-annex), the link becomes a file and what it led to stays. The umask decides who may read it.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        folder, lock = _opened_folder(path.parent)
    except OSError as error:
        raise LayerwiseError(f"{path}: cannot be written ({_reason(error)}); check disk and permissions") from None
    temporary = folder / "file"
    try:
        yield temporary
        with contextlib.suppress(PermissionError):  # a disk that knows no modes
            temporary.chmod(stat.S_IMODE(os.fstat(lock).st_mode))  # some libraries write for their user alone
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise LayerwiseError(f"{path}: cannot be written ({_reason(error)}); nothing was left there") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _opened_folder(parent: Path) -> tuple[Path, int]:
    """Return a new folder to write in, and the lock in it, held where the file system has locks."""
    while True:
        folder = parent / f"{WRITING}{secrets.token_hex(4)}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            lock = os.open(folder / "lock", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)  # waits for one that sweeps, and that finds no lock on it yet
            if os.fstat(lock).st_nlink:  # else that one took it away
                return folder, lock
            os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove what writers that were killed left half-written in a folder."""
    for folder in parent.glob(f"{WRITING}*"):
        with contextlib.suppress(OSError):  # its writer lives, it is someone else's, or there are no locks: it stays
            lock = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: Path) -> str:
    """Read a text, with its line ends as they are; LayerwiseError where it cannot be read, or is no UTF-8."""
    try:
        with _reading(path), Path(path).open(encoding="utf-8", newline="") as file:
            return file.read()
    except ValueError:
        raise Damaged(f"{path}: not a text in UTF-8") from None


def write_csv(path: Path, table: Any) -> None:
    """Write a pandas DataFrame, without its index."""
    write_text(path, csv_text(table))


def csv_text(table: Any) -> str:
    text = table.to_csv(index=False, lineterminator="\n")
    # A carriage return ends a row where it is read, and Python's writer does not put quotes around it.
    return text if "\r" not in text else table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)


def read_csv(path: Path | io.StringIO, columns: Iterable[str], text: Iterable[str] = ()) -> Any:
    """Read a pandas DataFrame; LayerwiseError where it cannot be read, is cut short, or lacks one of the columns.

    Parameters
    ----------
    text
        Columns of text, which are read as they are written: ``null``, ``007`` and ``1e3`` are words there. All others
        hold numbers or truth values, and what is empty there is missing.
    """
    import pandas

    text = list(text)
    try:
        with _reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", pandas.errors.DtypeWarning)
            table = pandas.read_csv(
                path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""], encoding="utf-8"
            )
    except pandas.errors.EmptyDataError:  # a table without columns
        table = pandas.DataFrame()
    except ValueError:
        raise Damaged(f"{path}: not a readable table; delete it and run again") from None
    table = table.fillna(dict.fromkeys(text, ""))
    table = table.astype({c: float for c in table if c not in text and table[c].isna().all()})
    numbers = table[[c for c in table if c not in text]]
    if not {*columns, *text} <= set(table) or not all(map(pandas.api.types.is_numeric_dtype, numbers.dtypes)):
        raise Damaged(f"{path}: not a readable table; delete it and run again")
    return table


def text_columns(table: Any) -> list[str]:
    """Return the columns of a DataFrame that hold text, for `read_csv`, which cannot tell the text ``1e3`` itself."""
    from pandas.api.types import is_numeric_dtype

    inferred = table.infer_objects()
    return [str(c) for c in table if not is_numeric_dtype(inferred[c]) and not table[c].isna().all()]


def write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1, sort_keys=True, allow_nan=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a record; LayerwiseError where it cannot be read, is cut short, or is no record."""
    try:
        with _reading(path):
            record = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise Damaged(f"{path}: not a readable record; delete it and run again")
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of pairs; ValueError where a key stands twice, so that it has two values."""
    if len(record := dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return record


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
    """Read all tensors of a file; LayerwiseError where it cannot be read, is cut short or something else."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)


def content(tensors: dict[str, Any]) -> str:
    """Return a sha256 over names, types, shapes and bytes of tensors."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
    """Open a file of tensors; LayerwiseError where it cannot be read, is cut short or something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with _reading(path):
            Path(path).open("rb").close()  # the library does not say why it cannot open a file
            with safe_open(path, framework="pt") as file:
                yield file
    except (SafetensorError, ValueError):
        raise Damaged(f"{path}: cut short, or not a safetensors file; delete it and run again") from None


@contextlib.contextmanager
def _reading(path: Any) -> Iterator[None]:
    """Let a file that cannot be read be one line that says why. What is in it may be whole: no word of deleting it."""
    try:
        yield
    except FileNotFoundError:
        raise LayerwiseError(f"{path}: no such file; run the step that makes it") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise LayerwiseError(f"{path}: cannot be read ({why}); check the path, its permissions and the disk") from None


def remove(path: Path) -> None:
    """Remove a file if it is there; LayerwiseError where it cannot be removed, as a folder of its name."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise LayerwiseError(f"{path}: cannot be replaced ({error.strerror}); check what is there") from None


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the folder for this process; where another one holds it, LayerwiseError at once, or wait for it to end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LayerwiseError(f"{folder}: cannot be written ({_reason(error)}); check the permissions") from None
    lock = folder / ".lock"
    try:
        handle = lock_file(lock)
    except OSError as error:
        if lock.is_symlink() or lock.is_dir():
            raise LayerwiseError(f"{lock}: a link or a folder, where a lock has to be; move it elsewhere") from None
        raise LayerwiseError(f"{folder}: cannot be written ({_reason(error)}); check the permissions") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LayerwiseError(f"{folder}: another process is at work here; wait for it to end, or stop it") from None
        except OSError as error:
            _warn_of_no_locks(_reason(error))
        yield
    finally:
        os.close(handle)


def lock_file(path: Path) -> int:
    """Open a file to lock, made where it is not there. A colleague's that may only be read will do."""
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        if not os.access(path.parent, os.W_OK):
            raise
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


@functools.cache
def _warn_of_no_locks(reason: str) -> None:
    text = f"the file system of the results has no locks ({reason}): see that no two runs are at work on one study"
    warnings.warn(text, LayerwiseWarning, stacklevel=3)
