"""Workers that exchange coded weights: the same as no workers, the same however shared out, resumed to the byte."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from training import DEEP, blobs, fit, line, same

from layerwise.coding import bins
from layerwise.coding.coders import coder
from layerwise.contract import Hooks, Split
from layerwise.errors import LayerwiseError
from layerwise.gradient import loop
from layerwise.layers import build as layers
from layerwise.methods import sgd
from layerwise.probes import coding
from layerwise.tables import exchange

WORDS = ("dense 12", "tanh", "dense outputs")
SHORT = {"epochs": 3, "batch": 10, "lr": 0.1}


@pytest.mark.parametrize("words", [WORDS, DEEP])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_worker_that_sends_all_trains_as_none(words, optimizer):
    plain = fit(words, blobs(), optimizer=optimizer, **SHORT)
    own = fit(words, blobs(), optimizer=optimizer, exchange="float32", **SHORT)
    assert same(plain.module, own.module)
    for a, b in zip(plain.record["history"], own.record["history"], strict=True):
        assert a == {k: b[k] for k in a}
    assert "measures" not in plain.record


def test_after_an_epoch_the_weights_are_what_a_receiver_decodes():
    found = fit(WORDS, blobs(), exchange="fixed 3", **SHORT)
    for p in found.module.parameters():
        assert p.dim() < 2 or len(p.unique()) <= 8
    weights = found.module[0].weight.detach()
    low, high = float(weights.min()), float(weights.max())
    steps = (weights.double() - low) / (high - low)
    assert len(weights.unique()) > 2
    assert steps.isfinite().all()


def test_two_workers_average_what_each_found_on_its_part():
    features = blobs(60)
    options = {**SHORT, "epochs": 1, "momentum": 0.0, "batch": 30}
    found = fit(["dense outputs"], features, exchange="float32", workers=2, **options).module
    torch.manual_seed(0)
    start, _ = layers.build(("dense outputs",), (4,), 3)
    ends = []
    for k in range(2):
        module, _ = layers.build(("dense outputs",), (4,), 3)
        module.load_state_dict(start.state_dict())
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        torch.nn.functional.cross_entropy(module(features.train.x[k::2]), features.train.y[k::2]).backward()
        optimizer.step()
        ends.append(module.state_dict())
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, (ends[0][name] + ends[1][name]) / 2)


@pytest.mark.parametrize("workers", [1, 3])
def test_changes_with_what_was_lost_train_where_weights_of_few_bits_do_not(workers):
    """A step below half a bin of the weights is lost for good; of the changes, it is sent later."""
    options = {"epochs": 60, "batch": 8, "lr": 0.002, "momentum": 0.0, "workers": workers}
    losses = {
        words: fit(["dense outputs"], line(), exchange=words, **options).record["history"][-1]["valid_mse"]
        for words in ("float32", "fixed 2", "fixed 2 changes")
    }
    assert losses["fixed 2 changes"] < 1.5 * losses["float32"] + 1e-3
    assert losses["fixed 2"] > 1.5 * losses["fixed 2 changes"]


@pytest.mark.parametrize("words", ["entropy 5", "fixed 4 changes", "top 0.5 changes", "groups 4"])
@pytest.mark.parametrize("net", [WORDS, DEEP])
def test_resumed_is_uninterrupted_to_the_byte(words, net, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0)
    options = {**SHORT, "exchange": words, "workers": 3, "patience": 2, "epochs": 4}
    saved = []
    whole = fit(net, blobs(), hooks=Hooks(save=lambda t, notes: saved.append((t, json.dumps(notes)))), **options)
    assert len(saved) >= 3
    for tensors, notes in saved:
        state = ({k: v.clone() for k, v in tensors.items()}, json.loads(notes))
        again = fit(net, blobs(), hooks=Hooks(load=lambda state=state: state), **options)
        assert same(whole.module, again.module)
        assert again.record == whole.record


def test_the_record_has_bits_by_epoch_and_measures():
    record = fit(WORDS, blobs(), exchange="entropy 5", workers=2, **SHORT).record
    row = record["history"][0]
    assert json.loads(json.dumps(record)) == record
    parameters, weights = 4 * 12 + 12 + 12 * 3 + 3, 4 * 12 + 12 * 3
    assert row["bits_raw"] == pytest.approx((48 * row["bits_1"] + 36 * row["bits_2"] + 32 * 15) / parameters)
    assert abs(row["bits_1"] - row["entropy_1"] - 5) <= 0.5
    assert row["bits_sent"] >= (32 * 15 + 2 * 8 * bins.HEAD.size) / parameters
    assert weights * 0 < row["gradient_1"]
    found = record["measures"]
    assert found["bits_raw"] == pytest.approx(np.mean([r["bits_raw"] for r in record["history"]]))
    assert found["compression_sent"] == pytest.approx(32 / found["bits_sent"])
    assert found["epochs_to_best"] == record["best_epoch"]
    columns = [[r[f"{name}_{i}"] for r in record["history"]] for i in (1, 2) for name in ("gradient", "entropy")]
    expected = min(np.corrcoef(np.log1p(columns[2 * i]), columns[2 * i + 1])[0, 1] for i in range(2))
    assert found["gradient_entropy_correlation_min"] == pytest.approx(expected)
    everything = fit(WORDS, blobs(), exchange="float32", **SHORT).record["measures"]
    assert everything["bits_raw"] == everything["bits_sent"] == 32


def test_the_gradient_is_the_root_of_the_mean_square_over_the_steps():
    seen = []

    def watch(module, step):
        if step:
            seen.append(float(module[0].weight.grad.square().mean()))

    record = fit(WORDS, blobs(), exchange="float32", hooks=Hooks(watch=watch), **{**SHORT, "epochs": 1}).record
    assert record["history"][0]["gradient_1"] == pytest.approx(np.sqrt(np.mean(seen)), rel=1e-5)


@pytest.mark.parametrize(
    "words", ["entropie 5", "entropy", "entropy 12 of 8", "entropy 5 of", "fixed 0", "fixed 17", "float8 3", "top 0",
              "top 1.5", "rank 0", "none changes", "groups 1", "fixed  4", "fixed 4 changes changes", ""],
)  # fmt: skip
def test_words_that_do_not_read_are_one_line(words):
    with pytest.raises(LayerwiseError, match="option 'exchange' is ") as caught:
        sgd.Options(exchange=words)
    assert "\n" not in str(caught.value)
    assert f"is {words!r}: none, float32" in str(caught.value)
    with pytest.raises(LayerwiseError, match="option 'coders' is "):
        coding.Options(coders=("float32", words))
    with pytest.raises(LayerwiseError, match="a coder is "):
        coder(words)


def test_changes_are_of_a_training_and_no_word_of_a_coder():
    assert sgd.Options(exchange="fixed 4 changes").exchange == "fixed 4 changes"
    with pytest.raises(LayerwiseError, match="option 'coders' is 'fixed 4 changes'"):
        coding.Options(coders=("fixed 4 changes",))


def test_workers_need_an_exchange_and_samples():
    with pytest.raises(LayerwiseError, match="'workers' needs an 'exchange'"):
        sgd.Options(workers=2)
    with pytest.raises(LayerwiseError, match="more workers than training samples"):
        fit(["dense outputs"], blobs(6), exchange="float32", workers=7)
    with pytest.raises(LayerwiseError, match="batchnorm needs two samples or more, and here is one: ask for fewer wor"):
        fit(["batchnorm", "dense outputs"], blobs(6), exchange="float32", workers=4)


def test_weights_that_overflow_are_one_line():
    features = blobs()
    far = Split(features.train.x * 1e18, features.train.y)
    with pytest.raises(LayerwiseError, match="diverged"):
        fit(WORDS, type(features)(far, features.valid, features.task), exchange="fixed 4", loss="mse", lr=1e30)


SHARE = """
import json, sys, torch
sys.path.insert(0, sys.argv[4])
from torch import distributed
from safetensors.torch import save_file
from layerwise.closed import shards
from layerwise.contract import Features, Hooks
from layerwise.gradient import loop
from training import DEEP, blobs, fit
rank, world = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[3]}/meet", rank=rank, world_size=world)
loop.SAVE_SECONDS = 0
saved = []
f = blobs()
f = Features(shards.part(f.train), f.valid, f.task)
options = dict(epochs=4, batch=6, lr=0.1, exchange=sys.argv[5], workers=4)
whole = fit(DEEP, f, hooks=Hooks(save=lambda t, notes: saved.append((t, json.loads(json.dumps(notes))))), **options)
assert len(saved) == (4 if rank == 0 else 0)
save_file(whole.module.state_dict(), f"{sys.argv[3]}/{rank}.safetensors")
if rank == 0:
    torch.save((saved[1], whole.record), f"{sys.argv[3]}/state.pt")
