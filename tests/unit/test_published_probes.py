"""Published values that are held against what a probe saw."""

from __future__ import annotations

import pandas as pd
import pytest
from test_published import fits, plan

from layerwise.errors import LayerwiseError
from layerwise.results.published import rule, verdicts

ITEM = {"thesis": ["fig5.18-20"]}
ENTRY = {
    "item": "fig5.18-20",
    "row": "mnist 784-300-50-10|layer<l> feature1",
    "metric": "conditional_entropy_epoch5",
    "network": "mnist/d4/head",
    "probe": "selections",
    "measure": "entropy",
    "where": {"depth": "<l>", "stage": "dense", "step": 10},
}


def seen(name: str = "selections") -> pd.DataFrame:
    rows = [
        {
            "dataset": "mnist",
            "path": "d4/head",
            "seed": seed,
            "depth": depth,
            "stage": stage,
            "step": step,
            "entropy": e,
        }
        for seed in (0, 1, 2)
        for step in (0, 10)
        for depth, stage, e in (
            (1, "dense", 3.1),
            (1, "dense", 3.3),
            (2, "dense", 2.6),
            (3, "dense", 0.09 + 0.001 * seed),
        )
    ]
    return pd.DataFrame(rows)


def test_the_mean_over_the_rows_at_a_place_is_held_against_the_value():
    table = verdicts(plan(ITEM, [ENTRY]), fits(), probed=seen).set_index(["row", "metric"])
    layers = [table.loc[(f"mnist 784-300-50-10|layer{i} feature1", "conditional_entropy_epoch5")] for i in (1, 2, 3)]
    assert [row["measured"] for row in layers] == pytest.approx([3.2, 2.6, 0.091])
    assert [row["n"] for row in layers] == [3, 3, 3]
    assert [row["verdict"] for row in layers] == ["reproduced"] * 3
    other = table.loc[("mnist 784-300-50-10|layer1 feature1", "conditional_entropy_epoch0")]
    assert other["verdict"] == "not run"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"dept": 1}, "no column 'dept'; did you mean 'depth'"),
        ({"step": 7}, "where step is 7"),
        ({"step": "last"}, "step is 'last' under where, and the probe has numbers there"),
    ],
)
def test_a_place_that_is_not_there_is_one_line(where, said):
    with pytest.raises(LayerwiseError, match=said):
        verdicts(plan(ITEM, [{**ENTRY, "where": where}]), fits(), probed=seen)


def test_what_nothing_has_learnt_and_what_is_kept_are_best_near():
    assert rule("conditional_entropy_epoch0").good == 0
    assert rule("conditional_entropy_epoch5").good == -1
    assert rule("k5_kept_percent").good == 0
    assert rule("k5_kept_percent").tolerance(18) == 0.5
