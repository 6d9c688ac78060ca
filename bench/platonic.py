"""Seconds to an accuracy on MNIST, closed form beside the SGD baseline of thesis section 7.9.1: one run, one machine.

`python bench/platonic.py --data-root DIR [--threads 1]`. Accuracies are of 5,000 images that no fit sees. Seconds are
of all that leads to the network: features, fits and the passes between them; those of SGD are of its epochs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from layerwise.contract import Features, Segment, Split
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.methods import patches, pca, platonic, sgd
from layerwise.preparation import disk
from layerwise.preparation.options import split_options
from layerwise.preparation.prepare import prepare
from layerwise.run import machine

CPU = torch.device("cpu")
RESULTS = Path(__file__).with_name("results.jsonl")
TARGETS = (95.0, 97.0, 98.0, 99.0)
AUTO = {"projection": "auto", "beta": 1e7, "ema": 0.2, "solver": "ridge", "dtype": "float32", "mask": 7}
PAIRS = {"projection": "differences", "solver": "ridge", "strength": 1e-4, "dtype": "float32"}
DENSE = {name: [f"dense {width}" for width in name.split("-")] for name in ("392-50", "784-392")}


def mnist(root: Path, standardise: str) -> Features:
    given = {"name": "MNIST", "standardise": standardise, "valid": 5000}
    splits, record = prepare("torchvision", *split_options("torchvision", given, "MNIST"), root)
    with tempfile.TemporaryDirectory() as folder:
        disk.write(Path(folder) / "mnist", splits, record)
        return disk.read(Path(folder) / "mnist").features


def chain(features: Features, parts: list[tuple]) -> tuple[float, float]:
    """Fit segments one on the other; returns seconds and validation accuracy."""
    start = time.perf_counter()
    for method, words, options in parts:
        segment = Segment(tuple(words), features.shape, features.task.outputs)
        fitted = method.fit(segment, features, method.Options(**options), seed=0, device=CPU)
        train, valid = (
            Split(layers.apply(fitted.module, split.x), split.y) for split in (features.train, features.valid)
        )
        features = Features(train, valid, features.task)
    seconds = time.perf_counter() - start
    return seconds, 100 * float((features.task.labels(valid.x) == valid.y).double().mean())


def trained(features: Features) -> list[tuple[float, float]]:
    """Train the baseline; returns seconds so far and validation accuracy after each epoch."""
    options = sgd.Options(lr=0.02, momentum=0.9, weight_decay=0.003, epochs=10, schedule="multistep", milestones=(8,))
    words = ("dense 392", "relu", "dense 50", "relu", "dense outputs")
    start = time.perf_counter()
    fitted = sgd.fit(Segment(words, features.shape, 10), features, options, seed=0, device=CPU)
    seconds = time.perf_counter() - start
    accuracy = [row["valid_accuracy"] for row in fitted.record["history"]]
    return [(seconds * epoch / len(accuracy), value) for epoch, value in enumerate(accuracy, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", action="store_true", help=f"append to {RESULTS.name}")
    arguments = parser.parse_args()
    machine.deterministic(CPU, arguments.threads)
    machine.keep_freed_memory()
    pixels, images = mnist(arguments.data_root, "feature"), mnist(arguments.data_root, "global")
    machine.warm_up(CPU)
    words = {name: [w for dense in wide for w in (dense, "relu")] + ["dense outputs"] for name, wide in DENSE.items()}
    conv = ["conv 6 32 contrast 0.01", "softshrink 0.25", "crelu", "avgpool 8 stride 5"]
    found = {f"Platonic {name}, receptive fields": [chain(pixels, [(platonic, w, AUTO)])] for name, w in words.items()}
    for width in (2000, 4000, 6000):
        last = (platonic, [f"dense {width}", "relu", "dense outputs"], PAIRS)
        parts = [(patches, conv, {}), (pca, ["dense 200"], {"whiten": 0.1}), last]
        found[f"32 patches, {width} pairs"] = [chain(images, parts)]
    found["SGD 392-50"] = trained(pixels)
    print(f"{'':36} best  " + "  ".join(f"s to {target:g} %" for target in TARGETS))
    for name, steps in found.items():
        reached = [next((f"{s:8.1f}" for s, value in steps if value >= target), "       -") for target in TARGETS]
        print(f"{name:36} {max(v for _, v in steps):5.2f} " + "   ".join(reached))
    if arguments.save:
        row = {"row": "seconds_to_accuracy", "threads": arguments.threads, "found": found, **machine.provenance(CPU)}
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    try:
        main()
    except LayerwiseError as error:
        sys.exit(f"layerwise: {error}")
