"""Features far from the origin beside their spread: what a fit finds is what it finds where they are centred."""

import warnings

import pytest
import torch
from sklearn.linear_model import RidgeCV

from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseWarning
from layerwise.layers import build as layers
from layerwise.maths import linalg
from layerwise.methods import dmn, patches, pca, platonic, random, ridge

CPU = torch.device("cpu")
OFFSETS = {"float64": (0.0, 300.0, 5e6, -1e9), "float32": (0.0, 300.0, -3e4)}  # beside a spread of one
CASES = [(dtype, offset) for dtype, offsets in OFFSETS.items() for offset in offsets]
EVERY = pytest.mark.parametrize(("dtype", "offset"), CASES)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def samples(dtype, offset, kind="classes"):
    """Two classes, or values, of five features: two far away, one of them by a hundredth; one is constant and far."""
    x = normal(400, 5)
    y = (x @ normal(5, 1, seed=1) + 0.3 * normal(400, 1, seed=2)) > 0
    far = torch.tensor([1.0, 0.01, 0, 0, 1], dtype=torch.float64) * offset
    x[:, 4] = 0
    x = (x + far).to(getattr(torch, dtype))
    if kind == "values":
        y = (x.double() - far) @ normal(5, 2, seed=3) + normal(400, 2, seed=4) + offset / 7
        split, task = Split(x, y.to(x.dtype)), Task("values", 2)
    else:
        split, task = Split(x, y[:, 0].long()), Task("onehot", 2, ("a", "b"))
    return Features(split, Split(split.x[:100], split.y[:100]), task)


def centred(features):
    """The same samples about their mean, which float64 finds without loss."""
    middle = features.train.x.double().mean(dim=0)
    parts = [
        Split(s.x.double() - middle, s.y.double() if s.y.ndim > 1 else s.y) for s in (features.train, features.valid)
    ]
    return Features(*parts, features.task)


def outputs(method, features, words=("dense outputs",), **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LayerwiseWarning)
        fitted = method.fit(segment, features, method.Options(**options), seed=0, device=CPU)
    return layers.apply(fitted.module, features.train.x).double(), fitted


def rounding(features, offset):
    """What the type of the samples leaves of features so far away, with something to spare."""
    return 1e-7 + 100 * torch.finfo(features.train.dtype).eps * (1 + abs(offset))


@EVERY
@pytest.mark.parametrize("kind", ["classes", "values"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (ridge, {}),
        (ridge, {"strengths": (1e-3, 0.1)}),
        (ridge, {"select": "valid", "strengths": (1e-3, 0.1)}),
        (ridge, {"floor": 0.5}),
        (platonic, {"solver": "ridge"}),
        (platonic, {"solver": "ridge", "strength": 0.01}),
    ],
)
def test_a_readout_is_that_of_centred_features(method, options, kind, dtype, offset):
    features = samples(dtype, offset, kind)
    given = {"dtype": dtype} if method is platonic else {}
    found, fitted = outputs(method, features, **given, **options)
    double = {"dtype": "float64"} if method is platonic else {}
    wanted, _ = outputs(method, centred(features), **double, **options)
    if method is ridge:
        assert fitted.record["layers"][0]["constant_features"] == 1
    elif method is platonic and "strength" not in options and dtype == "float32":
        return  # which of many strengths that do as well is a matter of rounding
    assert float((found - wanted).abs().max()) < rounding(features, offset) * (1 + float(wanted.std(dim=0).max()))


@pytest.mark.parametrize("offset", OFFSETS["float64"])
def test_a_readout_is_as_good_as_that_of_scikit_learn(offset):
    features = samples("float64", offset, "values")
    found, _ = outputs(ridge, features, strengths=(1e-10,))
    about = centred(features).train
    theirs = RidgeCV(alphas=[1e-8]).fit(about.x.numpy(), about.y.numpy()).predict(about.x.numpy())
    assert found.numpy() == pytest.approx(theirs, rel=1e-9, abs=rounding(features, offset))


@EVERY
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (pca, {"centre": True, "count": 3}),
        (pca, {"centre": True, "whiten": 0.1, "count": 3}),
        (dmn, {"centre": True, "whiten": 0.1, "count": 4, "correlation": 1.0}),
        (patches, {"whiten": 0.5, "count": 3}),
    ],
)
def test_filters_are_those_of_centred_features(method, options, dtype, offset):
    features = samples(dtype, offset)
    words = ("dense",)
    found, wanted = (outputs(method, each, words, **options)[0] for each in (features, centred(features)))
    found, wanted = (z - z.mean(dim=0) for z in (found, wanted))  # a bias of zero leaves them where they are
    assert float((found - wanted).abs().max()) < 10 * rounding(features, offset) * (1 + float(wanted.abs().max()))


