"""Speed as a ratio against a named peer, measured in pairs in one run: `python bench/methods.py`.

Each row times ours and the peer in turn (A B A B …) and prints the median of the ratios with its range. Images are
random numbers of MNIST's shape: for speed, what is in them does not matter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from layerwise.contract import Features, Segment, Split, Task
from layerwise.maths import gaussian_process as gp
from layerwise.maths import kernels
from layerwise.maths.linalg import STRENGTHS
from layerwise.methods import dmn, platonic, ridge, sgd
from layerwise.run import machine

CPU = torch.device("cpu")
TASK = Task("onehot", 10, tuple("0123456789"))


def images(count: int, shape: tuple[int, int, int] = (1, 28, 28)) -> Features:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, *shape, generator=generator)
    split = Split(x, torch.randint(10, (count,), generator=generator))
    return Features(split, split.rows(torch.arange(0)), TASK)


def class_pca_against_matrix_product() -> tuple[Callable, Callable]:
    """Class PCA of a 5x5 layer; the peer is the matrix products alone, in float64, that its sums cannot do without."""
    features = images(5000)
    segment = Segment(("conv 5 16", "relu", "maxpool 2"), features.shape, 10)
    rows = torch.rand(5000 * 24 * 24, 25, dtype=torch.float64)
    return (
        lambda: dmn.fit(segment, features, dmn.Options(), seed=0, device=CPU),
        lambda: [part.T @ part for part in rows.split(rows.shape[0] // 100)],
    )


def class_pca_against_an_epoch() -> tuple[Callable, Callable]:
    """Class PCA of a 5x5 layer; the peer is one epoch of the network of the same shape by backpropagation."""
    features = images(5000)
    layer, head = ("conv 5 16", "relu", "maxpool 2"), ("dense outputs",)
    options = sgd.Options(optimizer="adam", epochs=1)
    return (
        lambda: dmn.fit(Segment(layer, features.shape, 10), features, dmn.Options(), seed=0, device=CPU),
        lambda: sgd.fit(Segment(layer + head, features.shape, 10), features, options, seed=0, device=CPU),
    )


CIFAR = (3, 32, 32)
FIRST, SECOND = ("conv 3 22", "maxpool 2", "relu"), ("conv 3 41", "maxpool 2", "relu")


def class_pca_of_cifar_against_its_bound() -> tuple[Callable, Callable]:
    """Class PCA of the first layer of CIFAR-10's networks, 5,000 images; the peer is its matrix products alone."""
    features = images(5000, CIFAR)
    segment = Segment(FIRST, features.shape, 10)
    rows = torch.rand(5000 * 30 * 30, 27, dtype=torch.float64)
    return (
        lambda: dmn.fit(segment, features, dmn.Options(), seed=0, device=CPU),
        lambda: [part.T @ part for part in rows.split(rows.shape[0] // 100)],
    )


def class_pca_of_layer_two_against_its_bound() -> tuple[Callable, Callable]:
    """Class PCA of the second layer, 22 maps of 15x15, 5,000 images; the peer is its matrix products alone."""
    features = images(5000, (22, 15, 15))
    segment = Segment(SECOND, features.shape, 10)
    rows = torch.rand(5000 * 13 * 13, 198, dtype=torch.float64)
    return (
        lambda: dmn.fit(segment, features, dmn.Options(), seed=0, device=CPU),
        lambda: [part.T @ part for part in rows.split(rows.shape[0] // 100)],
    )


def two_layers_against_an_epoch() -> tuple[Callable, Callable]:
    """Class PCA of both layers, features between them and all; the peer is one epoch of the ConvNet of that shape."""
    features = images(5000, CIFAR)
    options = sgd.Options(optimizer="adam", epochs=1)
    layers, head = FIRST + SECOND, ("dense outputs",)
    return (
        lambda: dmn.fit(Segment(layers, CIFAR, 10), features, dmn.Options(), seed=0, device=CPU),
        lambda: sgd.fit(Segment(layers + head, CIFAR, 10), features, options, seed=0, device=CPU),
    )


def memory(counts: tuple[int, ...] = (4000, 8000, 16000, 32000)) -> None:
    """Print what class PCA takes beyond the images themselves: it does not grow with their number."""
    for count in counts:
        features = images(count, CIFAR)
        with machine.metered(CPU) as resting:
            pass
        with machine.metered(CPU) as reading:
            dmn.fit(Segment(FIRST, CIFAR, 10), features, dmn.Options(), seed=0, device=CPU)
        beyond = reading["peak_memory_mb"] - resting["peak_memory_mb"]
        print(f"class PCA of {count:6,} images: {beyond:6.0f} MB beyond the images")


def readout_against_sklearn() -> tuple[Callable, Callable]:
    """Ridge by generalised cross-validation, 10,000 x 784; the peer is scikit-learn's RidgeCV on the same strengths."""
    features = images(10000)
    x, y = features.train.x.flatten(1).numpy().astype(np.float64), np.eye(10)[features.train.y.numpy()]
    return (lambda: ridge.readout(features.train, TASK), lambda: RidgeCV(alphas=np.array(STRENGTHS)).fit(x, y))


def epoch_against_dataloader() -> tuple[Callable, Callable]:
    """An epoch of 784-64-10 with Adam; the peer is the usual loop over torch's DataLoader, in this process."""
    features = images(5000)
    segment = Segment(("dense 64", "relu", "dense outputs"), features.shape, 10)
    options = sgd.Options(optimizer="adam", epochs=1, batch=64)
    loader = DataLoader(TensorDataset(features.train.x, features.train.y), batch_size=64, shuffle=True)

    def usual() -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(net.parameters())
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    return (lambda: sgd.fit(segment, features, options, seed=0, device=CPU), usual)


def platonic_against_its_products() -> tuple[Callable, Callable]:
    """A Platonic network 784-784-10 in float32; the peer is the matrix products that its sums and its layer are."""
    features = images(20000)
    segment = Segment(("dense 784", "relu", "dense outputs"), features.shape, 10)
    options = platonic.Options(solver="ridge", strength=1e-3, beta=100.0, dtype="float32")
    x, weight = features.train.x.flatten(1), torch.rand(784, 784)

    def products() -> None:
        for rows in x.split(4096):
            rows.T @ rows
            hidden = rows @ weight
            hidden.T @ hidden

    return (lambda: platonic.fit(segment, features, options, seed=0, device=CPU), products)


LOSS = {"n": 2000, "width": 1000, "variances": ([2.0, 1.0], [0.1, 0.1])}


def _kernel() -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return the kernel of 2,000 outputs of 1,000 units under one hidden layer, targets, and the authors' noise."""
    h = torch.randn(LOSS["n"], LOSS["width"], generator=torch.Generator().manual_seed(0)).relu()
    k = kernels.nngp(h, *LOSS["variances"])
    return k, TASK.targets(torch.arange(LOSS["n"]) % 10) - 0.1, gp.noise_of(k)


def leave_one_out_against_its_bound() -> tuple[Callable, Callable]:
    """DGL of 2,000 samples and its gradient by the kernel; the peer is one Cholesky factor and inverse of that size."""
    k, y, noise = _kernel()
    free = k.clone().requires_grad_()
    raised = k + noise * torch.eye(len(k))
    return (
        lambda: gp.loss(*gp.leave_one_out(free, y, noise)).backward(),
        lambda: torch.cholesky_inverse(torch.linalg.cholesky(raised)),
    )


def dgl_step_against_the_published_form() -> tuple[Callable, Callable]:
    """A training step of a layer, 784 to 1,000, on 2,000 samples; the peer is the authors' formula under autograd."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(LOSS["n"], 784, generator=draw), TASK.targets(torch.arange(LOSS["n"]) % 10) - 0.1
    weight = (torch.randn(LOSS["width"], 784, generator=draw) / 28).requires_grad_()
    noise, eye, outer = _kernel()[2], torch.eye(LOSS["n"]), y @ y.T
    (w0, w1), (b0, b1) = LOSS["variances"]

    def ours() -> None:
        h = (x @ weight.T).relu()
        gp.loss(*gp.leave_one_out(kernels.nngp(h, *LOSS["variances"]), y, noise)).backward()

    def published() -> None:
        h = (x @ weight.T).relu()
        k = w0 / h.shape[1] * h @ h.T + b0
        size = torch.sqrt(k.diagonal()[:, None] * k.diagonal() + 1e-6)
        angle = torch.acos(k / size * (1 - 1e-6))
        k = b1 + w1 / (2 * torch.pi) * size * (torch.sin(angle) + (torch.pi - angle) * torch.cos(angle))
        b = torch.linalg.inv(k + noise * eye)
        kb = k @ b
        t = kb - eye - b * (kb.diagonal() / b.diagonal())
        ((t @ t.T) * outer).sum().div(len(k)).backward()

    return ours, published


ROWS = [
    class_pca_against_matrix_product,
    class_pca_against_an_epoch,
    class_pca_of_cifar_against_its_bound,
    class_pca_of_layer_two_against_its_bound,
    two_layers_against_an_epoch,
    platonic_against_its_products,
    leave_one_out_against_its_bound,
    dgl_step_against_the_published_form,
    readout_against_sklearn,
    epoch_against_dataloader,
]


def seconds(run: Callable) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    machine.deterministic(CPU, args.threads)
    machine.keep_freed_memory()
    print(f"{machine.processor()}, {args.threads} thread(s), torch {torch.__version__}, {args.rounds} rounds")
    for row in ROWS:
        ours, peer = row()
        pairs = [(seconds(ours), seconds(peer)) for _ in range(args.rounds + 1)][1:]  # the first warms up
        ratios = sorted(a / b for a, b in pairs)
        said = {
            "row": row.__name__,
            "ours_s": round(statistics.median(a for a, _ in pairs), 4),
            "peer_s": round(statistics.median(b for _, b in pairs), 4),
            "ratio": round(statistics.median(ratios), 3),
            "range": [round(ratios[0], 3), round(ratios[-1], 3)],
        }
        print(f"{row.__name__:42} {said['ratio']:6.2f} x  ({said['ours_s']} s against {said['peer_s']} s)", flush=True)
        with Path(__file__).with_name("results.jsonl").open("a") as file:
            file.write(json.dumps(said) + "\n")
    memory()
    return 0


if __name__ == "__main__":
    sys.exit(main())
