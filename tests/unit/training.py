"""Small data sets and one call of the method sgd, for the tests of training by gradient."""

import math

import torch

from layerwise.contract import Features, Hooks, Segment, Split, Task
from layerwise.methods import sgd

CPU = torch.device("cpu")
SIGNS = Task("signs", 1, ("left", "right"))
VALUES = Task("values", 1)
DEEP = ("dense 6", "batchnorm", "relu", "dropout 0.3", "dense outputs")


def spirals(count, seed):
    """Two arms of one and a half turns."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=random)
    t = 3 * math.pi * torch.rand(count, generator=random).sqrt()
    x = torch.stack([t.cos(), t.sin()], 1) * ((2 * y - 1) * t / 5)[:, None]
    return Split(x, y)


def blobs(count=60, classes=3, valid=30, shape=(4,), seed=0):
    """Gaussian blobs, a class each."""
    random = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, *shape, generator=random)

    def draw(n):
        y = torch.arange(n) % classes
        return Split(centres[y] + torch.randn(n, *shape, generator=random), y)

    return Features(draw(count), draw(valid), Task("onehot", classes, tuple("abcdefg"[:classes])))


def line(count=64, valid=32, noise=0.0):
    """Values on a plane."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(count + valid, 3, generator=random)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 1 + noise * torch.randn(len(x), 1, generator=random)
    return Features(Split(x[:count], y[:count]), Split(x[count:], y[count:]), VALUES)


def fit(words, features, seed=0, hooks=None, **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    return sgd.fit(segment, features, sgd.Options(**options), seed=seed, device=CPU, hooks=hooks or Hooks())


def same(a, b):
    """Tell whether two modules have the same bytes."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
