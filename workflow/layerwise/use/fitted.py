"""A network of a study, taken out of it: with the preparation of its data set, for new files or as one file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.run import loading, records
from layerwise.study.model import Study
from layerwise.study.trie import DATASET, Node, dataset_folder
from layerwise.use.exported import Header
from layerwise.use.inputs import Inputs
from layerwise.use.network import Network


def network_of(study: Study, dataset: str, path: str) -> tuple[Network, Header]:
    """Return the fitted network of the study's one seed, or its first, and what to write in the header of a file.

    Raises
    ------
    LayerwiseError
        For a network that is not fitted yet, is stale, or gives features in place of scores.
    """
    study.demand(dataset, path)
    node, folder = Node(study.name, dataset, study.seeds_of(dataset)[0], path), dataset_folder(study.name, dataset)
    needed = [folder / DATASET, *(each.folder / "fit.json" for each in node.lineage)]
    if not all(file.is_file() for file in needed):
        raise LayerwiseError(
            f"network {node}: not fitted yet; run 'snakemake {study.name}', or 'python -m layerwise all {study.file}'"
        )
    data = loading.read_dataset(study, dataset)
    fits = [records.read_fit(study, each, data.record["digest"]) for each in node.lineage]
    if not fits[-1]["scores"]:
        ends = [p for p in study.paths(dataset) if p.startswith(f"{path}/")]
        hint = f", such as {ends[0]}" if ends else ""
        raise LayerwiseError(f"network {node}: gives features, no scores; name one that ends in a read-out{hint}")
    segments = [loading.read_module(each, fit) for each, fit in zip(node.lineage, fits, strict=True)]
    prepared = store.read_tensors(folder / "valid.safetensors")  # each split has shift and scale
    shape = tuple(data.record["shape"])
    pixels = data.pixels is not None and shape[1] == shape[2]
    background: Any = getattr(study.dataset(dataset)[1], "background", "none") if pixels else "none"
    inputs = Inputs(shape, pixels, background)
    header = Header(
        words=tuple(tuple(fit["layers"]) for fit in fits),
        shapes=tuple(tuple(fit["shape"]) for fit in fits),
        fingerprints={word: print_ for fit in fits for word, print_ in fit.get("fingerprints", [])},
        origin={
            "study": study.name,
            "dataset": dataset,
            "seed": str(node.seed),
            "path": path,
            "digest": fits[-1]["digest"],
        },
        versions={name: str(version) for name, version in fits[-1]["versions"].items()},
    )
    return Network(segments, prepared["shift"], prepared["scale"], data.task, inputs), header


def predictions(network: Network, given: Sequence[str | Path], on: torch.device) -> list[dict[str, Any]]:
    """Return a row a sample of the files: file, row in it, class and its score, and all scores by class.

    For two classes as signs the score is positive for the second; a regression has ``values`` in place of a class.
    """
    rows: list[dict[str, Any]] = []
    network.to(on)
    for places, x in network.inputs.batches(network.inputs.files(given)):
        scores = network.scores(x.to(on)).cpu()
        if not scores.isfinite().all():
            raise LayerwiseError(f"{places[0][0]}: its scores are too large, or no numbers; scale it as in the study")
        labels = network.labels(scores) if network.task.classifies else [""] * len(x)
        for (file, row), label, own in zip(places, labels, scores.tolist(), strict=True):
            told: dict[str, Any] = {"file": str(file), "row": row}
            if network.task.kind == "values":
                told |= {"values": own}
            elif network.task.kind == "signs":
                told |= {"class": label, "score": own[0]}
            else:
                told |= {"class": label, "score": max(own), "scores": dict(zip(network.classes, own, strict=True))}
            rows.append(told)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return predictions as CSV: file, row, class and score, or a column a value of a regression."""
    flat = []
    for row in rows:
        values = {f"value_{i}": value for i, value in enumerate(row.get("values", []), 1)}
        flat.append({name: cell for name, cell in row.items() if name not in ("scores", "values")} | values)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().rstrip("\n")
