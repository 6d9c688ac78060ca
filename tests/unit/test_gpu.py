"""The same fit on a CPU and on a GPU gives the same network, up to rounding. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from layerwise import plugins
from layerwise.contract import Features, Segment, Split, Task
from layerwise.layers import build as layers

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use is here"),
]

IMAGES = ("conv 3 4", "relu", "maxpool 2", "dense outputs")
PATCHES = ("conv 3 8 contrast 0.01 mirror", "softshrink 0.25", "crelu", "avgpool 3", "fold", "dense outputs")
DENSE = ("dense 32", "relu", "dense outputs")


@pytest.fixture(scope="module")
def digits() -> Features:
    data = load_digits()
    x = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    y = torch.tensor(data.target)
    split = Split(x[:1200], y[:1200])
    return Features(split, Split(x[1200:], y[1200:]), Task("onehot", 10, tuple(map(str, range(10)))))


@pytest.mark.parametrize(
    ("method", "words", "options"),
    [
        ("sgd", IMAGES, {"epochs": 3}),
        ("random", IMAGES, {}),
        ("pca", IMAGES, {}),
        ("dmn", IMAGES, {}),
        ("dmn", IMAGES, {"whiten": 0.1}),
        ("patches", PATCHES, {}),
        ("platonic", DENSE, {"projection": "random", "beta": 100.0, "solver": "ridge"}),
        ("ridge", ("dense outputs",), {}),
        ("ridge", ("dense outputs",), {"select": "valid"}),
    ],
)
def test_cpu_and_gpu_agree(digits: Features, method: str, words: tuple[str, ...], options: dict) -> None:
    module = plugins.load("methods", method)
    segment = Segment(words, digits.shape, 10)
    outputs = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        fitted = module.fit(segment, digits.to(device), module.Options(**options), seed=3, device=device)
        outputs.append(layers.apply(fitted.module.cpu(), digits.valid.x))
    cpu, gpu = outputs
    # Rounding differs between the two, and training by gradient carries it on: hence a share, and no exact labels.
    agree = (cpu.argmax(1) == gpu.argmax(1)).double().mean()
    assert agree > 0.98
