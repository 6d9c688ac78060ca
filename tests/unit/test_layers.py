"""Layers made of words: their shapes are those that the words foretell, and batches do not change what they give."""

import weakref
from math import prod

import pytest
import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers.words import GRAMMAR, LIBRARIES, out_shape, parse

ON_IMAGES = [
    *("conv 3 6", "conv 3 6 stride 2", "conv 5 2 pad 3", "conv 4 3 stride 3 pad 1", "conv 1 1"),
    *("conv 3 4 contrast 0.01", "conv 3 4 pad 1 mirror", "conv 4 3 stride 2 contrast 0.01 mirror"),
    *("maxpool 2", "maxpool 3 stride 2", "maxpool 3 stride 1", "avgpool 2", "avgpool 3 stride 2"),
    *("batchnorm", "dropout 0.3", "flatten", "relu", "crelu", "tanh", "celu", "gelu", "sigmoid", "erf"),
    "softshrink 0.5",
]
ON_PAIRS = ["fold"]
ON_VECTORS = ["dense 7", *(w for w in ON_IMAGES if parse(w).size == 0)]


@pytest.mark.parametrize(
    ("word", "shape"),
    [(w, s) for w in ON_IMAGES for s in ((3, 9, 7), (2, 8, 8), (1, 6, 11))]
    + [(w, (4, 5, 6)) for w in ON_PAIRS]
    + [(w, (12,)) for w in ON_VECTORS],
)
def test_the_shape_foretold_is_torchs(word, shape):
    layer = parse(word)
    found = layers.make(layer, shape)(torch.randn(4, *shape))
    assert tuple(found.shape[1:]) == out_shape(layer, shape)


def test_every_kind_is_tried():
    assert {parse(w).kind for w in [*ON_IMAGES, *ON_PAIRS, *ON_VECTORS]} == set(GRAMMAR) - set(
        LIBRARIES
    )  # models: test_zoo.py


@pytest.mark.parametrize(
    ("word", "function"),
    [
        ("relu", torch.relu),
        ("crelu", lambda x: torch.cat([torch.relu(x), torch.relu(-x)], 1)),
        ("tanh", torch.tanh),
        ("celu", torch.nn.functional.celu),
        ("gelu", torch.nn.functional.gelu),
        ("sigmoid", torch.sigmoid),
        ("erf", torch.erf),
    ],
)
def test_an_activation_is_the_function_it_is_named_for(word, function):
    x = torch.linspace(-3, 3, 24).reshape(2, 3, 2, 2)
    assert torch.equal(layers.make(parse(word), (3, 2, 2))(x), function(x))


def test_build_fills_in_widths_and_flattens():
    words = ("conv 3 4", "relu", "maxpool 2", "dense 5", "tanh", "dense outputs")
    module, full = layers.build(words, (2, 8, 8), 3)
    assert full == ("conv 3 4", "relu", "maxpool 2", "flatten", "dense 5", "tanh", "dense 3")
    assert module(torch.randn(6, 2, 8, 8)).shape == (6, 3)
    assert [type(m) for m in module] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear, nn.Tanh, nn.Linear]


def test_the_full_words_build_the_same_layers():
    module, full = layers.build(("conv 3 4", "crelu", "dense outputs"), (2, 8, 8), 3)
    twin, again = layers.build(full, (2, 8, 8), 99)  # no `outputs` is left to be filled in
    assert again == full
    twin.load_state_dict(module.state_dict())
    x = torch.randn(5, 2, 8, 8)
    assert torch.equal(twin(x), module(x))


def test_no_layers_are_the_identity():
    module, full = layers.build((), (4,), 2)
    x = torch.randn(3, 4)
    assert full == ()
    assert torch.equal(layers.apply(module, x), x)


@pytest.mark.parametrize(("words", "advice"), [(("dense",), "say 'dense 64'"), (("conv 3",), "say 'conv 3 16'")])
def test_a_missing_width_is_asked_for(words, advice):
    with pytest.raises(LayerwiseError, match=advice):
        layers.build(words, (1, 8, 8), 2)


def test_layers_that_do_not_fit_are_named():
    with pytest.raises(LayerwiseError, match=r"'maxpool 3' is larger than its input of 2x2"):
        layers.build(("conv 3 4", "maxpool 2", "maxpool 3"), (1, 7, 7), 2)
    with pytest.raises(LayerwiseError, match="needs images"):
        layers.build(("dense 4", "conv 3 2"), (1, 7, 7), 2)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("dense outputs",), True),
        (("conv 3 2", "dense  outputs"), True),
        (("dense outputs", "relu"), False),
        (("dense 10",), False),
        ((), False),
    ],
)
def test_scores_are_what_dense_outputs_gives(words, answer):
    assert layers.ends_in_scores(words) is answer


def test_apply_evaluates_in_batches():
    module, _ = layers.build(("batchnorm", "dropout 0.5", "conv 3 2", "relu"), (1, 6, 6), 2)
    module.train()
    x = torch.randn(11, 1, 6, 6)
    whole = layers.apply(module, x)
    assert not whole.requires_grad
    assert torch.equal(whole, module.eval()(x))
    assert torch.allclose(layers.apply(module, x, batch=4), whole, atol=1e-6)
    assert torch.equal(module[0].running_mean, torch.zeros(1))  # looked at, not updated


