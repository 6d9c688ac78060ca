"""Random parameters on random arrays: an estimator fits finite weights, or says in one line why it does not.

The inputs are the same in each run. ``LAYERWISE_FUZZ=20000 pytest tests/fuzz`` tries that many.
"""

import dataclasses
import itertools
import os
import types
import typing
import warnings

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import is_regressor
from sklearn.exceptions import DataConversionWarning

from layerwise import estimators
from layerwise.errors import LayerwiseWarning
from layerwise.options import hints

ALL = [getattr(estimators, name) for name in estimators.__all__]
LONG = {"epochs", "tries"}  # each is time
ALLOWED = (LayerwiseWarning, DataConversionWarning)

EXTREMES = [0.0, -1.0, 1e-300, 1e-30, 1e-6, 0.5, 1.0, 1e6, 1e30, 1e149, 1e300, float("nan"), float("inf")]
OTHER = [None, "x", "", "1e300", b"x", (), [], {}, {1}, True, 10**30, 2**64, object(), np.array([1.0, 2.0]), 1j]
JUNK = st.sampled_from([*OTHER, *EXTREMES])
NUMBERS = st.one_of(st.integers(1, 20), st.sampled_from([0, -1, 10**12, 10**20]))
WORDS = st.one_of(
    st.sampled_from(["relu", "tanh", "crelu", "erf", "celu", "flatten", "fold", "batchnorm", "dense", "dense outputs"]),
    st.builds("dense {}".format, NUMBERS),
    st.builds("conv {} {}".format, st.integers(1, 4), NUMBERS),
    st.builds("conv {} {} stride {} pad {}".format, st.integers(1, 3), st.integers(1, 4), NUMBERS, NUMBERS),
    st.builds("maxpool {}".format, st.integers(1, 4)),
    st.builds("dropout {}".format, st.sampled_from(EXTREMES)),
    st.builds("softshrink {}".format, st.sampled_from(EXTREMES)),
    st.text(max_size=8),
)
LAYERS = st.lists(WORDS, max_size=4).map(tuple)
SHAPES = st.one_of(
    st.none(),
    st.sampled_from([(1, 4, 4), (4, 2, 2), (16,), [16, 1, 1], (np.int64(1), 4, 4)]),
    st.lists(st.integers(-4, 16), max_size=4).map(tuple),
)


