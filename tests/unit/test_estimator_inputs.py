"""What people give to estimators: defaults that hold on ordinary data, and mistakes that are one line."""

import itertools
import random
import warnings

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn import datasets
from sklearn.base import clone, is_regressor
from sklearn.linear_model import LinearRegression, Ridge, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from layerwise.errors import LayerwiseWarning
from layerwise.estimators import (
    DensityMatrixTransformer,
    DGLClassifier,
    DGLRegressor,
    LocalNetworkClassifier,
    PCATransformer,
    PlatonicClassifier,
    PlatonicRegressor,
    RandomFeaturesTransformer,
    RidgeReadoutClassifier,
    RidgeReadoutRegressor,
    SGDNetworkClassifier,
    SGDNetworkRegressor,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 16))
Y = RNG.integers(0, 3, 40)
V = X[:, 0] + 0.1 * RNG.normal(size=40)


def with_value(array, value):
    array = np.array(array, dtype=float)
    array.flat[5] = value
    return array


# ---------------------------------------------------------------- defaults on ordinary data

MADE = datasets.make_regression(400, 10, noise=5, random_state=0)
FRIEDMAN = datasets.make_friedman1(400, random_state=0)
VALUES = {
    "diabetes": datasets.load_diabetes(return_X_y=True),
    "made": MADE,
    "friedman 2": datasets.make_friedman2(400, random_state=0),  # columns from 1 to 1,760, y up to 1,700
    "made * 1e6": (MADE[0], 1e6 * MADE[1]),
    "made * 1e-6": (MADE[0], 1e-6 * MADE[1]),
    "friedman": FRIEDMAN,
    "friedman + 1e6": (FRIEDMAN[0], FRIEDMAN[1] + 1e6),
}
CLASSES = {name: getattr(datasets, f"load_{name}")(return_X_y=True) for name in ("iris", "wine", "breast_cancer")}
CLASSES["digits"] = tuple(each[:1200] for each in datasets.load_digits(return_X_y=True))
CLASSES["moons"] = datasets.make_moons(300, noise=0.2, random_state=0)

# How far a regressor's R2, or a classifier's accuracy, may lie below the linear baseline of scikit-learn.
BELOW = {
    PlatonicRegressor(random_state=0): 0.02,
    RidgeReadoutRegressor(): 0.02,
    DGLRegressor(random_state=0): 0.2,
    SGDNetworkRegressor(random_state=0): 0.12,
    PlatonicClassifier(random_state=0): 0.05,
    RidgeReadoutClassifier(): 0.02,
    DGLClassifier(random_state=0): 0.03,
    SGDNetworkClassifier(random_state=0): 0.03,
    LocalNetworkClassifier(random_state=0): 0.03,
    make_pipeline(DensityMatrixTransformer(random_state=0), RidgeReadoutClassifier()): 0.03,
    make_pipeline(PCATransformer(random_state=0), RidgeReadoutClassifier()): 0.17,
    make_pipeline(RandomFeaturesTransformer(random_state=0), RidgeReadoutClassifier()): 0.03,
}


@pytest.mark.filterwarnings("error::layerwise.errors.LayerwiseWarning")
@pytest.mark.parametrize(("estimator", "below"), BELOW.items(), ids=str)
def test_defaults_hold_beside_a_linear_baseline(estimator, below):
    """As they come, on data as they come; transformers alone need columns of one size."""
    regresses = is_regressor(estimator)
    own = make_pipeline(StandardScaler(), estimator) if isinstance(estimator, Pipeline) else estimator
    for name, (x, y) in (VALUES if regresses else CLASSES).items():
        train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)
        scores = [
            each.fit(train_x, train_y).score(test_x, test_y)
            for each in (make_pipeline(StandardScaler(), Ridge() if regresses else RidgeClassifier()), own)
        ]
        assert scores[1] > scores[0] - below, (name, scores)


