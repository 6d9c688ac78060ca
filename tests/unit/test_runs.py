"""Runs of filters: together they give the features of the whole, each at its place."""

import pytest
import torch
from torch import nn

from layerwise.layers import build as layers
from layerwise.layers import runs

CUT = {
    "the recipe": ("conv 3 7 contrast 0.1 mirror", "softshrink 0.25", "crelu", "avgpool 3", "fold"),
    "fold before the signs": ("conv 3 6 mirror", "fold", "crelu", "maxpool 2"),
    "plain": ("conv 3 5 stride 2 pad 1", "relu"),
    "flattened": ("conv 3 5", "crelu", "flatten", "tanh"),
    "dense": ("dense 9", "crelu"),
    "the last of two": ("conv 3 4", "batchnorm", "relu", "conv 2 5", "crelu", "maxpool 2"),
}


def built(words):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return layers.build(words, (2, 9, 9), 3)[0].double().eval(), torch.randn(5, 2, 9, 9, dtype=torch.float64)


@pytest.mark.parametrize("features", [1, 8, 10_000])
@pytest.mark.parametrize("words", CUT.values(), ids=CUT)
def test_runs_give_the_features_of_the_whole(words, features):
    module, x = built(words)
    whole = layers.apply(module, x).flatten(1)
    found = torch.full_like(whole, torch.nan)
    state = {name: t.clone() for name, t in module.state_dict().items()}
    cut = list(runs.runs(module, (2, 9, 9), features))
    for index, part in cut:
        assert found[:, index].isnan().all()  # no feature comes twice
        found[:, index] = layers.apply(part, x).flatten(1)
    assert torch.allclose(found, whole, rtol=1e-12, atol=1e-14)
    assert len(cut) == 1 if features == 10_000 else len(cut) > 1
    assert all(torch.equal(t, state[name]) for name, t in module.state_dict().items())


@pytest.mark.parametrize(
    "words", [("conv 3 4", "batchnorm"), ("avgpool 3",), ("conv 3 4", "flatten", "crelu")], ids=", ".join
)
def test_what_cannot_be_cut_is_not(words):
    assert runs.runs(built(words)[0], (2, 9, 9), 10) is None


def test_nor_are_layers_of_other_kinds():
    assert runs.runs(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Softmax(dim=1)), (2, 9, 9), 10) is None
