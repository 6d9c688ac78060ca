"""What lies on disk of a study: data sets, fitted nodes and their scores, each with the digest it was made for.

A reader refuses what has another digest than the study asks for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from layerwise import plugins, store
from layerwise.contract import Dataset
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.preparation import disk
from layerwise.preparation.prepare import prepare
from layerwise.study.model import Study, digest_of
from layerwise.study.trie import Node, dataset_folder

# ---------------------------------------------------------------- data sets


def prepare_dataset(study: Study, name: str, root: Path) -> None:
    """Prepare a data set of the study in its canonical form."""
    if name not in study.datasets:
        raise LayerwiseError(f"{name!r} is no data set of the study {study.name}")
    folder = dataset_folder(study.name, name)
    with store.alone(folder):
        splits, record = prepare(*study.dataset(name), root)
        # What is in it tells one data set from another: made anew by other code to the same bytes, it is the same.
        record |= {
            "spec": digest_of(study.dataset_spec(name)),
            "digest": digest_of([record["content"], record["task"]]),
        }
        disk.write(folder, splits, record)


def read_dataset(study: Study, name: str) -> Dataset:
    """Read a prepared data set; LayerwiseError where it is not the one that the study asks for."""
    dataset_record(study, name)
    return disk.read(dataset_folder(study.name, name))


def dataset_record(study: Study, name: str) -> dict[str, Any]:
    """Read the record of a prepared data set; LayerwiseError where it is not the one that the study asks for."""
    path = dataset_folder(study.name, name) / disk.RECORD
    record = store.read_json(path)
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
    return digest_of([fit["digest"], plugins.represent_digest(), study.readouts])


def is_made(path: Path, digest: str) -> bool:
    """Tell whether a record is there and has the digest."""
    return path.is_file() and store.read_json(path).get("digest") == digest


def read_module(node: Node, record: dict[str, Any]) -> nn.Sequential:
    """Return a node's fitted layers."""
    module, _ = layers.build(record["layers"], tuple(record["shape"]), record["outputs"])
    weights = store.read_tensors(node.folder / "segment.safetensors")
    if any(w.dtype == torch.float64 for w in weights.values()):
        module = module.double()
    try:
        module.load_state_dict(weights)
    except RuntimeError:
        path = node.folder / "segment.safetensors"
        raise LayerwiseError(f"{path}: not the weights that fit.json tells of; delete it and run again") from None
    return module.eval()


def read_network(study: Study, node: Node, root: str) -> nn.Sequential:
    """Return all segments down to the node, as one module: data in, the node's output out."""
    fitted = [read_module(n, read_fit(study, n, root)) for n in node.lineage]
    return nn.Sequential(*(part for module in fitted for part in module)).eval()
