"""Inputs and options that no method was made for: finite weights and outputs, or a LayerwiseError, and nothing else."""

import warnings
from contextlib import suppress

import pytest
import torch

from layerwise import plugins
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.maths import gaussian_process, kernels

CPU = torch.device("cpu")
DENSE = ("dense 5", "relu", "dense outputs")
ERF = ("dense 5", "erf", "dense 5", "erf", "dense outputs")
IMAGES = ("conv 2 4", "batchnorm", "relu", "dense outputs")
CLASSES = Task("onehot", 3, ("a", "b", "c"))

METHODS = [
    ("sgd", DENSE, {"epochs": 2}),
    ("sgd", DENSE, {"epochs": 2, "optimizer": "adam", "loss": "mse"}),
    ("sgd", IMAGES, {"epochs": 2, "batch": 4}),
    ("random", DENSE, {}),
    ("random", IMAGES, {"distribution": "orthogonal"}),
    ("pca", DENSE, {}),
    ("pca", ("conv 2", "relu", "dense outputs"), {"centre": True, "whiten": 0.1}),
    ("pca", ("dense",), {"centre": True}),
    ("dmn", DENSE, {}),
    ("dmn", ("conv 2", "batchnorm", "relu", "dense outputs"), {"whiten": 1e-12}),
    ("dmn", ("dense",), {"centre": True, "order": "share"}),
    ("patches", DENSE, {}),
    ("patches", ("conv 2 2", "relu", "dense outputs"), {"whiten": 0.0}),
    ("patches", ("conv 2 2 contrast 1e-9", "relu", "dense outputs"), {"whiten": None}),
    ("platonic", DENSE, {}),
    ("platonic", DENSE, {"dtype": "float32"}),
    ("platonic", DENSE, {"solver": "lstsq"}),
    ("platonic", DENSE, {"solver": "lstsq", "dtype": "float32", "tries": 2}),
    ("platonic", DENSE, {"solver": "solve", "strength": 0.0}),
    ("platonic", DENSE, {"solver": "solve", "strength": 1.0, "dtype": "float32"}),
    ("platonic", DENSE, {"solver": "ridge"}),
    ("platonic", DENSE, {"solver": "ridge", "strength": 0.0, "dtype": "float32"}),
    ("platonic", DENSE, {"solver": "ridge", "tries": 2, "dtype": "float32"}),
    ("platonic", DENSE, {"solver": "ridge", "projection": "auto", "ema": 0.2}),
    ("platonic", DENSE, {"projection": "pca"}),
    ("platonic", DENSE, {"projection": "sorted"}),
    ("platonic", DENSE, {"projection": "differences", "mask": 1}),
    ("platonic", ("dense", "tanh", "dense outputs"), {"projection": "identity"}),
    ("dgl", DENSE, {"epochs": 2, "batch": 8}),
    ("dgl", DENSE, {"epochs": 2, "batch": 8, "bias": 0.0}),
    ("dgl", DENSE, {"epochs": 2, "batch": 8, "kernel": "ntk", "variances": "initial"}),
    ("dgl", ERF, {"epochs": 2, "batch": 8, "landmarks": 3}),
    ("dgl", ERF, {"epochs": 2, "batch": 8, "kernel": "ntk", "noise": "evidence", "bias": 0.0}),
    ("dgl", DENSE, {"epochs": 2, "batch": 8, "objective": "bottleneck"}),
    ("dgl", DENSE, {"epochs": 2, "batch": 8, "objective": "log_predictive", "bias": 0.0}),
    ("dgl", DENSE, {"epochs": 2, "batch": 8, "objective": "variance", "variances": "initial", "noise": 1e-9}),
    ("ridge", ("dense outputs",), {}),
    ("ridge", ("dense outputs",), {"strengths": (0.0,)}),
    ("ridge", ("dense outputs",), {"select": "valid"}),
    ("ridge", ("dense outputs",), {"select": "valid", "strengths": (0.0,), "floor": 0.1}),
    ("permuted", DENSE, {}),
]


