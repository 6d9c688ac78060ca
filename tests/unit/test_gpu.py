"""A fit on a GPU gives the network of one on a CPU, up to rounding, in the memory counted. Skipped without a GPU."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from layerwise import plugins
from layerwise.contract import Features, Segment, Split, Task
from layerwise.gradient import memory
from layerwise.gradient.optimisers import optimizer
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


@pytest.mark.parametrize("name", ["vgg13_bn", "shufflenet_v2_x1_0", "efficientnet_b0"])
def test_the_counted_memory_of_a_step_is_the_allocators(name: str) -> None:
    """The most active bytes of the second step, as torch's own tests of such counts demand it, within a tenth."""
    device, batch, shape = torch.device("cuda"), 64, (3, 32, 32)
    with torch.random.fork_rng():
        # What the libraries keep for themselves, such as the workspace of cuBLAS, is there before anything is counted.
        warm = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 30 * 30, 10)).to(device)
        warm(torch.zeros(batch, *shape, device=device)).sum().backward()
        del warm
        module, _ = layers.build((f"torchvision {name}",), shape, 10)
        torch.cuda.synchronize()
        before = torch.cuda.memory_stats()["active_bytes.all.current"]
        module = module.to(device).train()
        steps = optimizer("adamw", module.parameters(), 1e-3)
        for step in range(2):  # the optimiser makes its states in the first
            if step:
                torch.cuda.reset_peak_memory_stats()
            x = torch.randn(batch, *shape, device=device)
            loss = nn.functional.cross_entropy(module(x), torch.zeros(batch, dtype=torch.long, device=device))
            loss.backward()
            steps.step()
            steps.zero_grad()
            del x, loss
        torch.cuda.synchronize()
        allocated = torch.cuda.memory_stats()["active_bytes.all.peak"] - before
    counted = memory.step(module.cpu(), shape, batch).peak
    assert abs(counted / allocated - 1) <= 0.1, f"{name}: {counted:,} bytes counted, {allocated:,} active at most"
