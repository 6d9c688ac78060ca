"""The lenses: where they cut a network, and what they measure there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from layerwise.contract import Dataset, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.probes import lsd, spectrum
from layerwise.probes._stages import representations, sample, stages

CPU = torch.device("cpu")
N = 90


THREE = Task("onehot", 3, ("a", "b", "c"))


def data(task=THREE, shape=(1, 6, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for n in (N, 0, 40):
        x = torch.randn(n, *shape, generator=generator)
        if task.classifies:
            y = torch.randint(0, max(2, task.outputs), (n,), generator=generator)
        else:
            y = x.flatten(1)[:, :1] ** 2
        parts.append(Split(x, y))
    return Dataset(*parts, task, {})


def network(words=("conv 3 4", "relu", "maxpool 2", "dense 7", "tanh", "dense outputs"), shape=(1, 6, 6)):
    torch.manual_seed(0)
    return layers.build(words, shape, 3)[0]


# ---------------------------------------------------------------- stages


def test_a_network_is_cut_before_each_next_weighted_layer():
    cut = stages(network())
    assert [s.name for s in cut] == ["conv relu maxpool", "dense tanh", "dense"]
    assert sum(len(s.layers) for s in cut) == len(network())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("dense outputs",), ["dense"]),
        (("relu", "dense 4", "relu"), ["relu dense relu"]),
        (("dense 4", "batchnorm", "dropout 0.5", "crelu", "dense outputs"), ["dense batchnorm1d crelu", "dense"]),
        (("dense 4", "dense outputs"), ["dense", "dense"]),
    ],
)
def test_stages_of_other_networks(words, names):
    assert [s.name for s in stages(network(words, (5,)))] == names


def test_representations_end_in_the_output_of_the_network():
    whole, x = network(), data().train.x
    seen = list(representations(whole, {"train": x}, CPU))
    assert [depth for depth, _, _ in seen] == [0, 1, 2, 3]
    assert [name for _, name, _ in seen] == ["input", "conv relu maxpool", "dense tanh", "dense (output)"]
    assert torch.equal(seen[0][2]["train"], x.flatten(1))
    assert [z["train"].shape[1] for _, _, z in seen] == [36, 16, 7, 3]
    torch.testing.assert_close(seen[-1][2]["train"], layers.apply(whole, x))


def test_samples_are_drawn_by_the_seed_and_empty_splits_left_out():
    drawn = sample(data(), 50, seed=1)
    assert {name: len(split) for name, split in drawn.items()} == {"train": 50, "test": 40}
    assert torch.equal(drawn["train"].x, sample(data(), 50, seed=1)["train"].x)
    assert not torch.equal(drawn["train"].x, sample(data(), 50, seed=2)["train"].x)


# ---------------------------------------------------------------- lsd


def test_lsd_is_the_least_squares_residual():
    d = data()
    table = lsd.look(network(), d, lsd.Options(), seed=0, device=CPU)
    z = layers.apply(network()[:3], d.train.x).flatten(1).double().numpy()
    ones = np.concatenate([np.ones((N, 1)), z], 1)
    y = d.task.targets(d.train.y, torch.float64).numpy()
    weights = np.linalg.lstsq(ones, y, rcond=None)[0]
    assert table.loc[1, "train_lsd"] == pytest.approx(((y - ones @ weights) ** 2).sum() / N, rel=1e-6)
    assert list(table["features"]) == [36, 16, 7, 3]
    assert {"train_accuracy", "test_accuracy", "train_mse", "test_mse"} <= set(table)
    assert "valid_accuracy" not in table


def test_lsd_of_an_output_that_is_the_target_is_zero():
    d = data(Task("values", 1), (2,))
    exact = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double()
    with torch.no_grad():
        exact[0].weight.copy_(torch.eye(2))
    linear = Dataset(
        *(Split(s.x, s.x @ torch.tensor([[2.0], [3.0]]) + 1) for s in (d.train, d.valid, d.test)), d.task, {}
    )
    table = lsd.look(exact, linear, lsd.Options(), seed=0, device=CPU)
    assert table.loc[0, "train_lsd"] < 1e-12
    assert table.loc[0, "test_mse"] < 1e-10
    assert "train_accuracy" not in table


def test_lsd_of_signs():
    table = lsd.look(network(shape=(1, 6, 6)), data(Task("signs", 1, ("-", "+"))), lsd.Options(), seed=0, device=CPU)
    assert table["train_accuracy"].between(50, 100).all()
    assert table["train_lsd"].between(0, 1).all()  # the targets are -1 and 1, their mean is taken out


def test_lsd_looks_at_no_more_samples_than_asked():
    table = lsd.look(network(), data(), lsd.Options(samples=30), seed=0, device=CPU)
    assert set(table["samples"]) == {30}
    assert table.loc[0, "train_lsd"] == pytest.approx(0, abs=1e-9)  # 36 features explain 30 samples wholly


# ---------------------------------------------------------------- spectrum


def test_the_spectrum_is_that_of_the_centred_representation():
    d = data()
    table = spectrum.look(network(), d, spectrum.Options(), seed=0, device=CPU)
    x = d.train.x.flatten(1).double().numpy()
    s = np.linalg.svd(x - x.mean(0), compute_uv=False)
    mine = table[table["depth"] == 0]
    np.testing.assert_allclose(mine["value"], s / s[0], rtol=1e-6)
    np.testing.assert_allclose(mine["share"], s**2 / (s**2).sum(), rtol=1e-6)
    assert list(mine["rank"]) == list(range(1, 37))
    assert set(table["depth"]) == {0, 1, 2, 3}


def test_only_the_largest_are_kept():
    table = spectrum.look(network(), data(), spectrum.Options(top=5), seed=0, device=CPU)
    assert table.groupby("depth").size().max() == 5
    assert (table.groupby("depth")["share"].sum() <= 1 + 1e-9).all()


def test_directions_that_are_rounding_alone_are_zero():
    flat = nn.Sequential(nn.Linear(36, 8, bias=False))
    with torch.no_grad():
        flat[0].weight[:] = flat[0].weight[:1]  # all eight features are one
    table = spectrum.look(nn.Sequential(nn.Flatten(), *flat), data(), spectrum.Options(), seed=0, device=CPU)
    values = table[table["depth"] == 1]["value"].to_numpy()
    assert values[0] == 1
    assert (values[1:] < 1e-6).all()


def test_a_dead_layer_has_a_spectrum_of_zeros():
    dead = network()
    with torch.no_grad():
        dead[0].weight.zero_()
        dead[0].bias.fill_(-1)
    table = spectrum.look(dead, data(), spectrum.Options(), seed=0, device=CPU)
    assert (table[table["depth"] == 1][["value", "share"]] == 0).all(axis=None)


@pytest.mark.parametrize("make", [lambda: lsd.Options(samples=1), lambda: spectrum.Options(samples=0)])
def test_options_say_what_is_wrong(make):
    with pytest.raises(LayerwiseError, match="samples"):
        make()
