"""A fitted module and its words are one network: what would be read back as another is refused where the fit ends."""

import pytest
import test_node
import torch
from torch import nn

from layerwise.contract import Fitted
from layerwise.errors import LayerwiseError
from layerwise.golden import cases
from layerwise.layers import build as layers
from layerwise.run import node as nodes

study, data = test_node.study, test_node.data
SHAPE = (1, 8, 8)
CONV = ("conv 3 4", "relu", "maxpool 2", "flatten", "dense 3")


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def conv(*rest):
    return nn.Sequential(nn.Conv2d(1, 4, 3), *rest)


TAIL = (nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
WRONG = {
    "a pool without a word": (conv(*TAIL), ("conv 3 4", "relu", "flatten", "dense 3")),
    "a word without a layer": (conv(nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)), CONV),
    "another activation": (conv(nn.Tanh(), *TAIL[1:]), CONV),
    "another kind of pool": (conv(nn.ReLU(), nn.AvgPool2d(2), *TAIL[2:]), CONV),
    "another stride": (conv(nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True), *TAIL[2:]), CONV),
    "padding of another kind": (nn.Sequential(nn.Conv2d(1, 4, 3, padding_mode="reflect"), *TAIL), CONV),
    "another slope": (nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.CELU(0.5)), ("flatten", "dense 3", "celu")),
    "another epsilon": (nn.Sequential(nn.BatchNorm2d(1, eps=1e-3)), ("batchnorm",)),
    "no bias": (nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)), ("flatten", "dense 3")),
    "a layer of its own": (nn.Sequential(nn.Flatten(), Scaled(64, 3)), ("flatten", "dense 3")),
    "another width": (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), ("flatten", "dense 3")),
    "no flatten in the words": (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), ("dense 3",)),
    "nested": (nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 3))), ("flatten", "dense 3")),
    "no sequence": (nn.Linear(64, 3), ("dense 3",)),
    "one text": (nn.Sequential(nn.Flatten()), "flatten"),
    "half precision": (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).half(), ("flatten", "dense 3")),
    "mixed precision": (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Linear(3, 3).double()),
        ("flatten", "dense 3", "dense 3"),
    ),
    "a word that is none": (nn.Sequential(nn.Flatten()), ("flat",)),
    "a width to be found": (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), ("flatten", "dense")),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_network_than_its_words_is_refused(name):
    with pytest.raises(LayerwiseError):
        layers.check(*WRONG[name], SHAPE, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("words", [*cases.WORDS, CONV])
def test_what_words_build_passes(words, dtype):
    module, full = layers.build(words, SHAPE, 3)
    layers.check(module.to(dtype), full, SHAPE, 3)


def test_whether_a_layer_overwrites_its_input_does_not_matter():
    layers.check(conv(nn.ReLU(inplace=True), *TAIL[1:]), CONV, SHAPE, 3)


def test_a_fit_of_another_network_is_not_written(study, data, monkeypatch):
    from layerwise.methods import random

    whole = random.fit

    def fit(*given, **more):
        fitted = whole(*given, **more)
        return Fitted(nn.Sequential(*fitted.module, nn.ReLU()), fitted.layers)

    monkeypatch.setattr(random, "fit", fit)
    with pytest.raises(LayerwiseError, match=r"r8: what method 'random' returned: layer 3 of the module is ReLU\(\)"):
        nodes.fit(study, test_node.node("r8"), data, test_node.CPU)
    assert not (test_node.node("r8").folder / "segment.safetensors").exists()
