"""The figures of local learning on a tiny study: what each block reaches, and accuracy against memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import fitted
from matplotlib.text import Text

from layerwise import figures
from layerwise.errors import LayerwiseError
from layerwise.figures import accuracy_memory, blocks, partition_epochs
from layerwise.figures._style import new
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file
from layerwise.tables import partitions

LAYERS = ["conv 3 4 pad 1", "relu", "maxpool 2", "conv 3 4 pad 1", "relu", "dense 6", "relu", "dense outputs"]
TINY = {
    "name": "tinylocal",
    "title": "Tiny local",
    "seeds": 2,
    "readouts": False,
    "leave_out": {"away": "an hour"},
    "datasets": {
        "digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "away": {"source": "torchvision", "name": "MNIST"},
    },
    "segments": {
        "bp": {"method": "sgd", "layers": LAYERS, "epochs": 1, "batch": 20},
        "l<k>": {"method": "local", "layers": LAYERS, "epochs": [1], "batch": 20, "window": "<k>"},
        "p": {
            "method": "local",
            "layers": LAYERS,
            "epochs": [3],
            "batch": 20,
            "schedule": "concurrent",
            "partitions": 3,
            "filter": "kfilter",
            "filter_k": 1,
            "filter_share": 0.5,
            "filter_from": 2,
        },
        "r": {"method": "random", "layers": LAYERS[:3]},
        "tail": {"method": "sgd", "layers": LAYERS[3:], "epochs": 1},
    },
    "networks": {
        "digits": {
            "bp": "backprop",
            "l1": "one by one",
            "l2": "two by two",
            "p": "at once",
            "r/tail": "behind a random layer",
        },
        "away": {"bp": "backprop", "l1": "one by one", "p": "at once"},
    },
    "figures": {
        "blocks": {"dataset": "digits", "networks": ["l1", "l2"], "whole": "bp"},
        "front": {"figure": "accuracy_memory", "dataset": "digits", "networks": ["bp", "l1", "l2"]},
        "away": {"figure": "accuracy_memory", "dataset": "away"},
        "epochs": {"figure": "partition_epochs", "networks": ["digits/p", "away/p"]},
    },
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = fitted(tmp_path_factory.mktemp("tinylocal"), "tinylocal", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield StudyResults(study_file.load("tinylocal.json"))


def opened(tiny, name):
    return figures.opened(tiny.study.figures[name])


def test_a_line_has_the_validation_of_each_window_at_its_last_block(tiny):
    module, options = opened(tiny, "blocks")
    ax = module.draw(tiny, options).axes[0]
    one, two, whole = ax.get_lines()
    assert list(one.get_xdata()) == [1, 2, 3]
    assert list(two.get_xdata()) == [2, 3]
    records = [r["record"]["blocks"] for node, r in tiny.records.items() if node.path == "l1"]
    expected = np.mean([[row["valid_accuracy"] for row in rows] for rows in records], axis=0)
    assert np.allclose(one.get_ydata(), expected)
    assert whole.get_ydata()[0] == tiny.interval("digits", "bp", "valid_accuracy")[0]
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["one by one", "two by two", "backprop"]
    assert "2 seeds" in module.caption(tiny, options)


def test_a_point_lies_at_the_memory_of_the_largest_window(tiny):
    module, options = opened(tiny, "front")
    ax = module.draw(tiny, options).axes[0]
    record = next(r["record"] for node, r in tiny.records.items() if node.path == "l2")
    largest = 100 * max(row["memory_share"] for row in record["blocks"])
    points = {path: accuracy_memory.percent(tiny, "digits", path) for path in options.networks}
    assert points["bp"] == 100
    assert points["l2"] == largest
    assert points["l1"] < points["l2"] <= 100
    assert {text.get_text() for text in ax.texts} == {"backprop", "one by one", "two by two"}
    drawn = {float(line.get_xdata()[0]) for line in ax.get_lines() if len(line.get_xdata()) == 1}
    assert drawn == set(points.values())
    assert "backpropagation: 100" in module.caption(tiny, options)


def test_the_front_is_what_nothing_with_as_little_memory_exceeds():
    random = np.random.default_rng(0)
    for _ in range(50):
        points = [tuple(p) for p in random.integers(0, 8, (12, 2)).tolist()]
        front = accuracy_memory.front(points)
        best = {
            p
            for p in points
            if not any((q[0] <= p[0] and q[1] > p[1]) or (q[0] < p[0] and q[1] == p[1]) for q in points)
        }
        assert len(front) == len(best)
        assert set(front) == best
        assert front == sorted(front)


def test_labels_keep_clear_of_each_other():
    """Twelve points on one spot have their names one above the other."""
    figure = new(accuracy_memory.WIDTH, accuracy_memory.HEIGHT)
    ax = figure.add_subplot()
    ax.set(xlim=(0, 130), ylim=(50, 60))
    accuracy_memory._label(ax, {f"network {i}": (40.0, 52.0) for i in range(12)})
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the lines that lead to them
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_table_of_partitions_has_a_row_each_with_what_it_saw(tiny):
    options = partitions.Options(("digits/p", "away/p"))
    table = partitions.make(tiny, options)
    assert list(table["partition"]) == [1, 2, 3]
    assert list(table["samples_percent"]) == pytest.approx([100, 100 * 120 / 180, 100 * 120 / 180])
    assert table["work_percent"].sum() == pytest.approx(100)
    record = next(r["record"] for node, r in tiny.records.items() if node.path == "p")
    assert list(table["blocks"]) == [f"{b['first']} to {b['last']}" for b in record["blocks"]]
    assert "Source: results/tinylocal" in partitions.caption(tiny, options)
    with pytest.raises(LayerwiseError, match="table partitions: digits/l1 has no partitions: name networks"):
        partitions.make(tiny, partitions.Options(("digits/l1",)))


@pytest.mark.parametrize("column", ["seconds", "samples"])
def test_a_line_of_a_partition_has_its_seconds_and_samples_by_epoch(tiny, column):
    module, options = opened(tiny, "epochs")
    figure = module.draw(tiny, replace(options, column=column))
    histories = [r["record"]["history"] for node, r in tiny.records.items() if node.path == "p"]
    lines = figure.axes[0].get_lines()
    assert len(lines) == 3
    for part, drawn in enumerate(lines, 1):
        own = [[row for row in rows if row["window"] == part] for rows in histories]
        told = np.mean([[row.get(column, 60) for row in rows] for rows in own], axis=0)
        np.testing.assert_allclose(drawn.get_ydata(), told)
    if column == "samples":
        assert [list(drawn.get_ydata()) for drawn in lines] == [[60] * 3, [60, 30, 30], [60, 30, 30]]
    assert [text.get_text() for text in figure.axes[1].texts] == ["not run"]
    assert "Not run: away" in module.caption(tiny, options)


def test_what_is_left_out_is_not_run(tiny):
    module, options = opened(tiny, "away")
    assert [text.get_text() for text in module.draw(tiny, options).axes[0].texts] == ["not run"]
    assert "Not run: away" in module.caption(tiny, options)


@pytest.mark.parametrize(
    ("name", "networks", "said"),
    [
        ("front", ("r/tail",), "digits/r/tail has no share of memory"),
        ("front", ("l9",), "is no network of"),
        ("blocks", ("bp",), "digits/bp has no valid_accuracy by block"),
        ("epochs", ("digits/l1",), "digits/l1 has no partitions"),
    ],
)
def test_a_network_that_does_not_belong_there_is_one_line(tiny, name, networks, said):
    module, options = opened(tiny, name)
    with pytest.raises(LayerwiseError) as caught:
        module.draw(tiny, replace(options, networks=networks))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert module in (blocks, accuracy_memory, partition_epochs)
