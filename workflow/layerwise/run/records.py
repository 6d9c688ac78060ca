"""The records of what lies on disk of a study: data sets, fits and scores, each with the digest it was made for.

A reader refuses what has another digest than the study asks for, and what is not as it was written: a record holds a
seal, the digest of all else that it says, and that of a fit the digest of its weights. No torch here: what shows the
fits needs none.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.preparation import record as dataset_records
from layerwise.study.identity import SCORES, identity
from layerwise.study.model import Study, View, digest_of
from layerwise.study.trie import DATASET, Node, dataset_folder, home

if TYPE_CHECKING:
    import pandas as pd

SEAL = "seal"

# ---------------------------------------------------------------- data sets


def dataset_record(study: Study, name: str) -> dict[str, Any]:
    """Read the record of a prepared data set; LayerwiseError where it is not the one that the study asks for."""
    path = dataset_folder(study.name, name) / DATASET
    record = dataset_records.read(path)
    if record.get("spec") != digest_of(study.dataset_spec(name)):
        raise stale(path)
    return record


def stale(path: Path) -> store.Damaged:
    return store.Damaged(
        f"{path}: made for other options or by other code than the study asks for; run snakemake, which makes it anew"
    )


# ---------------------------------------------------------------- records that are as they were written


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record with its seal."""
    store.write_json(path, {**record, SEAL: seal(record)})


def read(path: Path, digest: str, otherwise: LayerwiseError | None = None) -> dict[str, Any]:
    """Read a record; LayerwiseError where it was made for another digest, or changed since it was written.

    Parameters
    ----------
    otherwise
        What to say of another digest.
    """
    record = store.read_json(path)
    if record.get("digest") != digest:
        raise otherwise or stale(path)
    if record.pop(SEAL, None) != seal(record):
        raise store.Damaged(f"{path}: changed since it was written, or by an older version; run the study again")
    return record


def seal(record: dict[str, Any]) -> str:
    """Return the digest of a record as JSON has it."""
    return digest_of(json.loads(json.dumps(record)))


def is_made(path: Path, digest: str) -> bool:
    """Tell whether a record is there, has the digest, and is as it was written."""
    try:
        return path.is_file() and bool(read(path, digest))
    except store.Damaged:
        return False


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def owe(node: Node) -> None:
    """Let the next run of Snakemake make a node again: the files that it knows of the node go, and no other."""
    for group in ("seeds", f"seed{node.seed}"):
        folder = home(node.study) / "networks" / node.dataset / group / node.path
        for name in ("node", "features"):
            store.remove(folder / f"{name}.json")


# ---------------------------------------------------------------- fits and scores


def seed_of(node: Node) -> int:
    """Return the seed of a node's fit, drawn from the study's seed and the node's name."""
    name = f"{node.dataset}/{node.path}/{node.seed}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def read_fit(study: Study, node: Node, root: str) -> dict[str, Any]:
    """Read the record of a node's fit; LayerwiseError where it is not the one that the study asks for, whole."""
    try:
        return read(node.folder / "fit.json", study.digest(node, root))
    except LayerwiseError:
        owe(node)
        raise


def read_score(study: Study, node: Node, fit: dict[str, Any]) -> dict[str, Any]:
    """Read the scores of a fit; LayerwiseError where they are of another fit, or by other code."""
    path = node.folder / "score.json"
    other = store.Damaged(f"{path}: of another fit or other code; run the study again")
    try:
        return read(path, score_digest(study, fit), other)
    except LayerwiseError:
        owe(node)
        raise


def score_digest(study: Study, fit: dict[str, Any]) -> str:
    """Return the digest of what a fit gives and scores: other weights, or other code that runs them, are another."""
    return digest_of([fit["digest"], fit["weights"], identity(SCORES, SCORES), study.readouts])


# ---------------------------------------------------------------- what a probe saw


def write_seen(node: Node, view: View, digest: str, table: pd.DataFrame) -> None:
    """Write down what a probe saw in a network, `<probe>.csv`, and last its record."""
    path, record = seen(node, view.name)
    store.remove(record)
    store.write_csv(path, table)
    write(record, {"digest": digest, "sha256": sha256(path), "text": store.text_columns(table)})


def read_seen(node: Node, view: View, digest: str) -> pd.DataFrame:
    """Read what a probe saw in a network; LayerwiseError where it is of another fit, or not as it was written."""
    path, record = seen(node, view.name)
    again = "run the verb probe again"
    if not path.is_file():
        raise LayerwiseError(f"{path}: no such file; run the verb probe")
    if not record.is_file():
        raise store.Damaged(f"{path}: there is no record of it; {again}")
    told = read(record, digest, store.Damaged(f"{path}: of another fit, other options or code; {again}"))
    if told["sha256"] != sha256(path):
        raise store.Damaged(f"{path}: changed since it was written; {again}")
    return store.read_csv(path, [], told["text"])


def seen(node: Node, probe: str) -> tuple[Path, Path]:
    """Return the file of what a probe saw in a network, and its record."""
    return node.folder / f"{probe}.csv", node.folder / f"probe.{probe}.json"


def seen_digest(study: Study, view: View, fit: dict[str, Any]) -> str:
    """Return the digest of what a probe sees in a network: another fit, other options or other code is another."""
    return digest_of([fit["digest"], fit["weights"], study.probe_digest(view.name)])
