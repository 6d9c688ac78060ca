"""Models as blocks: their composition is the model, to the bit, and what cannot be had is said in one line."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers import zoo
from layerwise.layers.words import parse
from layerwise.methods import dmn, sgd

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
    ("layerwise.layers.pyramidnet", "pyramidnet56", (3, 32, 32)): 29,
    ("layerwise.layers.pyramidnet", "pyramidnet56", (1, 28, 28)): 29,
    ("timm", "mobilevitv2_100", (3, 32, 32)): 11,
    ("timm", "resnet18", (3, 32, 32)): 10,
}


def word_of(library: str, name: str) -> str:
    return f"{library} {name}" if library in ("torchvision", "timm") else f"{library}.{name}"


def built(library: str, name: str, shape: tuple[int, ...], **how) -> nn.Module:
    if library == "timm":
        pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return zoo.build(library, name, shape, 10, **how).eval()


def run(word: str, shape: tuple[int, ...]) -> list[zoo.Block]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return zoo.run(parse(word), shape, 10)


@pytest.mark.parametrize(("library", "name", "shape"), MODELS, ids=lambda each: str(each))
def test_the_blocks_are_the_model(library, name, shape):
    model = built(library, name, shape)
    blocks = run(word_of(library, name), shape)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z = x
        for block in blocks:
            assert tuple(z.shape[1:]) == block.shape
            z = block.module.eval()(z)
            assert tuple(z.shape[1:]) == block.out_shape
        assert torch.equal(z, model(x))
    assert len(blocks) == MODELS[library, name, shape]
    names = [n for block in blocks for n, _ in block.module.named_parameters()]
    assert sorted(names) == sorted(n for n, _ in model.named_parameters())


@pytest.mark.parametrize("name", [VGG, SHUFFLE, "resnet18"])
def test_a_run_of_blocks_is_what_it_is_in_the_whole(name):
    whole = run(f"torchvision {name}", (3, 32, 32))
    parts = [*run(f"torchvision {name} 1-3", (3, 32, 32))]
    parts += [*run(f"torchvision {name} 4", parts[-1].out_shape)]
    parts += [*run(f"torchvision {name} 5-", parts[-1].out_shape)]
    assert [zoo.fingerprint(block.module) for block in parts] == [zoo.fingerprint(block.module) for block in whole]
    for mine, theirs in zip(parts, whole, strict=True):
        state = theirs.module.state_dict()
        assert all(torch.equal(w, state[n]) for n, w in mine.module.state_dict().items())


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
    assert run(f"torchvision resnet18 1 stem {stem}", (3, 32, 32))[0].out_shape == (64, side, side)


def test_another_structure_has_another_fingerprint():
    one, other, again = (run(f"torchvision resnet18 1 stem {stem}", (3, 32, 32))[0] for stem in (1, 2, 1))
    assert zoo.fingerprint(one.module) != zoo.fingerprint(other.module)
    assert zoo.fingerprint(one.module) == zoo.fingerprint(again.module)


class Branching(nn.Module):
    """A model whose forward depends on its input."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, num_classes)

    def forward(self, x):
        return self.layer(x.mean((2, 3))) if x.sum() > 0 else self.layer(x.amax((2, 3)))


@pytest.fixture
def mylab(monkeypatch):
    module = types.ModuleType("mylab.nets")
    module.branching, module.text = Branching, lambda num_classes: "no module"
    monkeypatch.setitem(sys.modules, "mylab", types.ModuleType("mylab"))
    monkeypatch.setitem(sys.modules, "mylab.nets", module)


@pytest.mark.parametrize(
    ("word", "shape", "text"),
    [
        ("torchvision vgg13bn", (3, 32, 32), "did you mean 'vgg13_bn'?"),
        ("timm mobilevit2_100", (3, 32, 32), "did you mean 'mobilevitv2_100'?"),
        ("torchvision resnet18", (64,), "takes images"),
        ("torchvision squeezenet1_0", (3, 4, 4), "cannot take images of 4x4 with 3 channels"),
        ("torchvision resnet18 3", (64,), "block 3 of resnet18 cannot take samples of shape 64"),
        ("torchvision resnet18 10", (512, 2, 2), "block 10 of resnet18 cannot take samples of shape 512x2x2"),
        ("torchvision inception_v3", (3, 8, 8), "give larger images"),
        ("torchvision vgg13_bn 14", (512, 2, 2), "has 13 blocks"),
        ("torchvision vgg13_bn 4-99", (64, 16, 16), "has 13 blocks"),
        ("torchvision vgg13_bn 4", (32, 8, 8), "block 4 of vgg13_bn cannot take samples of shape 32x8x8"),
        ("torchvision vgg13_bn 1-2", (3, 1, 0), "cannot take images of 1x0"),
        ("nowhere.nets.small", (3, 8, 8), "needs the package nowhere.nets"),
        ("mylab.nets.brunching", (3, 8, 8), "did you mean 'branching'?"),
        ("mylab.nets.text", (3, 8, 8), "gives str, not a torch module"),
        ("mylab.nets.branching 1", (3, 8, 8), "cannot be cut"),
    ],
)
def test_blocks_that_cannot_be_had(mylab, word, shape, text):
    with pytest.raises(LayerwiseError) as caught:
        run(word, shape)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_cut_is_one_block_and_says_why(mylab):
    (block,) = run("mylab.nets.branching", (3, 8, 8))
    assert block.out_shape == (10,)
    with pytest.raises(LayerwiseError, match=r"cannot be cut .*control flow"):
        zoo.cut(block.module, "branching")


def images(count: int) -> Features:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(count, 3, 32, 32, generator=generator), torch.arange(count) % 2
    return Features(Split(x, y), Split(x[:0], y[:0]), Task("onehot", 2, ("a", "b")))


def test_a_closed_form_does_not_fit_blocks():
    segment = Segment(("torchvision resnet18 1-2",), (3, 32, 32), 2)
    with pytest.raises(LayerwiseError, match="fitted by gradient"):
        dmn.fit(segment, images(4), dmn.Options(), seed=0, device=torch.device("cpu"))


def test_a_whole_model_is_trained_by_backpropagation():
    features = images(32)
    segment = Segment(("torchvision squeezenet1_1",), (3, 32, 32), 2)
    fitted = sgd.fit(segment, features, sgd.Options(epochs=2, batch=8), seed=0, device=torch.device("cpu"))
    assert fitted.layers == segment.layers
    again, _ = layers.build(fitted.layers, (3, 32, 32), 2)
    again.load_state_dict(fitted.module.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(features.train.x), fitted.module(features.train.x))
