"""A path as a user writes it, in a study, in config.yaml or in a variable: ``~/data``, ``$SCRATCH/images``."""

from __future__ import annotations

import os
from pathlib import Path

from layerwise.errors import LayerwiseError


def expanded(written: str | Path, where: str) -> Path:
    """Return a path with ``~`` and ``$VARIABLE`` replaced; what is there under the very name stays as it is.

    Parameters
    ----------
    where
        What gives the path, for the error.
    """
    text = os.fspath(written)
    if not text.strip() or "\0" in text:
        raise LayerwiseError(f"{where} {text!r}: no path; name one")
    if os.path.lexists(text):
        return Path(text)
    path = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  (pathlib raises where there is no home)
    if path.startswith("~") or (path == text and "$" in text):
        raise LayerwiseError(f"{where} {text!r}: the variable or user in it is not known here; write the path out")
    return Path(path)


def file_at(written: str | Path, where: str) -> Path:
    """Return the path of a file; LayerwiseError where there is none."""
    path = expanded(written, where)
    if not path.is_file():
        raise LayerwiseError(f"{where}: there is no file {path}; give its path from where you run, or from /")
    return path
