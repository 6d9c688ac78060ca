"""Neighbourhoods of one class, and pure Voronoi maps, against brute force."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from layerwise.datasets import torchvision
from layerwise.maths import neighbours
from layerwise.maths.neighbours import conflicts, pure_map, pure_runs

ROOT = Path(os.environ.get("LAYERWISE_DATA_ROOT", "nowhere"))


def clouds(n=300, d=5, classes=3, seed=0, spread=1.5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    centres = spread * torch.randn(classes, d, generator=generator)
    return centres[labels] + torch.randn(n, d, generator=generator), labels


def brute_runs(x, labels):
    """The length of the run of one class among all neighbours in their order, as scikit-learn finds them."""
    order = NearestNeighbors(n_neighbors=len(x), algorithm="brute").fit(x).kneighbors(x, return_distance=False)
    runs = []
    for i, row in enumerate(order):
        same = (labels[row[row != i]] == labels[i]).numpy()
        runs.append(len(same) if same.all() else int(same.argmin()))
    return torch.tensor(runs)


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_runs_are_those_of_brute_force(offset):
    x, labels = clouds()
    x = x.double() + offset
    assert torch.equal(pure_runs(x, labels), brute_runs(x, labels))


def test_mini_batches_are_looked_at_by_themselves(monkeypatch):
    x, labels = clouds(250)
    expected = torch.cat([brute_runs(x[i : i + 100], labels[i : i + 100]) for i in (0, 100, 200)])
    assert torch.equal(pure_runs(x, labels, batch=100), expected)
    monkeypatch.setattr(neighbours, "BLOCK", 700)  # seven rows at once
    assert torch.equal(pure_runs(x, labels, batch=100), expected)
    assert not torch.equal(pure_runs(x, labels), expected)


def test_an_equal_distance_to_another_class_ends_the_run_in_any_order():
    x = torch.tensor([[0.0], [1.0], [-1.0], [2.0]])
    labels = torch.tensor([0, 0, 1, 0])
    assert pure_runs(x, labels).tolist() == [0, 2, 0, 2]
    order = torch.tensor([3, 2, 1, 0])
    assert pure_runs(x[order], labels[order])[order].tolist() == [0, 2, 0, 2]


def test_one_class_alone_is_pure_and_nothing_has_no_runs():
    assert pure_runs(torch.randn(6, 2), torch.zeros(6, dtype=torch.long)).tolist() == [5] * 6
    assert len(pure_runs(torch.empty(0, 2), torch.empty(0, dtype=torch.long))) == 0


def test_runs_need_no_matrix_of_all_pairs():
    assert neighbours.BLOCK < 60_000**2 / 100


# ---------------------------------------------------------------- pure maps


@pytest.mark.parametrize(("n", "d", "spread"), [(300, 2, 0.5), (400, 6, 1.0), (60, 3, 0.0)])
def test_cells_are_pure_and_those_of_the_nearest_centre(n, d, spread, monkeypatch):
    x, labels = clouds(n, d, spread=spread)
    x = x.double()
    found = pure_map(x, labels)
    nearest = torch.cdist(x, x[found.centres]).argmin(1)
    assert torch.equal(labels[found.centres][nearest], labels)
    assert torch.equal(nearest, found.cells)
    assert len(found.centres.unique()) == len(found.centres) < n
    peer = KNeighborsClassifier(1).fit(x[found.centres], labels[found.centres])
    assert peer.score(x, labels) == 1.0
    monkeypatch.setattr(neighbours, "BLOCK", 3 * n)  # three centres at once
    assert torch.equal(pure_map(x, labels).centres, found.centres)


def test_the_map_does_not_depend_on_the_order_of_the_samples():
    x, labels = clouds(200, 3, spread=0.5)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    first, second = pure_map(x, labels), pure_map(x[order], labels[order])
    assert sorted(first.centres.tolist()) == sorted(order[second.centres].tolist())
    assert first.entropy == pytest.approx(second.entropy)


def test_the_entropy_is_that_of_the_cells():
    x = torch.tensor([[0.0], [0.1], [0.2], [5.0]])
    found = pure_map(x, torch.tensor([0, 0, 0, 1]))
    assert len(found.centres) == 2
    assert found.rounds == 1
    assert found.entropy == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))


def test_equal_samples_of_two_classes_end_and_are_counted():
    x, labels = clouds(80, 2)
    x, labels = torch.cat([x, x[:7], x[:7]]), torch.cat([labels, (labels[:7] + 1) % 3, (labels[:7] + 1) % 3])
    assert conflicts(x, labels) == 21
    assert conflicts(x[:80], labels[:80]) == 0
    found = pure_map(x, labels)
    assert torch.equal(labels[found.centres][found.cells], labels)
    assert torch.equal(found.cells[found.centres], torch.arange(len(found.centres)))


def test_one_class_is_one_cell():
    found = pure_map(torch.randn(9, 2), torch.zeros(9, dtype=torch.long))
    assert (len(found.centres), found.entropy) == (1, 0.0)


# ---------------------------------------------------------------- published fractions


KEPT = {  # thesis table 5.1
    "MNIST": {5: 18, 10: 34, 20: 53, 24: 57, 27: 61},
    "FashionMNIST": {5: 42, 10: 56, 20: 69, 42: 80, 104: 92},
}


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", KEPT)
def test_the_published_fractions_are_kept(name):
    """Mini-batches of 5,000 in the order of the file, a sample the first of its own neighbours: all ten, rounded."""
    if not (ROOT / name / "raw").is_dir():
        pytest.skip(f"LAYERWISE_DATA_ROOT names no folder with {name}/raw")
    x, y = torchvision.load(torchvision.Options(name=name, download=False), root=ROOT).train
    runs = 1 + pure_runs(x.flatten(1).float() / 255, y, batch=5000)
    assert {k: round(100 * float((runs < k).double().mean())) for k in KEPT[name]} == KEPT[name]
