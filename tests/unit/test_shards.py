"""Fits that processes share: on parts of the samples they find what one process finds on the whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import distributed, multiprocessing

from layerwise import store
from layerwise.closed import shards
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.methods import dmn, pca, platonic, ridge

CPU = torch.device("cpu")
WORDS = ("conv 3 6", "relu", "maxpool 2", "conv 2 10", "relu", "batchnorm", "dense outputs")
DENSE = ("dense 40", "relu", "dense 25", "relu", "dense outputs")
PLATONIC = {"solver": "ridge", "beta": 100.0}
FITS = {
    "dmn": (dmn, WORDS, {"fraction": 0.5}),
    "pca": (pca, WORDS, {"fraction": 0.31}),
    "platonic": (platonic, DENSE, {**PLATONIC, "tries": 3}),
    "platonic pca": (platonic, DENSE, {**PLATONIC, "projection": "auto", "ema": 0.2, "mask": 3}),
    "platonic differences": (platonic, DENSE, {**PLATONIC, "projection": "differences", "strength": 1e-3}),
    "ridge": (ridge, ("dense outputs",), {}),
    "ridge valid": (ridge, ("dense outputs",), {"select": "valid"}),
    "ridge iterative": (ridge, ("dense outputs",), {"form": "iterative", "strengths": (0.01,)}),
}


def digits(count=1401):
    data = load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    return Features(Split(x[:count], y[:count]), Split(x[count:], y[count:]), Task("onehot", 10, tuple("0123456789")))


def fitted(name, features):
    method, words, options = FITS[name]
    fit = method.fit(Segment(words, features.shape, 10), features, method.Options(**options), seed=3, device=CPU)
    return fit.module.state_dict(), fit.record


def work(rank, world, folder):
    """What each process does: fit its part, and say what it found."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    whole = digits()
    part = Features(shards.part(whole.train), whole.valid, whole.task)
    found = {name: fitted(name, part) for name in FITS}
    few = Features(
        Split(part.train.x, part.train.y % 9), part.valid, part.task
    )  # nobody has a sample of the last class
    try:
        dmn.fit(Segment(WORDS, few.shape, 10), few, dmn.Options(), seed=0, device=CPU)
    except LayerwiseError as error:
        found["error"] = str(error)
    try:
        ridge.fit(Segment(("dense outputs",), part.shape, 10), part, ridge.Options(form="dual"), seed=0, device=CPU)
    except LayerwiseError as error:
        found["dual"] = str(error)
    weights = {f"{name}|{key}": w for name in FITS for key, w in found[name][0].items()}
    told = {
        "samples": len(part.train),
        "error": found["error"],
        "dual": found["dual"],
        "records": {name: found[name][1] for name in FITS},
    }
    store.write_tensors(Path(folder) / f"{rank}.safetensors", weights)
    store.write_json(Path(folder) / f"{rank}.json", told)
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("two"))
    multiprocessing.spawn(work, (2, folder), nprocs=2)
    return [told_by(Path(folder), rank) for rank in (0, 1)]


def told_by(folder, rank):
    """What a process wrote: its number of samples, the error, and weights and record of each fit."""
    told = store.read_json(folder / f"{rank}.json")
    weights = store.read_tensors(folder / f"{rank}.safetensors")
    for name in FITS:
        mine = {key.removeprefix(f"{name}|"): w for key, w in weights.items() if key.startswith(f"{name}|")}
        told[name] = mine, told["records"][name]
    return told


@pytest.mark.parametrize("name", FITS)
def test_shards_find_what_the_whole_finds(two, name):
    weights, record = fitted(name, digits())
    for each in two:
        shared, told = each[name]
        assert shared.keys() == weights.keys()
        for key in weights:
            # Products of float32, which `select: valid` and `form: iterative` take, round at a thousandth of the
            # largest weight.
            rounded = name in ("ridge valid", "ridge iterative")
            torch.testing.assert_close(shared[key], weights[key], rtol=1e-4, atol=1e-4 if rounded else 1e-5)
        if name in ("dmn", "pca"):
            assert [layer["candidates"] for layer in told["layers"][:2]] == [
                layer["candidates"] for layer in record["layers"][:2]
            ]
    first, second = (each[name][0] for each in two)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_parts_are_the_whole(two):
    assert sorted(each["samples"] for each in two) == [700, 701]


def test_what_no_process_has_is_an_error_on_all(two):
    assert all("class '9' has no sample" in each["error"] for each in two)


def test_products_of_samples_that_lie_apart_there_are_none(two):
    assert all("form: dual needs all samples in one process; form: primal is shared" in each["dual"] for each in two)


def test_one_process_shares_nothing():
    samples = torch.tensor([5, 2, 8])
    assert (shards.size(), shards.rank(), shards.total(7, CPU)) == (1, 0, 7)
    assert torch.equal(shards.own(samples), samples)
    split = digits().train
    assert shards.part(split) is split