def test_a_platonic_regressor_is_safe_on_more_features_than_samples():
    for seed in range(3):  # 75 samples of 100 features, of which 10 matter; y of some hundreds
        x, y = datasets.make_regression(random_state=seed)
        train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=seed)
        scores = [
            each.fit(train_x, train_y).score(test_x, test_y) for each in (PlatonicRegressor(random_state=0), Ridge())
        ]
        assert scores[0] > scores[1] - 0.2
        assert scores[0] > 0


def test_predictions_that_leave_the_range_of_the_targets_are_warned_of():
    network = PlatonicRegressor(layers=("dense 40", "relu"), random_state=0).fit(*MADE)
    network.predict(3 * MADE[0])
    with pytest.warns(LayerwiseWarning, match="PlatonicRegressor: for this X predictions are .* times as far"):
        network.predict(1e4 * MADE[0])


@pytest.mark.parametrize("cls", [PlatonicClassifier, DGLClassifier, SGDNetworkClassifier, LocalNetworkClassifier])
def test_standardise_is_a_standard_scaler_in_front(cls):
    x, y = CLASSES["wine"]
    x = x.astype(np.float32)
    x[:, 3] = 7.0
    options = {} if cls is PlatonicClassifier else {"epochs": (2,) if cls is LocalNetworkClassifier else 2}
    own = cls(**options, random_state=0).fit(x, y)
    scaled = StandardScaler().fit_transform(x.astype(np.float64)).astype(np.float32)
    twin = cls(**options, standardise=False, random_state=0).fit(scaled, y)
    np.testing.assert_allclose(own.decision_function(x), twin.decision_function(scaled), rtol=1e-3, atol=1e-3)
    assert own.layers_ == ("batchnorm", *twin.layers_)
    scores = own.module_(torch.from_numpy(x).to(own.module_[-1].weight.dtype))
    np.testing.assert_allclose(scores.detach().numpy(), own.decision_function(x), rtol=1e-6)


def test_images_are_standardised_by_channel_and_blocks_of_models_are_not():
    images = RNG.normal(size=(30, 3, 4, 4)) * [[[[1.0]], [[10.0]], [[100.0]]]] + 5
    network = SGDNetworkClassifier(layers=("conv 2 3", "relu"), epochs=1, random_state=0).fit(images, Y[:30])
    first = network.module_[0]
    np.testing.assert_allclose(first.running_mean, images.mean((0, 2, 3)))
    np.testing.assert_allclose(1 / first.weight.numpy(), images.std((0, 2, 3)))
    assert first(torch.from_numpy(images)).std((0, 2, 3), correction=0).numpy() == pytest.approx(1)


def test_values_keep_their_units():
    x, y = MADE
    both = np.stack([y, 1e6 + 1e-3 * y], axis=1)
    network = PlatonicRegressor(random_state=0).fit(x, both)
    np.testing.assert_allclose(network.module_(torch.from_numpy(x)).detach().numpy(), network.predict(x), rtol=1e-12)
    assert network.score(x, both) > 0.99
    assert PlatonicRegressor(random_state=0).fit(x, np.full(400, 0.1)).predict(x) == pytest.approx(0.1)
    single = SGDNetworkRegressor(epochs=3, random_state=0).fit(x.astype(np.float32), 1e6 + y)
    assert single.module_[-1].weight.dtype == torch.float32
    assert abs(single.predict(x) - 1e6).max() < 1e4


@pytest.mark.parametrize(
    "estimator",
    [
        RidgeReadoutRegressor(),
        SGDNetworkRegressor(epochs=2, random_state=0),
        DGLRegressor(epochs=2, random_state=0),
        PlatonicRegressor(layers=("dense 20", "tanh"), dtype="float32", random_state=0),
    ],
)
@pytest.mark.parametrize("offset", [1e6, -1e9])
def test_values_far_from_zero_are_given_in_enough_digits(estimator, offset):
    x = X.astype(np.float32)
    near = estimator.fit(x, V).score(x, V)
    assert estimator.fit(x, V + offset).score(x, V + offset) == pytest.approx(near, abs=1e-3)


