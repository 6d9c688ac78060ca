"""Platonic projections: the listing of thesis figure 7.3, its solvers against each other, and what they refuse."""

import statistics

import pytest
import torch
from plato import CPU, error, features_of, fitted, inputs_of, rings

from layerwise.closed import inputs as layer_inputs
from layerwise.contract import Segment, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers import build as layers
from layerwise.maths import linalg
from layerwise.methods import platonic, random


@pytest.fixture(scope="module")
def sine():
    x = torch.linspace(-1, 1, 5000, dtype=torch.float64)[:, None]
    return features_of(x, torch.sin(2 * torch.pi * x), Task("values", 1))


@pytest.fixture(scope="module")
def blobs():
    return rings()


def test_the_sinusoid_comes_out_as_well_as_in_a_plain_transcription(sine):
    """Of 1,000 seeds the listing has a median error of 1.4e-4, p10 4.7e-5 and p90 4.4e-4; here 60 seeds."""
    errors = sorted(error(fitted(sine, seed=seed), sine) for seed in range(60))
    assert 1.0e-4 < statistics.median(errors) < 2.0e-4
    assert 2.5e-5 < errors[6] < 8e-5
    assert 2.5e-4 < errors[53] < 8e-4


def test_more_tries_fit_the_sinusoid_better(sine):
    """Medians over seeds: 4.0e-5 with 5 tries, 8.5e-6 with 50."""
    medians = {n: statistics.median(error(fitted(sine, seed=s, tries=n), sine) for s in range(5)) for n in (5, 50)}
    assert 1.5e-5 < medians[5] < 9e-5
    assert 4e-6 < medians[50] < 1.5e-5


def test_the_best_try_is_never_worse_than_the_first_ones(blobs):
    """The draws of fewer tries are the first draws of more tries."""
    least = [fitted(blobs, ("dense 6", "tanh"), tries=n).record["lsd"][0] for n in (2, 4, 8, 16)]
    assert least == sorted(least, reverse=True)
    assert least[-1] < least[0]
    network = fitted(blobs, ("dense 6", "tanh"), tries=4)
    after = layers.apply(network.module, blobs.train.x.double())
    assert linalg.lsd(after, blobs.task.targets(blobs.train.y)) == pytest.approx(least[1], rel=1e-9)


@pytest.mark.parametrize("solver", ["pinv", "ridge"])
def test_one_factorisation_serves_all_tries(blobs, solver, monkeypatch):
    name = "pinv" if solver == "pinv" else "eigh"
    calls = []
    original = getattr(torch.linalg, name)
    monkeypatch.setattr(torch.linalg, name, lambda *a, **k: calls.append(1) or original(*a, **k))
    fitted(blobs, ("dense 6", "tanh"), tries=20, solver=solver)
    assert len(calls) == 1


def listing(x, y, draws, activation, alpha, beta):
    """The network of thesis figure 7.3 with the scales of section 7.5.2, from the given P."""
    z = x
    for drawn in draws:
        z = torch.cat([torch.ones(len(z), 1, dtype=z.dtype), z], dim=1)
        target = alpha * torch.cat([z, beta * y], dim=1) @ drawn
        z = activation(z @ (torch.linalg.pinv(z) @ target))
    z = torch.cat([torch.ones(len(z), 1, dtype=z.dtype), z], dim=1)
    return z @ (torch.linalg.pinv(z) @ y)


@pytest.mark.parametrize("solver", ["pinv", "lstsq", "solve", "ridge"])
def test_every_solver_gives_the_listings_network(blobs, solver):
    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(1 + n + 3, 6, dtype=torch.float64, generator=generator) for n in (5, 6)]
    y = blobs.task.targets(blobs.train.y, torch.float64)
    expected = listing(blobs.train.x.double(), y, draws, torch.tanh, 0.7, 2.5)
    strength = {"solve": 1e-9, "ridge": 1e-12}.get(solver)
    words = ("dense 6", "tanh", "dense 6", "tanh", "dense outputs")
    network = fitted(blobs, words, seed=3, solver=solver, strength=strength, alpha=0.7, beta=2.5)
    assert torch.allclose(layers.apply(network.module, blobs.train.x.double()), expected, atol=1e-6)
    assert network.record["input_error"][-1] == pytest.approx(float((expected - y).square().sum(1).mean()), rel=1e-6)


