"""The scikit-learn face: its conventions, and that it gives what the methods give."""

import dataclasses
import doctest
import importlib
import inspect
import pickle
import pkgutil

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_moons
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerwise import estimators, plugins
from layerwise.contract import Features, Segment, Split, Task
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
    gradient,
)
from layerwise.methods import local, platonic, ridge

pytestmark = pytest.mark.filterwarnings("ignore::layerwise.errors.LayerwiseWarning")
ALL = [getattr(estimators, name) for name in estimators.__all__]
# Checks that cannot hold, with the reason for each: none. scikit-learn skips its array API check by itself.
EXPECTED_FAILED_CHECKS: dict[str, dict[str, str]] = {}
OWN_DEFAULTS = {  # a notebook's data are small, as they come, and nobody has chosen options for them
    SGDNetworkClassifier: {"optimizer": "adam", "batch": 32, "epochs": 100},
    SGDNetworkRegressor: {"optimizer": "adam", "batch": 32, "epochs": 100},
    LocalNetworkClassifier: {"optimizer": "adam", "batch": 32, "epochs": (50,), "crop": False},
    PlatonicClassifier: {"solver": "ridge", "alpha": 0.1},
    PlatonicRegressor: {"solver": "ridge", "alpha": 0.1},
    DGLRegressor: {"noise": 0.1, "lr": 0.003},
}
# Few steps suffice for the small problems of the checks. A read-out that gives classes or values without error takes
# the least strength, 1e-10, at which weights and repeated samples are the same to six digits; checks want seven.
QUICK = {
    "RidgeReadoutClassifier": {"strengths": (1e-4, 1e-2, 1.0)},
    "RidgeReadoutRegressor": {"strengths": (1e-4, 1e-2, 1.0)},
    "LocalNetworkClassifier": {"lr": 0.02, "epochs": (8,)},
    "SGDNetworkClassifier": {"lr": 0.02, "epochs": 8},
    "SGDNetworkRegressor": {"lr": 0.02, "epochs": 12},
}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(1200)
    x, y = x[order] / 16, y[order]
    return x[:800], y[:800], x[800:], y[800:]


@parametrize_with_checks(
    [cls(**QUICK.get(cls.__name__, {})) for cls in ALL],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS.get(type(estimator).__name__, {}),
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(estimators.__path__)] + [""])
def test_the_examples_run(name):
    module = importlib.import_module(f"layerwise.estimators.{name}".rstrip("."))
    found = doctest.testmod(module)
    assert found.failed == 0


@pytest.mark.parametrize("cls", ALL)
def test_parameters_are_the_options_of_the_method(cls):
    parameters = inspect.signature(cls).parameters
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    without = gradient.OF_CLASSES if cls is SGDNetworkRegressor else ()
    options = {f.name: f.default for f in dataclasses.fields(cls._method.Options) if f.name not in without}
    assert {n: parameters[n].default for n in options} == {**options, **OWN_DEFAULTS.get(cls, {})}
    more = {"layers", "image_shape", "device", "random_state", "validation_fraction", "standardise"}
    assert set(parameters) - set(options) <= more


@pytest.mark.parametrize("cls", ALL)
def test_parameters_are_stored_as_they_come(cls):
    names = list(inspect.signature(cls).parameters)
    values = {name: object() for name in names}
    made = cls(**values)
    assert made.get_params() == vars(made) == values
    assert cls().set_params(**values).get_params() == values
    assert cls().get_params() == {n: p.default for n, p in inspect.signature(cls).parameters.items()}
    assert names[0] == ("strengths" if cls._method is ridge else "layers")
    with pytest.raises(TypeError, match=f"{cls.__name__} has no parameter 'devise'; did you mean 'device'"):
        cls(devise="cpu")
    with pytest.raises(TypeError):
        cls("cpu")


