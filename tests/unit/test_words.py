"""Layer words: what they say, what they refuse, and the shapes that follow from them."""

import subprocess
import sys

import pytest

from layerwise.errors import LayerwiseError
from layerwise.layers.words import GRAMMAR, Blocks, Layer, out_shape, parse

READ = {
    "dense": Layer("dense"),
    "dense 64": Layer("dense", 64),
    "dense outputs": Layer("dense", "outputs"),
    "conv 3": Layer("conv", None, 3),
    "conv 3 6": Layer("conv", 6, 3),
    "conv 5 8 stride 2": Layer("conv", 8, 5, stride=2),
    "conv 5 8 stride 2 pad 1": Layer("conv", 8, 5, stride=2, pad=1),
    "conv 5 pad 2": Layer("conv", None, 5, pad=2),
    "maxpool 2": Layer("maxpool", None, 2, stride=2),
    "maxpool 3 stride 1": Layer("maxpool", None, 3, stride=1),
    "avgpool 4": Layer("avgpool", None, 4, stride=4),
    "avgpool 4 stride 2": Layer("avgpool", None, 4, stride=2),
    "conv 6 8 contrast 0.01": Layer("conv", 8, 6, contrast=0.01),
    "conv 6 8 stride 2 pad 1 contrast 1e-05": Layer("conv", 8, 6, 2, 1, contrast=1e-5),
    "conv 6 8 contrast 0.01 mirror": Layer("conv", 8, 6, contrast=0.01, mirror=True),
    "conv 3 mirror": Layer("conv", None, 3, mirror=True),
    "dropout 0.5": Layer("dropout", rate=0.5),
    "softshrink 0.5": Layer("softshrink", rate=0.5),
    "dropout 1e-05": Layer("dropout", rate=1e-5),
    "torchvision vgg13_bn": Blocks("torchvision", name="vgg13_bn"),
    "torchvision vgg13_bn 3": Blocks("torchvision", name="vgg13_bn", first=3, last=3),
    "torchvision resnet18 1-4 stem 1": Blocks("torchvision", name="resnet18", last=4, stem=1),
    "timm mobilevitv2_100 4-": Blocks("timm", name="mobilevitv2_100", first=4),
    "mylab.nets.resnet32 2-5": Blocks("mylab.nets", name="resnet32", first=2, last=5),
    **{kind: Layer(kind) for kind in GRAMMAR if GRAMMAR[kind] == kind},
}


@pytest.mark.parametrize("word", READ)
def test_reads_and_writes_the_same_word(word):
    assert parse(word) == READ[word]
    assert str(parse(word)) == word


def test_every_kind_of_the_grammar_is_tried():
    assert {layer.kind for layer in READ.values()} - {"mylab.nets"} == set(GRAMMAR)


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("  dense   7 ", "dense 7"),
        ("conv 3 pad 1 stride 2", "conv 3 stride 2 pad 1"),
        ("conv 3 6 pad 0 stride 1", "conv 3 6"),
        ("maxpool 2 stride 2", "maxpool 2"),
        ("dropout 0", "dropout 0.0"),
    ],
)
def test_spaces_order_and_defaults_do_not_matter(word, same):
    assert str(parse(word)) == same


@pytest.mark.parametrize("word", ["dens 3", "Conv 3", "relu6", "", "conv2d 3", None, 7])
def test_an_unknown_layer_names_what_there_is(word):
    with pytest.raises(LayerwiseError, match="no such layer") as caught:
        parse(word)
    assert "did you mean" in str(caught.value) or "known: avgpool" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_layer_names_its_nearest_neighbour():
    with pytest.raises(LayerwiseError, match="did you mean 'batchnorm'"):
        parse("batchnom")


@pytest.mark.parametrize(
    "word",
    [
        "dense ١",
        *("dense 0", "dense -3", "dense 2.5", "dense wide", "dense 3 4", "dense 3 stride 2"),
        *("conv", "conv 0", "conv x", "conv 3 0", "conv 3 outputs", "conv 3 4 5", "conv 3 stride", "conv 3 stride 0"),
        *("conv 3 pad -1", "conv 3 stride 2 stride 2"),
        *("maxpool", "maxpool 0", "maxpool 2 2", "maxpool 2 pad 1", "avgpool 2 stride -1"),
        *("conv 3 contrast", "conv 3 contrast 0", "conv 3 contrast nan", "conv 3 contrast inf", "softshrink -1"),
        *("conv 3 mirror 4", "conv mirror", "conv 3 mirror mirror", "maxpool 2 mirror"),
        *("dropout", "dropout 1", "dropout -0.1", "dropout nan", "dropout much", "dropout 0.1 0.2"),
        *("relu 3", "batchnorm 4", "flatten 1"),
    ],
)
def test_a_word_that_does_not_read_shows_how_it_should(word):
    with pytest.raises(LayerwiseError) as caught:
        parse(word)
    assert str(caught.value) == f"layer {word!r} does not read as '{GRAMMAR[word.split()[0]]}'"


def test_a_window_that_is_too_large_is_refused():
    with pytest.raises(LayerwiseError, match="larger than its input of 4x3"):
        out_shape(parse("conv 4 2"), (1, 4, 3))
    assert out_shape(parse("conv 4 2 pad 1"), (1, 4, 3)) == (2, 3, 2)


@pytest.mark.parametrize("word", ["conv 3 2", "maxpool 2", "avgpool 2"])
def test_layers_of_images_need_images(word):
    with pytest.raises(LayerwiseError, match="needs images"):
        out_shape(parse(word), (64,))


def test_words_are_read_without_torch():
    code = "import sys, layerwise.layers.words; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