def test_single_samples_far_from_zero_are_fitted_in_enough_digits():
    far = (np.round(16 * X) / 16 + 1e6).astype(np.float32)  # sixteenths are exact there
    one, other = RidgeReadoutClassifier().fit(far, Y), RidgeReadoutClassifier().fit(far.astype(np.float64), Y)
    np.testing.assert_allclose(one.decision_function(far), other.decision_function(far.astype(np.float64)), atol=1e-6)


@pytest.mark.parametrize(
    "estimator",
    [
        SGDNetworkClassifier(epochs=1, standardise=False),
        PlatonicClassifier(layers=("dense 9", "relu"), standardise=False),
        DGLClassifier(epochs=1, standardise=False),
        PCATransformer(layers=("dense 1",)),
    ],
)
@pytest.mark.filterwarnings("ignore:layer 3 .*constant")
def test_columns_that_layers_see_nothing_beside_are_warned_of(estimator):
    far = X.copy()
    far[:, 3] += 1.7e9
    with pytest.warns(LayerwiseWarning, match="a column of X lies .* times the half range of most columns from zero"):
        estimator.fit(far, Y)
    if hasattr(estimator, "fit_batches"):
        with pytest.warns(LayerwiseWarning, match="a column of X lies"):
            estimator.fit_batches([(far, Y)])


def test_a_readout_and_samples_of_usual_sizes_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RidgeReadoutClassifier().fit(X + 1.7e9, Y)
        SGDNetworkClassifier(epochs=1, random_state=0).fit(np.c_[255 * X + 100, np.full(40, 1e9)], Y)


def test_a_fit_that_runs_away_between_the_samples_is_warned_of():
    x, y = StandardScaler().fit_transform(FRIEDMAN[0][:300]), FRIEDMAN[1][:300]
    wild = PlatonicRegressor(layers=("dense 32", "tanh"), solver="pinv", alpha=1.0, beta=100.0, random_state=0)
    with pytest.warns(LayerwiseWarning, match="PlatonicRegressor: at training samples, or half way between two"):
        wild.fit(x, y)


# ---------------------------------------------------------------- images of three and four dimensions


@pytest.mark.parametrize(
    "estimator",
    [
        SGDNetworkClassifier(layers=("conv 3 4", "relu"), epochs=2, random_state=0),
        PlatonicClassifier(random_state=0),
        RidgeReadoutClassifier(),
        PCATransformer(layers=("conv 3 4", "relu")),
    ],
)
@pytest.mark.parametrize("channels", [0, 2])
def test_images_are_what_their_rows_with_a_shape_are(estimator, channels):
    images = RNG.normal(size=(40, channels, 6, 5) if channels else (40, 6, 5))
    shape, rows = (channels or 1, 6, 5), images.reshape(40, -1)
    own = clone(estimator).fit(images, Y)
    twin = clone(estimator)
    twin = twin.set_params(image_shape=shape) if "image_shape" in twin.get_params() else twin
    give = "transform" if hasattr(twin, "transform") else "decision_function"
    want = getattr(twin.fit(rows, Y), give)(rows)
    for x in (images, rows, torch.from_numpy(images), list(images)):
        np.testing.assert_array_equal(getattr(own, give)(x), want)
    assert own.n_features_in_ == rows.shape[1]


