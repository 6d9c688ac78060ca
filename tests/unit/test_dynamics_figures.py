"""The figures of what happens while networks train, and of density matrices: what is drawn are the numbers measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from tinydmn import drawn, lines, texts

from layerwise.errors import LayerwiseError
from layerwise.figures import eigenvalues, fluctuations, histories, rates, training_curves
from layerwise.tables import epochs
from layerwise.tables import rates as rates_table

# ---------------------------------------------------------------- training


def test_training_curves_are_means_over_the_seeds(dmn):
    figure = drawn(dmn, "training")
    assert len(figure.axes) == 4  # two networks, two columns
    assert [texts(ax) for ax in figure.axes] == [[], [], ["not run"], ["not run"]]
    table = dmn.probe("training")
    for ax, column in zip(figure.axes[:2], ("largest", "product"), strict=True):
        shown = lines(ax)
        assert list(shown) == ["layer 1", "layer 2", "layer 3"]
        expected = table[table["layer"] == 2].groupby("step")[column].mean()
        np.testing.assert_allclose(shown["layer 2"].get_xdata(), [0, 1, 2, 3, 4, 6, 8, 10, 12])
        np.testing.assert_allclose(shown["layer 2"].get_ydata(), expected)
    assert [ax.get_yscale() for ax in figure.axes[:2]] == ["linear", "log"]
    assert "largest singular value" in figure.axes[0].get_ylabel()


def test_the_rates_are_over_the_mean_of_all_layers(dmn):
    ax = drawn(dmn, "rates").axes[0]
    shown = {k: v for k, v in lines(ax).items() if k.startswith("layer")}
    assert list(shown) == ["layer 1", "layer 2"]
    table = dmn.probe("training").dropna(subset=["change"])
    table["ratio"] = table["change"] / table.groupby(["seed", "step"])["change"].transform("mean") - 1
    ratio = table[table["layer"] == 1].pivot_table(index="step", columns="seed", values="ratio")
    steps_ = ratio.index.to_numpy()
    expected = [ratio[np.abs(steps_ - s) <= 2].mean().mean() for s in steps_]
    np.testing.assert_allclose(shown["layer 1"].get_xdata(), steps_)
    np.testing.assert_allclose(shown["layer 1"].get_ydata(), expected)
    raw = ax.get_lines()[0]
    np.testing.assert_allclose(raw.get_ydata(), ratio.mean(axis=1))
    assert raw.get_alpha() < 0.5


def test_an_exact_zero_has_no_place_on_a_logarithmic_axis(dmn):
    figure = drawn(dmn, "distance")
    assert figure.axes[0].get_yscale() == "log"
    assert lines(figure.axes[0])["layer 1"].get_xdata().max() == 10  # at step 12 the distance is 0
    assert lines(figure.axes[1])["layer 1"].get_xdata().max() == 12


def test_a_moving_average_is_over_steps():
    steps_, values = np.array([0, 1, 2, 10, 20]), np.array([1.0, 2.0, 6.0, 4.0, 8.0])
    np.testing.assert_allclose(training_curves.smoothed(steps_, values, 4), [3, 3, 3, 4, 8])
    np.testing.assert_allclose(training_curves.smoothed(steps_, values, 1), values)


def test_the_gain_and_its_band(dmn):
    ax, away = drawn(dmn, "gain").axes
    told = dmn.probe("gain").groupby("step")[["ratio", "spread"]].mean()
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), told["ratio"])
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    for step, row in told.iterrows():
        heights = corners[corners[:, 0] == step, 1]
        assert heights.min() == pytest.approx(row["ratio"] - row["spread"])
        assert heights.max() == pytest.approx(row["ratio"] + row["spread"])
    assert texts(away) == ["not run"]


# ---------------------------------------------------------------- density


def test_fluctuations_are_scaled_steps_of_the_eigenvalues(dmn):
    table = dmn.probe("density")
    z = fluctuations.scaled(table)
    assert z["samples"].min() == 10
    values = table[(table["seed"] == 1) & (table["rank"] == 2)].set_index("samples")["value"]
    told = z[(z["seed"] == 1) & (z["rank"] == 2)].set_index("samples")["z"]
    assert told[30] == pytest.approx((values[30] - values[29]) / values[30] * 30)
    left, right = drawn(dmn, "fluctuations").axes
    sigma = np.sqrt((z["z"] ** 2).mean())
    assert f"normal, σ = {sigma:.2f}" in lines(left)
    x, y = left.containers[0].lines[0].get_data()
    width = x[1] - x[0]
    assert width == pytest.approx(8 * sigma / 15)
    inside = z["z"].abs() < 4 * sigma
    assert sum(y) * width == pytest.approx(inside.mean(), abs=1e-6)
    assert len([line for line in right.get_lines() if len(line.get_xdata()) == 4]) == 9  # an eigenvalue each


def test_gaussian_samples_give_eq_18():
    """With one Gaussian vector an image, z has the standard deviation sqrt 2 for every eigenvalue and every N."""
    random, scales = np.random.default_rng(0), np.array([4.0, 1.0, 0.2])
    rows = []
    for seed in range(30):
        x = random.normal(size=(2000, 3)) * np.sqrt(scales)
        total = np.zeros((3, 3))
        for n in range(10, 2001, 10):
            total += x[n - 10 : n].T @ x[n - 10 : n]
            values = np.linalg.eigvalsh(total / n)[::-1]
            rows += [{"seed": seed, "samples": n, "rank": i + 1, "value": v} for i, v in enumerate(values)]
    z = fluctuations.scaled(pd.DataFrame(rows))
    early, late = z[z["samples"] < 600], z[z["samples"] > 1400]
    for part in (early, late):
        np.testing.assert_allclose(part.groupby("rank")["z"].std(), np.sqrt(2), rtol=0.1)


def test_eigenvalues_by_rank_for_each_number_of_samples(dmn):
    ax, away = drawn(dmn, "eigenvalues").axes
    shown = lines(ax)
    assert list(shown) == ["5 images", "20 images", "60 images"]
    table = dmn.probe("settling")
    expected = table[table["samples"] == 20].groupby("rank")["value"].mean()
    np.testing.assert_allclose(shown["20 images"].get_xydata(), list(expected.items()))
    assert ax.get_yscale() == "log"
    assert texts(away) == ["not run"]
    some = eigenvalues.draw(dmn, eigenvalues.Options("density", samples=(10, 60)))
    assert list(lines(some.axes[0])) == ["10 images", "60 images"]


# ---------------------------------------------------------------- histories


def test_histories_are_what_the_fits_recorded(dmn):
    by_epoch, by_second = (lines(drawn(dmn, name).axes[0]) for name in ("epochs", "seconds"))
    assert list(by_epoch) == ["d4", "c4"]
    records = {(n.seed, n.path): r for n, r in dmn.records.items() if n.dataset == "mnist"}
    told = [[row["valid_accuracy"] for row in records[s, "d4/head"]["record"]["history"]] for s in (0, 1)]
    np.testing.assert_allclose(by_epoch["d4"].get_ydata(), np.mean(told, axis=0))
    np.testing.assert_allclose(by_epoch["d4"].get_xdata(), [1, 2, 3])
    seconds = [records[s, "d4"]["seconds"] + records[s, "d4/head"]["seconds"] * np.arange(1, 4) / 3 for s in (0, 1)]
    np.testing.assert_allclose(by_second["d4"].get_xdata(), np.mean(seconds, axis=0))
    np.testing.assert_allclose(by_second["d4"].get_ydata(), by_epoch["d4"].get_ydata())
    assert texts(drawn(dmn, "left").axes[0]) == ["not run"]


@pytest.mark.parametrize(("least", "scale"), [(0.5, "log"), (-9.0, "linear")])
def test_a_loss_that_falls_below_0_is_drawn(dmn, monkeypatch, least, scale):
    told = pd.DataFrame({"seed": 0, "epoch": [1, 2, 3], "seconds": [1.0, 2.0, 3.0], "train_loss": [2.0, 1.0, least]})
    monkeypatch.setattr(dmn, "history", lambda *_: told)
    ax = histories.draw(dmn, histories.Options("mnist", ("c4+head",), measure="train_loss")).axes[0]
    (line,) = lines(ax).values()
    np.testing.assert_allclose(line.get_ydata(), told["train_loss"])
    assert ax.get_yscale() == scale
    assert ax.get_ylabel() == "training loss" + (" (log scale)" if scale == "log" else "")


def test_the_first_epoch_that_reaches_an_accuracy_where_all_seeds_do(dmn):
    paths = ("d4/head", "c4+head", "deep")
    told = {
        path: [
            [row["valid_accuracy"] for row in r["record"]["history"]]
            for n, r in dmn.records.items()
            if (n.dataset, n.path) == ("mnist", path)
        ]
        for path in paths
    }
    every = sorted({accuracy for runs in told.values() for run in runs for accuracy in run if accuracy > 0})
    reach = (every[0], every[len(every) // 2], every[-1], 100.0)
    table = epochs.make(dmn, epochs.Options("mnist", reach, paths)).set_index("network")
    for path, runs in told.items():
        row = table.loc[dmn.networks("mnist", (path,))[path]]
        assert (row["best"], row["n"]) == (np.mean([max(run) for run in runs]), 2)
        assert row["best_epoch"] == np.mean([run.index(max(run)) + 1 for run in runs])
        for accuracy in reach:
            first = [next((i for i, a in enumerate(run, 1) if a >= accuracy), None) for run in runs]
            assert row[f"seeds_{accuracy:g}"] == 2 - first.count(None)
            np.testing.assert_equal(row[f"to_{accuracy:g}"], np.nan if None in first else np.mean(first))
    assert len(epochs.make(dmn, epochs.Options("cifar100", reach, ("d4/head",)))) == 0
    with pytest.raises(LayerwiseError, match="mnist/d4/ridge has no valid_accuracy by epoch: name networks that are"):
        epochs.make(dmn, epochs.Options("mnist", reach, ("d4/ridge",)))
    with pytest.raises(LayerwiseError, match="'reach' has 101"):
        epochs.Options("mnist", (101.0,), paths)
    with pytest.raises(LayerwiseError, match="'reach': two accuracies are alike"):
        epochs.Options("mnist", (5.0, 5.0000001), paths)


# ---------------------------------------------------------------- exchanged weights


def test_bits_against_error_are_what_the_probe_saw(exchanged):
    ax = drawn(exchanged, "rates").axes[0]
    table = exchanged.probe("coding")
    told = table.assign(error=100 - table["test_accuracy"]).groupby("coder")[["bits_sent", "error"]].mean()
    series = {c.get_label(): c for c in ax.containers}
    assert list(series) == ["float32", "fixed", "top"]
    own = told.loc[["fixed 2", "fixed 6"]].sort_values("bits_sent")
    line, _, (bars,) = series["fixed"]
    np.testing.assert_allclose(line.get_xydata(), own.to_numpy())
    for (low, high), (bits, mean) in zip(bars.get_segments(), line.get_xydata(), strict=True):
        assert low[0] == high[0] == bits
        assert low[1] <= mean <= high[1]
    assert (ax.get_ylabel(), ax.get_yscale(), ax.get_xscale()) == ("test error, % (log scale)", "log", "log")
    plain = rates.draw(exchanged, rates.Options(measure="bits_raw"))
    assert plain.axes[0].get_ylabel() == "bits raw (log scale)"
    with pytest.raises(LayerwiseError, match="figure rates: 'coder' holds no numbers: name one of bits_raw"):
        rates.draw(exchanged, rates.Options(measure="coder"))


def test_coders_of_several_networks_are_no_one_curve(exchanged, monkeypatch):
    table = exchanged.probe("coding")
    view = dataclasses.replace(exchanged.study.probes["coding"], networks=("digits/whole", "digits/bins"))
    monkeypatch.setitem(exchanged.study.probes, "coding", view)
    both = pd.concat([table, table.assign(path="bins", label="float32", bits_sent=1.0)])
    monkeypatch.setattr(exchanged, "probe", lambda name: both)
    with pytest.raises(LayerwiseError, match="looks at digits/whole, digits/bins: name one under network"):
        rates.draw(exchanged, rates.Options())
    ax = rates.draw(exchanged, rates.Options(network="digits/bins")).axes[0]
    assert {x for c in ax.containers for x in c[0].get_xdata()} == {1.0}
    made = rates_table.make(exchanged, rates_table.Options())
    assert list(made["n"]) == [2] * 8  # networks of one label, and seeds, do not mix


def test_of_a_training_what_was_seen_last_counts_and_no_error_at_all_is_drawn(exchanged, monkeypatch):
    table = exchanged.probe("coding").assign(step=4)
    steps = pd.concat([table.assign(step=2, test_accuracy=50.0), table.assign(test_accuracy=100.0)])
    monkeypatch.setattr(exchanged, "probe", lambda name: steps)
    made = rates_table.make(exchanged, rates_table.Options())
    assert set(made["test_accuracy"]) == {100.0}
    assert set(made["n"]) == {2}
    ax = rates.draw(exchanged, rates.Options()).axes[0]
    assert {y for c in ax.containers for y in c[0].get_ydata()} == {0.0}
    assert (ax.get_yscale(), ax.get_ylabel()) == ("linear", "test error, %")
    monkeypatch.setattr(exchanged, "probe", lambda name: table.drop(columns="coder"))
    with pytest.raises(LayerwiseError, match="probe coding is not of the kind coding"):
        rates_table.make(exchanged, rates_table.Options())


def test_a_dot_is_a_seed_and_a_line_by_epoch_the_mean_over_them(exchanged):
    ax = drawn(exchanged, "seeds").axes[0]
    values = [exchanged.values("digits", path, "epochs_to_best") for path in ("whole", "bins")]
    dots = [line.get_ydata() for line in ax.get_lines() if line.get_label() == "a seed"]
    np.testing.assert_allclose(dots, [v.to_numpy() for v in values])
    np.testing.assert_allclose(lines(ax)["mean"].get_ydata(), [v.mean() for v in values])
    np.testing.assert_allclose(lines(ax)["median"].get_ydata(), [v.median() for v in values])
    with pytest.raises(LayerwiseError, match=r"fits.csv: 'method' holds no numbers: name one of"):
        exchanged.values("digits", "whole", "method")
    bits, gradient = drawn(exchanged, "by_epoch").axes
    for column in ("bits_raw", "bits_sent"):
        expected = exchanged.history("digits", "bins", column).groupby("epoch")[column].mean()
        np.testing.assert_allclose(lines(bits)[column.replace("_", " ")].get_ydata(), expected)
    assert [panel.get_yscale() for panel in (bits, gradient)] == ["linear", "log"]