@pytest.mark.parametrize("cls", ALL)
def test_estimators_are_pickled_and_cloned(cls):
    made = cls(device="cpu")
    for twin in (pickle.loads(pickle.dumps(made)), clone(made)):
        assert type(twin) is cls
        assert twin.get_params() == made.get_params()
    assert repr(made) == f"{cls.__name__}(device='cpu')"


@pytest.mark.parametrize("cls", ALL)
def test_every_parameter_is_documented(cls):
    text = inspect.getdoc(cls)
    for name in inspect.signature(cls).parameters:
        assert f"\n{name} : " in text
    for part in ("Parameters\n", "Attributes\n", "Examples\n", "module_ : ", "record_ : "):
        assert part in text
    assert "{" not in text.replace('{"auto", "cpu", "cuda"}', "").replace("{'", "")


def test_a_classifier_gives_what_its_method_gives(digits):
    x, y, more, _ = digits
    found = PlatonicClassifier(layers=("dense 40", "tanh"), standardise=False, random_state=3).fit(x, y)
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    train = Split(torch.from_numpy(x), torch.from_numpy(y))
    features = Features(train, train.rows(torch.tensor([], dtype=torch.int64)), Task("onehot", 10))
    segment = Segment(("dense 40", "tanh", "dense outputs"), (64,), 10)
    twin = platonic.fit(
        segment, features, platonic.Options(alpha=0.1, solver="ridge"), seed=seed, device=torch.device("cpu")
    )
    assert found.layers_ == twin.layers
    scores = twin.module(torch.from_numpy(more)).detach().numpy()
    np.testing.assert_allclose(found.decision_function(more), scores)
    assert (found.predict(more) == scores.argmax(1)).all()


@pytest.mark.parametrize(
    ("estimator", "least"),
    [
        (PlatonicClassifier(layers=("dense 100", "tanh"), solver="ridge", alpha=0.1, random_state=0), 0.85),
        (RidgeReadoutClassifier(), 0.8),
        (SGDNetworkClassifier(lr=0.01, epochs=15, random_state=0), 0.85),
        (DGLClassifier(epochs=15, random_state=0), 0.85),
        (make_pipeline(DensityMatrixTransformer(layers=("dense 40", "relu")), RidgeReadoutClassifier()), 0.8),
        (make_pipeline(RandomFeaturesTransformer(random_state=0), RidgeReadoutClassifier()), 0.8),
    ],
)
def test_digits_are_told_apart(digits, estimator, least):
    x, y, more, labels = digits
    assert clone(estimator).fit(x, y).score(more, labels) > least


@pytest.mark.parametrize(
    "estimator",
    [
        PlatonicRegressor(layers=("dense 32", "tanh"), alpha=0.1, random_state=0),
        RidgeReadoutRegressor(),
        DGLRegressor(layers=("dense 16", "relu"), epochs=10, noise=0.1, random_state=0),
        SGDNetworkRegressor(layers=("dense 8", "tanh"), lr=0.02, epochs=20, random_state=0),
    ],
)
def test_one_and_two_targets(estimator):
    x, y = load_diabetes(return_X_y=True)
    x, y = 10 * x, (y - y.mean()) / y.std()
    one = clone(estimator).fit(x, y)
    assert one.predict(x).shape == (442,)
    assert one.score(x, y) > 0.4
    two = clone(estimator).fit(x, np.stack([y, -y], 1))
    assert two.predict(x).shape == (442, 2)
    assert two.score(x, np.stack([y, -y], 1)) > 0.4


@pytest.mark.parametrize("cls", [PlatonicClassifier, RidgeReadoutClassifier, SGDNetworkClassifier])
def test_two_classes_have_one_score(cls):
    x, y = make_moons(60, random_state=0)
    names = np.array(["left", "right"])[y]
    found = cls(**QUICK.get(cls.__name__, {})).fit(x, names)
    scores = found.decision_function(x)
    assert scores.shape == (60,)
    assert found.layers_[-1] == "dense 1"
    assert (found.predict(x) == found.classes_[(scores > 0).astype(int)]).all()
    assert found.score(x, names) > 0.7