def test_images_with_channels_last_and_of_another_size_are_one_line():
    network = SGDNetworkClassifier(layers=("conv 3 4",), epochs=1)
    with pytest.raises(ValueError, match=r"channels last: give them first, X.transpose\(0, 3, 1, 2\)"):
        network.fit(np.zeros((40, 6, 6, 3)), Y)
    network.fit(RNG.normal(size=(40, 3, 6, 6)), Y)
    with pytest.raises(ValueError, match="X has 75 features, but SGDNetworkClassifier is expecting 108 features"):
        network.predict(np.zeros((2, 3, 5, 5)))
    with pytest.raises(ValueError, match=r"image_shape \(1, 6, 6\) is not that of 108 features"):
        SGDNetworkClassifier(image_shape=(1, 6, 6)).fit(RNG.normal(size=(40, 3, 6, 6)), Y)


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize("cls", [PlatonicClassifier, RidgeReadoutClassifier, DGLClassifier])
@pytest.mark.parametrize("name", ["iris", "moons"])
def test_probabilities_are_those_of_normal_scores_about_the_targets(cls, name):
    x, y = CLASSES[name]
    options = {"epochs": 3, "random_state": 0} if cls is DGLClassifier else {}
    network = cls(**options).fit(x, y)
    scores, given = network.decision_function(x), network.predict_proba(x)
    targets = np.eye(3) if name == "iris" else np.array([[-1.0], [1.0]])
    gaps = np.square(scores.reshape(len(x), 1, -1) - targets).sum(2)
    likelihood = np.exp((gaps.min(1, keepdims=True) - gaps) / (2 * network._variance))
    np.testing.assert_allclose(given, likelihood / likelihood.sum(1, keepdims=True), rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(network.classes_[given.argmax(1)], network.predict(x))


@pytest.mark.parametrize("cls", [PlatonicClassifier, RidgeReadoutClassifier])
@pytest.mark.parametrize(("name", "most"), [("iris", 0.6), ("wine", 0.1), ("breast_cancer", 0.2), ("digits", 0.5)])
def test_probabilities_of_new_samples_tell_more_than_guesses(cls, name, most):
    x, y = CLASSES[name]
    train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)
    network = cls(**({"random_state": 0} if cls is PlatonicClassifier else {})).fit(train_x, train_y)
    assert log_loss(test_y, network.predict_proba(test_x)) < most


def test_the_variance_of_scores_is_that_of_samples_left_out():
    x = RNG.normal(size=(400, 5))
    y = (x[:, 0] + RNG.normal(size=400) > 0).astype(int)
    network = RidgeReadoutClassifier().fit(x, y)
    left = cross_val_predict(Ridge(), x, 2.0 * y - 1, cv=400)
    assert network._variance == pytest.approx(np.square(left - (2 * y - 1)).mean(), rel=0.01)


# ---------------------------------------------------------------- weights of samples


@pytest.mark.parametrize("cls", [RidgeReadoutClassifier, RidgeReadoutRegressor])
def test_a_weight_is_a_sample_so_often(cls):
    y = Y if cls is RidgeReadoutClassifier else np.stack([V, V**2], axis=1)
    counts = RNG.integers(0, 4, 40)
    far = X + 1e6  # about which the sums lose nothing
    give = "predict_proba" if cls is RidgeReadoutClassifier else "predict"
    weighted = cls().fit(far, y, sample_weight=counts)
    repeated = cls().fit(np.repeat(far, counts, axis=0), np.repeat(y, counts, axis=0))
    assert weighted.layers_ == repeated.layers_
    np.testing.assert_allclose(getattr(weighted, give)(far), getattr(repeated, give)(far), rtol=1e-4, atol=1e-6)
    own, theirs = (each.record_["layers"][-1] for each in (weighted, repeated))
    assert own["strength"] == theirs["strength"]
    assert set(own) == set(theirs)
    ones = cls().fit(X, y, sample_weight=np.ones(40))
    np.testing.assert_allclose(getattr(ones, give)(X), getattr(cls().fit(X, y), give)(X), rtol=1e-9)


def test_a_weighted_ridge_is_that_of_scikit_learn():
    weight = RNG.uniform(0, 2, 40)
    own = RidgeReadoutRegressor(strengths=(0.0,)).fit(X, V, sample_weight=weight)
    np.testing.assert_allclose(own.predict(X), LinearRegression().fit(X, V, sample_weight=weight).predict(X))


