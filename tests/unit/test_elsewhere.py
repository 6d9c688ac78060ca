"""What a study leaves out here and another machine has measured counts, as long as the options are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_published import fits, plan

from layerwise.__main__ import main
from layerwise.errors import LayerwiseError
from layerwise.results.published import verdicts
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file
from layerwise.tables import elsewhere, published_rows

ROW = published_rows.Options(source="dmn", item="table2")


def edit(**keys) -> None:
    file = Path("tiny.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


@pytest.fixture
def away(spoilt) -> StudyResults:
    """The tiny study where it leaves out the spirals, beside their fits from where it does not."""
    row = {"mnist|d4": {"class PCA": "spirals/r8/ridge"}}
    edit(leave_out={"spirals": "an hour"}, published={"dmn": {"table2": {"rows": row}}}, verdicts=[])
    shutil.rmtree("results/tiny/figures", ignore_errors=True)  # of tests of the report, where they ran before
    assert main(["all", "tiny.json", "--left-out", "--device", "cpu", "--threads", "1"]) == 0
    assert not Path("results/tiny/figures").exists()
    shutil.rmtree("results/tiny/networks/spirals")
    assert main(["fits", "tiny.json"]) == 0
    return StudyResults(study_file.load("tiny.json"))


def test_what_was_measured_elsewhere_stands_in_tables(away, ran):
    whole = pd.read_csv(ran / "results/tiny/fits.csv")
    for path in ("r8/ridge", "ridge"):
        mine = whole[(whole["dataset"] == "spirals") & (whole["path"] == path)]
        assert list(away.values("spirals", path, "test_accuracy")) == list(mine["test_accuracy"])
        assert away.runs("spirals", path)
    assert not away.runs("spirals", "r9/ridge")
    table = elsewhere.make(away, elsewhere.Options()).set_index("path")
    assert set(table.index) == {"r8/ridge", "ridge"}
    assert table.loc["ridge", "test_accuracy"] == away.interval("spirals", "ridge", "test_accuracy")[0]
    assert list(table["n"]) == [2, 2]
    row = published_rows.make(away, ROW).iloc[0]
    assert (row["class PCA"], row["n"]) == (away.interval("spirals", "r8/ridge", "test_accuracy")[0], 2)
    machine = away.elsewhere["machine"].iloc[0]
    assert machine.startswith("Linux")
    for caption in (elsewhere.caption(away, elsewhere.Options()), published_rows.caption(away, ROW)):
        assert machine in caption
        assert "not run" not in caption


def test_a_fit_of_other_options_does_not_count(away):
    segments = json.loads(Path("tiny.json").read_text())["segments"]
    segments["r8"]["layers"] = ["dense 9", "tanh"]
    edit(segments=segments)
    changed = StudyResults(study_file.load("tiny.json"))
    assert set(changed.elsewhere["path"]) == {"ridge"}
    assert not changed.runs("spirals", "r8/ridge")
    del segments["r8"]
    networks = {"digits": {"d4/ridge": "class PCA"}, "spirals": {"ridge": "linear"}}
    edit(segments=segments, networks=networks, probes={}, figures={}, tables={}, published={})
    assert set(StudyResults(study_file.load("tiny.json")).elsewhere["path"]) == {"ridge"}


def test_a_study_that_runs_everything_looks_nowhere_else(away):
    edit(leave_out={})
    assert StudyResults(study_file.load("tiny.json")).elsewhere.empty
    with pytest.raises(LayerwiseError, match=r"leave_out: the study leaves out nothing that has networks; name more"):
        study_file.load("tiny.json", left_out=True)


def test_a_verdict_says_which_machine_measured_it():
    entries = [
        {"item": "fig7.4", "network": "away/a", "measure": "train_mse", "reason": "why"},
        {"item": "section7.6", "metric": "*seconds*", "network": "away/b", "measure": "total_seconds"},
    ]
    items = {"thesis": ["fig7.4", "section7.6"]}
    here = fits()
    there = pd.concat([fits("train_mse", (2e-5, 2e-5), "away/a"), fits("total_seconds", (1.0, 1.0), "away/b")])
    there["machine"] = "Linux x86_64, a CPU, 16 cores; A GPU"
    table = verdicts(plan(items, entries), here, there)
    row = table[table["item"] == "fig7.4"].iloc[0]
    assert (row["verdict"], row["reason"], row["n"]) == ("reproduced", "measured on A GPU", 2)
    seconds = table[table["metric"].str.contains("seconds")]
    assert set(seconds["verdict"]) == {"not run"}
    assert set(seconds["measured"]) == {1.0}
    assert seconds["reason"].str.endswith("; measured on A GPU").all()
    worse = verdicts(plan(items, entries), here, there.assign(train_mse=1.0)).iloc[0]
    assert (worse["verdict"], worse["reason"]) == ("worse", "why; measured on A GPU")
    assert verdicts(plan(items, entries), here).iloc[0]["reason"].startswith("the data set away is left out")
    entries[0]["note"] = "another board"
    noted = verdicts(plan(items, entries), here, there).iloc[0]
    assert (noted["verdict"], noted["reason"]) == ("reproduced", "another board; measured on A GPU")
