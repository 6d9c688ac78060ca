"""The probe ``gradients`` against torch's autograd by hand, and the figures drawn of what it saw."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from conftest import fitted
from tinydmn import drawn, lines, texts
from torch import nn
from training import CPU, blobs, fit, same

from layerwise import figures
from layerwise.contract import Hooks
from layerwise.errors import LayerwiseError
from layerwise.gradient.losses import loss_of
from layerwise.layers import build as layers
from layerwise.probes import gradients
from layerwise.results.published import verdicts
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file
from layerwise.study import works
from layerwise.tables import published_rows
from shipped import ROOT

WORDS = ("conv 2 3", "batchnorm", "relu", "dense 5", "tanh", "dense outputs")
GIVEN = {"exp_ga": {"target_low": 0.0, "target_high": 6.0}, "pow3_ga": {"target_low": -2.0, "target_high": 10.0}}


def eye(**options):
    return gradients.follow(nn.Sequential(), blobs(), gradients.Options(**options), seed=0, device=CPU)


def followed(features, watch, words=WORDS, **options):
    return fit(words, features, hooks=Hooks(watch=watch), **options)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "half_squares", "sigmoid", "tanh", "exp_ga", "pow3_ga"])
def test_gradients_are_those_of_each_samples_loss(loss):
    """One batch an epoch has all samples, so that their order does not matter."""
    features, given = blobs(20, shape=(1, 4, 4)), GIVEN.get(loss, {})
    recorder = eye(every=1)
    followed(features, recorder, loss=loss, lr=1e-3, batch=20, epochs=2, **given)
    table = recorder.table()
    assert table[["step", "layer", "stage"]].to_numpy().tolist() == [
        [step, i, stage] for step in (1, 2) for i, stage in ((1, "conv"), (2, "dense"), (3, "dense"))
    ]
    torch.manual_seed(0)
    module, _ = layers.build(WORDS, (1, 4, 4), 3)
    inner = {}
    for layer in module:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, out: inner.__setitem__(layer, (out, out.retain_grad())[0]))
    value, targets = loss_of(loss, features.task, given=given)
    scores = module.train()(features.train.x)
    value(scores, targets(features.train.y)).backward()
    first = table[table["step"] == 1].set_index("layer")
    for i, (layer, out) in enumerate(inner.items(), 1):
        assert first.loc[i, "rms"] == pytest.approx(20 * out.grad.square().mean().sqrt().item(), rel=1e-4)
        assert first.loc[i, "weights_rms"] == pytest.approx(layer.weight.grad.square().mean().sqrt().item(), rel=1e-4)
    assert first.loc[3, "least"] == pytest.approx(20 * scores.grad.min().item(), rel=1e-4)
    assert first.loc[3, "largest"] == pytest.approx(20 * scores.grad.max().item(), rel=1e-4)
    assert first.loc[3, "normaliser"] == pytest.approx(scores.detach().exp().sum(1).mean().item(), rel=1e-5)
    assert first.loc[3, "normaliser_sum"] == pytest.approx(scores.detach().exp().sum().item(), rel=1e-5)
    assert first.loc[[1, 2], ["least", "normaliser"]].isna().all(axis=None)


def test_those_of_the_softmax_are_within_one_and_of_exp_ga_beyond():
    ranges = {}
    for loss, rate in (("cross_entropy", 0.1), ("exp_ga", 0.001)):
        recorder = eye(every=3)
        followed(blobs(shape=(1, 4, 4)), recorder, loss=loss, lr=rate, batch=20, epochs=4)
        last = recorder.table().dropna(subset=["least"])
        ranges[loss] = (last["least"].min(), last["largest"].max())
    assert ranges["cross_entropy"] > (-1, 0)
    assert ranges["cross_entropy"][1] < 1
    assert ranges["exp_ga"][0] < -10  # alpha e^x - 16


def test_it_records_the_batches_that_it_says_and_changes_nothing():
    features = blobs(60, shape=(1, 4, 4))
    recorder = eye(every=4, bins=7)
    looked = followed(features, recorder, batch=20, epochs=3)
    assert sorted(set(recorder.table()["step"])) == [1, 5, 9]
    assert same(looked.module, fit(WORDS, features, batch=20, epochs=3).module)
    shares = recorder.table().dropna(subset=["least"])[[f"bin_{i}" for i in range(1, 8)]]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert (shares["bin_1"] > 0).all()
    assert (shares["bin_7"] > 0).all()


def test_a_layer_that_overwrites_its_input_does_not_spoil_it():
    """As the ReLU of the models of torchvision does."""
    rows = []
    for inplace in (False, True):
        torch.manual_seed(1)
        module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=inplace), nn.Linear(6, 3), nn.ReLU(inplace=inplace))
        recorder = eye(every=1)
        recorder(module, 0)
        module(blobs().train.x).exp().sum(1).mean().backward()
        recorder(module, 1)
        rows.append(recorder.table())
    assert rows[0].equals(rows[1])
    assert (rows[0]["rms"] > 0).all()


@pytest.mark.parametrize(
    ("given", "said"), [({"every": 0}, "'every' is 0: it must be at least 1"), ({"bins": -1}, "'bins' is -1")]
)
def test_options_are_checked(given, said):
    with pytest.raises(LayerwiseError, match=said):
        gradients.Options(**given)


# ---------------------------------------------------------------- in a study, and drawn

NETWORK = {"method": "sgd", "layers": ["dense 6", "relu", "dense outputs"], "epochs": 2, "batch": 20, "lr": 0.005}
STUDY = {
    "title": "losses",
    "seeds": {"digits": 2, "away": 1},
    "leave_out": {"away": "hours"},
    "datasets": {
        "digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "away": {"source": "torchvision", "name": "CIFAR100"},
    },
    "segments": {
        "softmax": NETWORK,
        "exp": NETWORK | {"loss": "exp_ga", "target_low": 0, "target_high": 6},
        "linear": NETWORK | {"loss": "half_squares"},
    },
    "networks": {
        "digits": {"softmax": "softmax", "exp": "exp-GA", "linear": "linear"},
        "away": {"softmax": "softmax"},
    },
    "probes": {
        "gradients": {"every": 2, "bins": 10, "networks": ["digits/softmax", "digits/exp", "away/softmax"]},
        "plain": {"probe": "gradients", "every": 2, "networks": ["digits/exp"]},
        "away": {"probe": "gradients", "networks": ["away/softmax"]},
    },
    "published": {
        "thesis": {
            "table4.1": {
                "columns": {
                    "error, %": "test_error",
                    "epochs": {"published": "epochs_to_converge", "measure": "best_epoch"},
                },
                "rows": {"mnist 392-50-10|linear": "digits/linear"},
            }
        }
    },
    "tables": {"table4_1": {"table": "published_rows", "source": "thesis", "item": "table4.1"}},
    "figures": {
        "fig4_3": {"figure": "gradients"},
        "fig4_5": {"figure": "gradients", "column": "normaliser", "networks": ["digits/softmax"]},
        "fig4_2": {"figure": "output_gradients", "steps": [1, 3]},
        "beyond": {"figure": "gradients", "layers": [3]},
        "absent": {"figure": "output_gradients", "steps": [2]},
        "binless": {"figure": "output_gradients", "probe": "plain"},
        "away": {"figure": "gradients", "probe": "away"},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("losses"), "losses", STUDY)


@pytest.fixture
def results(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return StudyResults(study_file.load("losses.json"))


def test_a_panel_a_layer_and_a_line_a_network(results):
    figure = drawn(results, "fig4_3")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["layer 1", "layer 2"]
    table = results.probe("gradients")
    for layer, ax in enumerate(figure.axes, 1):
        shown = lines(ax)
        assert list(shown) == ["digits: softmax", "digits: exp-GA"]
        assert ax.get_yscale() == "log"
        mine = table[(table["path"] == "exp") & (table["layer"] == layer)].groupby("step")["rms"].mean()
        np.testing.assert_allclose(shown["digits: exp-GA"].get_xdata(), [1, 3, 5])
        np.testing.assert_allclose(shown["digits: exp-GA"].get_ydata(), mine)
    (ax,) = drawn(results, "fig4_5").axes  # the last layer alone has a normaliser
    assert ax.get_title(loc="left") == "layer 2"
    assert "normaliser of the softmax" in ax.get_ylabel().replace("\n", " ")


def test_the_distribution_is_that_of_the_bins(results):
    figure = drawn(results, "fig4_2")
    assert len(figure.axes) == 6
    assert [texts(ax) for ax in figure.axes] == [[], [], ["not run"]] * 2
    table = results.probe("gradients")
    row = table[(table["path"] == "exp") & (table["step"] == 3) & (table["layer"] == 2) & (table["seed"] == 0)].iloc[0]
    (stairs,) = figure.axes[4].patches
    shares, edges, _ = stairs.get_data()
    assert edges[[0, -1]] == pytest.approx([row["least"], row["largest"]])
    assert shares == pytest.approx([row[f"bin_{i}"] for i in range(1, 11)])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("beyond", r"no layer 3 with rms; there are \[1, 2\]"),
        ("absent", "probe gradients has no step 2; it has 1, 3, 5"),
        ("binless", "probe plain has no bins; give it bins: 40"),
    ],
)
def test_what_is_not_there_is_said(results, name, said):
    with pytest.raises(LayerwiseError, match=said):
        drawn(results, name)


def test_what_is_left_out_is_said(results):
    assert texts(drawn(results, "away").axes[0]) == ["not run"]
    for name in ("fig4_2", "fig4_3", "away"):
        module, options = figures.opened(results.study.figures[name])
        assert "Not run: away." in module.caption(results, options)


def test_epochs_to_the_best_are_held_against_those_published(results):
    """The epoch of the least error on validation images; the thesis has it on its test images."""
    measured = verdicts(results.study, results.fits).set_index(["row", "metric"])
    fits = results.fits[results.fits["path"] == "linear"]
    epochs = measured.loc[("mnist 392-50-10|linear", "epochs_to_converge")]
    assert epochs["measured"] == pytest.approx(fits["best_epoch"].mean())
    error = measured.loc[("mnist 392-50-10|linear", "test_error")]
    assert error["measured"] == pytest.approx(100 - fits["test_accuracy"].mean())
    assert (measured.drop(index="mnist 392-50-10|linear", level=0)["verdict"] == "not run").all()
    row = published_rows.make(results, published_rows.Options(source="thesis", item="table4.1")).iloc[0]
    assert row["error, %"] == pytest.approx(error["measured"])
    assert row["epochs"] == pytest.approx(epochs["measured"])


def test_the_study_answers_for_all_of_chapter_4(monkeypatch):
    """With a network, or with a reason why there is none; the gradients are followed where its figures show them."""
    monkeypatch.chdir(ROOT)
    study = study_file.load("studies/amplification.yaml")
    chapter = {v.item for v in works.values() if v.source == "thesis" and re.match(r"(table|fig)4\.", v.item)}
    assert chapter == set(study.published["thesis"])
    items = works.mapping(study.published)
    for value in works.answered(study.published):
        entry = works.entry_on(study.verdicts, value)
        assert works.networks(entry, value, items)[0] or entry["reason"], value
    settings = {(v.row, v.metric): v.value for v in works.values() if v.source == "thesis" and v.kind == "setting"}
    for row, cells in items["thesis", "table4.2"].rows.items():
        (network,) = set(cells.values())
        options = study.segment(network.split("/")[1]).options
        given = {"learning_rate": options.lr, "weight_decay": options.weight_decay}
        given |= {"alpha": options.alpha, "beta": options.beta}
        for metric, value in given.items():
            assert settings.get((row, metric)) == value, (row, metric)
    steps = {1 + n * study.probes["gradients"].options.every for n in range(10)}
    assert set(study.figures["fig4_2"].options.steps) <= steps
