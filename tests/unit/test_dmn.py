"""Class PCA: density matrices by their definition, which components are taken, which are dropped, in which order."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from layerwise.closed import inputs as layer_inputs
from layerwise.closed.inputs import Inputs
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers import build as layers
from layerwise.layers.words import parse
from layerwise.maths import linalg
from layerwise.methods import dmn, pca

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    none = Split(x[:0], y[:0])
    return Features(Split(x[:1500], y[:1500]), none, Task("onehot", 10, tuple("0123456789"))), Split(x[1500:], y[1500:])


def fitted(features, words, method=dmn, seed=0, **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    return method.fit(segment, features, method.Options(**options), seed=seed, device=CPU)


def columns(*vectors):
    return torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float64), dim=1).T


def toy(*groups, task=None):
    """Two classes of vectors, as features."""
    x = torch.cat([torch.as_tensor(group, dtype=torch.float32) for group in groups])
    y = torch.cat([torch.full((len(group),), label) for label, group in enumerate(groups)])
    return Features(Split(x, y), Split(x[:0], y[:0]), task or Task("onehot", len(groups), tuple("abc"[: len(groups)])))


def axes(*sizes):
    """Vectors whose second moment is diagonal with these entries."""
    return (torch.tensor([float(s) for s in sizes]) * len(sizes)).sqrt().diag()


def inputs_of(features, word):
    inputs = Inputs(Segment((word,), features.shape, 10), features, CPU, torch.float32)
    inputs.layer = parse(word)
    return inputs


@pytest.mark.parametrize("word", ["conv 3", "conv 2 stride 2 pad 1", "dense"])
def test_density_matrices_are_their_definition_however_they_are_streamed(digits, word, monkeypatch):
    features = digits[0]
    inputs = inputs_of(features, word)
    groups = {str(c): (features.train.y == c).nonzero().flatten() for c in range(10)}
    whole = dmn.densities(inputs, groups)
    monkeypatch.setitem(layer_inputs.BUDGET, "cpu", 3000)
    streamed = dmn.densities(inputs, groups)
    rng = np.random.default_rng(0)
    for c in (0, 7):
        images = features.train.x[features.train.y == c].double()
        if word == "dense":
            rows = images.flatten(1).numpy()
        else:
            size, stride, pad = inputs.layer.size, inputs.layer.stride, inputs.layer.pad
            unfolded = torch.nn.functional.unfold(images, size, stride=stride, padding=pad)
            rows = unfolded.transpose(1, 2).flatten(0, 1).numpy()
        rows = rng.permutation(rows)
        assert np.allclose(whole[str(c)].moment(), rows.T @ rows / len(rows), rtol=1e-12)
        assert np.allclose(streamed[str(c)].moment(), rows.T @ rows / len(rows), rtol=1e-12)
        assert np.allclose(streamed[str(c)].moment(centre=True), np.cov(rows.T, bias=True), rtol=1e-8, atol=1e-12)


def test_density_matrices_of_shards_add_up(digits):
    inputs = inputs_of(digits[0], "conv 3")
    zeros = (digits[0].train.y == 0).nonzero().flatten()
    whole = dmn.densities(inputs, {"0": zeros})["0"]
    parts = [dmn.densities(inputs, {"0": part})["0"] for part in (zeros[:50], zeros[50:60], zeros[60:])]
    together = parts[0] + parts[1] + parts[2]
    assert together.n == whole.n
    assert torch.allclose(together.second, whole.second, rtol=1e-13)


def test_each_class_spans_its_own_leading_directions(digits):
    """Compared as projectors: a component alone has a sign, and may turn where eigenvalues are close."""
    features = digits[0]
    network = fitted(features, ("conv 3",), correlation=1.0, variance=0.97)
    weight = network.module[0].weight.detach().flatten(1).double()
    origin = network.record["layers"][0]["filters"]
    for c in (0, 4, 9):
        images = features.train.x[features.train.y == c].double()
        rows = torch.nn.functional.unfold(images, 3).transpose(1, 2).flatten(0, 1).numpy()
        values, right = np.linalg.svd(rows, full_matrices=False)[1:]
        count = int((np.cumsum(values**2) / (values**2).sum() <= 0.97).sum())
        mine = weight[[number for number, of in enumerate(origin) if of["class"] == str(c)]]
        assert len(mine) == count
        assert np.allclose(mine.T @ mine, right[:count].T @ right[:count], atol=1e-5)
    assert (network.module[0].bias == 0).all()


def test_of_components_that_are_alike_the_first_is_kept():
    pool = columns([1, 0, 0], [0, 1, 0], [0.95, 0.3, 0], [-1, 0.01, 0], [0.7, 0.7, 0], [0, 0.1, 1])
    assert dmn.distinct(pool, 0.9) == [0, 1, 4, 5]
    assert dmn.distinct(pool, 0.6) == [0, 1, 5]
    assert dmn.distinct(pool, 1.0) == [0, 1, 2, 3, 4, 5]
    assert dmn.distinct(pool, 0.9, count=3) == [0, 1, 4]
    assert dmn.distinct(torch.cat([pool, pool], dim=1), 0.99999) == [0, 1, 2, 3, 4, 5]


def test_a_dropped_component_drops_no_other():
    """A chain of neighbours 20 degrees apart: the second falls to the first, so it cannot take the third with it."""
    chain = columns(*([np.cos(a), np.sin(a)] for a in np.deg2rad([0, 20, 40, 60])))
    assert dmn.distinct(chain, 0.9) == [0, 2]


@pytest.mark.parametrize(
    ("variance", "below", "reach"), [(0.5, 1, 1), (0.6, 1, 2), (0.8, 2, 2), (0.85, 2, 3), (0.3, 1, 1), (1.0, 4, 4)]
)
def test_components_are_taken_while_their_share_stays_within(variance, below, reach):
    share = torch.tensor([0.5, 0.8, 0.9, 1.0], dtype=torch.float64)
    assert dmn.within(share, variance, False) == below
    assert dmn.within(share, variance, True) == reach


def test_classes_come_in_label_order_and_components_by_decreasing_eigenvalue():
    features = toy(axes(1, 4, 0.2, 0.1), axes(8, 0.1, 6, 3))
    record = fitted(features, ("dense",), variance=0.995, correlation=0.9).record["layers"][0]
    # a: e2, e1, e3; b: e1 and e3 again, then e4
    assert [of["class"] + str(of["component"]) for of in record["filters"]] == ["a0", "a1", "a2", "b2"]
    assert record["candidates"] == 6
    assert record["classes"]["a"] == {
        **{"rows": 4, "kept": 3},
        **{"eigenvalues": [4, 1, 0.2, 0.1], "share": [0.754717, 0.943396, 0.981132, 1.0]},
    }
    assert record["classes"]["b"]["kept"] == 1


def test_a_number_of_filters_is_filled_as_the_variance_threshold_grows():
    features = toy(axes(1, 4, 0.1, 0.2), axes(8, 0.1, 6, 0.2))
    for count, expected in ((2, ["a0", "b0"]), (3, ["a0", "b0", "b1"])):
        network = fitted(features, (f"dense {count}",))
        assert [of["class"] + str(of["component"]) for of in network.record["layers"][0]["filters"]] == expected
        assert network.layers == (f"dense {count}",)
        by_option = fitted(features, ("dense",), count=count)
        assert torch.equal(by_option.module[0].weight, network.module[0].weight)
    by_share = fitted(features, ("dense",), order="share", variance=0.9).record["layers"][0]["filters"]
    assert [of["class"] + str(of["component"]) for of in by_share] == ["a0", "b0"]


def test_an_exact_number_of_filters_or_an_error_that_says_how_many_exist(digits):
    assert fitted(digits[0], ("conv 3 16",)).module[0].weight.shape == (16, 1, 3, 3)
    with pytest.raises(LayerwiseError, match=r"layer 1 \('conv 3 500'\): 500 filters are asked for and \d+ distinct"):
        fitted(digits[0], ("conv 3 500",))
    with pytest.raises(LayerwiseError, match="10 filters are asked for and 9 distinct components exist"):
        fitted(digits[0], ("conv 3 10",), method=pca)


def test_one_class_is_pca(digits):
    features = dataclasses.replace(digits[0], train=Split(digits[0].train.x, torch.zeros(1500, dtype=torch.long)))
    features = dataclasses.replace(features, task=Task("onehot", 1, ("all",)))
    for words in (("conv 3",), ("dense 7",)):
        one, other = fitted(features, words), fitted(features, words, method=pca)
        assert one.layers == other.layers
        assert all(torch.equal(a, b) for a, b in zip(one.module.parameters(), other.module.parameters(), strict=True))


def test_signs_follow_the_rule(digits):
    loading = fitted(digits[0], ("conv 3",)).module[0].weight.flatten(1)
    assert (loading.gather(1, loading.abs().argmax(1, keepdim=True)) > 0).all()
    total = fitted(digits[0], ("conv 3",), sign="sum").module[0].weight.flatten(1)
    assert (total.sum(1) >= -1e-6).all()
    assert torch.allclose(loading.abs(), total.abs())


def test_a_fraction_is_drawn_by_seed_and_only_it_is_used(digits):
    features = digits[0]
    one, same, other = (fitted(features, ("conv 3 6",), fraction=0.1, seed=s).module[0].weight for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    chosen = dmn.draw(1500, 0.1, 1, CPU)
    assert len(chosen) == 150
    spoilt = features.train.x + 5
    spoilt[chosen] = features.train.x[chosen]
    again = fitted(
        dataclasses.replace(features, train=Split(spoilt, features.train.y)), ("conv 3 6",), fraction=0.1, seed=1
    )
    assert torch.equal(again.module[0].weight, one)


def test_two_layers_and_a_read_out_on_digits(digits):
    """Measured over five splits: class PCA 96.5 +- 1.2, class-blind PCA 96.3 +- 1.1, random filters 93.2 +- 2.5."""
    features, test = digits
    words = ("conv 3 6", "relu", "maxpool 2", "dense outputs")
    network = fitted(features, words)
    with torch.no_grad():
        right = layers.apply(network.module, test.x).argmax(1) == test.y
    assert right.double().mean() > 0.89  # the last 297 digits are by other writers
    assert network.layers == ("conv 3 6", "relu", "maxpool 2", "flatten", "dense 10")
    deep = fitted(features, ("conv 3", "relu", "maxpool 2", "conv 2", "relu", "maxpool 2"), variance=0.9)
    filters = [record["filters"] for record in deep.record["layers"]]
    assert [deep.module[0].out_channels, deep.module[3].out_channels] == [len(found) for found in filters]


def test_two_classes_as_signs_are_classes():
    features = toy(axes(4, 1, 0.1), axes(0.1, 1, 5), task=Task("signs", 1, ("a", "b")))
    record = fitted(features, ("dense 2",)).record["layers"][0]
    assert [of["class"] for of in record["filters"]] == ["a", "b"]


def test_fewer_samples_than_dimensions_are_said_and_end_at_their_rank(digits):
    few = toy(digits[0].train.x[:5].flatten(1), digits[0].train.x[5:9].flatten(1))
    said = r"layer 1 \('dense'\): 2 of 2 classes have fewer rows than the 64 dimensions \(class 'b': 4\)"
    with pytest.warns(LayerwiseWarning, match=said):
        network = fitted(few, ("dense",), variance=1.0, correlation=1.0)
    assert network.module[0].out_features == 9


def test_bad_classes_are_named(digits):
    features = digits[0]
    with pytest.raises(LayerwiseError, match=r"class '\d' has no sample among the 15 that fraction 0.01 draws"):
        fitted(features, ("conv 3",), fraction=0.01)
    x = features.train.x.clone()
    x[features.train.y == 4] = 0
    with pytest.raises(LayerwiseError, match="the inputs of class '4' have no variance"):
        fitted(dataclasses.replace(features, train=Split(x, features.train.y)), ("conv 3",))
    x[features.train.y == 4] = 0.3
    with pytest.raises(LayerwiseError, match="the inputs of class '4' have no variance"):
        fitted(dataclasses.replace(features, train=Split(x, features.train.y)), ("conv 3",), centre=True)
    with pytest.raises(LayerwiseError, match="dmn needs classes"):
        fitted(dataclasses.replace(features, task=Task("values", 1)), ("conv 3",))


@pytest.mark.parametrize("name", ["variance", "correlation", "fraction"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, float("nan")])
def test_shares_outside_their_range_are_named(name, value):
    with pytest.raises(LayerwiseError, match=rf"option '{name}' is {value}: it must be .*above 0 and at most 1"):
        dmn.Options(**{name: value})


@pytest.mark.parametrize(("method", "options"), [(pca, {}), (dmn, {}), (dmn, {"centre": True})])
def test_whitened_responses_have_zero_mean_and_unit_variance_over_all_classes(digits, method, options):
    features = dataclasses.replace(digits[0], train=Split(digits[0].train.x.double(), digits[0].train.y))
    plain = fitted(features, ("conv 3 6",), method=method, **options)
    white = fitted(features, ("conv 3 6",), method=method, whiten=0.01, **options)
    found = layers.apply(white.module, features.train.x).transpose(0, 1).flatten(1)
    variance = layers.apply(plain.module, features.train.x).transpose(0, 1).flatten(1).var(dim=1, correction=0)
    assert torch.allclose(found.mean(dim=1), torch.zeros(6, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(found.var(dim=1, correction=0), variance / (variance + 0.01), rtol=1e-9)
    cosines = torch.nn.functional.cosine_similarity(
        white.module[0].weight.flatten(1), plain.module[0].weight.flatten(1)
    )
    assert torch.allclose(cosines, torch.ones(6, dtype=torch.float64))
    assert white.record == plain.record
    for value in (0.0, -1.0, float("nan")):
        with pytest.raises(LayerwiseError, match=f"option 'whiten' is {value}: it must be .*above 0"):
            method.Options(whiten=value)


def test_components_below_rounding_do_not_exist():
    gram = linalg.Gram(3).add(torch.tensor([[1.0, 2, 3], [2, 4, 6]]))
    assert len(linalg.principal(gram)[0]) == 1
