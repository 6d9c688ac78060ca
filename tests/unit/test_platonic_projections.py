"""Each way to the weights of a Platonic layer but the random one: PCA, samples, differences, the identity."""

import pytest
import torch
from plato import error, features_of, fitted, inputs_of, rings

from layerwise.contract import Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.maths import linalg
from layerwise.methods import platonic


@pytest.fixture(scope="module")
def blobs():
    return rings()


def standardised(whole):
    return (whole - whole.mean(dim=0)) / whole.std(dim=0, correction=0)


def test_platonic_pca_is_the_pca_of_the_augmented_features_standardised(blobs):
    inputs, y = inputs_of(blobs), blobs.task.targets(blobs.train.y, torch.float64)
    weighed = torch.linspace(0.5, 2, 600, dtype=torch.float64)[:, None] * y
    found = platonic.components(inputs, linalg.Gram(5, 3).add(inputs.x, weighed))
    whole = standardised(torch.cat([inputs.x, weighed], dim=1))
    right = torch.linalg.svd(whole, full_matrices=False).Vh[:7]
    assert found.shape == (8, 7)
    assert torch.allclose(found, linalg.fix_signs(right.T), atol=1e-8)
    assert (found.gather(0, found.abs().argmax(0, keepdim=True)) > 0).all()


def test_constant_columns_have_the_last_components(blobs):
    x = torch.cat([blobs.train.x.double(), torch.full((600, 1), 7.0)], dim=1)
    gram = linalg.Gram(6, 3).add(x, blobs.task.targets(blobs.train.y))
    axes = linalg.correlation_axes(gram)
    assert torch.allclose(axes.T @ axes, torch.eye(9, dtype=torch.float64), atol=1e-12)
    assert axes[5, :7].abs().max() < 1e-12  # one for the constant, one as the classes add up to one


def test_sorted_pca_takes_samples_at_even_steps_along_the_first_component():
    x = torch.stack(
        [torch.arange(12.0)[torch.randperm(12, generator=torch.Generator().manual_seed(0))], torch.zeros(12)], 1
    )
    features = features_of(x, x[:, :1], Task("values", 1))
    network = fitted(features, ("dense 4",), projection="sorted")
    assert network.module[0].weight[:, 0].tolist() == [0, 3, 6, 9]
    assert (network.module[0].bias == 0).all()
    every = fitted(features, ("dense 12",), projection="sorted").module[0].weight[:, 0]
    assert sorted(every.tolist()) == list(range(12))


def test_auto_is_sorted_first_and_platonic_pca_after(blobs):
    words = ("dense 40", "relu", "dense 20", "relu", "dense outputs")
    network = fitted(blobs, words, projection="auto", beta=1e4, solver="ridge")
    samples = {tuple(row) for row in blobs.train.x.double().tolist()}
    assert all(tuple(row) in samples for row in network.module[0].weight.tolist())
    alone = fitted(blobs, words, projection="sorted", solver="ridge")
    assert not torch.equal(alone.module[2].weight, network.module[2].weight)


def test_auto_may_begin_with_differences(blobs):
    words = ("dense 40", "relu", "dense 20", "relu", "dense outputs")
    options = {"solver": "ridge", "seed": 4}
    network = fitted(blobs, words, projection="auto", first="differences", beta=1e4, **options)
    alone = fitted(blobs, words[:2], projection="differences", **options)
    assert torch.equal(network.module[0].weight, alone.module[0].weight)
    assert error(network, blobs) < error(
        fitted(blobs, words[:2] + words[-1:], projection="differences", **options), blobs
    )


