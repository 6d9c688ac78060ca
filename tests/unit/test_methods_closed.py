"""The driver of the closed-form methods, random features, class-blind PCA and the ridge read-out."""

import dataclasses
import warnings

import pytest
import torch
from sklearn.datasets import load_digits

from layerwise.closed import inputs as layer_inputs
from layerwise.closed.inputs import Inputs, patches
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers import build as layers
from layerwise.layers.room import demand_room
from layerwise.layers.words import parse
from layerwise.maths import linalg
from layerwise.methods import dmn, pca, platonic, random, ridge

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    """1,437 digits to fit on and 360 to look at, 8x8 pixels from 0 to 1."""
    data = load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    none = Split(x[:0], y[:0])
    return Features(Split(x[train], y[train]), none, Task("onehot", 10, tuple("0123456789"))), Split(x[test], y[test])


def fitted(method, words, features, seed=0, **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    return method.fit(segment, features, method.Options(**options), seed=seed, device=CPU)


@torch.no_grad()
def accuracy(network, split):
    return 100 * float((layers.apply(network.module, split.x).argmax(1) == split.y).double().mean())


@pytest.mark.parametrize("word", ["conv 3", "conv 3 stride 2", "conv 2 pad 1", "conv 4 stride 3 pad 2", "dense"])
def test_rows_times_weights_is_the_layer(word):
    x = torch.randn(5, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    layer = parse(word).with_width(6)
    module = layers.make(layer, tuple(x.shape[1:])).double()
    rows = patches(x, layer)
    product = rows @ module.weight.reshape(6, -1).T + module.bias  # (n, P, width)
    expected = module(x if layer.kind == "conv" else x.flatten(1)).reshape(5, 6, -1)
    assert torch.allclose(product.transpose(1, 2), expected)


def test_rows_come_in_batches_of_bounded_memory_in_order(digits, monkeypatch):
    features = digits[0]
    inputs = Inputs(Segment(("conv 3",), (1, 8, 8), 10), features, CPU, torch.float32)
    inputs.layer = parse("conv 3")
    monkeypatch.setitem(layer_inputs.BUDGET, "cpu", 9 * 36 * 20)
    picked = torch.arange(0, 1400, 28)
    pieces = list(inputs.rows(picked))
    assert [len(rows) for rows, _ in pieces] == [20, 20, 10]
    assert torch.equal(torch.cat([samples for _, samples in pieces]), picked)
    whole = patches(features.train.x[picked].double(), inputs.layer)
    assert torch.equal(torch.cat([rows for rows, _ in pieces]), whole)


@pytest.mark.parametrize("method", [random, pca, dmn])
def test_what_is_fitted_is_what_its_words_build(digits, method):
    words = ("conv 3 3 pad 1", "crelu", "batchnorm", "maxpool 2", "dropout 0.5", "dense 20", "relu", "dense outputs")
    network = fitted(method, words, digits[0])
    built, again = layers.build(network.layers, (1, 8, 8), 10)
    built.load_state_dict(network.module.state_dict())
    assert again == network.layers
    assert torch.equal(layers.apply(built, digits[1].x), layers.apply(network.module, digits[1].x))


def test_each_layer_is_fitted_on_what_the_layers_below_give(digits, monkeypatch):
    """The second layer of a two-layer fit is the one layer of a fit on the first one's output, however it is cut."""
    features = digits[0]
    words = ("conv 3 5", "relu", "maxpool 2", "conv 2 4")
    whole = fitted(pca, words, features)
    below = fitted(pca, words[:3], features)
    monkeypatch.setitem(layer_inputs.BUDGET, "cpu", 5000)
    middle = layers.apply(below.module, features.train.x)
    above = fitted(pca, words[3:], dataclasses.replace(features, train=Split(middle, features.train.y)))
    assert torch.allclose(whole.module[0].weight, below.module[0].weight)
    assert torch.allclose(whole.module[3].weight, above.module[0].weight, atol=1e-5)


def test_the_samples_are_pushed_forward_only_for_somebody_who_looks(digits, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(layer_inputs, "push", never)
    fitted(random, ("conv 3 4", "relu", "dense 8"), digits[0])
    fitted(dmn, ("conv 3 4", "relu", "maxpool 2"), digits[0])
    with pytest.raises(AssertionError):
        fitted(random, ("conv 3 4", "relu", "dense outputs"), digits[0])


def test_batch_normalisation_gets_the_statistics_of_its_inputs(digits):
    network = fitted(random, ("conv 3 4", "batchnorm", "relu"), digits[0])
    out = layers.apply(network.module[:2], digits[0].train.x).double()
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(4, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(4, dtype=torch.float64), atol=1e-3)


def test_seeds_decide_and_the_global_generator_is_left_alone(digits):
    words = ("conv 3 4", "relu", "dense outputs")
    torch.manual_seed(1)
    first = fitted(random, words, digits[0], seed=5, bias=0.5).module.state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    again, other = (fitted(random, words, digits[0], seed=s, bias=0.5).module.state_dict() for s in (5, 6))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert not torch.equal(first["0.bias"], other["0.bias"])


def test_normal_weights_have_the_scale_that_is_asked_for():
    generator = torch.Generator().manual_seed(0)
    for scale, expected in (("he", 0.1), ("unit", 0.1 / 2**0.5), (3.0, 3.0)):
        weight = random.draw(500, 200, random.Options(scale=scale), generator)
        assert float(weight.std()) == pytest.approx(expected, rel=0.02)


def test_orthogonal_weights_are_orthogonal_in_sets(digits):
    weight = random.draw(25, 10, random.Options(distribution="orthogonal", scale="unit"), torch.Generator())
    for part in weight.split(10):
        assert torch.allclose(part @ part.T, torch.eye(len(part), dtype=torch.float64), atol=1e-12)
    network = fitted(random, ("conv 3 4",), digits[0], distribution="orthogonal", scale="he")
    rows = network.module[0].weight.reshape(4, 9)
    assert torch.allclose(rows @ rows.T, 2 * torch.eye(4), atol=1e-5)


def test_the_extreme_learning_machine_beats_the_linear_read_out(digits):
    features, test = digits
    linear = accuracy(fitted(ridge, ("dense outputs",), features), test)
    machine = accuracy(fitted(random, ("dense 300", "relu", "dense outputs"), features, scale=1.0, bias=1.0), test)
    assert 92 < linear < 96
    assert machine > linear + 1.5


def test_pca_filters_are_the_leading_directions(digits):
    network = fitted(pca, ("dense 5",), digits[0])
    right = torch.linalg.svd(digits[0].train.x.flatten(1).double(), full_matrices=False).Vh[:5]
    weight = network.module[1].weight.double()
    assert torch.allclose(weight.T @ weight, right.T @ right, atol=1e-5)
    assert (network.module[1].bias == 0).all()


def test_pca_takes_components_up_to_a_share_of_the_variance(digits):
    x = digits[0].train.x.flatten(1).double()
    share = (linalg.spectrum(x, centre=True) ** 2).cumsum(0)
    share = share / share[-1]
    for reach in (False, True):
        network = fitted(pca, ("dense",), digits[0], variance=0.8, centre=True, reach=reach)
        assert network.layers == ("flatten", f"dense {int((share <= 0.8).sum()) + reach}")


def test_ridge_is_the_readout_of_any_representation(digits):
    features, test = digits
    one, other = fitted(ridge, ("dense outputs",), features), ridge.readout(features.train, features.task)
    assert one.layers == other.layers == ("flatten", "dense 10")
    assert torch.equal(one.module[1].weight, other.module[1].weight)
    record = other.record
    scores = layers.apply(other.module, features.train.x)
    error = (features.task.targets(features.train.y) - scores).square().sum(1).mean()
    assert record["error"] == pytest.approx(float(error), rel=1e-5)
    z, y = features.train.x.flatten(1), features.task.targets(features.train.y)
    assert record["lsd"] == pytest.approx(linalg.lsd(z, y), rel=1e-6)
    assert record["constant_features"] == 3
    assert fitted(ridge, ("dense outputs",), features, strengths=(7.0,)).record["layers"][0]["strength"] == 7.0
    assert ridge.readout(Split(test.x.double(), test.y), features.task).module[1].weight.dtype == torch.float64


@pytest.mark.parametrize("task", [Task("signs", 1, ("a", "b")), Task("values", 2)])
def test_other_tasks_are_read_out_too(task):
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long() if task.classifies else x[:, :2] * 2 - 1
    network = ridge.readout(Split(x, y), task)
    scores = layers.apply(network.module, x)
    if task.classifies:
        assert (task.labels(scores) == y).double().mean() > 0.95
    else:
        assert torch.allclose(scores, y, atol=1e-4)


def with_x(features, x):
    return dataclasses.replace(features, train=Split(x, features.train.y[: len(x)]))


def test_bad_features_are_named(digits):
    features = digits[0]
    x = features.train.x.clone()
    x[3, 0, 2, 2] = torch.nan
    for method in (ridge, random, pca, dmn):
        with pytest.raises(LayerwiseError, match="NaN or infinity"):
            fitted(
                method,
                ("conv 3 4", "dense outputs") if method is not ridge else ("dense outputs",),
                with_x(features, x),
            )
    with pytest.raises(LayerwiseError, match="all features are constant"):
        fitted(ridge, ("dense outputs",), with_x(features, torch.ones_like(x)))
    with pytest.raises(LayerwiseError, match="no variance"):
        fitted(pca, ("dense 3",), with_x(features, torch.zeros_like(x)))
    with pytest.raises(LayerwiseError, match="training split is empty"):
        fitted(ridge, ("dense outputs",), with_x(features, x[:0]))
    mostly = torch.zeros_like(features.train.x)
    mostly[..., 4] = features.train.x[..., 4]
    with pytest.warns(LayerwiseWarning, match=r"layer 1 \('dense 10'\): 5\d of 64 features are constant"):
        fitted(ridge, ("dense outputs",), with_x(features, mostly))


def test_layers_that_do_not_fit_are_named(digits):
    with pytest.raises(LayerwiseError, match="larger than its input of 8x8"):
        fitted(pca, ("conv 9 2",), digits[0])
    with pytest.raises(LayerwiseError, match=r"layer 'dense' has no width.*say 'dense 64'"):
        fitted(random, ("dense",), digits[0])
    with pytest.raises(LayerwiseError, match=r"layer 1 \('dense 10'\): ridge fits 'dense outputs' as the last layer"):
        fitted(ridge, ("dense 10", "dense outputs"), digits[0])


def test_weights_that_overflow_are_named(digits):
    with pytest.raises(LayerwiseError, match=r"layer 3 \('dense 10'\): its inputs overflow"):
        fitted(random, ("dense 5", "relu", "dense outputs"), digits[0], scale=1e38)
    with pytest.raises(LayerwiseError, match=r"layer 1 \('dense 5'\): the weights are not finite"):
        fitted(random, ("dense 5",), digits[0], scale=1e300)


def test_what_memory_cannot_hold_is_refused_with_the_numbers():
    with pytest.raises(LayerwiseError, match=r"layer 1: its fit needs \d+ GiB and the cpu has \d+ GiB"):
        demand_room(10**15, CPU, "layer 1")


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        (random, {"scale": 0.0}, "'scale' is 0.0: it must be above 0"),
        (random, {"scale": float("nan")}, "'scale' is nan: it must be a finite number above 0"),
        (random, {"bias": -1.0}, "'bias' is -1.0: it must be at least 0"),
        (pca, {"variance": 0.0}, "'variance' is 0.0: it must be above 0 and at most 1"),
        (pca, {"variance": float("nan")}, "'variance' is nan: it must be a finite number"),
        (pca, {"fraction": 1.5}, "'fraction' is 1.5: it must be above 0 and at most 1"),
        (pca, {"count": 0}, "'count' is 0: it must be at least 1"),
        (ridge, {"strengths": (1.0, -2.0)}, "'strengths' has -2.0: each must be at least 0"),
    ],
)
def test_bad_options_are_named(method, options, said):
    with pytest.raises(LayerwiseError, match=said):
        method.Options(**options)


def test_a_thousand_layers_cost_little_beyond_their_arithmetic():
    x = torch.randn(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features = Features(Split(x, x[:, :1]), Split(x[:0], x[:0, :1]), Task("values", 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = fitted(platonic, ("dense 8", "tanh") * 1000 + ("dense outputs",), features, alpha=0.5)
    assert len(network.module) == 2001
    assert len(network.record["input_error"]) == 1001
