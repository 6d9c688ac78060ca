"""Memory of the layer-wise loss, and what landmarks cost in accuracy: `python bench/dgl.py --data-root DIR`.

A step is the loss of a layer of 1,000 units on MNIST under one hidden layer, and its gradient. Memory is what a step
takes beyond the samples; errors are relative to the loss with the whole kernel.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from platonic import mnist
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.maths import gaussian_process as gp
from layerwise.methods._wide import Wide, targets
from layerwise.run import machine

CPU = torch.device("cpu")
WIDTH = 1000


def step(x: Tensor, y: Tensor, weight: Tensor, landmarks: int, share: float = 1e-3) -> tuple[float, Tensor]:
    """Return the loss of a layer and its gradient by the weights."""
    wide = Wide("relu", [2.0, 1.0], [0.1, 0.1], landmarks=landmarks)
    h = (x @ weight.T).relu()
    with torch.no_grad():
        few = min(len(h), 2000)
        noise = gp.noise_of(wide.kernel(h[:few]), share) * (len(h) / few) ** 0.5
    loss = gp.loss(*wide.leave_one_out(h, y, noise))
    (gradient,) = torch.autograd.grad(loss, weight)
    return float(loss.detach()), gradient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    machine.deterministic(CPU, arguments.threads)
    features = mnist(arguments.data_root, "global")
    x, labels = features.train.x.flatten(1), features.train.y
    y = targets(features.task, labels, torch.float32)
    draw = torch.Generator().manual_seed(0)
    weight = (torch.randn(WIDTH, x.shape[1], generator=draw) * (2 / x.shape[1]) ** 0.5).requires_grad_()
    print(f"{machine.processor()}, {arguments.threads} thread(s), torch {torch.__version__}")
    for samples, landmarks in ((2000, 0), (4000, 0), (6000, 0), (6000, 1000), (20_000, 1000), (len(x), 1000)):
        some, given = x[:samples], y[:samples]
        with machine.metered(CPU) as resting:
            pass
        start = time.perf_counter()
        with machine.metered(CPU) as reading:
            step(some, given, weight, landmarks)
        seconds = time.perf_counter() - start
        how = f"{landmarks:,} landmarks" if landmarks else "the whole kernel"
        beyond = reading["peak_memory_mb"] - resting["peak_memory_mb"]
        print(f"{samples:6,} samples, {how:16}: {seconds:6.2f} s, {beyond:6.0f} MB")
    for share in (1e-3, 1e-1):
        exact, gradient = step(x[:4000], y[:4000], weight, 0, share)
        print(f"4,000 samples, noise {share:g}, landmarks: error of the loss, angle of its gradient to the exact one")
        for count in (250, 500, 1000, 2000):
            loss, other = step(x[:4000], y[:4000], weight, count, share)
            cosine = float((gradient * other).sum() / gradient.norm() / other.norm())
            angle = float(torch.rad2deg(torch.acos(torch.tensor(min(cosine, 1.0)))))
            print(f"  {count:6,}: {loss / exact - 1:+.2%}, {angle:.1f} degrees")


if __name__ == "__main__":
    try:
        main()
    except LayerwiseError as error:
        sys.exit(f"layerwise: {error}")