@EVERY
def test_batch_normalisation_has_the_variance_of_centred_features(dtype, offset):
    features = samples(dtype, offset)
    _, fitted = outputs(random, features, ("batchnorm",))
    wanted = features.train.x.double().var(dim=0, correction=0)
    assert torch.allclose(fitted.module[0].running_var.double(), wanted, rtol=1e-5, atol=1e-9)


@EVERY
@pytest.mark.parametrize("weighted", [False, True])
def test_platonic_pca_is_that_of_columns_that_are_standardised(weighted, dtype, offset):
    """Its hidden layer is linear in the samples: read out again it knows what they know."""
    features = samples(dtype, offset, "values")
    options = {"projection": "pca", "solver": "ridge", "dtype": dtype, "strength": 1e-6}
    words = ("dense 6", "dense outputs")
    found, _ = outputs(platonic, features, words, **options, **({"ema": 0.2} if weighted else {}))
    wanted, _ = outputs(ridge, centred(features), strengths=(1e-6,))
    far = features.train.y.double().mean(dim=0)
    assert float((found - far - wanted + wanted.mean(dim=0)).abs().max()) < 1e-3 + 100 * rounding(features, offset)


def test_a_gram_about_any_points_is_the_same_gram():
    x, y = normal(60, 4) + torch.tensor([0.0, 1e3, -1e5, 7]), normal(60, 2)
    plain = linalg.Gram(4, 2).add(x, y)
    about = [
        linalg.Gram(4, 2, about=torch.cat([x[i], y[i]])).add(x[s], y[s])
        for i, s in ((0, slice(25)), (9, slice(25, 60)))
    ]
    both = about[0] + about[1]
    for mixed in (both, about[1] + about[0], about[0] + linalg.Gram(4, 2).add(x[25:], y[25:])):
        assert mixed.n == 60
        assert torch.allclose(mixed.mean, plain.mean, rtol=1e-12)
        assert torch.allclose(mixed.moment(), plain.moment(), rtol=1e-9)
        deviations = torch.cat([x, y], dim=1) - torch.cat([x, y], dim=1).mean(dim=0)
        assert torch.allclose(mixed.moment(centre=True), deviations.T @ deviations / 60, rtol=1e-5, atol=1e-5)


def test_only_what_is_exactly_constant_is_called_so():
    x = torch.full((50, 4), 1e9, dtype=torch.float64)
    x[7, 1] = 1e9 + 1e-6  # the next number there is
    x[:, 2] = 0
    x[3, 3] = -1e9
    gram = linalg.Gram(4).add(x[:20]) + linalg.Gram(4).add(x[20:])
    assert gram.varies.tolist() == [False, True, False, True]
    assert gram.rough
    exact = linalg.Gram(4, about=gram.low).add(x)
    assert not exact.rough
    assert (linalg.inverse_scale(exact, exact.moment(centre=True)) > 0).tolist() == [False, True, False, True]


def test_a_column_that_is_lost_in_rounding_is_warned_of():
    x = normal(50, 2) + torch.tensor([0.0, 1e9])
    gram = linalg.Gram(2).add(x)
    with pytest.warns(LayerwiseWarning, match="1 of 2 columns vary by less than the rounding"):
        linalg.inverse_scale(gram, gram.moment(centre=True))


@pytest.mark.parametrize("solver", ["pinv", "lstsq"])
def test_a_decomposition_that_does_not_see_a_column_vary_says_so(solver):
    x = 1.764e9 + 1200 * normal(400, 1).abs()
    features = Features(Split(x, (x - 1.764e9) / 600), Split(x[:0], x[:0]), Task("values", 1))
    segment = Segment(("dense outputs",), (1,), 1)
    with pytest.warns(
        LayerwiseWarning, match="float64 costs accuracy .* standardise the features, or use solver ridge"
    ):
        platonic.fit(segment, features, platonic.Options(solver=solver), seed=0, device=CPU)


def test_a_layer_that_saturates_far_from_the_origin_says_so():
    features = samples("float32", 300.0)
    segment = Segment(("dense 16", "tanh", "dense outputs"), (5,), 2)
    with pytest.warns(LayerwiseWarning, match=r"layer 1 \('dense 16'\) loses the targets.*: standardise the features"):
        platonic.fit(segment, features, platonic.Options(solver="ridge"), seed=0, device=CPU)


def test_leave_one_out_errors_are_those_of_centred_features():
    z, y = normal(40, 3), normal(40, 2, seed=1)
    far = z + torch.tensor([1e9, -1e6, 0.0])
    errors = []
    for rows in (z, far):
        gram = linalg.Gram(3, 2, about=torch.cat([rows[0], y[0]])).add(rows, y)
        errors.append(linalg.Normal(gram).leave_one_out(rows, y, 0.1))
    assert torch.allclose(errors[0], errors[1], atol=1e-5)
