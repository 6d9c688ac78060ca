"""What counts in a digest beside what a study says: code, models of libraries, files. No torch here.

The code of a method counts for a revision of its numbers, or for its text.

`golden/revisions.json` has, for each method of the package and for the scores, a revision and the digest of the text
for which the golden fits last gave the numbers of that revision. A text that is vouched for goes by its revision, so
that a refactor costs no fit; any other text goes by itself, so that an edit always fits again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from layerwise import options as declared
from layerwise import plugins, store
from layerwise.errors import LayerwiseError
from layerwise.layers.words import LIBRARIES, Blocks
from layerwise.preparation.paths import file_at

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


def of_model(word: Blocks) -> str:
    """Return what the blocks of a model count for: the version of their library, or the code of their constructor."""
    if word.kind not in LIBRARIES:
        return plugins.code_digest(plugins.module_sources(word.kind, f"layer '{word}'"))
    try:
        return f"{word.kind} {metadata.version(word.kind).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        raise LayerwiseError(f"layer '{word}' needs the package {word.kind}: install it beside torch") from None


def of_files(options: Any, where: str) -> dict[str, str]:
    """Return the digest of what is in each file that options name, by option; LayerwiseError where one is missing."""
    return {name: content(path) for name, path in files(options, where).items()}


def files(options: Any, where: str) -> dict[str, Path]:
    """Return the files that options name, by option; LayerwiseError where one is missing."""
    return {name: file_at(path, f"{where}: option {name!r}") for name, path in declared.files(options).items()}


def content(path: Path) -> str:
    """Return the sha256 of a file, which is read once a process while it is as it was."""
    told = path.stat()
    return _content(path.resolve(), told.st_ino, told.st_size, told.st_mtime_ns)


@functools.cache
def _content(path: Path, *version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