@pytest.mark.parametrize(
    ("options", "weight", "said"),
    [
        ({}, np.ones(39), r"sample_weight has shape \(39,\), and X 40 samples"),
        ({}, -np.ones(40), "is to be finite, not negative"),
        ({}, np.zeros(40), "not zero for all samples"),
        ({}, ["a"] * 40, "could not convert string to float"),
        ({"select": "valid"}, np.ones(40), "goes with select='gcv' alone"),
    ],
)
def test_weights_that_cannot_be_are_one_line(options, weight, said):
    with pytest.raises(ValueError, match=said) as caught:
        RidgeReadoutRegressor(**options).fit(X, V, sample_weight=weight)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- mistakes

LARGE, SMALL = "X holds values of up to .*: scale X", "X varies by .* alone, whose square is zero"
MANY = 10**18
CASES = [
    *((estimator, X * 1e200, LARGE) for estimator in (DGLClassifier(), PlatonicClassifier(), PCATransformer())),
    (DGLClassifier(), (X * 1e30).astype(np.float32), LARGE),
    (SGDNetworkClassifier(), (X * 1e30).astype(np.float32), LARGE),
    (DGLClassifier(standardise=False), X * 1e100, "is singular to rounding, .*: scale the samples"),
    (RidgeReadoutClassifier(), X * 1e-300, SMALL),
    (RidgeReadoutClassifier(), np.ones_like(X), "all features are constant"),
    (RidgeReadoutClassifier(), with_value(X, np.nan), "Input X contains NaN. Fill or drop those rows.$"),
    (RidgeReadoutClassifier(), X + 1j, "Complex data not supported$"),
    (RidgeReadoutClassifier(), np.ma.masked_greater(X, 1.0), "a masked array hides values"),
    (RidgeReadoutClassifier(), [[10**400] * 16] * 40, "int too large"),
    (PCATransformer(), np.full((40, 16), np.datetime64("2020-01-01")), "X holds dates"),
    (PCATransformer(), torch.empty(40, 16, device="meta"), "a tensor of layout .* on meta"),
    (PCATransformer(), torch.eye(40).to_sparse(), "a tensor of layout torch.sparse_coo"),
    (PCATransformer(image_shape=(1, -4, -4)), X, "option 'image_shape' has -4: each must be at least 1"),
    (PCATransformer(image_shape=(0, 8, 8)), X, "'image_shape' has 0"),
    (PCATransformer(image_shape=(1.0, 4.0, 4.0)), X, "'image_shape' is .* which is not"),
    (PCATransformer(image_shape="144"), X, "'image_shape' is '144', which is not"),
    (PCATransformer(image_shape=()), X, r"image_shape \(\) is not that of 16 features"),
    (PlatonicClassifier(layers=None), X, "option 'layers' is None, which is not"),
    (PlatonicClassifier(layers={"dense 3"}), X, "option 'layers' is .* which is not"),
    (PlatonicClassifier(layers=("dense 3", 5)), X, "option 'layers' has 5|option 'layers' is 5"),
    (PlatonicClassifier(layers=("dense 99999999999999999999",)), X, "is too large: a number has 9 digits"),
    (PlatonicClassifier(layers=("dense 999999999", "relu")), X, "'dense 999999999': its fit needs .* GiB"),
    (PCATransformer(layers=("conv 3 4 pad 99999999",), image_shape=(1, 4, 4)), X, "its fit needs .* GiB"),
    (PCATransformer(layers=("conv 1 900000 pad 60", "relu", "conv 1 2"), image_shape=(1, 4, 4)), X, "needs .* GiB"),
    (
        PCATransformer(layers=("maxpool 1 stride 9999999999999999999",), image_shape=(1, 4, 4)),
        X,
        "is too large: a number",
    ),
    (PlatonicClassifier(tries=MANY), X, "option 'tries' is 10+: it must be at least 1 and at most 1000000"),
    (PlatonicClassifier(tries=1e30), X, "option 'tries' is 1e.30, which is not int"),
    (SGDNetworkClassifier(epochs=MANY), X, "option 'epochs' is 10+: it must be at least 1 and at most"),
    (DGLClassifier(bias=1e300), X, "option 'bias' is 1e.300: it must be at least 0 and at most 1e.06"),
    (PlatonicClassifier(device=np.array(["cpu", "cuda"])), X, "option 'device' is .*, which is not str"),
    (PlatonicClassifier(random_state="x"), X, "'x' cannot be used to seed"),
    *(
        (SGDNetworkClassifier(validation_fraction=share), X, "option 'validation_fraction' is .*")
        for share in (0, 1, 2.0, float("nan"), "x", None)
    ),
]


