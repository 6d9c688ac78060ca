"""The golden fits, made: a digest of the weights of each, on one thread of this machine.

``python -m layerwise.golden.fits [METHOD ...]`` prints them as JSON; so the code of an earlier commit makes its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from layerwise import environment, plugins, store
from layerwise.contract import Features, Pixels, Segment, Split, Task
from layerwise.errors import LayerwiseWarning
from layerwise.golden import cases
from layerwise.golden.cases import Case
from layerwise.layers import build as layers
from layerwise.layers import zoo
from layerwise.layers.words import parse
from layerwise.run import machine, scores
from layerwise.study.identity import SCORES

SEED = 3
CPU = torch.device("cpu")


def digests(names: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the name and the digest of each golden fit of these methods (or ``scores``); of all where none is named."""
    threads = torch.get_num_threads()
    machine.deterministic(CPU, 1)
    try:
        for case in cases.every():
            if names is None or case.method in names:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", LayerwiseWarning)
                    yield case.name, digest(case)
    finally:
        torch.set_num_threads(threads)


def digest(case: Case) -> str:
    """Return the digest of one golden fit, or of its scores."""
    return hashlib.sha256(b"".join(_scored(case) if case.method == SCORES else _fitted(case))).hexdigest()


def _fitted(case: Case) -> Iterator[bytes]:
    features = data(case.data, case.dtype)
    if not case.valid:
        features = replace(features, valid=Split(features.valid.x[:0], features.valid.y[:0]))
    uses = {"used": network(case.uses, features, SEED + 1).eval()} if case.uses else {}
    segment = Segment(case.layers, features.shape, features.task.outputs, uses)
    method = plugins.load("methods", case.method)
    with tempfile.TemporaryDirectory() as folder:
        given = dict(case.options)
        if "weights" in given:
            given["weights"] = _weights(given["weights"], features, Path(folder))
        options = plugins.options("methods", case.method, given, case.name)
        fitted = method.fit(segment, features, method.Options(**vars(options)), seed=SEED, device=CPU)
    for name, tensor in fitted.module.state_dict().items():
        yield from _content(name, tensor)


def _scored(case: Case) -> Iterator[bytes]:
    features = data(case.data, case.dtype)
    module = network(case.layers, features, SEED)
    given = {"train": features.train, "valid": features.valid} if case.valid else {"train": features.train}
    splits = {name: Split(layers.apply(module, split.x), split.y) for name, split in given.items()}
    for name, split in splits.items():
        yield from _content(name, split.x)
    measure = scores.of_scores if case.options["of"] == "scores" else scores.of_readout
    yield json.dumps(measure(splits, features.task), sort_keys=True).encode()


def _content(name: str, tensor: Tensor) -> Iterator[bytes]:
    yield f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
    yield tensor.detach().contiguous().numpy().tobytes()


def _weights(word: str, features: Features, folder: Path) -> str:
    """Write the weights of a whole model, drawn from another seed than the fit's; returns the path of the file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + 1)
        blocks = zoo.run(parse(word), features.shape, features.task.outputs)  # type: ignore[arg-type]
    weights = {name: w for block in blocks for name, w in block.module.state_dict().items()}
    store.write_tensors(folder / "weights.safetensors", weights)
    return str(folder / "weights.safetensors")


def network(words: tuple[str, ...], features: Features, seed: int) -> nn.Sequential:
    """Return layers with torch's first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, _ = layers.build(words, features.shape, features.task.outputs)
    return module.to(features.train.dtype)


@functools.cache
def data(name: str, dtype: str) -> Features:
    """Return the samples that a name stands for: the digits, by steps that every machine rounds alike."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(images).reshape(-1, 1, 8, 8) / 8 - 1, torch.from_numpy(labels).long()
    task, train, every = Task("onehot", 4, ("0", "1", "2", "3")), 72, 100
    if name == "many":
        task, train, every = Task("onehot", 10, tuple(map(str, range(10)))), 1100, 1200
    elif name == "signs":
        task = Task("signs", 1, ("0", "1"))
    if name == "values":
        task = Task("values", 2)
        targets = torch.stack([x[..., :4].sum(dim=(1, 2, 3)) / 16, x[:, 0, :4].sum(dim=(1, 2)) / 16], dim=1).float()
        x = x.mean(dim=(1, 2))
    else:
        kept = y < max(task.outputs, 2)
        x, targets = x[kept], y[kept]
    x = x.to(getattr(torch, dtype))
    half = torch.full((1, 1, 1, 1), 127.5)
    pixels = Pixels(half, half) if x.ndim == 4 else None
    return Features(Split(x[:train], targets[:train]), Split(x[train:every], targets[train:every]), task, {}, pixels)


def main(words: list[str]) -> None:
    environment.same_instructions()
    json.dump(dict(digests(words or None)), sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
