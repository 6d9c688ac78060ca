"""Kernels of wide networks: against neural-tangents, against random networks of growing width, and their gradients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.maths import kernels

THEIRS = json.loads((Path(__file__).parent / "fixtures" / "wide_networks.json").read_text())
WEIGHTS, BIASES = THEIRS["weight_variances"], THEIRS["bias_variances"]


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("given", THEIRS["dense"], ids=lambda g: f"{g['kind']}-{g['activation']}-{g['depth']}")
def test_dense_kernels_are_those_of_neural_tangents(given):
    x, other = tensor(THEIRS["x"]), tensor(THEIRS["other"])
    layers = given["depth"] + 1
    kernel = getattr(kernels, given["kind"])
    ours = kernel(x, WEIGHTS[:layers], BIASES[:layers], activation=given["activation"])
    cross = kernel(x, WEIGHTS[:layers], BIASES[:layers], other, activation=given["activation"])
    # Their ReLU slope is rounded near the diagonal: 6e-9 of its size.
    near = 1e-7 if given["kind"] == "ntk" and given["activation"] == "relu" else 1e-12
    assert torch.allclose(ours, tensor(given["x"]), rtol=near, atol=near)
    assert torch.allclose(cross, tensor(given["other"]), rtol=near, atol=near)
    assert torch.equal(ours, ours.T) or torch.allclose(ours, ours.T, rtol=1e-12)


@pytest.mark.parametrize("given", THEIRS["conv"], ids=lambda g: f"depth{g['depth']}-{'pool' if g['pool'] else 'all'}")
def test_convolutional_kernels_are_those_of_neural_tangents(given):
    layers = given["depth"] + 1
    images = tensor(THEIRS["images"])
    ours = kernels.conv_nngp(images, WEIGHTS[:layers], BIASES[:layers], pool=given["pool"])
    assert torch.allclose(ours, tensor(given["values"]), rtol=1e-12)
    cross = kernels.conv_nngp(images[:1], WEIGHTS[:layers], BIASES[:layers], images, pool=given["pool"])
    assert torch.allclose(cross, ours[:1], rtol=1e-12)


@pytest.mark.parametrize(("name", "activation"), [("relu", torch.relu), ("erf", torch.erf)])
def test_random_networks_come_nearer_as_they_grow(name, activation):
    """The error of the mean over random networks falls with their number times their width, as a mean does."""
    x, draw = normal(5, 8), torch.Generator().manual_seed(1)
    expected = kernels.nngp(x, WEIGHTS, BIASES, activation=name)
    errors = []
    for width in (10, 100, 1000):
        total = torch.zeros(5, 5, dtype=torch.float64)
        for _ in range(100):
            h = x
            for w, b in zip(WEIGHTS[:-1], BIASES[:-1], strict=True):
                weight = torch.randn(h.shape[1], width, dtype=torch.float64, generator=draw) * math.sqrt(w / h.shape[1])
                bias = torch.randn(width, dtype=torch.float64, generator=draw) * math.sqrt(b)
                h = activation(h @ weight + bias)
            total += BIASES[-1] + WEIGHTS[-1] * (h @ h.T) / width
        errors.append(float((total / 100 - expected).abs().max() / expected.abs().max()))
    assert errors[2] < min(0.02, errors[0] / 3)


@pytest.mark.parametrize("kernel", [kernels.nngp, kernels.ntk])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_gradients(kernel, activation):
    x = normal(6, 5).requires_grad_()
    weights, biases = tensor(WEIGHTS[:3]).requires_grad_(), tensor(BIASES[:3]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w, b: kernel(x, w, b, activation=activation), (x, weights, biases), fast_mode=True
    )
    other = normal(4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, o: kernel(x, WEIGHTS[:3], BIASES[:3], o, activation=activation), (x, other), fast_mode=True
    )


def test_gradients_of_a_convolution():
    images = normal(3, 2, 4, 4).requires_grad_()
    for pool in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, pool=pool: kernels.conv_nngp(x, WEIGHTS[:3], BIASES[:3], pool=pool), (images,), fast_mode=True
        )


@pytest.mark.parametrize("kernel", [kernels.nngp, kernels.ntk])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repeated_samples_and_zeros_have_finite_kernels_and_gradients(kernel, dtype):
    x = normal(4, 5).to(dtype)
    x = torch.cat([x, x[:1], x[:1] * (1 + 1e-7), torch.zeros(1, 5, dtype=dtype)]).requires_grad_()
    found = kernel(x, [2.0, 2.0, 1.0], [0.0, 0.0, 0.0])
    found.sum().backward()
    assert found.isfinite().all()
    assert x.grad.isfinite().all()
    assert torch.allclose(found[0], found[4], rtol=1e-3)


@pytest.mark.parametrize("kernel", [kernels.nngp, kernels.ntk])
def test_blocks_of_rows_change_nothing(kernel, monkeypatch):
    x = normal(11, 3)
    whole = kernel(x, WEIGHTS, BIASES)
    monkeypatch.setattr(kernels, "BLOCK", 25)
    assert torch.allclose(kernel(x, WEIGHTS, BIASES), whole, rtol=1e-13)
    assert torch.allclose(kernel(x.clone().requires_grad_(), WEIGHTS, BIASES), whole, rtol=1e-13)
    images = normal(5, 1, 4, 4)
    blocks = kernels.conv_nngp(images, WEIGHTS, BIASES)
    monkeypatch.undo()
    assert torch.allclose(kernels.conv_nngp(images, WEIGHTS, BIASES), blocks, rtol=1e-13)


def test_single_precision_is_near_double():
    x = normal(50, 20)
    for kernel in (kernels.nngp, kernels.ntk):
        exact, rough = kernel(x, WEIGHTS, BIASES), kernel(x.float(), WEIGHTS, BIASES)
        assert rough.dtype == torch.float32
        assert torch.allclose(rough.double(), exact, rtol=2e-4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: kernels.nngp(x, [1, 1], [0, 0], activation="tanh"), "'tanh' has no kernel"),
        (lambda x: kernels.nngp(x, [1, 1], [0]), "2 weight variances and 1 bias variances"),
        (lambda x: kernels.ntk(x, [], []), "give one of each"),
        (lambda x: kernels.nngp(x, [1, -1], [0, 0]), "above 0"),
        (lambda x: kernels.nngp(x * math.nan, [1], [0]), "NaN"),
        (lambda x: kernels.conv_nngp(x.reshape(3, 1, 2, 2), [1, 1], [0, 0], size=2), "odd side"),
    ],
)
def test_mistakes(call, said):
    with pytest.raises(LayerwiseError, match=said):
        call(normal(3, 4))