def test_ridge_is_the_closed_form_of_the_scaled_centred_problem(blobs):
    """W = (Z^T Z + s I)^-1 Z^T T on the columns of Z and T as the ridge sees them, the bias free."""
    inputs = inputs_of(blobs)
    y = blobs.task.targets(blobs.train.y, torch.float64)
    factor = platonic.Streamed(inputs, y, platonic.Options(solver="ridge", strength=0.3, alpha=2.0, beta=3.0))
    drawn = torch.randn(1 + 5 + 3, 7, dtype=torch.float64)
    found = factor.weights(drawn)
    z = blobs.train.x.double()
    target = 2 * torch.cat([torch.ones(600, 1), z, 3 * y], dim=1) @ drawn
    scaled = (z - z.mean(0)) / z.std(0, correction=0)
    gram = scaled.T @ scaled + 0.3 * 600 * torch.eye(5)
    fit = target.mean(0) + scaled @ torch.linalg.solve(gram, scaled.T @ (target - target.mean(0)))
    assert torch.allclose(z @ found.weight.T + found.bias, fit)


def test_ridge_does_not_depend_on_the_batches_and_chooses_its_strength(blobs, monkeypatch):
    words = ("dense 6", "relu", "dense outputs")
    options = {"projection": "pca", "beta": 2.0, "solver": "ridge", "ema": 0.2, "strength": 1e-3}
    whole = fitted(blobs, words, **options)
    monkeypatch.setitem(layer_inputs.BUDGET, "cpu", 700)
    parts = fitted(blobs, words, **options)
    x = blobs.train.x.double()
    assert torch.allclose(layers.apply(whole.module, x), layers.apply(parts.module, x), rtol=1e-9, atol=1e-10)
    chosen = fitted(blobs, words, solver="ridge").record["strength"]
    assert all(strength in linalg.STRENGTHS for strength in chosen)


@pytest.mark.filterwarnings("ignore:platonic. float32 costs accuracy")
def test_float32_computes_in_float32_and_loses_digits(sine):
    with pytest.warns(LayerwiseWarning, match="float32 costs accuracy in"):
        network = fitted(sine, dtype="float32")
    assert {p.dtype for p in network.module.parameters()} == {torch.float32}
    medians = {
        dtype: statistics.median(error(fitted(sine, seed=s, dtype=dtype), sine) for s in range(15))
        for dtype in ("float32", "float64")
    }
    assert medians["float32"] > 3 * medians["float64"]
    assert {p.dtype for p in fitted(sine).module.parameters()} == {torch.float64}


def test_a_tolerance_and_a_bias_are_obeyed(blobs):
    plain = fitted(blobs, ("dense 6", "tanh", "dense outputs"))
    cut = fitted(blobs, ("dense 6", "tanh", "dense outputs"), tolerance=20.0)
    assert not torch.equal(plain.module[2].weight, cut.module[2].weight)
    without = fitted(blobs, ("dense 6", "tanh", "dense outputs"), bias=False)
    assert (without.module[0].bias == 0).all()
    assert (without.module[2].bias == 0).all()