def test_apply_of_no_samples_has_the_shape():
    module, _ = layers.build(("conv 3 2", "dense outputs"), (1, 6, 6), 3)
    assert layers.apply(module, torch.empty(0, 1, 6, 6)).shape == (0, 3)


def test_apply_computes_in_the_type_of_the_weights():
    module, _ = layers.build(("dense 2",), (3,), 2)
    x = torch.randn(4, 3)
    assert layers.apply(module, x.double()).dtype == torch.float32
    assert layers.apply(module.double(), x).dtype == torch.float64
    plain, _ = layers.build(("relu",), (3,), 2)
    assert layers.apply(plain, x.double()).dtype == torch.float64
    assert layers.apply(plain, torch.ones(2, 3, dtype=torch.uint8)).dtype == torch.float32


def test_batchnorm_goes_over_channels_of_images_and_over_features():
    for shape in ((5,), (5, 3, 3)):
        x = 4 + 3 * torch.randn(64, *shape)
        y = layers.make(parse("batchnorm"), shape)(x)
        over = [0, *range(2, x.ndim)]
        assert torch.allclose(y.mean(over), torch.zeros(5), atol=1e-5)
        assert torch.allclose(y.var(over, unbiased=False), torch.ones(5), atol=1e-3)
        assert prod(y.shape) == prod(x.shape)


def test_patches_of_normalised_contrast_are_their_definition():
    layer = parse("conv 3 4 stride 2 pad 1 contrast 0.01")
    module = layers.make(layer, (2, 9, 9)).double()
    x = torch.rand(3, 2, 9, 9, dtype=torch.float64)
    patches = torch.nn.functional.unfold(x, 3, padding=1, stride=2).transpose(1, 2)  # (n, P, 18)
    centred = patches - patches.mean(dim=2, keepdim=True)
    normalised = centred / (centred.square().mean(dim=2, keepdim=True) + 0.01).sqrt()
    expected = normalised @ module.weight.reshape(4, -1).T + module.bias
    assert torch.allclose(module(x).flatten(2).transpose(1, 2), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("word", ["conv 3 4 stride 2 pad 1 mirror", "conv 4 3 contrast 0.01 mirror"])
def test_a_mirrored_filter_sees_in_an_image_what_the_filter_sees_in_its_mirror_image(word):
    plain = layers.make(parse(word.removesuffix(" mirror")), (2, 9, 9)).double()
    module = layers.make(parse(word), (2, 9, 9)).double()
    module.load_state_dict(plain.state_dict())
    x = torch.rand(3, 2, 9, 9, dtype=torch.float64)
    out = module(x)
    assert torch.allclose(out[:, ::2], plain(x), rtol=1e-12)
    assert torch.allclose(out[:, 1::2].flip(-1), plain(x.flip(-1)), rtol=1e-12)


def test_folded_maps_are_the_mean_over_an_image_and_its_mirror_image():
    words = ("conv 4 5 contrast 0.01 mirror", "softshrink 0.1", "crelu", "avgpool 3")
    module, _ = layers.build((*words, "fold"), (3, 9, 9), 2)
    plain, _ = layers.build((words[0].removesuffix(" mirror"), *words[1:]), (3, 9, 9), 2)
    plain.load_state_dict(module.state_dict())
    x = torch.rand(4, 3, 9, 9)
    assert torch.allclose(module(x), (plain(x) + plain(x.flip(-1))) / 2, atol=1e-6)
    assert torch.allclose(module(x), module(x.flip(-1)), atol=1e-6)


def test_an_odd_number_of_maps_does_not_fold():
    with pytest.raises(LayerwiseError, match="layer 'fold' takes two channels into one and gets 3"):
        layers.build(("fold",), (3, 4, 4), 2)


def test_wide_layers_run_in_small_batches_on_a_processor(monkeypatch):
    module, _ = layers.build(("conv 3 8", "crelu", "avgpool 4"), (1, 6, 6), 2)
    x, sizes = torch.randn(50, 1, 6, 6), []
    whole = layers.apply(module, x)
    monkeypatch.setattr(layers, "ROOM", 16 * 16 * 7 + 5)  # crelu gives 16 maps of 4x4
    module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    assert torch.allclose(layers.apply(module, x), whole, atol=1e-6)
    assert sizes == [7] * 7 + [1]


def test_batches_are_put_together_as_they_come():
    alive = []

    def batches():
        for number, size in enumerate((2, 2, 1)):
            batch = torch.full((size, 3), float(number))
            alive.append(weakref.ref(batch))
            yield batch
            del batch
            assert sum(each() is not None for each in alive) <= 1

    whole = layers.gather(batches(), 5, torch.device("cpu"))
    assert torch.equal(whole[:, 0], torch.tensor([0.0, 0, 1, 1, 2]))
    one = torch.ones(4, 2)
    assert layers.gather(iter([one]), 4, one.device) is one


def test_softshrink_and_crelu_are_two_shifted_relus():
    module, _ = layers.build(("softshrink 0.5", "crelu"), (7,), 2)
    x = torch.randn(5, 7)
    assert torch.equal(module(x), torch.cat([(x - 0.5).relu(), (-x - 0.5).relu()], dim=1))
