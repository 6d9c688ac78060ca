"""Classes that are taken for others: the probe against a count by hand, and the table and figure made of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import fitted
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import nn

from layerwise.contract import Dataset, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.figures import confusion as figure
from layerwise.layers import build as layers
from layerwise.probes import confusion
from layerwise.results.study_results import StudyResults
from layerwise.run.scores import measures
from layerwise.study import file as study_file
from layerwise.tables import per_class

CPU = torch.device("cpu")
TINY = {
    "title": "Confused",
    "seeds": 2,
    "datasets": {
        "digits": {"source": "digits", "subset": 200, "test_subset": 100},
        "board": {"source": "toys", "problem": "checkerboard", "samples": 200, "test_samples": 50},
        "away": {"source": "digits", "subset": 200, "test_subset": 100},
    },
    "segments": {
        "net": {"method": "sgd", "batch": 25, "epochs": 2, "layers": ["dense 20", "relu", "dense outputs"]},
        "p": {"method": "platonic", "layers": ["dense 20", "tanh"]},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
    },
    "networks": {"digits": ["net", "p/ridge"], "board": ["net"], "away": ["net"]},
    "leave_out": {"away": "another machine has it"},
    "probes": {"confusion": {}, "other": {"probe": "lsd", "networks": ["digits/net"]}},
    "figures": {},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("confused"), "confused", TINY)


@pytest.fixture
def results(folder, monkeypatch) -> StudyResults:
    monkeypatch.chdir(folder)
    return StudyResults(study_file.load("confused.json"))


def scored(results: StudyResults, dataset: str, path: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    data = results.data(dataset)
    network = results.network(dataset, path, seed)
    return data.test.y.numpy(), data.task.labels(layers.apply(network, data.test.x)).numpy()


@pytest.mark.parametrize("network", ["digits/net", "digits/p/ridge", "board/net"])
def test_counts_and_shares_are_those_of_scikit_learn(results, network):
    dataset, path = network.split("/", 1)
    table, seen = per_class.make(results, per_class.Options()), results.probe("confusion")
    mine = table[(table["dataset"] == dataset) & (table["path"] == path)]
    names = list(results.data(dataset).task.classes)
    assert list(mine["class"]) == names
    right, found, total = [], [], np.zeros((len(names), len(names)))
    for seed in (0, 1):
        y, predicted = scored(results, dataset, path, seed)
        cells = confusion_matrix(y, predicted, labels=range(len(names)))
        rows = seen[(seen["dataset"] == dataset) & (seen["path"] == path) & (seen["seed"] == seed)]
        for _, row in rows.iterrows():
            assert cells[names.index(row["true"]), names.index(row["predicted"])] == row["samples"]
        assert rows["samples"].sum() == len(y)
        precision, recall, *_ = precision_recall_fscore_support(y, predicted, zero_division=np.nan)
        right.append(100 * precision)
        found.append(100 * recall)
        total += cells
    np.testing.assert_allclose(mine["precision"], np.ma.masked_invalid(right).mean(axis=0).filled(np.nan))
    np.testing.assert_allclose(mine["recall"], np.mean(found, axis=0))
    assert list(mine["samples"]) == list(np.bincount(y))
    shares = figure.percent(seen[(seen["dataset"] == dataset) & (seen["path"] == path)])
    np.testing.assert_allclose(shares, 100 * total / total.sum(axis=1, keepdims=True))
    off = total - np.diag(np.diag(total))
    for i, (_, row) in enumerate(mine.iterrows()):
        assert row["mistaken"] == pytest.approx(100 * off[i].max() / total[i].sum())
        assert row["mistaken_for"] == "" or off[i][names.index(row["mistaken_for"])] == off[i].max()


def test_the_figure_has_a_panel_a_network_and_says_what_is_left_out(results):
    drawn = figure.draw(results, figure.Options())
    assert [ax.get_title(loc="left").split(":")[0] for ax in drawn.axes] == ["digits", "digits", "board"]
    shares = figure.percent(results.probe("confusion").query("dataset == 'board'"))
    np.testing.assert_array_equal(drawn.axes[2].images[0].get_array(), shares)
    options = figure.Options(networks=("digits/net", "away/net"))
    assert [t.get_text() for t in figure.draw(results, options).axes[1].texts] == ["not run"]
    assert "samples of 2 seeds together. Not run: away." in figure.caption(results, options)
    assert "% of them that the network gives to it" in per_class.caption(results, per_class.Options())


def test_accuracy_is_the_share_of_the_diagonal():
    torch.manual_seed(0)
    task = Task("onehot", 3, ("a", "b", "c"))
    split = Split(torch.randn(60, 5), torch.arange(60) % 3)
    network = nn.Sequential(nn.Linear(5, 3))
    rows = confusion.look(network, Dataset(split, split, split, task, {}), confusion.Options(), seed=0, device=CPU)
    own = rows.loc[rows["true"] == rows["predicted"], "samples"].sum()
    assert 100 * own / 60 == pytest.approx(measures(layers.apply(network, split.x), split.y, task)["accuracy"])


def test_what_has_no_classes_or_no_scores_is_one_line(results):
    split = Split(torch.randn(6, 2), torch.randn(6, 1))
    values = Dataset(split, split, split, Task("values", 1), {})
    ones = Dataset(*[Split(split.x, torch.arange(6) % 2)] * 3, Task("onehot", 2, ("a", "b")), {})
    for data, network, text in [
        (values, nn.Sequential(nn.Linear(2, 1)), "it looks at classes, and the data set has values"),
        (ones, nn.Sequential(nn.Linear(2, 3)), "gives features, no scores"),
        (ones, nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "gives features, no scores"),
    ]:
        with pytest.raises(LayerwiseError, match=text):
            confusion.look(network, data, confusion.Options(), seed=0, device=CPU)
    with pytest.raises(LayerwiseError, match="probe other is of another kind"):
        per_class.make(results, per_class.Options("other"))
    with pytest.raises(LayerwiseError, match="has no column 'true'"):
        figure.draw(results, figure.Options("other"))
