"""Text in a table is text: a word that looks like a number, a truth or nothing is read as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerwise import store, tables
from layerwise.__main__ import main
from layerwise.results import elsewhere
from layerwise.results.study_results import StudyResults
from layerwise.run import records
from layerwise.study import file as study_file
from layerwise.study.model import View
from layerwise.study.trie import Node

NAMES = ["null", "NA", "None", "nan", "007", "1e3", "inf", "True", "12e34"]  # of segments
LABELS = [*NAMES, "N/A", "<NA>", "#N/A", "1.0", "-0", "0x10", "1_000", "54887661238e3656", 'a "b", c', "# d"]
WORDS = [*LABELS, "", " lead", "trail ", "two\nlines", "\r", "'", '"', "2020-01-01", "é\u2028", "1,000"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_read_as_it_was_written(tmp_path, word):
    path = tmp_path / "t.csv"
    store.write_csv(path, pd.DataFrame({"a": [word, word], "n": [1.5, np.nan]}))
    table = store.read_csv(path, ["a", "n"], text=["a"])
    assert list(table["a"]) == [word, word]
    assert table["n"].isna().tolist() == [False, True]


@pytest.mark.parametrize("word", ["nan", "NA", "null", "x", "<NA>", "1,5"])
def test_only_an_empty_cell_is_a_missing_number(tmp_path, word):
    path = tmp_path / "t.csv"
    store.write_csv(path, pd.DataFrame({"n": ["1", word]}))
    with pytest.raises(store.Damaged, match="not a readable table"):
        store.read_csv(path, ["n"])


def test_columns_of_text_are_told_from_those_of_numbers():
    table = pd.DataFrame(
        {
            "words": ["1", "2"],
            "mixed": [1, "2"],
            "empty text": ["", ""],
            "numbers": [1, 2.5],
            "objects": pd.Series([1.5, None], dtype=object),
            "nothing": [None, None],
            "truth": [True, False],
        }
    )
    assert store.text_columns(table) == ["words", "mixed", "empty text"]


def study(folder: Path, labels: list[str], **more) -> None:
    names = [*NAMES, *(f"s{i}" for i in range(len(labels) - len(NAMES)))]
    raw = {
        "name": "words",
        "title": "Words",
        "seeds": 1,
        "datasets": {d: {"source": "digits", "subset": 60, "test_subset": 50, "valid": 0} for d in ("a", "b")},
        "segments": {
            "flat": {"method": "random", "layers": ["dense 4"]},
            **{name: {"method": "ridge", "layers": ["dense outputs"]} for name in names},
        },
        "networks": {d: {f"flat/{n}": label for n, label in zip(names, labels, strict=True)} for d in ("a", "b")},
        "tables": {"accuracy": {}, "elsewhere": {}},
        "probes": {"lsd": {"networks": ["a/flat/null"]}},
        "figures": {"accuracy_seconds": {"dataset": "a"}},
        **more,
    }
    (folder / "words.json").write_text(json.dumps(raw))


def test_a_study_of_such_names_and_labels_comes_to_its_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study(tmp_path, LABELS, leave_out={"b": "an hour"})
    where = ["--device", "cpu", "--threads", "1"]
    assert main(["all", "words.json", "--left-out", *where]) == 0
    assert main(["all", "words.json", *where]) == 0
    results = StudyResults(study_file.load("words.json"))
    for dataset, fits in (("a", results.fits), ("b", results.elsewhere)):
        mine = fits[fits["label"] != ""]
        assert list(mine["label"]) == [results.study.networks["a"][p] for p in mine["path"]], dataset
        assert set(mine["path"]) == {f"flat/{s}" for s in results.study.segments if s != "flat"}
    for name in ("accuracy", "elsewhere"):
        assert set(tables.read(results, results.study.tables[name])["network"]) == set(LABELS)
    page = Path("results/words/report.html").read_text()
    for label in ("007", "1e3", "null", "None", "N/A", "inf"):
        assert f">{label}<" in page
    assert elsewhere.read(results.study)["asked"].map(type).eq(str).all()


@pytest.mark.parametrize("digest", ["54887661238e3656", "1234567890123456", "0000000000000000", "inf", "True"])
def test_the_digest_of_what_a_probe_saw_is_text(tmp_path, monkeypatch, digest):
    monkeypatch.chdir(tmp_path)
    node, view = Node("s", "d", 0, "a"), View("p", "p", None)
    table = pd.DataFrame({"stage": WORDS, "value": range(len(WORDS))})
    records.write_seen(node, view, digest, table)
    pd.testing.assert_frame_equal(records.read_seen(node, view, digest), table)


@pytest.mark.parametrize("digest", ["54887661238e3656", "1e5"])
def test_a_digest_that_looks_like_a_number_is_that_of_the_fits(spoilt, monkeypatch, digest):
    """A fit of such a digest is found again in fits.csv and in what probes saw."""
    whole = type(spoilt.study).digest
    one = Node("tiny", "digits", 0, "ridge")
    monkeypatch.setattr(
        type(spoilt.study), "digest", lambda self, node, root: digest if node == one else whole(self, node, root)
    )
    for verb in (["fit", "tiny.json", "digits", "ridge"], ["probe", "tiny.json", "lsd", "digits", "ridge"]):
        assert main([*verb, "--device", "cpu", "--threads", "1"]) == 0
    assert main(["fits", "tiny.json"]) == 0
    results = StudyResults(study_file.load("tiny.json"))
    assert digest in set(results.fits["digest"])
    assert set(results.probe("lsd")["seed"]) == {0, 1}


def test_the_columns_of_a_table_of_ones_own_keep_their_kinds(spoilt, monkeypatch):
    """What a plugin writes as text is text in the report, also where every cell of it looks like a number."""
    table = pd.DataFrame({"code": ["007", "1e3"], "empty": ["", ""], "x": [1.5, np.nan]})
    view = View("accuracy", "accuracy", spoilt.study.tables["accuracy"].options)
    monkeypatch.setattr("layerwise.tables.accuracy.make", lambda results, options: table)
    tables.make(spoilt, view)
    pd.testing.assert_frame_equal(tables.read(spoilt, view), table)