def of(hint):
    """Return values of an annotation, in its bounds or not."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return of(args[0])
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of, args))
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(of(args[0]), max_size=3).map(tuple)
    kinds = {
        bool: st.booleans(),
        int: st.one_of(st.integers(0, 8), st.sampled_from([-1, 500, 10**6, 10**30])),
        float: st.one_of(st.floats(1e-3, 2.0), st.floats(), st.sampled_from(EXTREMES)),
        type(None): st.none(),
    }
    return kinds.get(hint, JUNK)


@st.composite
def made(draw):
    """Return an estimator with some of its parameters drawn, now and then as junk."""
    cls = draw(st.sampled_from(ALL))
    own = {
        "layers": LAYERS,
        "image_shape": SHAPES,
        "device": st.just("cpu"),
        "standardise": st.booleans(),
        "random_state": st.integers(0, 9),
        "validation_fraction": st.sampled_from([0.1, 0.5, 0.9, 0, 1, -1.0, float("nan")]),
    }
    known = {
        field.name: of(hints(cls._method.Options)[field.name]) for field in dataclasses.fields(cls._method.Options)
    }
    known |= {name: st.integers(0, 3) for name in LONG & set(known)}
    parameters = cls().get_params()
    chosen = draw(st.lists(st.sampled_from(sorted(parameters)), max_size=4, unique=True))
    junk = draw(st.integers(0, 9)) == 0
    given = {"epochs": 2} if "epochs" in parameters else {}
    for name in chosen:
        given[name] = draw(JUNK if junk else {**own, **known}[name])
    return cls(**given)


@st.composite
def rows(draw):
    """Return samples of any scale and type."""
    n, d = draw(st.sampled_from([20] * 9 + [9, 9, 3, 2, 1, 0])), draw(st.sampled_from([16] * 9 + [9, 2, 1, 0]))
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    x = noise.normal(size=(n, d))
    change = draw(st.sampled_from(range(12)))
    with np.errstate(all="ignore"):
        if change == 0:
            x = x * 10.0 ** draw(st.integers(-320, 308)) + draw(st.sampled_from([0.0, 1.0, 1e8, -1e300]))
        elif change == 1 and x.size:
            x.flat[draw(st.integers(0, x.size - 1))] = draw(st.sampled_from(EXTREMES))
        elif change == 2:
            x[:, : draw(st.integers(0, 16))] = draw(st.sampled_from([0.0, 1.0, 1e9]))
        elif change == 3:
            x = x[:, :1] * np.ones(d)
        elif change == 4:
            kind = draw(st.sampled_from(["f4", "f2", "i8", "?", "O", "U", "c16", "g", "M8[D]"]))
            x = (100 * x).astype("i8").astype(kind) if kind == "M8[D]" else x.astype(kind)
        elif change == 5:
            x = draw(st.sampled_from([torch.from_numpy(x), x.tolist(), x.reshape(n, d, 1), x[:, 0] if d else x, None]))
        elif change == 6:
            x = (x * 10.0 ** draw(st.integers(-50, 38))).astype("f4")
    return x


@st.composite
def targets(draw, n, estimator):
    """Return labels or values, most often of the right kind."""
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    labels, values = noise.integers(0, draw(st.sampled_from([2, 2, 3, 4, 1])), n), noise.normal(size=n)
    with np.errstate(all="ignore"):
        return draw(
            st.sampled_from(
                [
                    *[values if is_regressor(estimator) else labels] * 40,
                    labels,
                    values,
                    labels.astype(str),
                    labels.astype(object),
                    labels > 0,
                    labels[:, None],
                    np.eye(4)[labels],
                    np.arange(n),
                    np.stack([values, 1e6 * values], axis=1),
                    values * 1e200,
                    values * 1e-200,
                    values + 1e12,
                    np.zeros(n),
                    np.where(values > 1, np.nan, values),
                    ["a", None, 1] * n,
                    (["a", None] * n)[:n],
                    labels[1:],
                    values + 1j,
                    [10**400] * n,
                    [[1]] * n,
                    torch.from_numpy(values),
                    None,
                    "y",
                ]
            )
        )


def fuzzed(examples):
    return settings(
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=int(os.environ.get("LAYERWISE_FUZZ", examples)),
        suppress_health_check=list(HealthCheck),
    )


def check(fit, x):
    """Fit and predict; the fit is finite, or refused in one line, and leaves torch as it was."""
    state, refused = torch.get_rng_state(), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = fit()
            outputs = fitted.predict(x) if hasattr(fitted, "predict") else fitted.transform(x)
        except (ValueError, TypeError) as error:
            refused = str(error)
    if refused is None:
        assert outputs.dtype.kind not in "fc" or np.isfinite(outputs).all()
        assert all(bool(torch.isfinite(each).all()) for each in fitted.module_.state_dict().values())
    else:
        assert refused
        assert "\n" not in refused
    for each in caught:
        assert issubclass(each.category, ALLOWED), str(each.message)
        assert "\n" not in str(each.message)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32


@fuzzed(250)
@given(estimator=made(), x=rows(), data=st.data())
def test_a_fit_is_finite_or_refused_in_one_line(estimator, x, data):
    y = data.draw(targets(0 if x is None else len(x), estimator))
    check(lambda: estimator.fit(x, y), x)


@fuzzed(150)
@given(
    estimator=st.sampled_from([estimators.PlatonicClassifier, estimators.PlatonicRegressor]), data=st.data(), x=rows()
)
def test_a_fit_on_batches_is_finite_or_refused_in_one_line(estimator, data, x):
    projection = data.draw(st.sampled_from(["random", "pca", "sorted", "auto", "differences", "identity"]))
    network = estimator(layers=("dense 2", "tanh"), projection=projection, random_state=0)
    passes = []
    for _ in range(data.draw(st.sampled_from([1, 1, 1, 2]))):  # passes that differ
        parts = [(x, data.draw(targets(len(x), network)))] if x is not None else []
        for _ in range(data.draw(st.integers(0, 3))):
            rows_ = data.draw(rows())
            parts.append((rows_, data.draw(targets(0 if rows_ is None else len(rows_), network))))
        other = data.draw(st.sampled_from([*[None] * 20, 5, (x,), (x, x, x), "ab", {"x": x}]))
        passes.append(parts if other is None else [*parts, other])
    number = itertools.count()
    check(lambda: network.fit_batches(lambda: passes[min(next(number), len(passes) - 1)]), x)
