"""Data sets and networks of a study as tensors and modules: prepared, or read from disk once their record is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from layerwise import store
from layerwise.contract import Dataset
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers.words import parse
from layerwise.preparation import disk
from layerwise.preparation.prepare import prepare
from layerwise.run import records
from layerwise.study.model import Study, digest_of
from layerwise.study.trie import DATASET, Node, dataset_folder


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
    record = records.dataset_record(study, name)
    if record["digest"] != digest_of([record["content"], record["task"]]):
        path = dataset_folder(study.name, name) / DATASET
        raise LayerwiseError(f"{path}: its digest is not that of its content; delete it and run again")
    return disk.read(dataset_folder(study.name, name))


def read_module(node: Node, record: dict[str, Any]) -> nn.Sequential:
    """Return a node's fitted layers."""
    path = node.folder / "segment.safetensors"
    try:
        weights = store.read_tensors(path)
        if store.content(weights) != record["weights"]:
            raise store.Damaged(f"{path}: not the weights that fit.json tells of; run the study again")
    except LayerwiseError:
        records.owe(node)
        raise
    parts, words = layers.assemble(record["layers"], tuple(record["shape"]), record["outputs"])
    _demand_same_blocks(node, record, layers.fingerprints(parts, words))
    module = nn.Sequential(*parts)
    if any(w.dtype == torch.float64 for w in weights.values()):
        module = module.double()
    module.load_state_dict(weights)
    return module.eval()


def _demand_same_blocks(node: Node, record: dict[str, Any], blocks: list[list[str]]) -> None:
    """Refuse blocks of models that are built otherwise now than when they were fitted."""
    before = record.get("fingerprints", blocks)
    for word, now in blocks:
        if [word, now] not in before:
            library = parse(word).kind
            version = record["versions"].get(library)
            made = f"{library} {version}'s block" if version else f"another {library}"
            raise LayerwiseError(
                f"network {node}: '{word}' was made with {made}, and is another block here: install that version, "
                "or run the study again"
            )


def read_network(study: Study, node: Node, root: str) -> nn.Sequential:
    """Return all segments down to the node, as one module: data in, the node's output out."""
    fitted = [read_module(n, records.read_fit(study, n, root)) for n in node.lineage]
    return nn.Sequential(*(part for module in fitted for part in module)).eval()