def test_samples_are_weighed_by_the_average_of_their_errors(blobs, monkeypatch):
    seen = []
    original = platonic.augmented
    monkeypatch.setattr(platonic, "augmented", lambda i, g, y, w: seen.append(w[:, 0]) or original(i, g, y, w))
    words = ("dense 30", "relu", "dense 20", "relu", "dense 10", "relu", "dense outputs")
    network = fitted(blobs, words, projection="auto", beta=1e4, solver="ridge", ema=0.2)
    first = torch.ones(600, dtype=torch.float64)
    for weight, depth in zip(seen, (2, 4), strict=True):
        below = layers.apply(network.module[:depth], blobs.train.x.double())
        y = blobs.task.targets(blobs.train.y, torch.float64)
        read = linalg.ridge(linalg.Gram(below.shape[1], 3).add(below, y))
        errors = (y - below @ read.weight.T - read.bias).square().sum(1)
        first = 0.2 * first + 0.8 * errors
        assert torch.allclose(weight, first, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("solver", ["pinv", "ridge"])
def test_weighted_samples_make_the_targets(blobs, solver):
    """T = [Z | beta d Y] P with the principal components P of [Z | d Y], of thesis section 7.9.3."""
    inputs, y = inputs_of(blobs), blobs.task.targets(blobs.train.y, torch.float64)
    options = platonic.Options(solver=solver, beta=50.0, strength=1e-12 if solver == "ridge" else None)
    factor = (platonic.Streamed if solver == "ridge" else platonic.Direct)(inputs, y, options)
    weight = torch.linspace(0.5, 2, 600, dtype=torch.float64)[:, None]
    given = platonic.augmented(inputs, factor.gram, y, weight)
    found = factor.weights(platonic.components(inputs, given.gram), given)
    z = torch.cat([torch.ones(600, 1, dtype=torch.float64), inputs.x], dim=1)
    whole = torch.cat([inputs.x, 50 * weight * y], dim=1)
    principal = torch.linalg.svd(standardised(torch.cat([inputs.x, weight * y], dim=1)), full_matrices=False).Vh[:7]
    target = whole @ linalg.fix_signs(principal.T)
    expected = z @ torch.linalg.lstsq(z, target).solution
    assert torch.allclose(inputs.x @ found.weight.T + found.bias, expected, atol=1e-6)


def test_the_identity_is_the_pseudoinverse_learning_algorithm(blobs):
    few = features_of(blobs.train.x[:40], blobs.train.y[:40], blobs.task)
    network = fitted(few, ("dense", "tanh", "dense 40", "tanh", "dense outputs"), projection="identity")
    z = few.train.x.double()
    for weighted in (0, 2):
        ones = torch.cat([torch.ones(40, 1, dtype=torch.float64), z], dim=1)
        inverse = torch.linalg.pinv(ones)  # W = Z^+
        module = network.module[weighted]
        assert torch.allclose(module.weight.T, inverse[1:])
        assert torch.allclose(module.bias, inverse[0])
        z = torch.tanh(ones @ inverse)
    assert error(network, few) < 1e-12  # 40 features and a bias for 40 samples
    with pytest.raises(LayerwiseError, match=r"layer 1 .* as wide as there are samples: write 'dense 40'"):
        fitted(few, ("dense 39",), projection="identity")


def test_fields_are_rectangles_of_every_size_and_place():
    inside = platonic.fields(4000, (2, 6, 9), 3, torch.Generator().manual_seed(0)).reshape(4000, 2, 6, 9) == 1
    assert torch.equal(inside[:, 0], inside[:, 1])
    rows, columns = inside[:, 0].any(2), inside[:, 0].any(1)
    assert torch.equal(inside[:, 0], rows[:, :, None] & columns[:, None, :])
    for places, side in ((rows, 6), (columns, 9)):
        size = places.sum(1)
        assert set(size.tolist()) == set(range(3, side + 1))
        assert (places.int().diff(dim=1).abs().sum(1) <= 2).all()  # in one piece
        smallest = places[size == 3].int().argmax(1)
        assert set(smallest.tolist()) == set(range(side - 2))


@pytest.mark.parametrize("mask", [None, 2])
def test_differences_are_between_samples_of_two_classes(mask):
    x = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = features_of(x, torch.arange(30) % 3, Task("onehot", 3, ("a", "b", "c")))
    network = fitted(features, ("dense 50",), projection="differences", mask=mask)
    scores = layers.apply(network.module, x)
    if mask is None:
        for unit in scores.T:
            at = [[i for i in range(30) if abs(unit[i] - sign) < 1e-9] for sign in (1, -1)]
            assert any(a % 3 != b % 3 for a in at[0] for b in at[1])
    else:
        weight = network.module[1].weight.reshape(50, 4, 4) != 0
        assert ((weight.any(2).sum(1) >= 2) & (weight.any(1).sum(1) >= 2)).all()
        assert (weight.flatten(1).sum(1) < 16).any()
    values = features_of(x.flatten(1), x.flatten(1)[:, :1], Task("values", 1))
    with pytest.raises(LayerwiseError, match="projection differences needs classes"):
        fitted(values, ("dense 5",), projection="differences")
    one = features_of(x.flatten(1), torch.zeros(30, dtype=torch.long), features.task)
    with pytest.raises(LayerwiseError, match="all samples are of one class"):
        fitted(one, ("dense 5",), projection="differences")


def test_masked_samples_are_samples_within_their_rectangles():
    x = torch.rand(60, 1, 5, 5, generator=torch.Generator().manual_seed(1)) + 0.1
    features = features_of(x, (x.sum((1, 2, 3)) > 15).long(), Task("signs", 1, ("dark", "light")))
    options = {"projection": "auto", "beta": 1e4, "solver": "ridge", "mask": 2}
    words = ("dense 12", "relu", "dense 13", "relu", "dense outputs")
    weight = fitted(features, words, **options).module[1].weight
    plain = fitted(features, words, **{**options, "mask": None}).module[1].weight
    inside = weight > 0
    expected = torch.nn.functional.normalize(torch.where(inside, plain, 0.0), dim=1)
    assert torch.allclose(weight, expected)
    assert 4 <= inside.sum(1).min() < 25
    with pytest.raises(LayerwiseError, match="a mask of 6 pixels is larger than the images"):
        fitted(features, ("dense 9",), projection="sorted", mask=6)
    with pytest.raises(LayerwiseError, match="mask cuts rectangles out of images, and these are 5 features"):
        fitted(features_of(x[:, 0, 0], features.train.y, features.task), ("dense 9",), projection="sorted", mask=2)
