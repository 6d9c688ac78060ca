"""The figures of the DGL study on a tiny one, and the random networks that kernels are held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fitted
from tinydmn import drawn, lines, texts

from layerwise.figures import monitor
from layerwise.maths import kernels
from layerwise.probes import kernel_agreement
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file

TINY = {
    "name": "tinydgl",
    "title": "Tiny DGL",
    "seeds": 2,
    "readouts": False,
    "leave_out": {"away": "an hour"},
    "datasets": {
        "digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "away": {"source": "torchvision", "name": "MNIST"},
    },
    "segments": {
        "e": {
            "method": "sgd",
            "layers": ["dense 6", "relu", "dense 5", "relu", "dense outputs"],
            "epochs": 3,
            "batch": 20,
        },
        "d": {
            "method": "dgl",
            "layers": ["dense 6", "relu"],
            "epochs": 2,
            "batch": 60,
            "variances": "used",
            "uses": ["e"],
            "above": 1,
        },
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
    },
    "networks": {"digits": {"e": "backprop", "d/ridge": "DGL"}, "away": {"e": "backprop", "d/ridge": "DGL"}},
    "probes": {
        "dgl": {"networks": ["digits/e", "away/e"], "every": 3, "samples": 40},
        "kernel_agreement": {"networks": ["digits/e"], "widths": [10, 160], "depths": [1, 2], "draws": 200},
    },
    "figures": {
        "monitor": {"own": {"digits/e": "cross_entropy"}},
        "bottleneck": {"figure": "monitor", "bottleneck": True},
        "kernel_agreement": {},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("tinydgl"), "tinydgl", TINY)


@pytest.fixture
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    monkeypatch.chdir(folder)
    return StudyResults(study_file.load("tinydgl.json"))


def test_the_losses_are_means_over_the_seeds(tiny):
    figure = drawn(tiny, "monitor")
    assert [texts(ax) for ax in figure.axes] == [[], ["not run"]]
    shown = lines(figure.axes[0])
    assert list(shown) == ["DGL of layer 1", "DGL of layer 2", "the network's own cross-entropy"]
    table = tiny.probe("dgl")
    for name, rows, column in (
        ("DGL of layer 2", table[table["layer"] == 2], "loss"),
        ("the network's own cross-entropy", table[table["layer"] == 1], "cross_entropy"),
    ):
        expected = rows.groupby("step")[column].mean()
        np.testing.assert_allclose(shown[name].get_xdata(), [0, 3, 6, 9])
        np.testing.assert_allclose(shown[name].get_ydata(), expected)
    assert "DGL of every hidden layer" in monitor.caption(tiny, monitor.Options())
    assert "Not run: away." in monitor.caption(tiny, monitor.Options())


def test_the_bottleneck_is_that_before_the_read_out(tiny):
    shown = lines(drawn(tiny, "bottleneck").axes[0])
    table = tiny.probe("dgl")
    expected = table[(table["layer"] == 2) & (table["step"] > 0)].groupby("step")["bottleneck"].mean()
    np.testing.assert_allclose(shown["information bottleneck"].get_ydata(), expected)


def test_random_networks_come_nearer_to_the_kernels_as_they_grow(tiny):
    table = tiny.probe("kernel_agreement").groupby(["kernel", "depth", "width"])["error"].mean()
    errors = table.groupby("width").mean()  # over kernels and depths: a single one is a single draw
    assert errors[160] < errors[10] / 2
    axes = drawn(tiny, "kernel_agreement").axes
    shown = lines(axes[1])
    np.testing.assert_allclose(shown["2 hidden layers"].get_ydata(), table["ntk", 2])


def test_the_tangent_kernel_of_a_random_network_is_that_of_its_gradients():
    """The sum over layers against the gradients of autograd, for the very same draw."""
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights, biases = [2.0, 1.5, 1.2], [0.1, 0.2, 0.3]
    _, tangent = kernel_agreement.empirical(x, 5, weights, biases, torch.Generator().manual_seed(1))
    draw = torch.Generator().manual_seed(1)
    parameters, h, fan_in = [], x, 3
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        parts = [torch.randn(*shape, dtype=x.dtype, generator=draw).requires_grad_() for shape in ((5, fan_in), (5,))]
        parameters += parts
        h = (h @ parts[0].T * (w / fan_in) ** 0.5 + b**0.5 * parts[1]).relu()
        fan_in = 5
    last = torch.randn(5, dtype=x.dtype, generator=draw).requires_grad_()
    offset = torch.zeros((), dtype=x.dtype, requires_grad=True)
    out = h @ last * (weights[-1] / 5) ** 0.5 + biases[-1] ** 0.5 * offset
    every = [*parameters, last, offset]
    rows = [torch.autograd.grad(o, every, retain_graph=True) for o in out]
    gradients = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    assert torch.allclose(tangent, gradients @ gradients.T)
    assert kernels.ntk(x, weights, biases).shape == tangent.shape