"""


@pytest.mark.parametrize("words", ["entropy 5", "fixed 4 changes"])
def test_processes_that_share_the_workers_have_the_bytes_of_one(tmp_path, words):
    """And one process goes on from what they saved."""
    from pathlib import Path

    from safetensors.torch import load_file

    given = [str(tmp_path), str(Path(__file__).parent), words]
    runs = [subprocess.Popen([sys.executable, "-c", SHARE, str(r), "2", *given]) for r in range(2)]
    assert [run.wait(timeout=100) for run in runs] == [0, 0]
    options = {"epochs": 4, "batch": 6, "lr": 0.1, "exchange": words, "workers": 4}
    alone = fit(DEEP, blobs(), **options)
    state, record = torch.load(tmp_path / "state.pt", weights_only=False)
    again = fit(DEEP, blobs(), hooks=Hooks(load=lambda: state), **options)
    assert record == alone.record == again.record
    assert same(alone.module, again.module)
    for rank in range(2):
        shared = load_file(tmp_path / f"{rank}.safetensors")
        assert all(torch.equal(shared[k], v) for k, v in alone.module.state_dict().items())


def test_the_table_holds_networks_against_the_one_that_sends_all_seed_by_seed(exchanged):
    table = exchange.make(exchanged, exchange.Options("digits/whole")).set_index("network")
    assert list(table.index) == ["float32", "4 bits"]  # what sends nothing has no row
    fits = exchanged.fits.set_index(["path", "seed"])
    whole, bins_ = fits.loc["whole"], fits.loc["bins"]
    row = table.loc["4 bits"]
    assert row["bits"] == bins_["bits_raw"].mean() < 6  # biases are sent as they are
    assert row["bits_sent"] == bins_["bits_sent"].mean() != row["bits"]
    assert row["compression"] == bins_["compression_sent"].mean()
    assert row["better_by"] == (bins_["test_accuracy"] - whole["test_accuracy"]).mean()
    assert row["fewer_epochs"] == (100 * (1 - bins_["epochs_to_best"] / whole["epochs_to_best"])).mean()
    assert row["reduction"] == (whole["bits_sent_to_best"] / bins_["bits_sent_to_best"]).mean() > 1
    assert table.loc["float32", ["bits", "compression", "better_by", "fewer_epochs", "reduction"]].tolist() == [
        32, 1, 0, 0, 1,
    ]  # fmt: skip
    with pytest.raises(LayerwiseError, match="digits/none has no bits_sent: name a network of the method sgd"):
        exchange.make(exchanged, exchange.Options("digits/none"))


def test_where_the_data_are_left_out_the_table_is_empty(exchanged, monkeypatch):
    monkeypatch.setattr(exchanged, "study", dataclasses.replace(exchanged.study, left_out={"digits": "an hour"}))
    assert len(exchange.make(exchanged, exchange.Options("digits/whole"))) == 0