def test_probabilities():
    x, y = make_moons(60, random_state=0)
    two = SGDNetworkClassifier(epochs=2, random_state=0).fit(x, y)
    np.testing.assert_allclose(two.predict_proba(x)[:, 1], 1 / (1 + np.exp(-two.decision_function(x))))
    three = SGDNetworkClassifier(epochs=2, random_state=0).fit(x, y + (x[:, 0] > 1))
    assert three.predict_proba(x).shape == (60, 3)
    np.testing.assert_allclose(three.predict_proba(x).sum(1), 1)
    squares = SGDNetworkClassifier(loss="mse", epochs=5, random_state=0).fit(x, y)
    odds = 2 * squares.decision_function(x) / squares._variance
    np.testing.assert_allclose(squares.predict_proba(x)[:, 1], 1 / (1 + np.exp(-odds)), atol=1e-6)
    assert not hasattr(SGDNetworkClassifier(loss="pow3_ga"), "predict_proba")


@pytest.mark.parametrize("cls", [DensityMatrixTransformer, PCATransformer, RandomFeaturesTransformer])
def test_images_go_from_one_estimator_to_the_next(digits, cls):
    x, y, more, _ = digits
    first = cls(layers=("conv 3 5", "relu", "maxpool 2"), image_shape=(1, 8, 8), random_state=0).fit(x, y)
    assert first.output_shape_ == (5, 3, 3)
    between = first.transform(more)
    assert between.shape == (400, 45)
    assert list(first.get_feature_names_out()[:2]) == [f"{cls.__name__.lower()}{i}" for i in (0, 1)]
    second = clone(first).set_params(layers=("conv 2 4", "relu"), image_shape=first.output_shape_)
    assert second.fit(first.transform(x), y).transform(between).shape == (400, 16)
    images = torch.from_numpy(more).reshape(-1, 1, 8, 8)
    np.testing.assert_allclose(between, first.module_(images).flatten(1).detach().numpy())


IMAGES = {"layers": ("conv 3 4", "relu", "maxpool 2", "conv 3 8", "relu"), "image_shape": (1, 8, 8), "lr": 0.01}


