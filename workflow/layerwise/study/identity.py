"""What the code of a method counts for in a digest: a revision of its numbers, or its text. No torch here.

`golden/revisions.json` has, for each method of the package and for the scores, a revision and the digest of the text
for which the golden fits last gave the numbers of that revision. A text that is vouched for goes by its revision, so
that a refactor costs no fit; any other text goes by itself, so that an edit always fits again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from layerwise import plugins, store

SCORES = "scores"  # the name, beside those of methods, of what represents and scores a fit
REVISIONS = plugins.PACKAGE / "golden" / "revisions.json"


def identity(kind: str, name: str) -> str:
    """Return what the code of a plugin counts for: its kind is ``methods``, ``datasets``, …, or ``scores``."""
    if kind not in ("methods", SCORES):
        return plugins.code_digest(plugins.sources(kind, name))
    return _identity(kind, name, plugins.file(kind, name) if kind == "methods" else None)


@functools.cache
def _identity(kind: str, name: str, path: Path | None) -> str:
    """Return the identity of a method or of the scores; `path` tells plugins of one name apart."""
    if path is not None and path.parent != plugins.PACKAGE / "methods":
        return _outside(plugins.sources(kind, name))
    own = path.stem if path is not None else SCORES
    return f"{own} {revisions()[own]['revision']}" if vouched(own) else text(own)


def text(name: str) -> str:
    """Return the digest of the code of one of the package's methods, or of the scores."""
    return plugins.code_digest(sources(name))


@functools.cache
def sources(name: str) -> list[Path]:
    return plugins.represent_sources() if name == SCORES else plugins.sources("methods", name)


def names() -> list[str]:
    """Return the names that have a revision: the package's methods, and the scores."""
    return [*plugins.known("methods"), SCORES]


@functools.cache
def revisions() -> dict[str, dict[str, Any]]:
    """Return the revision and the text digest of each name, as recorded; nothing where there is no record."""
    return store.read_json(REVISIONS) if REVISIONS.is_file() else {}


def vouched(name: str) -> bool:
    """Tell whether the code of a method, or of the scores, is that of its golden fits."""
    return name in revisions() and revisions()[name]["text"] == text(name)


@functools.cache
def _all_vouched() -> bool:
    return all(vouched(name) for name in names())


def _outside(files: list[Path]) -> str:
    """Return the identity of a method from outside: its text, and what the package's code that it imports counts for.

    While all code of the package is vouched for, that is its revisions, but for files that no golden fit runs. A
    revision of 1 is left out: a new method of the package changes nothing for others.
    """
    contract = plugins.PACKAGE / "methods" / "__init__.py"  # words alone, which every method goes by
    own = {path for path in files if plugins.inside(path)} - {contract}
    if not own or not _all_vouched():
        return plugins.code_digest(files)
    walked = {path for name in names() for path in sources(name)}
    plain = plugins.code_digest([path for path in files if path not in walked])
    risen = {
        name: revisions()[name]["revision"]
        for name in names()
        if revisions()[name]["revision"] > 1 and not own.isdisjoint(sources(name))
    }
    return hashlib.sha256(json.dumps([plain, risen], sort_keys=True).encode()).hexdigest()[:16]
