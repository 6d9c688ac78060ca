"""The probes of the DMN papers: what they record of a training and of patches, against a direct computation."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from training import CPU, blobs, fit

from layerwise.contract import Dataset, Hooks, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.probes import density, gain, training
from layerwise.run import loading, probe, records
from layerwise.run import node as nodes
from layerwise.study import file as study_file
from layerwise.study import trie

WORDS = ("dense 6", "relu", "dense 5", "relu", "dense outputs")
IMAGES = (1, 6, 6)


def followed(probe, words, features, **options):
    """Return the table of a probe that followed a fit, and the module after each step."""
    fitted = fit(words, features, epochs=2, batch=20).module
    eye = probe.follow(fitted, features, probe.Options(**options), seed=7, device=CPU)
    kept = []

    def watch(module, step):
        eye(module, step)
        kept.append([m.weight.detach().flatten(1).numpy().copy() for m in module if isinstance(m, training.WEIGHTED)])

    fit(words, features, epochs=2, batch=20, hooks=Hooks(watch=watch))
    return eye.table(), kept


# ---------------------------------------------------------------- training


@pytest.fixture(scope="module")
def dense():
    return followed(training, WORDS, blobs(), every=1)


def column(table, name, layer):
    return table[table["layer"] == layer].set_index("step")[name]


def test_every_step_and_layer_has_a_row(dense):
    table, kept = dense
    assert len(kept) == 7  # three steps an epoch, and the first weights
    assert list(table["step"].unique()) == list(range(7))
    first = table[table["step"] == 0]
    assert first[["layer", "stage", "inputs", "units"]].to_numpy().tolist() == [
        [1, "dense", 4, 6],
        [2, "dense", 6, 5],
        [3, "dense", 5, 3],
    ]


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_what_is_recorded_is_what_numpy_says(dense, layer):
    table, kept = dense
    weights = np.array([step[layer - 1] for step in kept], dtype=float)
    moved = np.linalg.norm(np.diff(weights, axis=0), axis=(1, 2)) / np.linalg.norm(weights[:-1], axis=(1, 2))
    change = column(table, "change", layer)
    assert np.isnan(change[0])
    np.testing.assert_allclose(change[1:], moved, rtol=1e-4)
    far = np.linalg.norm(weights - weights[-1], axis=(1, 2))
    np.testing.assert_allclose(column(table, "distance", layer), far, rtol=1e-4, atol=1e-7)
    singular = np.linalg.svd(weights, compute_uv=False)
    np.testing.assert_allclose(column(table, "largest", layer), singular[:, 0], rtol=1e-4)
    np.testing.assert_allclose(column(table, "mean", layer), singular.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(column(table, "norm", layer), np.linalg.norm(weights, axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(column(table, "variance", layer), weights.var(axis=2).mean(axis=1), rtol=1e-4)
    squared = (weights.sum(axis=2) ** 2).mean(axis=1) / weights.shape[2]  # dmn supplement figure 2
    np.testing.assert_allclose(column(table, "mean_squared", layer), squared, rtol=1e-4)


def test_the_distance_ends_at_zero(dense):
    table, _ = dense
    assert (table.loc[table["step"] == 6, "distance"] == 0).all()
    assert (table.loc[table["step"] < 6, "distance"] > 0).all()


def test_the_product_is_of_a_layer_and_all_above_it(dense):
    table, kept = dense
    for step, (w1, w2, w3) in enumerate(kept):
        for layer, product in enumerate((w3 @ w2 @ w1, w3 @ w2, w3), 1):
            expected = np.linalg.norm(product.astype(float), 2)
            assert column(table, "product", layer)[step] == pytest.approx(expected, rel=1e-4)


def test_the_product_stops_below_where_shapes_do_not_chain():
    words = ("conv 3 4", "relu", "dense 5", "relu", "dense outputs")
    table, kept = followed(training, words, blobs(shape=IMAGES), every=6)
    assert column(table, "product", 1).isna().all()
    assert column(table, "product", 2)[0] == pytest.approx(np.linalg.norm(kept[0][2] @ kept[0][1], 2), rel=1e-4)
    assert column(table, "largest", 1)[0] == pytest.approx(np.linalg.norm(kept[0][0], 2), rel=1e-4)
    assert table[table["step"] == 0]["stage"].tolist() == ["conv", "dense", "dense"]


def test_few_steps_are_recorded_and_their_change_is_still_of_one_step(dense):
    whole, _ = dense
    some, _ = followed(training, WORDS, blobs(), every=3, first=1)
    assert list(some["step"].unique()) == [0, 1, 3, 6]
    same = whole[whole["step"].isin([0, 1, 3, 6])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, same)


# ---------------------------------------------------------------- gain


@pytest.mark.parametrize("word", ["conv 3 4", "conv 3 4 stride 2", "conv 3 4 pad 1"])
def test_the_gain_is_the_output_over_the_norms_of_filter_and_patch(word):
    features = blobs(shape=IMAGES)
    features.train.x[:, :, :4, :4] = 0  # a whole patch without norm does not count
    fitted = fit((word, "relu", "dense outputs"), features, epochs=1, batch=20).module
    eye = gain.follow(fitted, features, gain.Options(samples=25), seed=3, device=CPU)
    eye(fitted, 0)
    layer = fitted[0]
    drawn = torch.randperm(len(features.train), generator=torch.Generator().manual_seed(3))[:25]
    found: list[list[float]] = [[] for _ in range(4)]
    for image in nn.functional.pad(features.train.x[drawn], [layer.padding[0]] * 4):
        for top in range(0, image.shape[1] - 2, layer.stride[0]):
            for left in range(0, image.shape[2] - 2, layer.stride[0]):
                patch = image[:, top : top + 3, left : left + 3]
                if patch.norm() > 0:
                    for i, (w, b) in enumerate(zip(layer.weight.detach(), layer.bias.detach(), strict=True)):
                        output = max(0.0, float((w * patch).sum() + b))
                        found[i].append(output / float(w.norm() * patch.norm()))
    means = [np.mean(f) for f in found]
    (row,) = eye.table().to_dict("records")
    assert row["ratio"] == pytest.approx(np.mean(means), rel=1e-4)
    assert row["spread"] == pytest.approx(np.std(means), rel=1e-4)


def test_the_gain_is_recorded_now_and_then():
    table, _ = followed(gain, ("conv 3 4", "relu", "dense outputs"), blobs(shape=IMAGES), every=3)
    assert table["step"].tolist() == [0, 3, 6]
    assert table["ratio"].between(0, 5).all()


def test_the_gain_wants_a_convolution_first():
    with pytest.raises(LayerwiseError, match="does not begin with a convolution"):
        gain.follow(fit(WORDS, blobs()).module, blobs(), gain.Options(), seed=0, device=CPU)


# ---------------------------------------------------------------- density


def pictures(n=40):
    x = torch.randn(n, 2, 5, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    empty = Split(x[:0], torch.zeros(0, dtype=torch.long))
    return Dataset(Split(x, torch.zeros(n, dtype=torch.long)), empty, empty, Task("onehot", 2, ("a", "b")), {})


@pytest.mark.parametrize(
    ("options", "places"), [({"at": (3, 7, 40)}, [3, 7, 40]), ({"every": 20, "until": 40}, [20, 40])]
)
def test_density_has_the_eigenvalues_of_the_mean_second_moment(options, places):
    data = pictures()
    table = density.look(nn.Sequential(), data, density.Options(size=3, **options), seed=5, device=CPU)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5))
    assert list(table["samples"].unique()) == places
    for n in places:
        rows = [
            image[:, top : top + 3, left : left + 3].flatten().double().numpy()
            for image in data.train.x[order[:n]]
            for top in range(3)
            for left in range(3)
        ]
        moment = np.mean([np.outer(row, row) for row in rows], axis=0)
        mine = table[table["samples"] == n]
        assert mine["rank"].tolist() == list(range(1, 19))
        np.testing.assert_allclose(mine["value"], np.linalg.eigvalsh(moment)[::-1], rtol=1e-6, atol=1e-9)


def test_density_refuses_more_samples_than_there_are():
    with pytest.raises(LayerwiseError, match="41 samples are asked for, and the training split has 40"):
        density.look(nn.Sequential(), pictures(), density.Options(at=(41,)), seed=0, device=CPU)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: training.Options(every=0), "'every' is 0: it must be at least 1"),
        (lambda: training.Options(first=-1), "'first' is -1: it must be at least 0"),
        (lambda: gain.Options(samples=0), "'samples' is 0: it must be at least 1"),
        (lambda: density.Options(size=0), "'size' is 0: it must be at least 1"),
        (lambda: density.Options(at=(5, 2)), "ascending"),
    ],
)
def test_options_are_checked(make, said):
    with pytest.raises(LayerwiseError, match=said):
        make()


# ---------------------------------------------------------------- in the workflow

STUDY = {
    "title": "one network",
    "seeds": 1,
    "datasets": {"digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20}},
    "segments": {
        "d4": {"method": "dmn", "layers": ["conv 3 4", "maxpool 2", "relu"]},
        "head": {"method": "sgd", "layers": ["dense 5", "relu", "dense outputs"], "epochs": 3, "batch": 20},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
    },
    "networks": {"digits": ["d4/head", "d4/ridge"]},
    "probes": {
        "training": {"networks": ["digits/d4/head"], "every": 3},
        "wrong": {"probe": "training", "networks": ["digits/d4/ridge"]},
    },
}


def test_a_following_probe_trains_the_fit_again(tmp_path, monkeypatch):
    """Its last row is of the weights that the fit left; a method without steps is refused in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "again.json").write_text(json.dumps(STUDY))
    plan = study_file.load("again.json")
    assert plan.follows("training")
    loading.prepare_dataset(plan, "digits", tmp_path)
    data = loading.read_dataset(plan, "digits")
    for node in sorted(plan.nodes(), key=lambda n: n.depth):
        nodes.fit(plan, node, data, CPU)
    node = trie.Node("again", "digits", 0, "d4/head")
    before = (node.folder / "segment.safetensors").read_bytes()
    probe.probe(plan, node, data, CPU, plan.probes["training"])
    assert (node.folder / "segment.safetensors").read_bytes() == before
    table = pd.read_csv(node.folder / "training.csv")
    assert table["step"].max() == 9
    last = table[table["step"] == 9].set_index("layer")
    assert (last["distance"] == 0).all()
    fitted = loading.read_module(node, records.read_fit(plan, node, data.record["digest"]))
    weights = [m.weight for m in fitted if isinstance(m, nn.Linear)]
    np.testing.assert_allclose(last["norm"], [float(w.detach().norm()) for w in weights], rtol=1e-6)
    closed = dataclasses.replace(node, path="d4/ridge")
    with pytest.raises(LayerwiseError, match="'ridge' fits in one step, so there is no training to follow") as error:
        probe.probe(plan, closed, data, CPU, plan.probes["wrong"])
    assert "\n" not in str(error.value)
    assert not (closed.folder / "wrong.csv").exists()