def test_a_local_network_is_what_its_method_gives(digits):
    x, y, more, _ = digits
    found = LocalNetworkClassifier(**IMAGES, epochs=2, standardise=False, random_state=3).fit(x, y)
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    train = Split(torch.from_numpy(x).reshape(-1, 1, 8, 8), torch.from_numpy(y))
    segment = Segment((*IMAGES["layers"], "dense outputs"), (1, 8, 8), 10)
    options = local.Options(optimizer="adam", lr=0.01, batch=32, epochs=(2,), crop=False)
    features = Features(train, train.rows(torch.tensor([], dtype=torch.int64)), Task("onehot", 10))
    twin = local.fit(segment, features, options, seed=seed, device=torch.device("cpu"))
    assert found.layers_ == twin.layers
    assert found.record_ == twin.record
    for mine, theirs in zip(found.module_.parameters(), twin.module.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    scores = twin.module(torch.from_numpy(more).reshape(-1, 1, 8, 8)).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(found.predict_proba(more), scores)
    assert (len(found.blocks_), len(found.history_), found.n_iter_) == (2, 4, 4)


def test_a_local_network_is_cropped_at_the_best_block_of_samples_held_out(digits):
    x, y, more, labels = digits
    words = (*IMAGES["layers"], "dense 4", "tanh", "dense 2", "tanh")  # the last ones are too narrow for ten classes
    found = LocalNetworkClassifier(**{**IMAGES, "layers": words}, crop=True, epochs=3, random_state=0).fit(x, y)
    values = [row["valid_accuracy"] for row in found.blocks_]
    assert found.record_["chosen"] == 1 + values.index(max(values)) < 4
    assert found.layers_[-1] == "dense 10"
    assert found.score(more, labels) > 0.5


def test_a_local_network_takes_a_memory_target_and_a_model(digits):
    x, y, *_ = digits
    found = LocalNetworkClassifier(**IMAGES, memory=1.0, max_width=8, epochs=np.int64(1), random_state=0).fit(x, y)
    assert found.blocks_[0]["memory_share"] <= 1.005
    pixels = np.random.RandomState(0).rand(12, 3 * 32 * 32).astype(np.float32)
    model = LocalNetworkClassifier(
        layers=("torchvision squeezenet1_1",), head=9, image_shape=(3, 32, 32), epochs=1, batch=4, random_state=0
    ).fit(pixels, np.arange(12) % 3)
    again = pickle.loads(pickle.dumps(model))
    assert model.layers_ == ("torchvision squeezenet1_1",)
    np.testing.assert_array_equal(again.predict_proba(pixels), model.predict_proba(pixels))


def test_float32_stays_float32(digits):
    x, y, *_ = digits
    for cls in (SGDNetworkClassifier, RidgeReadoutClassifier):
        found = cls(**({"epochs": 2} if cls is SGDNetworkClassifier else {})).fit(x.astype(np.float32), y)
        assert found.decision_function(x).dtype == np.float32


def test_patience_holds_samples_out(digits):
    x, y, *_ = digits
    network = SGDNetworkClassifier(patience=3, epochs=100, lr=0.02, validation_fraction=0.25, random_state=1).fit(x, y)
    assert network.n_iter_ == network.record_["best_epoch"] + 3 < 100
    assert network.record_["steps"] == network.n_iter_ * 19  # 600 of 800 samples, by 32
    assert "valid_accuracy" in network.record_["history"][0]


@pytest.mark.parametrize(
    "cls", [PlatonicClassifier, SGDNetworkClassifier, LocalNetworkClassifier, RandomFeaturesTransformer]
)
def test_random_state_decides(digits, cls):
    x, y, *_ = digits

    def outcome(state):
        quick = {"epochs": 1} if cls in (SGDNetworkClassifier, LocalNetworkClassifier) else {}
        found = cls(random_state=state, **quick).fit(x, y)
        return torch.cat([p.flatten() for p in found.module_.parameters()])

    assert torch.equal(outcome(0), outcome(0))
    assert torch.equal(outcome(0), outcome(np.random.RandomState(0)))
    assert not torch.equal(outcome(0), outcome(1))
    assert not torch.equal(outcome(None), outcome(None))


def test_searches_and_pipelines(digits):
    x, y, *_ = digits
    search = GridSearchCV(
        PlatonicClassifier(random_state=0), {"beta": np.array([0.5, 2]), "tries": np.arange(1, 3)}, cv=2
    )
    search.fit(x[:200], y[:200])
    assert search.best_score_ > 0.5
    network = make_pipeline(DensityMatrixTransformer(), SGDNetworkClassifier(epochs=3))
    assert cross_val_score(network, x[:200], y[:200], cv=2).shape == (2,)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (PlatonicClassifier(layers=("dens 3",)), "did you mean 'dense'"),
        (PlatonicClassifier(layers="dense 3"), "give a sequence of words"),
        (PlatonicClassifier(projection="pcb"), "option 'projection' is 'pcb'; did you mean 'pca'"),
        (PlatonicClassifier(tries=0), "PlatonicClassifier: option 'tries' is 0: it must be at least 1"),
        (PlatonicClassifier(tries=1.5), "option 'tries' is 1.5, which is not int"),
        (PlatonicClassifier(device="tpu"), "device 'tpu'"),
        (SGDNetworkClassifier(lr=-1), "option 'lr' is -1: it must be above 0"),
        (SGDNetworkClassifier(patience=2, validation_fraction=2.0), "'validation_fraction' is 2.0: it must"),
        (RandomFeaturesTransformer(image_shape=(1, 7, 8)), "not that of 64 features"),
        (RandomFeaturesTransformer(image_shape=(8, 8)), "give .channels, height, width"),
        (RandomFeaturesTransformer(layers=("conv 3 2",)), "needs images"),
        (RandomFeaturesTransformer(layers=("dense outputs",)), "leave scores to a classifier"),
        (DensityMatrixTransformer(variance=2.0), "option 'variance' is 2.0: it must be above 0 and at most 1"),
    ],
)
def test_a_mistake_is_a_value_error_in_one_line(digits, estimator, said):
    x, y, *_ = digits
    with pytest.raises(ValueError, match=said):
        estimator.fit(x, y)


