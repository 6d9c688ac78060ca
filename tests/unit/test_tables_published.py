"""Tables that hold networks against published rows, and the filters that a method found against a published number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from layerwise.errors import LayerwiseError
from layerwise.results.study_results import StudyResults
from layerwise.tables import published_rows, widths

TABLE2 = {
    "columns": {"class PCA": "dmn_accuracy", "train": {"measure": "train_accuracy"}},
    "rows": {
        "cifar100|d79": {"class PCA": "away/d4/head"},
        "mnist|d4": {"class PCA": "digits/d4/head", "random": "digits/r4/ridge", "train": "digits/d4/head"},
    },
}
OPTIONS = published_rows.Options("dmn", "table2")


def mapped(study, **more) -> StudyResults:
    """The study with table 2 of dmn mapped, and a data set that it names and leaves out."""
    published = {"dmn": {"table2": {**TABLE2, **more}}}
    return StudyResults(dataclasses.replace(study, left_out={"away": "an hour"}, published=published))


@pytest.fixture
def left(tiny) -> StudyResults:
    return mapped(tiny.study)


def test_a_row_holds_what_is_published_and_what_was_measured(left):
    table = published_rows.make(left, OPTIONS).set_index("row")
    assert list(table.index) == ["mnist: d4", "cifar100: d79"]
    row = table.loc["mnist: d4"]
    assert row["class PCA_published"] == 96.81
    assert (row["class PCA"], row["class PCA_half_width"]) == left.interval("digits", "d4/head", "test_accuracy")
    assert row["random"] == left.interval("digits", "r4/ridge", "test_accuracy")[0]
    assert row["train"] == left.interval("digits", "d4/head", "train_accuracy")[0]
    assert row["n"] == 2


def test_data_left_out_leave_empty_cells_and_are_named(left):
    row = published_rows.make(left, OPTIONS).set_index("row").loc["cifar100: d79"]
    assert row["class PCA_published"] == 30.93
    assert np.isnan(row["class PCA"])
    assert row["n"] == 0
    assert "away left out" in published_rows.caption(left, OPTIONS)


def test_rows_come_in_the_order_of_the_work_or_in_that_of_the_study(tiny):
    table = published_rows.make(mapped(tiny.study, order="rows"), OPTIONS)
    assert list(table["row"]) == ["cifar100: d79", "mnist: d4"]


def test_a_row_or_a_network_that_there_is_not_is_refused(tiny):
    with pytest.raises(LayerwiseError, match=r"no row 'mnist\|d5'; did you mean"):
        published_rows.make(mapped(tiny.study, rows={"mnist|d5": {"class PCA": "digits/d4/head"}}), OPTIONS)
    rows = {"mnist|d4": {"class PCA": "digits/d5/head"}}
    with pytest.raises(LayerwiseError, match="'d5/head' is no network of 'digits'"):
        published_rows.make(mapped(tiny.study, rows=rows, columns={}), OPTIONS)
    with pytest.raises(LayerwiseError, match=r"no row of dmn 'table3'; did you mean 'table2'"):
        published_rows.make(mapped(tiny.study), published_rows.Options("dmn", "table3"))


def test_widths_are_those_of_every_convolution_of_the_path(tiny):
    options = widths.Options({"digits/d4/ridge": "T_v .85"}, {"digits/d4/ridge": "6"})
    row = widths.make(tiny, options).iloc[0]
    assert (row["thresholds"], row["filters"], row["published"], row["n"]) == ("T_v .85", "4", "6", 2)
    assert row["test"] == tiny.interval("digits", "d4/ridge", "test_accuracy")[0]
    assert "published number" in widths.caption(tiny, options)