@pytest.mark.parametrize(("estimator", "x", "said"), CASES, ids=lambda each: str(each)[:60])
def test_a_mistake_in_x_or_in_a_parameter_is_one_line(estimator, x, said):
    with pytest.raises(ValueError, match=said) as caught:
        estimator.fit(x, np.arange(len(x)) % 3)
    assert "\n" not in str(caught.value)
    assert not hasattr(estimator, "module_")


@pytest.mark.parametrize(
    ("cls", "y", "said"),
    [
        (PlatonicClassifier, ["a", None] * 20, "y holds NoneType and str: give labels of one type"),
        (PlatonicClassifier, ["a", 1] * 20, "y holds int and str: give labels of one type"),
        (DensityMatrixTransformer, ["a", 1] * 20, "y holds int and str: give labels of one type"),
        (PlatonicClassifier, np.eye(3)[Y], "y should be a 1d array"),
        (PlatonicClassifier, V, "Unknown label type: continuous"),
        (PlatonicClassifier, [10**30, 1] * 20, "Unknown label type"),
        (PlatonicClassifier, with_value(Y, np.nan), "Input y contains NaN"),
        (PlatonicClassifier, np.zeros(40), "y holds one class"),
        (PlatonicRegressor, with_value(V, np.inf), "Input y contains infinity"),
        (PlatonicRegressor, [None] * 40, "y holds NaN or infinity"),
        (PlatonicRegressor, 1e300 * V, "y holds values of up to .*: scale y"),
        (PlatonicRegressor, 1e-300 * V, "y varies by .*: scale y"),
        (PlatonicRegressor, [10**400] * 40, "int too large"),
        (PlatonicRegressor, ["a"] * 40, "could not convert string to float"),
        (PlatonicRegressor, np.arange(40).astype("datetime64[D]"), "y holds dates: give numbers"),
    ],
)
def test_a_mistake_in_y_is_one_line(cls, y, said):
    with pytest.raises(ValueError, match=said) as caught:
        cls().fit(X, y)
    assert "\n" not in str(caught.value)


def test_x_far_from_what_was_fitted_is_refused():
    network = RidgeReadoutClassifier().fit(X * 1e-100, Y)
    with pytest.raises(ValueError, match="X overflows in the network: scale it as in fit"):
        network.predict(1e300 * X)


def test_tensors_and_arrays_of_options_are_taken():
    tensor = torch.tensor(X, requires_grad=True)
    found = RidgeReadoutClassifier(strengths=np.logspace(-3, 0, 4)).fit(tensor, torch.tensor(Y))
    assert (
        found.predict(tensor) == RidgeReadoutClassifier(strengths=(1e-3, 1e-2, 0.1, 1.0)).fit(X, Y).predict(X)
    ).all()
    assert RidgeReadoutClassifier().fit(tensor.detach().bfloat16(), Y).score(X, Y) > 0.4


# ---------------------------------------------------------------- batches

BATCHED = {"layers": ("dense 20", "tanh"), "random_state": 0}


def cut(x, y, size=10):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def changing(*given):
    """Return a function that gives other batches in each pass."""
    count = itertools.count()
    return lambda: given[min(next(count), len(given) - 1)]