def test_the_plugins_are_the_options_shown():
    assert plugins.documentation("methods", "platonic")["beta"] in inspect.getdoc(PlatonicRegressor)


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize(
    "options",
    [
        {"layers": ("dense 40", "relu", "dense 20", "tanh"), "beta": 10.0},
        {"layers": ("dense 70", "tanh"), "tries": 3},
        {"layers": ("dense 60", "relu", "dense 30", "relu"), "projection": "auto", "beta": 1e4, "ema": 0.2},
        {"layers": ("dense 60", "relu"), "projection": "differences", "image_shape": (1, 8, 8), "mask": 3},
    ],
)
def test_batches_give_what_the_whole_gives(digits, options):
    x, y, test, _ = digits
    network = PlatonicClassifier(solver="ridge", strength=1e-4, random_state=0, **options)
    whole = clone(network).fit(x, y).decision_function(test)
    parts = [(x[i : i + 150], y[i : i + 150]) for i in range(0, 800, 150)]
    np.testing.assert_allclose(clone(network).fit_batches(parts).decision_function(test), whole, atol=1e-5)
    images = torch.utils.data.TensorDataset(torch.from_numpy(x).reshape(-1, 1, 8, 8), torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(images, batch_size=128)
    np.testing.assert_allclose(clone(network).fit_batches(loader).decision_function(test), whole, atol=1e-5)
    again = clone(network).fit_batches(lambda: iter(parts))
    np.testing.assert_allclose(again.decision_function(test), whole, atol=1e-5)
    assert again.n_features_in_ == 64


def test_a_regression_takes_batches():
    x = np.linspace(-1, 1, 500)[:, None]
    y = np.sin(2 * np.pi * x[:, 0])
    network = PlatonicRegressor(layers=("dense 16", "celu"), solver="ridge", strength=1e-6, random_state=0)
    parts = [(x[i::5], y[i::5]) for i in range(5)]
    order = np.concatenate([np.arange(i, 500, 5) for i in range(5)])
    whole = clone(network).fit(x[order], y[order])
    np.testing.assert_allclose(network.fit_batches(parts).predict(x), whole.predict(x), atol=1e-6)


def test_batches_that_cannot_be_fitted_are_named(digits):
    x, y, *_ = digits
    network = PlatonicClassifier(solver="ridge")
    with pytest.raises(ValueError, match="batches can be gone through once alone"):
        network.fit_batches((x, y) for _ in range(2))
    with pytest.raises(ValueError, match="batches hold no batch"):
        network.fit_batches([])
    with pytest.raises(ValueError, match=r"a batch of \(9, 3\) samples with 9 labels does not go with 64 features"):
        network.fit_batches([(x, y), (x[:9, :3], y[:9])])
    with pytest.raises(ValueError, match="looks at all samples at once; solver ridge takes them in batches"):
        PlatonicClassifier(solver="pinv").fit_batches([(x, y)])
    with pytest.raises(ValueError, match="needs samples of two classes"):
        network.fit_batches([(x, np.zeros(len(x)))])
    lengths = iter((800, 700, 700, 700))
    with pytest.raises(ValueError, match="700 samples came in this pass, and 800 before"):
        network.fit_batches(lambda: [(x[: (n := next(lengths))], y[:n])])
