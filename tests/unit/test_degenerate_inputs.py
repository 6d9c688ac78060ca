"""Inputs that no method was made for: finite weights and outputs come of them, or a LayerwiseError, and nothing else."""

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
    return torch.zeros_like(x).index_put_((torch.tensor(3 % len(x)), *torch.tensor([[0], [1], [1]])), torch.tensor(1.0).double())


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


@pytest.mark.parametrize(("x", "y", "dtype"), cases())
def test_a_fit_is_finite_or_refused(x, y, dtype):
    x = x.to(getattr(torch, dtype))
    given = Split(x.contiguous(), y)
    features = Features(given, given, CLASSES)
    assert int(y.max()) < 3
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
                if not finite(fitted.module, x):
                    wrong.append(f"{said}: not finite")
        except Exception as error:  # noqa: BLE001, any other is a fault
            wrong.append(f"{said}: {type(error).__name__}: {error}")
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
            gaussian_process.loss(*gaussian_process.leave_one_out(k, torch.ones(len(x), 1, dtype=k.dtype), 1.0)).backward()
            with torch.no_grad():
                blocks = make(given, weights, biases, activation=activation)
            if not all(t.isfinite().all() for t in (k, given.grad, blocks)):
                wrong.append(f"{make.__name__} {activation} {weights} {biases}")
    assert not wrong, "\n".join(wrong)