def test_it_is_the_same_for_the_same_seed_and_beats_random_weights(blobs):
    words = ("dense 8", "relu", "dense 8", "relu", "dense outputs")
    one, same, other = (fitted(blobs, words, seed=s, beta=2.0).module[0].weight for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    segment = Segment(words, (5,), 3)
    chance = [random.fit(segment, blobs, random.Options(bias=1.0), seed=s, device=CPU) for s in range(15)]
    mine = statistics.median(error(fitted(blobs, words, seed=s, beta=2.0, tries=20), blobs) for s in range(15))
    assert mine < statistics.median(error(network, blobs) for network in chance)


def test_images_are_flattened(blobs):
    x = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    features = features_of(x, (x.sum((1, 2, 3)) > 8).long(), Task("signs", 1, ("dark", "light")))
    assert fitted(features, ("dense 17", "relu", "dense outputs")).layers == ("flatten", "dense 17", "relu", "dense 1")


def test_a_layer_that_loses_the_targets_is_named(blobs):
    words = ("dense 40", "relu", "dense 1", "relu", "dense outputs")
    with pytest.warns(
        LayerwiseWarning, match=r"layer 3 \('dense 1'\) is narrower than n \+ k and loses the targets: .* rises"
    ):
        fitted(blobs, words)


def test_dependent_features_are_no_obstacle(blobs):
    x = torch.cat([blobs.train.x, blobs.train.x[:, :2], torch.ones(600, 1), torch.zeros(600, 1)], dim=1)
    more = features_of(x, blobs.train.y, blobs.task)
    for options in ({"solver": "pinv"}, {"solver": "ridge", "strength": 1e-10}):
        plain, doubled = (error(fitted(f, ("dense outputs",), **options), f) for f in (blobs, more))
        assert doubled == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": 0.0}, "'alpha' is 0.0: it must be above 0"),
        ({"beta": float("nan")}, "'beta' is nan: it must be a finite number above 0"),
        ({"beta": float("inf")}, "'beta' is inf: it must be a finite number above 0"),
        ({"tries": 0}, "'tries' is 0: it must be at least 1"),
        ({"tries": 3, "projection": "pca"}, "tries: projection pca is the same at every try"),
        ({"ema": 1.0, "projection": "pca"}, "'ema' is 1.0: it must be at least 0 and below 1"),
        ({"ema": 0.2}, "ema: projection random does not weigh samples"),
        ({"tolerance": 1e-5, "solver": "ridge"}, "tolerance: solver ridge takes none; use pinv or lstsq"),
        ({"tolerance": 0.0}, "'tolerance' is 0.0: it must be above 0"),
        ({"strength": 1.0}, "strength: solver pinv has no penalty"),
        ({"strength": -1.0, "solver": "ridge"}, "'strength' is -1.0: it must be at least 0"),
        ({"solver": "solve"}, "strength: solver solve needs a number"),
        ({"solver": "solve", "strength": "gcv"}, "strength: solver solve needs a number"),
        ({"solver": "ridge", "bias": False}, "bias: solver ridge always has one"),
        ({"mask": 7}, "mask: projection random takes none; use sorted"),
        ({"mask": 0, "projection": "sorted"}, "'mask' is 0: it must be at least 1"),
        ({"projection": "identity", "solver": "ridge"}, "projection: identity has one target a sample"),
        ({"projection": "identity", "beta": 2.0}, "projection: identity has one target a sample"),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(LayerwiseError, match=said):
        platonic.Options(**options)


def test_what_cannot_be_fitted_is_named(blobs, sine):
    with pytest.raises(LayerwiseError, match="layer 'conv 3 4': platonic fits dense layers only"):
        fitted(blobs, ("conv 3 4", "relu"))
    with pytest.raises(LayerwiseError, match=r"layer 1 \('dense 9'\): Platonic PCA has n \+ k = 8 components"):
        fitted(blobs, ("dense 9",), projection="pca")
    with pytest.raises(LayerwiseError, match=r"layer 1 \('dense 601'\): Sorted PCA takes 601 samples .* there are 600"):
        fitted(blobs, ("dense 601",), projection="sorted")
    with pytest.raises(LayerwiseError, match="layer 'dense' has no width"):
        fitted(blobs, ("dense",))
    with pytest.raises(LayerwiseError, match=r"layer \d+ \('dense 16'\): its inputs overflow"):
        fitted(sine, ("dense 16", "celu") * 60 + ("dense outputs",), alpha=1e6, dtype="float32", solver="ridge")
    wide = features_of(100 * sine.train.x, sine.train.y, sine.task)
    with pytest.raises(LayerwiseError, match=r"no try of 2 gave finite features: lower alpha"):
        fitted(wide, ("dense 16", "celu"), alpha=1e38, dtype="float32", tries=2, solver="ridge")
    zeros = features_of(torch.zeros(40, 3), torch.ones(40, 1), Task("values", 1))
    with pytest.raises(LayerwiseError, match="its inputs are all zero"):
        fitted(zeros, ("dense 3",), projection="sorted")
    with pytest.raises(LayerwiseError, match="solver solve broke down in float64: raise the strength"):
        fitted(zeros, ("dense 3",), solver="solve", strength=0.0)
