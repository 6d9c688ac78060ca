"""Tables that hold networks against published rows, and the filters that a method found against a published number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from layerwise.errors import LayerwiseError
from layerwise.results.study_results import StudyResults
from layerwise.tables import published_rows, widths


def rows(**more):
    given = {
        "source": "dmn",
        "item": "table2",
        "metrics": {"class PCA": {"published": "dmn_accuracy"}, "train": {"measure": "train_accuracy"}},
        "rows": {
            "mnist|d4": {"class PCA": "digits/d4/head", "random": "digits/r4/ridge", "train": "digits/d4/head"},
            "cifar100|d79": {"class PCA": "away/d4/head"},
        },
    }
    return published_rows.Options(**{**given, **more})


@pytest.fixture
def left(tiny) -> StudyResults:
    """The tiny study, with a data set that it names and leaves out."""
    return StudyResults(dataclasses.replace(tiny.study, left_out={"away": "an hour"}))


def test_a_row_holds_what_is_published_and_what_was_measured(left):
    table = published_rows.make(left, rows()).set_index("row")
    assert list(table.index) == ["mnist: d4", "cifar100: d79"]
    row = table.loc["mnist: d4"]
    assert row["class PCA_published"] == 96.81
    assert (row["class PCA"], row["class PCA_half_width"]) == left.interval("digits", "d4/head", "test_accuracy")
    assert row["random"] == left.interval("digits", "r4/ridge", "test_accuracy")[0]
    assert row["train"] == left.interval("digits", "d4/head", "train_accuracy")[0]
    assert row["n"] == 2


def test_data_left_out_leave_empty_cells_and_are_named(left):
    row = published_rows.make(left, rows()).set_index("row").loc["cifar100: d79"]
    assert row["class PCA_published"] == 30.93
    assert np.isnan(row["class PCA"])
    assert row["n"] == 0
    assert "away left out" in published_rows.caption(left, rows())


def test_a_row_or_a_network_that_there_is_not_is_refused(left):
    with pytest.raises(LayerwiseError, match=r"no dmn_accuracy of 'mnist\|d5'; did you mean"):
        published_rows.make(left, rows(rows={"mnist|d5": {"class PCA": "digits/d4/head"}}))
    with pytest.raises(LayerwiseError, match="'d5/head' is no network of 'digits'"):
        published_rows.make(left, rows(rows={"mnist|d4": {"class PCA": "digits/d5/head"}}))


def test_widths_are_those_of_every_convolution_of_the_path(tiny):
    options = widths.Options({"digits/d4/ridge": "T_v .85"}, {"digits/d4/ridge": "6"})
    row = widths.make(tiny, options).iloc[0]
    assert (row["thresholds"], row["filters"], row["published"], row["n"]) == ("T_v .85", "4", "6", 2)
    assert row["test"] == tiny.interval("digits", "d4/ridge", "test_accuracy")[0]
    assert "published number" in widths.caption(tiny, options)
