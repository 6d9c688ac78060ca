"""A fitted module and its words are one network: what would be read back as another is refused where the fit ends."""

import numpy as np
import pytest
import test_node
import torch
from torch import nn

from layerwise.contract import Fitted
from layerwise.errors import LayerwiseError
from layerwise.golden import cases
from layerwise.layers import build as layers
from layerwise.run import node as nodes
from layerwise.run import records

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


def with_record(record):
    return lambda fitted: Fitted(fitted.module, fitted.layers, record)


RETURNED = {
    "a layer more": (
        lambda fitted: Fitted(nn.Sequential(*fitted.module, nn.ReLU()), fitted.layers),
        "layer 3 of the module is ReLU(), and there is no word for it: give every layer its word",
    ),
    "a module": (
        lambda fitted: fitted.module,
        "of type Sequential in place of a Fitted: return Fitted(module, words, record)",
    ),
    "a pair": (
        lambda fitted: (fitted.module, fitted.layers),
        "of type tuple in place of a Fitted: return Fitted(module, words, record)",
    ),
    "nothing": (lambda fitted: None, "of type NoneType in place of a Fitted: return Fitted(module, words, record)"),
    "a tensor": (
        with_record({"history": [{"loss": torch.ones(())}]}),
        "record/history/0/loss is of type Tensor: give numbers, text, lists or dicts, such as x.item(), x.tolist()",
    ),
    "a number of numpy's": (
        with_record({"loss": np.float32(1)}),
        "record/loss is of type float32: give numbers, text, lists or dicts, such as x.item(), x.tolist()",
    ),
    "a name that is none": (with_record({(1, 2): 3}), "record has names of type tuple: give text"),
    "names of two kinds": (with_record({"a": 1, 2: 3}), "record has names of type int, str: give text"),
    "a record that is a list": (with_record([1]), "its record is of type list: give a dict of names and values"),
}


@pytest.mark.parametrize("what", RETURNED)
def test_what_a_method_returns_is_checked_at_once(study, data, monkeypatch, what):
    """One line that names the method, and nothing is written."""
    from layerwise.methods import random

    change, said = RETURNED[what]
    whole = random.fit
    monkeypatch.setattr(random, "fit", lambda *given, hooks, **more: change(whole(*given, **more)))
    with pytest.raises(LayerwiseError) as caught:
        nodes.fit(study, test_node.node("r8"), data, test_node.CPU)
    assert str(caught.value) == f"network {test_node.node('r8')}: what method 'random' returned: {said}"
    assert not (test_node.node("r8").folder / "segment.safetensors").exists()


def test_a_record_may_hold_all_that_json_does(study, data, monkeypatch):
    from layerwise.methods import random

    record = {
        "a": [1, 2.5, None, True, "x", (1, 2)],
        "b": {"c": {}},
        "measures": {"d": np.float64(0.5)},
        "three": {3: 4},
    }
    whole = random.fit
    monkeypatch.setattr(random, "fit", lambda *given, **more: with_record(record)(whole(*given, **more)))
    nodes.fit(study, test_node.node("r8"), data, test_node.CPU)
    assert records.read_fit(study, test_node.node("r8"), data.record["digest"])["record"]["b"] == {"c": {}}


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (lambda segment, features: None, "too many positional arguments"),
        (lambda segment, features, options, *, seed, device: None, "got an unexpected keyword argument 'hooks'"),
        (lambda segment, features, options, more, *, seed, device, hooks: None, "missing a required argument: 'more'"),
    ],
)
def test_a_fit_that_cannot_be_called_is_refused(study, data, monkeypatch, fit, said):
    from layerwise.methods import random

    monkeypatch.setattr(random, "fit", fit)
    with pytest.raises(LayerwiseError) as caught:
        nodes.fit(study, test_node.node("r8"), data, test_node.CPU)
    assert str(caught.value) == (
        f"network {test_node.node('r8')}: method 'random': its fit is called as "
        f"fit(segment, features, options, *, seed, device, hooks), and does not take that ({said})"
    )
