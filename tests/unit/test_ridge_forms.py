"""The forms of ridge: primal, dual and iterative give the same read-out, and memory does not hold what it need not."""

import dataclasses
import platform
from math import prod

import pytest
import torch
from sklearn.linear_model import Ridge

from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers import build as layers
from layerwise.maths import linalg
from layerwise.methods import ridge
from layerwise.run import machine, source

CPU = torch.device("cpu")
SHAPES = [(200, 30), (90, 90), (60, 300)]  # samples, features
ONEHOT, SIGNS, VALUES = Task("onehot", 4, tuple("abcd")), Task("signs", 1, ("a", "b")), Task("values", 2)


def problem(samples, features, task=ONEHOT, seed=0):
    """Features of different scales, off the origin, one of them constant; half as many validation samples."""
    draw = torch.Generator().manual_seed(seed)
    total = samples + samples // 2
    x = torch.randn(total, features, dtype=torch.float64, generator=draw)
    x = (x + torch.randn(features, generator=draw)) * torch.logspace(-2, 2, features, dtype=torch.float64)
    x[:, 3] = 0.1
    score = (
        x[:, :: max(features // 9, 1)]
        @ torch.randn(x[:, :: max(features // 9, 1)].shape[1], 4, generator=draw).double()
    )
    score = score + torch.randn(total, 4, generator=draw) * score.std()
    y = {"onehot": score.argmax(1), "signs": (score[:, 0] > 0).long(), "values": score[:, :2]}[task.kind]
    return Features(Split(x[:samples], y[:samples]), Split(x[samples:], y[samples:]), task)


def fitted(features, words=("dense outputs",), **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    return ridge.fit(segment, features, ridge.Options(**options), seed=0, device=CPU)


def record(network):
    return network.record["layers"][0]


def assert_same(one, other, tolerance=1e-8):
    for a, b in zip(one.module.state_dict().values(), other.module.state_dict().values(), strict=True):
        assert float((a - b).norm()) <= tolerance * float(b.norm())


@pytest.mark.parametrize("task", [ONEHOT, SIGNS, VALUES], ids=lambda task: task.kind)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_dual_form_is_the_primal_one(shape, task):
    features = problem(*shape, task)
    primal, dual = fitted(features), fitted(features, form="dual")
    assert_same(dual, primal)
    one, other = record(primal), record(dual)
    assert other["strength"] == pytest.approx(one["strength"], rel=1e-12)
    for name in ("gcv", "error", "lsd", "constant_features"):
        assert other[name] == pytest.approx(one[name], rel=1e-8, abs=1e-9 * one["gcv"])


@pytest.mark.parametrize("strength", [1e-6, 1e-3, 0.1, 10.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_strength_is_the_same_in_all_forms_and_that_of_scikit_learn(shape, strength):
    features = problem(*shape)
    primal, dual = (fitted(features, form=form, strengths=(strength,)) for form in ("primal", "dual"))
    assert_same(dual, primal, 1e-8 if strength > 1e-4 else 1e-6)
    assert_same(fitted(features, form="iterative", strengths=(strength,), residual=1e-12), primal, 1e-6)
    x, y = features.train.x, features.task.targets(features.train.y, torch.float64)
    scale = torch.where(x.amin(0) < x.amax(0), x.std(0, correction=0), 1.0)
    scikit = Ridge(alpha=strength * len(x), solver="cholesky").fit((x - x.mean(0)) / scale, y)
    weight = torch.from_numpy(scikit.coef_) / scale
    assert torch.allclose(dual.module[0].weight, weight, rtol=1e-6, atol=1e-8 * float(weight.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_validation_split_chooses_the_same(shape, dtype):
    features = problem(*shape)
    train, valid = (Split(s.x.to(dtype), s.y) for s in (features.train, features.valid))
    features = dataclasses.replace(features, train=train, valid=valid)
    primal = fitted(features, select="valid")
    tolerance = 1e-8 if dtype == torch.float64 else 2e-3
    for form, residual in (("dual", 1e-6), ("iterative", 1e-11 if dtype == torch.float64 else 1e-5)):
        other = fitted(features, select="valid", form=form, residual=residual)
        assert record(other)["strength"] == record(primal)["strength"]
        assert record(other)["valid_loss"] == pytest.approx(record(primal)["valid_loss"], abs=0.04)
        assert_same(other, primal, tolerance)


@pytest.mark.parametrize("form", ["dual", "iterative"])
def test_the_floor_of_scales_is_the_same(form):
    features = problem(60, 300)
    options = {"strengths": (1e-2,), "floor": 0.5}
    assert_same(fitted(features, form=form, residual=1e-12, **options), fitted(features, **options), 1e-7)
    far = fitted(features, strengths=(1e-2,))
    assert not torch.allclose(far.module[0].weight, fitted(features, **options).module[0].weight, rtol=0.1)


def test_by_itself_it_takes_the_smaller_and_iterates_where_memory_holds_neither(monkeypatch):
    for shape, form in zip(SHAPES, (None, None, "dual"), strict=True):
        assert record(fitted(problem(*shape), form="auto")).get("form") == form
    monkeypatch.setattr(ridge, "has_room", lambda numbers, device: numbers < 4 * 60**2)
    assert record(fitted(problem(60, 300), form="auto", select="valid"))["form"] == "iterative"
    assert record(fitted(problem(60, 300), form="auto", strengths=(0.1,)))["form"] == "iterative"
    assert record(fitted(problem(60, 300), form="auto"))["form"] == "dual"  # which says what memory it needs


def test_the_record_has_the_residual_of_the_weights_themselves():
    features = problem(200, 30)
    found = fitted(features, form="iterative", strengths=(0.01,), residual=1e-4)
    x, y = features.train.x, features.task.targets(features.train.y, torch.float64)
    z, y = x - x.mean(0), y - y.mean(0)
    scale = torch.where(x.amin(0) < x.amax(0), z.square().mean(0).sqrt(), 1.0)
    z, weight = z / scale, found.module[0].weight.T * scale[:, None]
    rest = z.T @ y / 200 - (z.T @ (z @ weight) / 200 + 0.01 * weight)
    said = record(found)["conjugate_gradients"]["0.01"]["residual"]
    assert said == pytest.approx(float(rest.detach().norm() / (z.T @ y / 200).norm()), rel=1e-6)
    assert said <= 1e-4


def test_it_says_where_the_residual_is_not_reached():
    features = problem(200, 30)
    with pytest.warns(LayerwiseWarning, match=r"strength 1e-06 has a residual of .* after 4 passes, and 1.0e-10 was"):
        found = fitted(features, form="iterative", strengths=(1e-6,), residual=1e-10, passes=4)
    assert record(found)["conjugate_gradients"]["1e-06"]["passes"] == 4
    train = Split(features.train.x.float(), features.train.y)
    with pytest.warns(LayerwiseWarning, match="allow more passes or a larger residual, or use float64"):
        fitted(dataclasses.replace(features, train=train), form="iterative", strengths=(1e-6,), residual=1e-14)


def test_mistakes_are_told_in_a_line():
    features = problem(60, 300)
    with pytest.raises(LayerwiseError, match="form: iterative takes one of strengths, or chooses with select: valid"):
        fitted(features, form="iterative")
    none = dataclasses.replace(features, valid=Split(features.valid.x[:0], features.valid.y[:0]))
    for form in ("dual", "iterative"):
        with pytest.raises(LayerwiseError, match="no validation split to choose on"):
            fitted(none, form=form, select="valid")
        constant = dataclasses.replace(features, train=Split(torch.full((60, 300), 0.1), features.train.y))
        with pytest.raises(LayerwiseError, match="all features are constant"):
            fitted(constant, form=form, strengths=(0.1,))
    broken = features.train.x.clone()
    broken[3, 3] = torch.nan
    with pytest.raises(LayerwiseError, match="NaN or infinity"):
        fitted(dataclasses.replace(features, train=Split(broken, features.train.y)), form="dual")


def patches(samples, filters, seed=0):
    """Frozen filters over images, whose features stream: the training and the validation split."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        words = (f"conv 3 {filters} contrast 0.1 mirror", "softshrink 0.25", "crelu", "avgpool 3", "fold")
        module = layers.build(words, (2, 11, 11), 4)[0]
        x = torch.randn(samples, 2, 11, 11)
    y = torch.arange(samples) % 4
    return module, [Split(part, y[: len(part)]) for part in x.split(samples // 2)]


def streamed(module, splits, monkeypatch):
    monkeypatch.setitem(source.HELD, "cpu", 0)
    train, valid = (source.Through(split, module, CPU) for split in splits)
    assert train.streams
    return Features(train, valid, ONEHOT)


@pytest.mark.parametrize(
    "options", [{"strengths": (0.1,)}, {"select": "valid"}, {"strengths": (0.1,), "floor": 0.9}], ids=str
)
@pytest.mark.parametrize("below", [(), ("relu",)], ids=str)
def test_runs_of_filters_give_the_weights_of_all_at_once(options, below, monkeypatch):
    """Also where layers of the segment lie below, and runs cannot be made of filters alone."""
    module, splits = patches(120, 9)
    words = (*below, "dense outputs")
    whole = Features(*(Split(layers.apply(module, split.x), split.y) for split in splits), ONEHOT)
    expected = fitted(whole, words, form="dual", **options)
    monkeypatch.setattr(linalg, "BLOCK", 7)
    monkeypatch.setattr("layerwise.closed.runs.RUN", {"cpu": 60 * 40})
    features = streamed(module, splits, monkeypatch)
    widths, x = [], source.Through.x.func
    monkeypatch.setattr(source.Through, "x", property(lambda self: widths.append(prod(self.shape)) or x(self)))
    found = fitted(features, words, form="dual", **options)
    assert record(found)["strength"] == record(expected)["strength"]
    assert_same(found, expected, 1e-4)
    if not below:
        assert max(widths) <= 40 < prod(features.shape)


@pytest.mark.skipif(platform.system() != "Linux", reason="other systems do not forget a peak that is over")
def test_memory_does_not_grow_with_the_number_of_filters(monkeypatch):
    """Features of 1.8 MB a filter: of 400 more filters, 700 MB."""
    peaks = []
    machine.warm_up(CPU)
    for filters in (40, 40, 440):  # the first loads what is loaded once
        module, splits = patches(1600, filters)
        features = streamed(module, splits, monkeypatch)
        monkeypatch.setattr("layerwise.closed.runs.RUN", {"cpu": 2**20})
        with machine.metered(CPU) as before:
            pass
        with machine.metered(CPU) as reading:
            fitted(features, form="dual", strengths=(0.1,), select="valid")
        peaks.append(reading["peak_memory_mb"] - before["peak_memory_mb"])
    assert peaks[2] < peaks[1] + 30
