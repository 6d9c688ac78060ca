"""Published values, tolerances and verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval, spread, student95
from layerwise.results import published
from layerwise.results.published import Rule, judge, rule, verdicts
from layerwise.results.rules import seeds_to_settle
from layerwise.study import works

HIGHER, LOWER, NEARER = Rule(+1, absolute=0.5), Rule(-1, relative=0.1), Rule(0, absolute=0.05)
NAN = math.nan


def plan(published_items=None, entries=()):
    """What of a study the verdicts look at."""
    items = published_items or {"thesis": ["fig7.4"]}
    items = {s: each if isinstance(each, dict) else {i: {} for i in each} for s, each in items.items()}
    return SimpleNamespace(published=items, verdicts=list(entries), left_out={"away": "an hour"}, file="studies/s.yaml")


def fits(measure="train_accuracy", values=(90.0, 91.0, 92.0), network="toy/a/b"):
    dataset, path = network.split("/", 1)
    rows = {"dataset": dataset, "path": path, "label": "x", "seed": range(len(values)), measure: list(values)}
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- the interval


def test_the_interval_is_students():
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    mean, half = interval(values)
    assert mean == 3.0
    assert half == pytest.approx(2.776445105 * np.std(values, ddof=1) / math.sqrt(5), rel=1e-9)  # t table, 4 degrees


def test_student_of_many_is_normal():
    assert student95(10**7) == pytest.approx(1.959964, abs=1e-5)
    assert student95(1) == pytest.approx(12.7062047, rel=1e-7)


def test_one_value_has_no_interval_and_absent_ones_do_not_count():
    assert interval([4.0])[0] == 4.0
    assert math.isnan(interval([4.0])[1])
    assert interval([4.0, NAN, 6.0])[0] == 5.0
    assert all(map(math.isnan, interval([])))


def test_the_interval_of_a_standard_deviation():
    generator = np.random.default_rng(0)
    s, half = spread(generator.normal(0, 2, 1000))
    assert s == pytest.approx(2, abs=0.15)
    assert half == pytest.approx(1.962 * s / math.sqrt(2 * 999), rel=1e-3)
    assert all(map(math.isnan, spread([1.0])))


def test_intervals_cover_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(1)
    samples = generator.normal(3, 1, (2000, 5))
    covered = [abs(mean - 3) <= half for mean, half in map(interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


# ---------------------------------------------------------------- the judge


@pytest.mark.parametrize(
    ("measured", "half", "verdict"),
    [
        (97.0, 0.1, "better"),  # 96.9 is above 96
        (96.3, 0.4, "reproduced"),  # the interval holds the value
        (96.3, 0.2, "better"),
        (95.6, 0.1, "reproduced"),  # within the tolerance
        (95.5, 0.0, "reproduced"),  # at the very tolerance
        (95.4, 0.1, "worse"),
        (94.0, 2.5, "inconclusive"),  # outside the tolerance, within a wide interval
        (94.0, 1.9, "worse"),  # an interval wider than the tolerance, which does not reach the value
        (97.0, 2.5, "inconclusive"),  # better or the same: the interval does not tell
        (95.6, 2.5, "reproduced"),  # within the tolerance, whatever the interval
        (96.0, 0.0, "reproduced"),  # the value itself is not beyond it
        (96.4, NAN, "reproduced"),  # one seed: the tolerance stands for the interval
        (96.6, NAN, "better"),
        (95.4, NAN, "worse"),
    ],
)
def test_where_higher_is_better(measured, half, verdict):
    assert judge(measured, half, 96.0, 96.0, HIGHER) == verdict


@pytest.mark.parametrize(
    ("measured", "half", "verdict"),
    [
        (0.005, 0.001, "better"),
        (0.0099, 0.001, "reproduced"),
        (0.0105, 0.0, "reproduced"),
        (0.0111, 0.0, "worse"),
        (0.02, 0.02, "inconclusive"),
        (0.0085, NAN, "better"),
        (0.0095, NAN, "reproduced"),
    ],
)
def test_where_lower_is_better(measured, half, verdict):
    assert judge(measured, half, 0.01, 0.01, LOWER) == verdict


def test_where_nearer_is_better_nothing_beats_the_value():
    assert judge(0.99, 0.1, 0.9, 0.9, NEARER) == "inconclusive"
    assert judge(0.9, 0.0, 0.9, 0.9, NEARER) == "reproduced"
    assert judge(0.96, 0.0, 0.9, 0.9, NEARER) == "worse"
    assert judge(0.84, 0.0, 0.9, 0.9, NEARER) == "worse"


@pytest.mark.parametrize(
    ("measured", "verdict"), [(54.0, "better"), (52.0, "reproduced"), (50.6, "reproduced"), (50.4, "worse")]
)
def test_against_a_range(measured, verdict):
    assert judge(measured, 0.1, 51.0, 53.0, HIGHER) == verdict


def test_an_interval_no_wider_than_the_tolerance_always_decides():
    generator = np.random.default_rng(2)
    for measured, share in generator.uniform([90, 0], [100, 1], (500, 2)):
        assert judge(measured, 0.5 * share, 96.0, 96.0, HIGHER) != "inconclusive"


@pytest.mark.parametrize("statistic", ["mean", "std"])
@pytest.mark.parametrize(("n", "wider"), [(2, 1.5), (3, 5.4), (5, 1.2), (20, 4.1), (5, 160.0)])
def test_the_seeds_that_settle_a_verdict_are_the_fewest(statistic, n, wider):
    def half_width(m):
        """Of m seeds, spread as the n are: of values whose deviation is 1, up to a factor."""
        x = np.resize([-1.0, 1.0], 2 * m)[:m] if m < 4 else np.random.default_rng(m).normal(size=m)
        x = (x - x.mean()) / x.std(ddof=1)
        return (interval if statistic == "mean" else spread)(x)[1]

    tolerance = half_width(n) / wider
    enough = seeds_to_settle(half_width(n), n, tolerance, statistic)
    assert half_width(enough) <= tolerance * (1 + 1e-9) < half_width(enough - 1)


def test_no_number_of_seeds_settles_what_has_no_tolerance():
    assert seeds_to_settle(1.0, 3, 0.0) is None


def test_rounding_makes_nothing_better():
    assert judge(97.8 + 1e-13, 0.0, 97.8, 97.8, HIGHER) == "reproduced"


# ---------------------------------------------------------------- rules and values


def test_every_published_result_has_a_rule():
    for value in published.values():
        if value.kind == "result":
            rule(value.metric)


@pytest.mark.parametrize(
    ("metric", "good", "tolerance"),
    [
        ("test_accuracy", +1, 0.5),
        ("dmn_accuracy", +1, 0.5),
        ("train_accuracy_low", +1, 0.5),
        ("train_accuracy_std", -1, 0.5),
        ("test_error", -1, 0.5),
        ("train_mse", -1, 9.0),
        ("cross_entropy", -1, 9.0),
        ("parameters_million", 0, 0.005),
    ],
)
def test_the_rules_of_metrics(metric, good, tolerance):
    assert rule(metric).good == good
    assert rule(metric).tolerance(90.0) == pytest.approx(tolerance)


@pytest.mark.parametrize("metric", ["seconds_rtx4080", "lstsq_seconds_rtx4080", "hours", "ddp_images_per_s"])
def test_absolute_speed_is_never_compared(metric):
    assert "hardware" in rule(metric).never


def test_a_metric_without_a_rule_is_refused():
    with pytest.raises(LayerwiseError, match=r"published metric 'gloss': no rule"):
        rule("gloss")


def test_names_of_values_are_unique():
    names = [(v.source, v.item, v.row, v.metric) for v in published.values()]
    assert len(set(names)) == len(names) > 1300
    assert {v.source for v in published.values()} == {"dmn", "dmn-icassp", "thesis", "dgl"}


# ---------------------------------------------------------------- verdicts


def test_every_result_of_an_item_is_a_row_and_no_setting_is():
    rows = verdicts(plan({"dmn": ["table2"], "dmn-icassp": ["fig3"]}), fits())
    assert list(rows) == published.COLUMNS
    assert len(rows) == 28 + 4
    assert set(rows["verdict"]) == {"not run"}
    assert set(rows["reason"]) == {published.NOBODY}
    assert rows["measured"].isna().all()
    assert set(rows["n"]) == {0}
    assert not rows["metric"].str.contains("threshold_|cutoff").any()


def test_a_study_that_answers_for_nothing_has_an_empty_table():
    rows = verdicts(plan({"dmn": []}), fits())
    assert list(rows) == published.COLUMNS
    assert rows.empty


def test_a_measured_row():
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "test_mse"}
    row = verdicts(plan(entries=[entry]), fits("test_mse", [1e-5, 1.2e-5, 1.1e-5])).iloc[0]
    assert (row["published"], row["n"], row["verdict"], row["reason"]) == (2e-5, 3, "better", "")
    assert row["measured"] == pytest.approx(1.1e-5)
    assert row["half_width"] == pytest.approx(student95(2) * 1e-6 / math.sqrt(3))


def test_the_metric_names_the_measure_where_it_can():
    items = {"thesis": ["table7.1"]}
    entry = {"item": "table7.1", "row": "two spirals|pinv|alpha.1 beta10|cpu fp64", "network": "toy/a/b"}
    rows = verdicts(plan(items, [entry]), fits("train_accuracy", [99.0, 98.0, 100.0])).set_index(["row", "metric"])
    mean, std = (rows.loc[(entry["row"], f"train_accuracy_{s}")] for s in ("mean", "std"))
    assert (mean["measured"], mean["verdict"]) == (99.0, "reproduced")
    assert (std["measured"], std["published"]) == (1.0, 1.63)


def test_one_seed_has_no_standard_deviation():
    entry = {"item": "table7.1", "row": "two spirals|pinv|alpha.1 beta10|cpu fp64", "network": "toy/a/b"}
    rows = verdicts(plan({"thesis": ["table7.1"]}, [entry]), fits("train_accuracy", [99.0]))
    std = rows[(rows["row"] == entry["row"]) & (rows["metric"] == "train_accuracy_std")].iloc[0]
    assert (std["verdict"], std["reason"]) == ("not run", published.ONE_SEED)


@pytest.mark.parametrize(("statistic", "measured"), [("min", 90.0), ("max", 92.0), ("mean", 91.0), ("std", 1.0)])
def test_statistics_over_the_seeds(statistic, measured):
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "train_accuracy", "statistic": statistic}
    assert verdicts(plan(entries=[entry]), fits()).iloc[0]["measured"] == pytest.approx(measured)


def test_a_scale_changes_the_unit():
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "parameters", "scale": 1e-6}
    assert verdicts(plan(entries=[entry]), fits("parameters", [2e6, 2e6])).iloc[0]["measured"] == pytest.approx(2.0)


def test_an_error_is_what_an_accuracy_lacks():
    entry = {"item": "table4.1", "row": "*sigmoid", "metric": "test_error", "network": "toy/a/b"}
    rows = verdicts(plan({"thesis": ["table4.1"]}, [entry]), fits("test_accuracy", [98.3, 98.3]))
    row = rows[rows["metric"] == "test_error"].iloc[0]
    assert row["measured"] == pytest.approx(1.7)
    assert row["verdict"] == "better"


def test_both_ends_of_a_published_range_get_the_same_verdict():
    entry = {"item": "section5.4.2", "network": "toy/a/b", "measure": "train_accuracy"}
    for value, verdict in ((52.0, "reproduced"), (60.0, "better"), (40.0, "worse")):
        rows = verdicts(plan({"thesis": ["section5.4.2"]}, [entry]), fits("train_accuracy", [value, value]))
        assert list(rows["metric"]) == ["unfiltered_accuracy_low", "unfiltered_accuracy_high"]
        assert set(rows["verdict"]) == {verdict}


def test_seconds_are_shown_and_not_compared():
    entry = {"item": "section7.6", "metric": "seconds*", "network": "toy/a/b", "measure": "total_seconds"}
    rows = verdicts(plan({"thesis": ["section7.6"]}, [entry]), fits("total_seconds", [1.0, 3.0]))
    row = rows[rows["metric"] == "seconds_rtx4080"].iloc[0]
    assert (row["measured"], row["verdict"], row["reason"]) == (2.0, "not run", published.OTHER_HARDWARE)


def test_the_first_match_wins_and_a_reason_stands():
    entries = [
        {"item": "table2", "row": "mnist|*", "metric": "dmn*", "network": "toy/a/b", "measure": "train_accuracy"},
        {"item": "table2", "row": "mnist|*", "reason": "nobody asked"},
    ]
    rows = verdicts(plan({"dmn": ["table2"]}, entries), fits()).set_index(["row", "metric"])
    assert rows.loc[("mnist|d4", "dmn_accuracy"), "measured"] == 91.0
    assert rows.loc[("mnist|d4", "convnet_accuracy"), "reason"] == "nobody asked"
    assert rows.loc[("cifar10|d10", "dmn_accuracy"), "reason"] == published.NOBODY


def test_a_worse_value_says_why_or_that_nobody_knows():
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "test_mse"}
    table = fits("test_mse", [1.0, 1.0])
    assert verdicts(plan(entries=[entry]), table).iloc[0]["reason"] == published.NO_CAUSE
    known = {**entry, "reason": "another sine"}
    assert verdicts(plan(entries=[known]), table).iloc[0]["reason"] == "another sine"


def test_a_reason_for_worse_is_not_told_of_a_better_value():
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "test_mse", "reason": "another sine"}
    assert verdicts(plan(entries=[entry]), fits("test_mse", [1e-9, 1e-9])).iloc[0]["reason"] == ""


def test_an_inconclusive_value_says_how_many_seeds_would_settle_it():
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "test_mse", "reason": "only of worse", "note": "seen"}
    row = verdicts(plan(entries=[entry]), fits("test_mse", [1e-5, 3e-5, 3e-5])).iloc[0]
    assert row["verdict"] == "inconclusive"
    enough = seeds_to_settle(row["half_width"], 3, 2e-6)
    assert row["reason"] == (
        f"the interval of 3 seeds is wider than the tolerance of 2e-06; about {enough} seeds would settle it "
        "(t s / sqrt(n) no wider than that); seen"
    )


def test_an_inconclusive_standard_deviation_has_its_own_formula():
    entry = {"item": "table7.1", "row": "two spirals|pinv|alpha.1 beta10|cpu fp64", "network": "toy/a/b"}
    rows = verdicts(plan({"thesis": ["table7.1"]}, [entry]), fits("train_accuracy", [99.0, 95.0, 100.0]))
    std = rows[(rows["row"] == entry["row"]) & (rows["metric"] == "train_accuracy_std")].iloc[0]
    enough = seeds_to_settle(std["half_width"], 3, 0.5, "std")
    assert std["verdict"] == "inconclusive"
    assert f"about {enough} seeds would settle it (t s / sqrt(2 (n - 1))" in std["reason"]


def test_a_star_stands_for_any_text_and_nothing_else_is_special():
    assert works.fits("a*c", "a[b]|c") == {}
    assert works.fits("a[b]?", "a[b]?") == {}
    assert works.fits("a[b]", "ab") is None
    assert works.fits("a?c", "abc") is None
    assert works.fits("a", "ab") is None
    assert works.fits("*", "") == {}


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ({"thessis": ["fig7.4"]}, "published: no work 'thessis'; did you mean 'thesis'?"),
        ({"thesis": ["fig7.44"]}, "published: thesis has no item 'fig7.44'; did you mean 'fig7.4'?"),
    ],
)
def test_an_unknown_item_names_the_nearest(items, said):
    with pytest.raises(LayerwiseError) as error:
        verdicts(plan(items), fits())
    assert str(error.value) == said


def test_a_verdict_that_fits_no_value_is_refused():
    with pytest.raises(LayerwiseError, match=r"verdict on 'fig7.5': .*did you mean 'fig7.4'"):
        works.check(plan(entries=[{"item": "fig7.5"}]), [])
    with pytest.raises(LayerwiseError, match=r"names are in published\.csv"):
        works.check(plan({"thesis": ["table7.1"]}, [{"item": "table7.1", "row": "zzz"}]), [])


def test_a_measure_that_is_no_column_of_numbers_is_refused():
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "test_acuracy"}
    with pytest.raises(LayerwiseError, match=r"no numbers 'test_acuracy'; did you mean 'test_accuracy'"):
        verdicts(plan(entries=[entry]), fits("test_accuracy"))
    with pytest.raises(LayerwiseError, match="no numbers 'label'"):
        verdicts(plan(entries=[{**entry, "measure": "label"}]), fits())


def test_a_network_without_the_measure_is_refused():
    entry = {"item": "fig7.4", "network": "toy/a/b", "measure": "test_accuracy"}
    with pytest.raises(LayerwiseError, match="toy/a/b has no test_accuracy"):
        verdicts(plan(entries=[entry]), fits("test_accuracy", [NAN, NAN]))
    with pytest.raises(LayerwiseError, match=r"fits.csv has no network 'toy/c'"):
        verdicts(plan(entries=[{**entry, "network": "toy/c"}]), fits("test_accuracy"))


def test_a_rule_is_one_thing():
    assert replace(HIGHER, relative=0.1).tolerance(90) == 9.0


def test_two_networks_are_compared_seed_by_seed():
    own, other = fits("epochs_to_best", (40, 30, 20), "mnist/c6"), fits("epochs_to_best", (50, 60, 25), "mnist/float")
    entry = {"item": "ch3", "row": "*c6", "network": "mnist/c6", "measure": "epochs_to_best"}
    entries = [
        {**entry, "metric": "fewer_iterations_percent", "against": {"fewer_percent": "mnist/float"}},
        {**entry, "metric": "effective_reduction", "against": {"times_fewer": "mnist/float"}},
    ]
    both = pd.concat([own.iloc[::-1], other], ignore_index=True)  # the order of the seeds is no matter
    table = verdicts(plan({"thesis": ["ch3"]}, entries), both).set_index("metric")
    for metric, values in (("fewer_iterations_percent", [20, 50, 20]), ("effective_reduction", [1.25, 2.0, 1.25])):
        row = table.loc[metric]
        assert (row["measured"], row["half_width"]) == pytest.approx(interval(values))
        assert row["n"] == 3
