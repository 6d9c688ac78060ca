"""Models as blocks: their composition is the model, to the bit, and what cannot be had is said in one line."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.layers import zoo

VGG, SHUFFLE, MOBILE, B0, V2S = "vgg13_bn", "shufflenet_v2_x0_5", "mobilenet_v2", "efficientnet_b0", "efficientnet_v2_s"
MODELS = {  # library, name, shape: number of blocks, the head's among them
    ("torchvision", VGG, (3, 32, 32)): 13,
    ("torchvision", VGG, (1, 28, 28)): 13,
    ("torchvision", SHUFFLE, (3, 32, 32)): 19,
    ("torchvision", MOBILE, (3, 32, 32)): 20,
    ("torchvision", B0, (3, 32, 32)): 19,
    ("torchvision", V2S, (3, 32, 32)): 43,
    ("torchvision", "squeezenet1_0", (3, 32, 32)): 10,
    ("torchvision", "resnet18", (3, 32, 32)): 10,
    ("torchvision", "googlenet", (3, 64, 64)): 13,
    ("torchvision", "vit_b_16", (3, 32, 32)): 14,
    ("timm", "mobilevitv2_100", (3, 32, 32)): 11,
    ("timm", "resnet18", (3, 32, 32)): 10,
}


def built(library: str, name: str, shape: tuple[int, ...], **how) -> nn.Module:
    if library == "timm":
        pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return zoo.build(library, name, shape, 10, **how).eval()


@pytest.mark.parametrize(("library", "name", "shape"), MODELS, ids=lambda each: str(each))
def test_the_blocks_are_the_model(library, name, shape):
    model = built(library, name, shape)
    blocks = zoo.cut(model, name, shape)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z = x
        for block in blocks:
            assert tuple(z.shape[1:]) == block.shape
            z = block.module(z)
            assert tuple(z.shape[1:]) == block.out_shape
        assert torch.equal(z, model(x))
    assert len(blocks) == MODELS[library, name, shape]
    names = [n for block in blocks for n, _ in block.module.named_parameters()]
    assert sorted(names) == sorted(n for n, _ in model.named_parameters())


def test_the_first_weights_are_those_of_the_model_itself():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = pytest.importorskip("torchvision").models
        own = models.resnet18(weights=None, num_classes=10).state_dict()
    mine = built("torchvision", "resnet18", (3, 32, 32)).state_dict()
    assert own.keys() == mine.keys()
    assert all(torch.equal(own[n], mine[n]) for n in own)


@pytest.mark.parametrize(("stem", "side"), [(1, 32), (2, 8)])
def test_the_stem_keeps_the_side_or_halves_it_twice(stem, side):
    blocks = zoo.cut(built("torchvision", "resnet18", (3, 32, 32), stem=stem), "resnet18", (3, 32, 32))
    assert blocks[0].out_shape == (64, side, side)


def test_another_structure_has_another_fingerprint():
    one, other = (zoo.cut(built("torchvision", "resnet18", (3, 32, 32), stem=s), "r", (3, 32, 32)) for s in (1, 2))
    assert one[0].fingerprint != other[0].fingerprint
    assert one[0].fingerprint == zoo.cut(built("torchvision", "resnet18", (3, 32, 32)), "r", (3, 32, 32))[0].fingerprint


class Branching(nn.Module):
    """A model whose forward depends on its input."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, num_classes)

    def forward(self, x):
        return self.layer(x.mean((2, 3))) if x.sum() > 0 else self.layer(x.amax((2, 3)))


@pytest.fixture
def mylab(monkeypatch):
    module = types.ModuleType("mylab_nets")
    module.branching, module.text = Branching, lambda num_classes: "no module"
    monkeypatch.setitem(sys.modules, "mylab_nets", module)


@pytest.mark.parametrize(
    ("library", "name", "shape", "text"),
    [
        ("torchvision", "vgg13bn", (3, 32, 32), "did you mean 'vgg13_bn'?"),
        ("torchvision", "resnet18", (64,), "takes images"),
        ("torchvision", "inception_v3", (3, 8, 8), "give larger images"),
        ("nowhere.nets", "small", (3, 8, 8), "needs the package nowhere.nets"),
        ("mylab_nets", "brunching", (3, 8, 8), "did you mean 'branching'?"),
        ("mylab_nets", "text", (3, 8, 8), "gives str, not a torch module"),
    ],
)
def test_a_model_that_cannot_be_had(mylab, library, name, shape, text):
    with pytest.raises(LayerwiseError, match=r"^model ") as caught:
        zoo.build(library, name, shape, 10)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_cut_says_why(mylab):
    model = zoo.build("mylab_nets", "branching", (3, 8, 8), 10)
    with pytest.raises(LayerwiseError, match=r"cannot be cut .*control flow"):
        zoo.cut(model, "branching", (3, 8, 8))
