"""What each published value is in its work: method, baseline, control, setting-dependent."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from layerwise.results import published
from layerwise.results.roles import PATTERNS, ROLES, counted, role

RESULTS = [v for v in published.values() if v.kind == "result"]

# The roles of each work, counted by hand: tables 2 to 5 and figure 3 of the DMN papers, table 1 of DGL, the thesis.
BY_ITEM = {
    ("dmn", "table2"): (14, 14, 0, 0),
    ("dmn", "table3"): (8, 4, 2, 0),
    ("dmn", "table4"): (10, 6, 2, 0),
    ("dmn", "table5"): (12, 6, 2, 0),
    ("dmn-icassp", "fig3"): (0, 0, 0, 4),
    ("dgl", "table1"): (8, 8, 8, 0),
    ("dgl", "section6_nll"): (4, 0, 0, 0),
    ("thesis", "ch3"): (10, 0, 0, 0),
    ("thesis", "table4.1"): (2, 1, 0, 3),
    ("thesis", "table4.2"): (6, 2, 0, 0),
    ("thesis", "table4.3"): (4, 2, 0, 0),
    ("thesis", "table4.4"): (4, 2, 0, 0),
    ("thesis", "table4.5"): (44, 44, 0, 0),
    ("thesis", "fig4.5"): (0, 0, 0, 1),
    ("thesis", "table5.1"): (48, 6, 0, 0),
    ("thesis", "fig5.18-20"): (3, 0, 3, 0),
    ("thesis", "section5.4.2"): (0, 2, 0, 0),
    ("thesis", "table6.1"): (6, 6, 0, 0),
    ("thesis", "table6.2"): (88, 44, 0, 0),
    ("thesis", "table6.3"): (44, 0, 0, 44),
    ("thesis", "table6.4"): (10, 10, 0, 0),
    ("thesis", "section6.8"): (2, 1, 0, 3),
    ("thesis", "section6.8.4"): (2, 1, 0, 0),
    ("thesis", "table6.6"): (8, 0, 0, 16),
    ("thesis", "fig7.4"): (1, 0, 0, 0),
    ("thesis", "section7.6"): (4, 2, 0, 7),
    ("thesis", "table7.1"): (64, 0, 0, 0),
    ("thesis", "fig7.11"): (2, 0, 0, 0),
    ("thesis", "fig7.10"): (4, 0, 0, 0),
    ("thesis", "section7.9.1"): (0, 2, 0, 0),
    ("thesis", "table7.2"): (28, 0, 10, 0),
    ("thesis", "table7.3"): (36, 0, 0, 18),
}


def test_the_roles_of_every_published_result():
    found = {item: Counter() for item in BY_ITEM}
    for v in RESULTS:
        found[v.source, v.item][role(v.row, v.metric)] += 1
    assert {item: tuple(counts[r] for r in ROLES) for item, counts in found.items()} == BY_ITEM
    assert sum(map(sum, BY_ITEM.values())) == len(RESULTS) == 762


@pytest.mark.parametrize(
    ("row", "metric", "wanted"),
    [
        ("mnist|d4", "dmn_accuracy", "method"),
        ("mnist|d4", "convnet_accuracy", "baseline"),
        ("mnist|d9,m,BN,c81,m,de10", "test_accuracy", "method"),  # a trained layer on one of principal components
        ("mnist|c9,m,de10", "test_accuracy", "baseline"),
        ("cifar10|de10", "train_accuracy", "control"),
        ("mnist_50k|depth2|width2000|nngp", "end_to_end_accuracy", "baseline"),
        ("bmnist_2k|depth2|width20|nngp", "random_accuracy", "control"),
        ("mnist 392-50-10|sigmoid", "test_error", "baseline"),
        ("mnist 392-50-10|linear", "test_error", "method"),
        ("mnist 392-50-10|linear", "epochs_to_converge", "setting-dependent"),
        ("voc2012|softmax 60 epochs", "miou", "baseline"),
        ("voc2012|pow3-ga 40 epochs", "miou", "method"),
        ("cifar10 vgg13", "baseline_accuracy", "baseline"),
        ("cifar10 vgg13", "relative_memory_percent", "method"),
        ("imagenet efficientnet_v2_s crop224|baseline", "test_accuracy", "baseline"),
        ("two spirals 2-32-32-32-32-1 tanh|sgd 75 epochs", "cross_entropy", "baseline"),
        ("two spirals|platonic unlucky seed fp32 alpha.1 beta10|tries5", "train_accuracy", "method"),
        ("two spirals|platonic unlucky seed fp32 alpha.1 beta10|tries5", "seconds_rtx4080", "setting-dependent"),
        ("mnist 784-392-50-10 relu sgd 10 epochs", "test_accuracy", "baseline"),
        ("mnist|random_w|width98", "test_accuracy", "control"),
        ("mnist|random_p|width98", "test_accuracy", "method"),
        ("mnist|392-50", "parameters_million", "setting-dependent"),
    ],
)
def test_roles_by_name(row, metric, wanted):
    assert (row, metric) in {(v.row, v.metric) for v in RESULTS}
    assert role(row, metric) == wanted


def test_no_pattern_is_idle():
    for named, rows, metrics in PATTERNS:
        mine = [v for v in RESULTS if re.fullmatch(rows, v.row) and re.fullmatch(metrics, v.metric)]
        assert any(role(v.row, v.metric) == named for v in mine), (rows, metrics)


def test_verdicts_are_counted_by_role():
    rows = [
        {"row": "mnist|d4", "metric": "dmn_accuracy", "verdict": "worse"},
        {"row": "mnist|d4", "metric": "convnet_accuracy", "verdict": "better"},
        {"row": "mnist|d6", "metric": "convnet_accuracy", "verdict": "better"},
    ]
    counts = counted(rows)
    assert list(counts) == ["method", "baseline"]
    assert counts["method"] == dict.fromkeys(published.VERDICTS, 0) | {"worse": 1}
    assert counts["baseline"]["better"] == 2