def one_buffer():
    x, y = np.empty((10, 16)), np.empty(10, dtype=int)
    for rows, labels in GOOD:
        x[:], y[:] = rows, labels
        yield x, y


GOOD = cut(X, Y)
ORDER = np.random.default_rng(1).permutation(40)
DATASET = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


@pytest.mark.parametrize(
    "batches",
    [
        GOOD,
        cut(X, Y[:, None]),
        [GOOD[0], (X[:0], Y[:0]), ([], []), *GOOD[1:]],
        [(rows.tolist(), labels.tolist()) for rows, labels in GOOD],
        [(torch.tensor(rows, requires_grad=True), torch.tensor(labels)) for rows, labels in GOOD],
        [([*torch.tensor(rows, requires_grad=True)], [*torch.tensor(labels)]) for rows, labels in GOOD],
        [(rows.astype(object), labels) for rows, labels in GOOD],
        cut(X.reshape(-1, 4, 4), Y.astype(float)),
        changing(GOOD, cut(X, Y, 7)),
        one_buffer,
        torch.utils.data.DataLoader(DATASET, batch_size=9),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_batches_of_any_kind_give_what_the_whole_gives(batches):
    whole = PlatonicClassifier(**BATCHED).fit(X, Y).decision_function(X)
    np.testing.assert_allclose(PlatonicClassifier(**BATCHED).fit_batches(batches).decision_function(X), whole)


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        (torch.utils.data.DataLoader(DATASET, batch_size=10, shuffle=True), "has other labels in this pass"),
        (torch.utils.data.DataLoader(DATASET, 9, shuffle=True, drop_last=True), "has other labels in this pass"),
        (changing(GOOD, cut(X[ORDER], Y[ORDER])), "has other labels in this pass than in the first: give the same"),
        (changing(GOOD, GOOD[:2]), "20 samples came in this pass, and 40 before"),
        (changing(GOOD, itertools.cycle(GOOD)), "50 samples came in this pass, and 40 before"),
        (changing(iter(GOOD)), "0 samples came in this pass, and 40 before"),
        (changing(GOOD, cut(X[:, :9], Y)), r"batch 1: a batch of \(10, 9\) samples"),
        (changing(GOOD, cut(with_value(X, np.nan), Y)), "batch 1: Input X contains NaN"),
        (cut(with_value(X, np.inf), Y), "batch 1: Input X contains infinity"),
        (cut(X, np.eye(3)[Y]), r"batch 1: y should be a 1d array, got an array of shape \(10, 3\)"),
        (cut(X + 1j, Y), "batch 1: Complex data not supported"),
        ([GOOD[0], (scipy.sparse.csr_array(X), Y)], "batch 2: Sparse data was passed"),
        ([(X, None)], "batch 1: .* requires y to be passed"),
        ([(None, Y)], "batch 1: Expected 2D array"),
        ([(X[0], Y[:16])], "batch 1: Expected 2D array, got 1D array"),
        ([(X[:0], Y)], "batch 1: Found array with 0 sample"),
        ([GOOD[0], (X, Y[:39])], r"batch 2: .* inconsistent numbers of samples: \[40, 39\]"),
        ([GOOD[0], (X, Y.astype(str))], "batch 2: y is text of shape .*, and numbers"),
        ([(X, ["a", 1] * 20)], "batch 1: y holds int and str"),
        ((X, Y), r"batch 1 is a ndarray: give pairs \(X, y\)"),
        ([(X, Y, Y)], "batch 1 is a tuple of 3: give pairs"),
        ([{"x": X, "y": Y}], "batch 1 is a dict: give pairs"),
        ([(X[:0], Y[:0])], "batches hold no batch with a sample"),
        (5, "batches is int: give a list"),
        (lambda: None, r"batches\(\) returned NoneType"),
        (cut(X * 1e200, Y), LARGE),
        ([GOOD[0], (X * 1e200, Y)], "X holds values whose squares overflow: scale X"),
    ],
)
def test_batches_that_fit_nothing_are_one_line(batches, said):
    with pytest.raises(ValueError, match=said) as caught:
        PlatonicClassifier(**BATCHED).fit_batches(batches)
    assert "\n" not in str(caught.value)


