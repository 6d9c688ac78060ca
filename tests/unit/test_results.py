"""What is gathered of a study's fits, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.results import collect
from layerwise.results.study_results import StudyResults
from layerwise.run import records
from layerwise.study.trie import Node

PATHS = ["c4+head", "d4", "d4/head", "d4/ridge", "r4", "r4/ridge", "ridge"]


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_one_row_a_node(tiny):
    fits = tiny.fits
    assert len(fits) == len(tiny.study.nodes()) == 2 * (7 + 3 + 3)
    assert sorted(fits.loc[(fits["dataset"] == "digits") & (fits["seed"] == 1), "path"]) == PATHS
    assert list(fits)[:7] == ["dataset", "seed", "path", "label", "method", "depth", "layers"]
    assert list(fits)[-1] == "digest"


def test_labels_are_of_networks_and_empty_for_their_parts(tiny):
    fits = tiny.fits.set_index(["dataset", "seed", "path"])
    assert fits.loc[("digits", 0, "d4/ridge"), "label"] == "class PCA"
    assert fits.loc[("digits", 0, "d4"), "label"] == ""


def test_totals_add_what_is_before_on_the_path(tiny):
    fits = tiny.fits.set_index(["dataset", "seed", "path"])
    part, whole = fits.loc[("digits", 1, "d4")], fits.loc[("digits", 1, "d4/ridge")]
    assert whole["total_seconds"] == pytest.approx(part["seconds"] + whole["seconds"])
    assert whole["total_parameters"] == part["parameters"] + whole["parameters"] == 40 + (36 * 10 + 10)
    assert part["total_seconds"] == part["seconds"]


def test_measures_are_those_of_the_score_record(tiny):
    fits = tiny.fits.set_index(["dataset", "seed", "path"])
    score = json.loads((Node("tiny", "digits", 0, "d4").folder / "score.json").read_text())
    row = fits.loc[("digits", 0, "d4")]
    assert row["kind"] == "readout"
    assert row["valid_accuracy"] == pytest.approx(score["splits"]["valid"]["accuracy"])
    assert row["train_lsd"] == pytest.approx(score["splits"]["train"]["lsd"])
    assert math.isnan(fits.loc[("digits", 0, "d4/ridge"), "train_lsd"])
    assert math.isnan(fits.loc[("sine", 0, "ridge"), "test_accuracy"])
    assert fits.loc[("sine", 0, "ridge"), "test_mse"] > 0.1
    assert math.isnan(fits.loc[("spirals", 0, "ridge"), "valid_accuracy"])


def test_a_network_is_read_back_whole(tiny):
    data = tiny.data("digits")
    network = tiny.network("digits", "d4/ridge", 1)
    with torch.no_grad():
        right = data.task.labels(network(data.test.x)) == data.test.y
    fits = tiny.fits.set_index(["dataset", "seed", "path"])
    assert 100 * right.double().mean().item() == pytest.approx(fits.loc[("digits", 1, "d4/ridge"), "test_accuracy"])


def test_what_a_probe_saw(tiny):
    table = tiny.probe("lsd")
    assert {"dataset", "seed", "path", "label", "depth", "train_lsd"} <= set(table)
    assert "digest" not in table
    assert set(table["label"]) == {label for n in tiny.study.networks.values() for label in n.values()}
    assert set(tiny.probe("spectrum")["path"]) == {"d4/ridge", "r4/ridge"}


def test_helpers_for_figures(tiny):
    assert tiny.measure("digits") == tiny.measure("spirals") == "accuracy"
    assert tiny.measure("sine") == "mse"
    assert tiny.method("c4+head") == "sgd"
    assert tiny.method("d4/ridge") == "dmn"
    assert tiny.networks("digits", ("r4/ridge", "d4")) == {"r4/ridge": "random", "d4": "d4"}
    assert len(tiny.values("digits", "ridge", "test_accuracy")) == 2
    mean, half = tiny.interval("digits", "ridge", "test_accuracy")
    assert half == pytest.approx(0, abs=1e-9)  # the read-out of pixels draws nothing
    assert 20 < mean < 100
    assert len(tiny.machines) == 1


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["fit.json", "score.json"])
def test_a_stale_record_is_refused(spoilt, name):
    edit(Node("tiny", "digits", 1, "d4/ridge").folder / name, digest="of something else")
    with pytest.raises(LayerwiseError, match=rf"{name}: .*run") as error:
        collect.collect(spoilt.study)
    assert "\n" not in str(error.value)


def test_a_missing_or_cut_record_is_refused(spoilt):
    path = Node("tiny", "sine", 0, "ridge").folder / "score.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(LayerwiseError, match="not a readable record"):
        collect.collect(spoilt.study)
    path.unlink()
    with pytest.raises(LayerwiseError, match="no such file"):
        collect.collect(spoilt.study)


def test_another_data_set_is_refused(spoilt):
    edit(Path("results/tiny/datasets/sine/dataset.json"), spec="of other options")
    with pytest.raises(LayerwiseError, match=r"dataset\.json: made for other options"):
        collect.collect(spoilt.study)


def test_fits_that_are_not_those_of_now_are_refused(spoilt):
    path = Path("results/tiny/fits.csv")
    table = pd.read_csv(path)
    table[:-1].to_csv(path, index=False)
    with pytest.raises(LayerwiseError, match="run the verb fits again"):
        _ = StudyResults(spoilt.study).fits
    table.assign(digest="x").to_csv(path, index=False)
    with pytest.raises(LayerwiseError, match="run the verb fits again"):
        _ = StudyResults(spoilt.study).fits
    path.unlink()
    with pytest.raises(LayerwiseError, match="run the verb fits"):
        _ = StudyResults(spoilt.study).fits


def test_a_probe_of_another_fit_is_refused(spoilt):
    path = Node("tiny", "digits", 0, "d4/ridge").folder / "spectrum.csv"
    record = path.with_name("probe.spectrum.json")
    before = record.read_text()
    edit(record, digest="x")
    with pytest.raises(LayerwiseError, match=r"spectrum\.csv: of another fit"):
        spoilt.probe("spectrum")
    record.write_text(before)
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(LayerwiseError, match=r"spectrum\.csv: changed since it was written; run the verb probe"):
        spoilt.probe("spectrum")
    path.unlink()
    with pytest.raises(LayerwiseError, match="run the verb probe"):
        spoilt.probe("spectrum")


def test_unknown_names_are_refused(tiny):
    with pytest.raises(LayerwiseError, match="'loss' is no probe"):
        tiny.probe("loss")
    with pytest.raises(LayerwiseError, match="'mnist' is no data set"):
        tiny.networks("mnist")
    with pytest.raises(LayerwiseError, match="'d4/x' is no network"):
        tiny.networks("digits", ("d4/x",))
    with pytest.raises(LayerwiseError, match="'gloss' is no column"):
        tiny.values("digits", "ridge", "gloss")


def test_the_digest_of_a_seed_is_its_own(tiny):
    digests = [records.read_fit(tiny.study, n, tiny.data("digits").record["digest"])["digest"]
               for n in tiny.study.nodes() if n.dataset == "digits"]  # fmt: skip
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("measures", "says"),
    [
        ({"bits_sent": 3.5, "epochs_to_best": 4}, ""),
        ({"seed": 1.0}, "'seed' of method 'sgd' is a column of fits.csv"),
        ({"test_accuracy": 99.0}, "'test_accuracy' of method 'sgd' is a column of fits.csv"),
        ({"bits_sent": "many"}, "'bits_sent' of method 'sgd' is 'many', which is no number"),
        ({"bits_sent": True}, "is True, which is no number"),
    ],
)
def test_measures_of_a_record_are_columns(tiny, monkeypatch, measures, says):
    """Before the digest, and only where some fit has them."""
    plain = collect.collect(tiny.study)
    read = collect.read_fit

    def with_measures(study, node, root):
        fit = read(study, node, root)
        has = node.path == "c4+head" and node.seed == 1
        return {**fit, "record": {**fit["record"], "measures": measures}} if has else fit

    monkeypatch.setattr(collect, "read_fit", with_measures)
    if says:
        with pytest.raises(LayerwiseError, match=says):
            collect.collect(tiny.study)
        return
    fits = collect.collect(tiny.study)
    assert list(fits) == [*list(plain)[:-1], *measures, "digest"]
    assert fits["bits_sent"].dropna().tolist() == [3.5] * int((plain["path"] == "c4+head").sum() / 2)
    pd.testing.assert_frame_equal(fits[list(plain)], plain)
