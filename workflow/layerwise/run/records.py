"""The records of what lies on disk of a study: data sets, fits and scores, each with the digest it was made for.

A reader refuses what has another digest than the study asks for. No torch here: what shows the fits needs none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.preparation import record as dataset_records
from layerwise.study.identity import SCORES, identity
from layerwise.study.model import Study, View, digest_of
from layerwise.study.trie import DATASET, Node, dataset_folder

# ---------------------------------------------------------------- data sets


def dataset_record(study: Study, name: str) -> dict[str, Any]:
    """Read the record of a prepared data set; LayerwiseError where it is not the one that the study asks for."""
    path = dataset_folder(study.name, name) / DATASET
    record = dataset_records.read(path)
    if record.get("spec") != digest_of(study.dataset_spec(name)):
        raise stale(path)
    return record


def stale(path: Path) -> LayerwiseError:
    return LayerwiseError(
        f"{path}: made for other options or by other code than the study asks for; run snakemake, which makes it anew"
    )


# ---------------------------------------------------------------- fits and scores


def seed_of(node: Node) -> int:
    """Return the seed of a node's fit, drawn from the study's seed and the node's name."""
    name = f"{node.dataset}/{node.path}/{node.seed}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def read_fit(study: Study, node: Node, root: str) -> dict[str, Any]:
    """Read the record of a node's fit; LayerwiseError where its digest is not the one that the study asks for."""
    record = store.read_json(node.folder / "fit.json")
    if record.get("digest") != study.digest(node, root):
        raise stale(node.folder / "fit.json")
    return record


def read_score(study: Study, node: Node, fit: dict[str, Any]) -> dict[str, Any]:
    """Read the scores of a fit; LayerwiseError where they are of another fit, or by other code."""
    record = store.read_json(node.folder / "score.json")
    if record.get("digest") != score_digest(study, fit):
        raise LayerwiseError(f"{node.folder / 'score.json'}: of another fit or other code; run the study again")
    return record


def score_digest(study: Study, fit: dict[str, Any]) -> str:
    """Return the digest of what a fit gives and scores: another fit, or other code that runs it, is another."""
    return digest_of([fit["digest"], identity(SCORES, SCORES), study.readouts])


def is_made(path: Path, digest: str) -> bool:
    """Tell whether a record is there and has the digest."""
    return path.is_file() and store.read_json(path).get("digest") == digest


def seen_digest(study: Study, view: View, fit: dict[str, Any]) -> str:
    """Return the digest of what a probe sees in a network: another fit, other options or other code is another."""
    return digest_of([fit["digest"], study.probe_digest(view.name)])
