"""Small data and one call of the method platonic, for the tests of its solvers and of its projections."""

import torch

from layerwise.closed.inputs import Inputs
from layerwise.contract import Features, Segment, Split, Task
from layerwise.layers import build as layers
from layerwise.layers.words import parse
from layerwise.methods import platonic

CPU = torch.device("cpu")
NET = ("dense 16", "celu", "dense 16", "celu", "dense outputs")


def features_of(x, y, task):
    return Features(Split(x, y), Split(x[:0], y[:0]), task)


def rings():
    """Three classes in rings of five dimensions, not linearly separable."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    x = torch.randn(600, 5, generator=generator)
    x = x / x.norm(dim=1, keepdim=True) * (1 + y[:, None] + 0.2 * torch.randn(600, 1, generator=generator))
    return features_of(x, y, Task("onehot", 3, ("a", "b", "c")))


def fitted(features, words=NET, seed=0, **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs)
    return platonic.fit(segment, features, platonic.Options(**options), seed=seed, device=CPU)


@torch.no_grad()
def error(network, features):
    outputs = layers.apply(network.module, features.train.x).double()
    return float((outputs - features.task.targets(features.train.y, torch.float64)).square().mean())


def inputs_of(features, word="dense 7", dtype=torch.float64):
    inputs = Inputs(Segment((word,), features.shape, 1), features, CPU, dtype)
    inputs.layer = parse(word)
    return inputs
