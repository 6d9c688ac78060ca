"""Published numbers on the real MNIST, with a tolerance: the ambiguities of the works stay settled as they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from layerwise.contract import Features, Segment
from layerwise.layers import build as layers
from layerwise.methods import dgl, platonic
from layerwise.preparation import disk
from layerwise.preparation.options import split_options
from layerwise.preparation.prepare import prepare

ROOT = Path(os.environ.get("LAYERWISE_DATA_ROOT", "nowhere"))
CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (ROOT / "MNIST/raw").is_dir(), reason="LAYERWISE_DATA_ROOT names no folder with MNIST/raw"),
    pytest.mark.filterwarnings("ignore::layerwise.errors.LayerwiseWarning"),
]


def mnist(folder, **given) -> Features:
    given = {"name": "MNIST", "download": False, **given}
    tensors, record = prepare("torchvision", *split_options("torchvision", given, "MNIST"), ROOT)
    disk.write(folder, tensors, record)
    return disk.read(folder)


def fitted(method, data, words, **options):
    features = Features(data.train, data.valid, data.task)
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    return method.fit(segment, features, method.Options(**options), seed=0, device=CPU).module


def measured(module, split, task) -> tuple[float, float]:
    scores = layers.apply(module, split.x).double()
    accuracy = 100 * float((task.labels(scores) == split.y).double().mean())
    return accuracy, float((scores - task.targets(split.y, torch.float64)).square().mean())


def test_three_layers_by_sorted_and_platonic_pca(tmp_path):
    """Thesis table 7.3, 784-392-50-10 and 784-784-392-10: accuracies within .5 points, errors within a twentieth."""
    data = mnist(tmp_path, standardise="feature")
    options = {"projection": "auto", "beta": 1e7, "ema": 0.2, "solver": "ridge", "dtype": "float32"}
    for widths, published in (((392, 50), (95.07, 1.5e-2)), ((784, 392), (97.04, 7.6e-3))):
        words = [word for width in widths for word in (f"dense {width}", "relu")]
        accuracy, error = measured(fitted(platonic, data, [*words, "dense outputs"], **options), data.train, data.task)
        assert accuracy == pytest.approx(published[0], abs=0.5)
        assert error == pytest.approx(published[1], rel=0.05)


def test_one_layer_by_platonic_pca(tmp_path):
    """Thesis table 7.2, 392 units: 90.58 and 90.63 %."""
    data = mnist(tmp_path, standardise="feature")
    options = {"projection": "pca", "beta": 1e4, "solver": "solve", "strength": 50000.0}
    module = fitted(platonic, data, ["dense 392", "relu", "dense outputs"], **options)
    assert measured(module, data.train, data.task)[0] == pytest.approx(90.58, abs=0.5)
    assert measured(module, data.test, data.task)[0] == pytest.approx(90.63, abs=0.5)


def test_two_layers_by_deep_gaussian_losses(tmp_path):
    """DGL table 1, two digits, 2 layers of 20 units: 99.26 % where random layers have 87.29."""
    data = mnist(tmp_path, classes=[1, 7], subset=2000, valid=1.0, standardise="global")
    words = ["dense 20", "relu", "dense 20", "relu", "dense outputs"]
    trained = fitted(dgl, data, words, weight_decay=5e-4)
    assert measured(trained, data.test, data.task)[0] == pytest.approx(99.26, abs=0.5)
    assert measured(fitted(dgl, data, words, epochs=0), data.test, data.task)[0] < 97
