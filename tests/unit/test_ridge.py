"""The read-out whose strength the validation split chooses: the same weights, chosen by what they are worth there."""

import dataclasses

import pytest
import torch
from sklearn.linear_model import Ridge

from layerwise.closed.inputs import Inputs
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers.words import parse
from layerwise.maths import linalg
from layerwise.methods import ridge

CPU = torch.device("cpu")
STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def noisy():
    """Three classes that overlap, 200 + 150 samples of 60 features: neither the least nor the most ridge is best."""
    y = torch.randint(3, (350,), generator=torch.Generator().manual_seed(1))
    z = normal(350, 60) @ normal(60, 60, seed=2) / 4 + 0.8 * torch.nn.functional.one_hot(y, 3).double() @ normal(3, 60)
    return Features(Split(z[:200], y[:200]), Split(z[200:], y[200:]), Task("onehot", 3, ("a", "b", "c")))


def values(features):
    y = [split.x[:, :2] + 2 * normal(len(split), 2, seed=7) for split in (features.train, features.valid)]
    train, valid = (Split(split.x, each) for split, each in zip((features.train, features.valid), y, strict=True))
    return Features(train, valid, Task("values", 2))


def fitted(features, words=("dense outputs",), **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    return ridge.fit(segment, features, ridge.Options(**options), seed=0, device=CPU)


def loss(features, module):
    scores = layers.apply(module, features.valid.x)
    if features.task.classifies:
        return float((features.task.labels(scores) != features.valid.y).double().mean())
    return float((scores - features.valid.y).square().sum(1).mean())


@pytest.mark.parametrize("task", ["classes", "values"])
def test_the_strength_is_the_best_on_the_validation_split(noisy, task):
    features = noisy if task == "classes" else values(noisy)
    alone = {s: loss(features, fitted(features, strengths=(s,)).module) for s in STRENGTHS}
    record = fitted(features, select="valid", strengths=STRENGTHS).record["layers"][0]
    assert record["valid_loss"] == pytest.approx({f"{s:.3g}": alone[s] for s in reversed(STRENGTHS)}, rel=1e-6)
    assert alone[record["strength"]] == min(alone.values())
    assert record["strength"] not in (STRENGTHS[0], STRENGTHS[-1])


def test_of_strengths_that_tie_the_largest_is_taken(noisy):
    few = dataclasses.replace(noisy, valid=noisy.valid.rows(torch.arange(1)))
    record = fitted(few, select="valid", strengths=(1e-3, 2e-3, 4e-3)).record["layers"][0]
    assert len(set(record["valid_loss"].values())) == 1
    assert record["strength"] == 4e-3


def test_weights_are_those_of_the_other_path_and_of_scikit_learn(noisy):
    one, other = fitted(noisy, select="valid", strengths=(0.01,)), fitted(noisy, strengths=(0.01,))
    for a, b in zip(one.module.parameters(), other.module.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-10)
    x, y = noisy.train.x, noisy.task.targets(noisy.train.y)
    scikit = Ridge(alpha=0.01 * 200, solver="cholesky").fit((x - x.mean(0)) / x.std(0, correction=0), y)
    scale = x.std(0, correction=0)
    assert torch.allclose(one.module[0].weight * scale, torch.tensor(scikit.coef_, dtype=torch.float64), atol=1e-8)


@pytest.mark.parametrize("far", [0.0, 1.0, 100.0])
def test_float32_products_cost_no_accuracy(noisy, far):
    """Also where features lie far from the origin, as long as float32 holds them at all."""
    features = [
        Features(
            *(Split(s.x.float().to(dtype) + far, s.y) for s in (noisy.train, noisy.valid)),
            noisy.task,
        )
        for dtype in (torch.float32, torch.float64)
    ]
    single, double = (fitted(f, select="valid", strengths=STRENGTHS) for f in features)
    assert single.record["layers"][0]["valid_loss"] == double.record["layers"][0]["valid_loss"]
    scores = [layers.apply(n.module, f.valid.x).double() for n, f in zip((single, double), features, strict=True)]
    assert torch.allclose(*scores, atol=2e-6 * (1 + 10 * far))
    assert single.module[0].weight.dtype == torch.float32


def test_a_constant_feature_gets_no_weight_in_float32(noisy):
    x = [torch.cat([s.x.float(), torch.full((len(s), 1), 0.1)], dim=1) for s in (noisy.train, noisy.valid)]
    features = Features(Split(x[0], noisy.train.y), Split(x[1], noisy.valid.y), noisy.task)
    network = fitted(features, select="valid")
    assert network.record["layers"][0]["constant_features"] == 1
    assert (network.module[0].weight[:, -1] == 0).all()


def test_the_validation_samples_go_through_the_layers_below(noisy):
    features = dataclasses.replace(
        noisy, **{n: Split(getattr(noisy, n).x.reshape(-1, 15, 2, 2), getattr(noisy, n).y) for n in ("train", "valid")}
    )
    words = ("crelu", "avgpool 2", "dense outputs")
    network = fitted(features, words, select="valid", strengths=STRENGTHS)
    assert loss(features, network.module) == min(network.record["layers"][0]["valid_loss"].values())


def test_no_copy_of_the_features_is_made_to_flatten_them(noisy):
    segment = Segment(("dense outputs",), (15, 2, 2), 3)
    x = noisy.train.x.reshape(-1, 15, 2, 2)
    inputs = Inputs(segment, Features(Split(x, noisy.train.y), noisy.valid, noisy.task), CPU, torch.float64)
    inputs.append(parse("flatten"))
    assert inputs.x.shape == (200, 60)
    assert inputs.x.data_ptr() == x.data_ptr()


def test_without_a_validation_split_it_says_what_to_do(noisy):
    none = dataclasses.replace(noisy, valid=Split(noisy.valid.x[:0], noisy.valid.y[:0]))
    said = r"layer 1 \('dense 3'\): select: valid has no validation split to choose on: give the data set one"
    with pytest.raises(LayerwiseError, match=said):
        fitted(none, select="valid")


def test_features_that_are_not_finite_are_named(noisy):
    x = noisy.train.x.clone()
    x[3, 3] = torch.nan
    with pytest.raises(LayerwiseError, match="NaN or infinity"):
        fitted(dataclasses.replace(noisy, train=Split(x, noisy.train.y)), select="valid")
    with pytest.raises(LayerwiseError, match="all features are constant"):
        fitted(dataclasses.replace(noisy, train=Split(torch.ones_like(x), noisy.train.y)), select="valid")


def test_a_factor_is_of_the_shifted_matrix():
    matrix = normal(6, 6) @ normal(6, 6).T
    factor = linalg.cholesky(matrix, 2.0)
    assert torch.allclose(factor @ factor.T, matrix + 2 * torch.eye(6, dtype=torch.float64))