def images(count, seed=0):
    return torch.randn(count, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def balanced(count):
    return torch.arange(count) % 3


def mostly(x, share, value):
    """So many of the samples are one and the same."""
    return torch.where((torch.arange(len(x)) < share * len(x))[:, None, None, None], value, x)


def sparse(x):
    """All but one feature of one sample are zero."""
    return torch.zeros_like(x).index_put_(
        (torch.tensor(3 % len(x)), *torch.tensor([[0], [1], [1]])), torch.tensor(1.0).double()
    )


INPUTS = {
    "zero": (images(24) * 0, balanced(24)),
    "constant": (images(24) * 0 + 0.1, balanced(24)),
    "constant and large": (images(24) * 0 + 1e12, balanced(24)),
    "one sample repeated": (images(1).expand(24, 1, 4, 4), balanced(24)),
    "two samples repeated": (images(2).repeat(12, 1, 1, 1), balanced(24)),
    "mostly blank": (mostly(images(24), 0.8, 0.0), balanced(24)),
    "mostly the same": (mostly(images(24), 0.8, 3.0), balanced(24)),
    "one value": (sparse(images(24)), balanced(24)),
    "ten thousand": (images(24) * 1e4, balanced(24)),
    "1e12": (images(24) * 1e12, balanced(24)),
    "1e18": (images(24) * 1e18, balanced(24)),
    "1e30": (images(24) * 1e30, balanced(24)),
    "1e-12": (images(24) * 1e-12, balanced(24)),
    "1e-30": (images(24) * 1e-30, balanced(24)),
    "1e-42": (images(24) * 1e-42, balanced(24)),
    "far": (images(24) + 1e6, balanced(24)),
    "all sizes": (images(24) * 10.0 ** torch.arange(-8, 8).reshape(1, 4, 4), balanced(24)),
    "NaN": (images(24) * torch.where(torch.arange(24) == 5, torch.nan, 1.0)[:, None, None, None], balanced(24)),
    "infinite": (images(24) * torch.where(torch.arange(24) == 5, torch.inf, 1.0)[:, None, None, None], balanced(24)),
    "one": (images(1), balanced(1)),
    "two": (images(2), balanced(2)),
    "three": (images(3), balanced(3)),
    "fewer than features": (images(9), balanced(9)),
    "one class": (images(24), balanced(24) * 0),
    "a class of one": (images(24), (torch.arange(24) == 7).long() + 2 * (torch.arange(24) % 2 == 0)),
    "the same in two classes": (images(12).repeat(2, 1, 1, 1), torch.arange(24) // 12),
}
OF_DOUBLE = {"1e150": (images(24) * 1e150, balanced(24)), "1e-200": (images(24) * 1e-200, balanced(24))}


DOUBLE = ("zero", "mostly blank", "1e18", "1e30", "1e-42", "far", "two")  # float64 as well


def cases():
    for name, given in INPUTS.items():
        yield pytest.param(*given, "float32", id=f"{name} float32")
    for name in DOUBLE:
        yield pytest.param(*INPUTS[name], "float64", id=f"{name} float64")
    for name, given in OF_DOUBLE.items():
        yield pytest.param(*given, "float64", id=name)


def finite(module, x):
    return all(t.isfinite().all() for t in (*module.state_dict().values(), layers.apply(module, x)))


def failures(features):
    """Return the fits that give what is not finite, or fail with another error than a line for the user."""
    used, _ = layers.build(DENSE, features.shape, 3)
    wrong = []
    for method, words, options in METHODS:
        segment = Segment(words, features.shape, 3, {"used": used} if method == "permuted" else {})
        said = f"{method} {', '.join(words)} {options}"
        module = plugins.load("methods", method)
        try:
            with warnings.catch_warnings(), suppress(LayerwiseError):
                warnings.simplefilter("ignore")
                fitted = module.fit(segment, features, module.Options(**options), seed=0, device=CPU)
                if not finite(fitted.module, features.train.x):
                    wrong.append(f"{said}: not finite")
        except Exception as error:
            wrong.append(f"{said}: {type(error).__name__}: {error}")
    return wrong


@pytest.mark.parametrize(("x", "y", "dtype"), [*cases()])
def test_a_fit_is_finite_or_refused(x, y, dtype):
    x = x.to(getattr(torch, dtype))
    assert int(y.max()) < 3
    given = Split(x.contiguous(), y)
    wrong = failures(Features(given, given, CLASSES))
    assert not wrong, "\n".join(wrong)


VALUES = torch.randn(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
TARGETS = {
    "zero": VALUES * 0,
    "constant": VALUES * 0 + 5,
    "1e300": VALUES * 1e300,
    "1e30": VALUES * 1e30,
    "1e-300": VALUES * 1e-300,
    "far": VALUES + 1e12,
    "NaN": torch.where(VALUES > 1.5, torch.nan, VALUES),
    "infinite": torch.where(VALUES > 1.5, torch.inf, VALUES),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_fit_of_values_is_finite_or_refused(name):
    given = Split(images(24), TARGETS[name])
    wrong = failures(Features(given, given, Task("values", 3)))
    assert not wrong, "\n".join(wrong)


KERNELS = [
    (make, activation, variances)
    for make in (kernels.nngp, kernels.ntk, kernels.conv_nngp)
    for activation in ("relu", "erf")
    for variances in (([2.0], [0.5]), ([2.0, 1.0, 3.0], [0.0, 0.0, 0.0]), ([1e-6, 1e3], [0.1, 0.0]))
]


@pytest.mark.filterwarnings("ignore::layerwise.errors.LayerwiseWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*INPUTS, *OF_DOUBLE, "digits"])
def test_a_kernel_and_its_gradient_are_finite_or_refused(name, dtype):
    if name == "digits":
        x = torch.arange(64 * 16, dtype=torch.float64).reshape(64, 1, 4, 4) % 17 * 1e4
    else:
        x = {**INPUTS, **OF_DOUBLE}[name][0]
    x = x.to(getattr(torch, dtype))
    wrong = []
    for make, activation, (weights, biases) in KERNELS:
        given = (x if make is kernels.conv_nngp else x.flatten(1)).clone().requires_grad_()
        with suppress(LayerwiseError):
            k = make(given, weights, biases, activation=activation)
            gaussian_process.loss(
                *gaussian_process.leave_one_out(k, torch.ones(len(x), 1, dtype=k.dtype), 1.0)
            ).backward()
            with torch.no_grad():
                blocks = make(given, weights, biases, activation=activation)
            if not all(t.isfinite().all() for t in (k, given.grad, blocks)):
                wrong.append(f"{make.__name__} {activation} {weights} {biases}")
    assert not wrong, "\n".join(wrong)


EXTREME = [
    ("random", DENSE, {"scale": 1e300}),
    ("random", DENSE, {"bias": 1e300}),
    ("random", DENSE, {"scale": 1e-300}),
    ("pca", ("conv 2", "relu", "dense outputs"), {"whiten": 1e300}),
    ("pca", ("conv 2", "relu", "dense outputs"), {"whiten": 1e-300}),
    ("patches", DENSE, {"whiten": 1e300}),
    ("patches", DENSE, {"samples": 10**9}),
    ("platonic", DENSE, {"alpha": 1e300}),
    ("platonic", DENSE, {"alpha": 1e300, "solver": "ridge", "dtype": "float32"}),
    ("platonic", DENSE, {"beta": 1e300}),
    ("platonic", DENSE, {"beta": 1e300, "projection": "pca", "solver": "ridge"}),
    ("platonic", DENSE, {"alpha": 1e-300, "dtype": "float32"}),
    ("platonic", DENSE, {"solver": "ridge", "strength": 1e300}),
    ("platonic", DENSE, {"solver": "solve", "strength": 1e300, "dtype": "float32"}),
    ("platonic", DENSE, {"tolerance": 1e300}),
    ("ridge", ("dense outputs",), {"strengths": (1e300,)}),
    ("ridge", ("dense outputs",), {"strengths": (1e-300, 1e300), "select": "valid"}),
    ("ridge", ("dense outputs",), {"floor": 1e300}),
    ("ridge", ("dense outputs",), {"floor": 1e-300}),
    ("sgd", DENSE, {"lr": 1e300, "epochs": 2}),
    ("sgd", DENSE, {"lr": 1e-300, "epochs": 1, "optimizer": "adam"}),
    ("sgd", DENSE, {"weight_decay": 1e300, "epochs": 2}),
    ("sgd", DENSE, {"batch": 10**9, "epochs": 1}),
    ("dgl", DENSE, {"bias": 1e300, "epochs": 1}),
    ("dgl", DENSE, {"bias": 1e300, "epochs": 0}),
    ("dgl", DENSE, {"noise": 1e300, "epochs": 1}),
    ("dgl", DENSE, {"noise": 1e-300, "epochs": 1}),
    ("dgl", DENSE, {"lr": 1e300, "epochs": 2}),
    ("dgl", DENSE, {"width": 1e300, "objective": "bottleneck", "epochs": 1}),
    ("dgl", DENSE, {"width": 1e-300, "objective": "bottleneck", "epochs": 1}),
    ("dgl", DENSE, {"beta": 1e300, "objective": "bottleneck", "epochs": 1}),
    ("dgl", DENSE, {"above": 40, "epochs": 1}),
]


@pytest.mark.filterwarnings("ignore::layerwise.errors.LayerwiseWarning")
@pytest.mark.parametrize(("method", "words", "options"), EXTREME)
def test_an_extreme_option_gives_finite_weights_or_is_refused(method, words, options):
    given = Split(images(24).float(), balanced(24))
    module = plugins.load("methods", method)
    with suppress(LayerwiseError):
        segment, features = Segment(words, given.shape, 3), Features(given, given, CLASSES)
        fitted = module.fit(segment, features, module.Options(**options), seed=0, device=CPU)
        assert finite(fitted.module, given.x)


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("platonic", {"tries": 10**18}, "at most 1000000"),
        ("platonic", {"tries": 1e30}, "tries"),
        ("platonic", {"tries": 10**9}, "at most 1000000"),
        ("sgd", {"epochs": 10**9}, "at most 1000000"),
        ("dgl", {"epochs": 10**18}, "at most 1000000"),
        ("sgd", {"batch": 10**18}, "at most 1000000000"),
        ("pca", {"count": 10**18}, "at most 1000000000"),
    ],
)
def test_a_number_that_no_fit_reaches_is_refused(method, options, said):
    with pytest.raises(LayerwiseError, match=said):
        plugins.load("methods", method).Options(**options)


LARGE = [
    ("dense 99999999999999999999",),
    ("dense 999999999", "dense 999999999"),
    ("dense 5", "relu", "dense 999999999", "relu", "dense 99999999"),
    ("conv 3 999999999", "conv 3 99999"),
    ("conv 3 9 pad 999999999",),
    ("conv 1000000000 1",),
    ("conv 3 1e9",),
    ("maxpool 2 stride 99999999999999",),
    ("avgpool 99999999999",),
    ("dense 5", "dense 12345678901"),
]


@pytest.mark.parametrize("method", ["sgd", "random", "pca", "platonic", "dgl", "patches", "ridge"])
@pytest.mark.parametrize("words", LARGE)
def test_layers_beyond_memory_are_refused_before_work(method, words, monkeypatch):
    monkeypatch.setattr("layerwise.closed.inputs.push", None)  # nothing is computed
    given = Split(images(6).float(), balanced(6))
    module, segment = plugins.load("methods", method), Segment((*words, "dense outputs"), given.shape, 3)
    with pytest.raises(LayerwiseError, match=r"GiB|too large|larger than|does not read|dense layers"):
        module.fit(segment, Features(given, given, CLASSES), module.Options(), seed=0, device=CPU)