def test_values_in_batches_are_held_against_the_first_pass():
    whole = PlatonicRegressor(**BATCHED).fit(X, V).predict(X)
    np.testing.assert_allclose(PlatonicRegressor(**BATCHED).fit_batches(cut(X, V)).predict(X), whole)
    assert PlatonicRegressor(**BATCHED).fit_batches(cut(X, V[:, None])).predict(X).shape == (40, 1)
    with pytest.raises(ValueError, match="other labels in this pass"):
        PlatonicRegressor(**BATCHED).fit_batches(changing(cut(X, V), cut(X[ORDER], V[ORDER])))
    with pytest.raises(ValueError, match="batch 2: y is numbers of shape"):
        PlatonicRegressor(**BATCHED).fit_batches([(X, V), (X, V[:, None])])


def test_a_generator_that_fails_says_so_itself():
    def failing():
        yield GOOD[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        PlatonicClassifier(**BATCHED).fit_batches(failing)


# ---------------------------------------------------------------- settings of the process

FITTED = [
    (PlatonicClassifier, Y, {}),
    (SGDNetworkClassifier, Y, {"epochs": 2}),
    (LocalNetworkClassifier, Y, {"epochs": 2}),
    (DGLRegressor, V, {"epochs": 2}),
    (RandomFeaturesTransformer, None, {}),
]


class Default:
    """A default of torch's, for the time of a block."""

    def __init__(self, get, put, value):
        self.get, self.put, self.value = get, put, value

    def __enter__(self):
        self.before = self.get()
        self.put(self.value)

    def __exit__(self, *_):
        assert self.get() == self.value, "a fit changed the user's setting"
        self.put(self.before)


def settings():
    yield Default(torch.get_default_dtype, torch.set_default_dtype, torch.float64)
    yield Default(torch.get_default_dtype, torch.set_default_dtype, torch.float16)
    yield Default(torch.is_grad_enabled, torch.set_grad_enabled, False)
    yield torch.inference_mode()
    yield torch.device("meta")
    yield torch.autocast("cpu", dtype=torch.bfloat16)
    yield Default(torch.get_num_threads, torch.set_num_threads, 2)


def outcome(cls, y, options):
    fitted = cls(random_state=0, **options).fit(X, y)
    result = fitted.predict(X) if hasattr(fitted, "predict") else fitted.transform(X)
    return result, [*fitted.module_.parameters()]


@pytest.mark.parametrize(("cls", "y", "options"), FITTED)
def test_settings_of_torch_do_not_change_a_fit(cls, y, options):
    plain, weights = outcome(cls, y, options)
    for setting in settings():
        with setting:
            result, twins = outcome(cls, y, options)
        np.testing.assert_allclose(result, plain, rtol=1e-6, err_msg=str(setting))
        assert [w.dtype for w in weights] == [w.dtype for w in twins]
        assert not any(w.is_inference() for w in twins)


def test_batches_are_made_under_the_settings_of_the_user():
    seen = []

    def batches():
        seen.append((torch.get_default_dtype(), torch.is_grad_enabled()))
        yield from GOOD

    with Default(torch.get_default_dtype, torch.set_default_dtype, torch.float64), torch.no_grad():
        PlatonicClassifier(**BATCHED).fit_batches(batches)
    assert set(seen) == {(torch.float64, False)}
    assert len(seen) > 2


@pytest.mark.parametrize(("cls", "y", "options"), FITTED)
def test_random_states_of_the_process_are_left_alone(cls, y, options):
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    outcome(cls, y, options)
    assert states() == before


def test_an_earlier_fit_to_a_data_frame_is_forgotten():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"c{i}" for i in range(16)])
    network = PlatonicClassifier(**BATCHED).fit(frame, Y).fit_batches(GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.predict(X)
