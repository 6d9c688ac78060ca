"""The lenses on 60,000 images beside scikit-learn, faiss and imbalanced-learn in one run: `python bench/lenses.py`.

Images of MNIST as they are, one thread. Each answer has a process of its own, in turn; seconds are those of the
processor, median of the rounds with their range, memory is the most beyond the images. Peers that are not installed are
left out and named: `pip install faiss-cpu imbalanced-learn`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from apart import measured
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from layerwise import environment
from layerwise.maths.neighbours import pure_map, pure_runs
from layerwise.preparation.options import split_options
from layerwise.preparation.prepare import prepare
from layerwise.run import machine

CPU = torch.device("cpu")
K = 10  # a sample among them
BATCH = 5000
EVERY_MAP = 2000  # samples of the pure map whose peer goes through them one by one


def ours(x: Tensor, y: Tensor, batch: int) -> Callable[[], Tensor]:
    return lambda: pure_runs(x, y, batch=batch) + 1 >= K


def scikit_learn(x: Tensor, y: Tensor, batch: int) -> Callable[[], Tensor]:
    def answer() -> Tensor:
        parts = zip(x.split(batch or len(x)), y.split(batch or len(x)), strict=True)
        found = []
        for part, own in parts:
            model = NearestNeighbors(n_neighbors=K - 1, algorithm="brute").fit(part.numpy())
            found.append(alike(torch.from_numpy(model.kneighbors(return_distance=False)), own))
        return torch.cat(found)

    return answer


def faiss(x: Tensor, y: Tensor, batch: int) -> Callable[[], Tensor]:
    import faiss as peer

    def answer() -> Tensor:
        peer.omp_set_num_threads(1)
        found = []
        for part, own in zip(x.split(batch or len(x)), y.split(batch or len(x)), strict=True):
            index = peer.IndexFlatL2(part.shape[1])
            index.add(part.numpy())
            near = torch.from_numpy(index.search(part.numpy(), K)[1])
            itself = near == torch.arange(len(part))[:, None]
            itself[:, -1] |= ~itself.any(1)  # more samples that equal it than are asked for: the last stands for it
            found.append(alike(near[~itself].view(len(part), K - 1), own))
        return torch.cat(found)

    return answer


def alike(near: Tensor, labels: Tensor) -> Tensor:
    return (labels[near] == labels[:, None]).all(1)


def edited(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """What edited nearest neighbours (Wilson 1972) leave is what k-filtering takes away."""
    from imblearn.under_sampling import EditedNearestNeighbours

    def answer() -> Tensor:
        model = EditedNearestNeighbours(sampling_strategy="all", n_neighbors=K - 1, kind_sel="all")
        model.fit_resample(x.numpy(), y.numpy())
        return torch.zeros(len(x), dtype=torch.bool).index_fill(0, torch.from_numpy(model.sample_indices_), True)

    return answer


def condensed(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """Hart's rule (1968), which goes through the samples one by one."""
    from imblearn.under_sampling import CondensedNearestNeighbour

    def answer() -> Tensor:
        model = CondensedNearestNeighbour(sampling_strategy="all", random_state=0)
        model.fit_resample(x.numpy(), y.numpy())
        return torch.from_numpy(np.unique(model.sample_indices_))

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    machine.deterministic(CPU, 1)  # a process that is forked has one thread
    splits, _ = prepare("torchvision", *split_options("torchvision", {"name": "MNIST"}, "bench"), given.data_root)
    x = splits["train"]["x"][: given.samples].flatten(1).float() / 255
    y = splits["train"]["y"][: given.samples]
    has = {name: importlib.util.find_spec(name) is not None for name in ("faiss", "imblearn")}
    absent = ", ".join(name for name, there in has.items() if not there)
    print(
        f"{machine.processor()}, 1 thread, torch {torch.__version__}, {given.rounds} rounds",
        f"without {absent}" * bool(absent),
    )
    for title, batch in ((f"{K} neighbours in mini-batches of {BATCH:,}", BATCH), (f"{K} neighbours of all", 0)):
        answers = {"layerwise": ours(x, y, batch), "scikit-learn": scikit_learn(x, y, batch)}
        if has["faiss"]:
            answers["faiss"] = faiss(x, y, batch)
        if has["imblearn"] and not batch:
            answers["imbalanced-learn's ENN"] = edited(x, y)
        compare(
            f"{title}, {len(x):,} images",
            answers,
            given.rounds,
            lambda a, b: f"{int((a != b).sum())} images answered otherwise",
        )
    compare(
        f"a pure map of {len(x):,} images",
        {"layerwise": lambda: pure_map(x, y).centres},
        given.rounds,
        lambda a, _: f"{len(a):,} cells",
    )
    few = {"layerwise": lambda: pure_map(x[:EVERY_MAP], y[:EVERY_MAP]).centres}
    if has["imblearn"]:
        few["imbalanced-learn's CNN"] = condensed(x[:EVERY_MAP], y[:EVERY_MAP])
    compare(f"a pure map of {EVERY_MAP:,} images", few, given.rounds, lambda a, _: f"{len(a):,} cells")


def compare(
    title: str, answers: dict[str, Callable[[], Tensor]], rounds: int, said: Callable[[Tensor, Tensor], str]
) -> None:
    """Print a line for each answer: its seconds, its memory, and what it is beside ours, which is the first."""
    print(title)
    found = [{name: measured(answer) for name, answer in answers.items()} for _ in range(rounds)]
    for name in answers:
        seconds = sorted(each[name][1] for each in found)
        memory = max(each[name][2] for each in found)
        what = said(found[0][name][0], found[0]["layerwise"][0])
        low, high = seconds[0], seconds[-1]
        print(
            f"  {name:24} {statistics.median(seconds):7.2f} s ({low:.2f} to {high:.2f})  {memory:6.0f} MB  {what}",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    environment.same_instructions()
    sys.exit(main())
