"""The figures of the DMN papers on a tiny study of their kind: what is drawn are the numbers that were measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib.colors import to_hex, to_rgb

from layerwise import figures, steps, store, study, trie
from layerwise.errors import LayerwiseError
from layerwise.figures import (
    _panels,
    _style,
    bars,
    curves,
    eigenvalues,
    fluctuations,
    gain_curve,
    histories,
    training_curves,
)
from layerwise.results import StudyResults, collect

PROBED = {"networks": ["mnist/deep", "cifar100/deep"]}
ROWS = {
    "d4": {"class PCA": "d4/head", "random": "o4/head", "ConvNet": "c4+head"},
    "d6": {"class PCA": "d6/head", "ConvNet": "c4+head"},
}
BARS = {
    "source": "dmn",
    "item": "table2",
    "panels": {"mnist": ROWS, "cifar100": {"d79": {"class PCA": "d6/head", "ConvNet": "c4+head"}}},
    "metrics": {"class PCA": "dmn_accuracy", "ConvNet": "convnet_accuracy"},
    "baseline": {"mnist": "head", "cifar100": "head"},
}
CURVES = {
    "panels": {
        "MNIST": {
            "class PCA": {"6": "mnist/d6/head", "4": "mnist/d4/head"},
            "ConvNet": {4: "mnist/c4+head"},
            "few": {1: "few/d4/head", 2: "cifar100/d4/head"},
        },
        "CIFAR100": {"class PCA": {4: "cifar100/d4/head"}},
    },
    "x": {"MNIST": "filters", "CIFAR100": "filters"},
    "logarithmic": ["MNIST"],
    "marks": {"MNIST": [5, 6]},
    "baseline": {"MNIST": "mnist/head", "CIFAR100": "cifar100/head"},
}
TINY = {
    "name": "tinydmn",
    "title": "Tiny DMN",
    "seeds": {"mnist": 2, "few": 1, "cifar100": 2},
    "leave_out": ["cifar100"],
    "datasets": {
        "mnist": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "few": {"source": "digits", "subset": 40, "test_subset": 50, "valid": 20},
        "cifar100": {"source": "torchvision", "name": "CIFAR100"},
    },
    "segments": {
        "d4": {"method": "dmn", "layers": ["conv 3 4", "maxpool 2", "relu"]},
        "d6": {"method": "dmn", "layers": ["conv 3 6", "maxpool 2", "relu"]},
        "o4": {"method": "random", "layers": ["conv 3 4", "maxpool 2", "relu"]},
        "c4": {"method": "sgd", "layers": ["conv 3 4", "maxpool 2", "relu"]},
        "head": {"method": "sgd", "layers": ["dense outputs"], "epochs": 3, "batch": 20},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
        "deep": {
            "method": "sgd",
            "layers": ["dense 6", "relu", "dense 5", "relu", "dense outputs"],
            "epochs": 4,
            "batch": 20,
        },
    },
    "networks": {
        "mnist": {
            "head": "no layer below",
            "d4/head": "d4",
            "d6/head": "d6",
            "d4/ridge": "d4, ridge",
            "o4/head": "o4",
            "c4+head": "c4",
            "deep": "deep",
        },
        "few": {"d4/head": "d4"},
        "cifar100": {p: p for p in ("head", "d4/head", "d6/head", "c4+head", "deep")},
    },
    "probes": {
        "training": {**PROBED, "every": 2, "first": 3},
        "gain": {"networks": ["mnist/c4+head", "cifar100/c4+head"], "every": 3, "samples": 30},
        "density": {"networks": ["mnist/head"], "size": 3, "every": 1, "until": 60},
        "settling": {"probe": "density", "networks": ["mnist/head", "cifar100/head"], "size": 3, "at": [5, 20, 60]},
        "away": {"probe": "training", "networks": ["cifar100/deep"]},
    },
    "figures": {
        "bars": BARS,
        "curves": CURVES,
        "training": {"figure": "training_curves", "columns": ["largest", "product"]},
        "rates": {
            "figure": "training_curves",
            "columns": ["change"],
            "detrend": True,
            "smooth": 4,
            "hidden": True,
            "log_steps": True,
        },
        "distance": {"figure": "training_curves", "columns": ["distance", "variance", "mean_squared"]},
        "away": {"figure": "training_curves", "columns": ["largest"], "probe": "away"},
        "gain": {"figure": "gain_curve"},
        "fluctuations": {"blocks": 4, "bins": 15},
        "eigenvalues": {"probe": "settling"},
        "epochs": {"figure": "histories", "dataset": "mnist", "networks": ["d4/head", "c4+head"]},
        "seconds": {"figure": "histories", "dataset": "mnist", "networks": ["d4/head", "c4+head"], "x": "seconds"},
        "left": {"figure": "histories", "dataset": "cifar100", "networks": ["d4/head"]},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the study ran."""
    folder = tmp_path_factory.mktemp("tinydmn")
    (folder / "tinydmn.json").write_text(json.dumps(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan, cpu = study.load("tinydmn.json"), torch.device("cpu")
        for name in plan.networks:
            steps.prepare_dataset(plan, name, folder)
        data = {name: steps.read_dataset(plan, name) for name in plan.networks}
        for node in sorted(plan.nodes(), key=lambda n: n.depth):
            steps.fit(plan, node, data[node.dataset], cpu)
            steps.represent(plan, node, data[node.dataset], cpu)
        for probe, dataset, path in plan.looks():
            for seed in plan.seeds_of(dataset):
                node = trie.Node(plan.name, dataset, seed, path)
                steps.probe(plan, plan.probes[probe], node, data[dataset], cpu)
        store.write_csv(trie.home(plan.name) / "fits.csv", collect(plan))
    return folder


@pytest.fixture
def dmn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    monkeypatch.chdir(folder)
    return StudyResults(study.load("tinydmn.json"))


def drawn(results, name):
    module, options = figures.opened(results.study.figures[name])
    return module.draw(results, options)


def lines(ax):
    """The drawn lines of a panel by their label; error bars have none of their own."""
    return {line.get_label(): line for line in ax.get_lines()}


def texts(ax):
    return [t.get_text() for t in ax.texts]


# ---------------------------------------------------------------- every figure


@pytest.mark.parametrize("name", TINY["figures"])
def test_a_figure_is_made_with_a_caption(dmn, name):
    view = dmn.study.figures[name]
    figures.make(dmn, view)
    assert (trie.home("tinydmn") / "figures" / f"{name}.png").stat().st_size > 5000
    module, options = figures.opened(view)
    caption = module.caption(dmn, options)
    assert "seed" in caption
    assert "results/tinydmn/" in caption
    assert dmn.machines[0] in caption
    assert "\n" not in caption
    assert ("Not run: cifar100." in caption) == (name not in ("fluctuations", "epochs", "seconds"))


@pytest.mark.parametrize("name", TINY["figures"])
def test_every_panel_has_labelled_axes(dmn, name):
    for ax in drawn(dmn, name).axes:
        assert ax.get_title(loc="left")
        assert ax.get_xlabel() or name == "bars"
    assert any(ax.get_ylabel() for ax in drawn(dmn, name).axes)


def test_the_seeds_of_several_data_sets_are_a_range(dmn):
    assert _style.over_seeds(dmn).endswith("over 1 to 2 seeds")
    assert _style.over_seeds(dmn, "mnist").endswith("over 2 seeds")
    assert _style.over_seeds(dmn, "few") == "one seed, so no interval"


# ---------------------------------------------------------------- bars


def test_bars_are_the_means_and_diamonds_the_published_values(dmn):
    ax, away = drawn(dmn, "bars").axes
    order = [path for bars in ROWS.values() for path in bars.values()]
    expected = [dmn.interval("mnist", p, "test_accuracy")[0] for p in order]
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], expected)
    published = [line for line in ax.get_lines() if line.get_label() == "published"]
    assert [float(line.get_ydata()[0]) for line in published] == [96.81, 97.47, 97.78, 98.12]
    first, middle, last = (bar.get_x() + bar.get_width() / 2 for bar in ax.patches[:3])
    assert published[0].get_xdata()[0] == pytest.approx(first)
    assert published[1].get_xdata()[0] == pytest.approx(last)  # random filters have no published value
    assert middle == pytest.approx(0)
    assert lines(ax)["no layer below the head"].get_ydata()[0] == dmn.interval("mnist", "head", "test_accuracy")[0]
    assert to_rgb(ax.patches[0].get_facecolor()) == to_rgb(_style.COLOURS["dmn"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["d4", "d6"]
    low, high = ax.get_ylim()
    assert 0 <= low < min(expected) < 98.12 < high <= 100.5
    assert texts(ax) == []
    # A data set that is left out has its published values all the same.
    assert texts(away) == ["not run"]
    assert [float(line.get_ydata()[0]) for line in away.get_lines()] == [30.93, 26.14]
    assert to_hex(away.get_lines()[0].get_markerfacecolor()).upper() == _style.COLOURS["dmn"]
    legend = [t.get_text() for t in ax.figure.legends[0].get_texts()]
    assert legend == ["class PCA", "random", "ConvNet", "published", "no layer below the head"]


def test_bars_of_several_tables_and_without_any(dmn):
    options = bars.Options(
        panels={"mnist": {"d6,m,de10": {"class PCA": "d6/head"}}, "cifar100": {"d79": {"class PCA": "d6/head"}}},
        source="dmn",
        item=("table2", "table3"),
        metrics={"class PCA": "test_accuracy"},
        labels={"d6,m,de10": "six"},
    )
    ax, away = bars.draw(dmn, options).axes
    assert float(lines(ax)["published"].get_ydata()[0]) == 97.53
    assert ax.get_xticklabels()[0].get_text() == "six"
    assert not away.get_lines()
    unnamed = bars.draw(dmn, replace(options, labels={}))
    assert unnamed.axes[0].get_xticklabels()[0].get_text() == "d6"
    alone = bars.Options(panels={"mnist": {"any": {"class PCA": "d6/head", "blind": "d4/head"}}})
    ax = bars.draw(dmn, alone).axes[0]
    assert len(ax.patches) == 2
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()  # two kinds of one method
    assert "Diamonds" not in bars.caption(dmn, alone)


# ---------------------------------------------------------------- curves


def test_curves_are_the_means_in_the_order_of_the_number(dmn):
    ax, away = drawn(dmn, "curves").axes
    shown = {c.get_label(): c.lines[0] for c in ax.containers}
    assert set(shown) == {"class PCA", "ConvNet", "few"}
    expected = [dmn.interval("mnist", p, "test_accuracy")[0] for p in ("d4/head", "d6/head")]
    np.testing.assert_allclose(shown["class PCA"].get_xydata(), list(zip([4, 6], expected, strict=True)))
    np.testing.assert_allclose(shown["few"].get_xdata(orig=False), [1])  # the other point's data set is left out
    half = dmn.interval("mnist", "d4/head", "test_accuracy")[1]
    (low, high) = next(c for c in ax.containers if c.get_label() == "class PCA").lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(half)
    assert [v.get_xdata()[0] for v in ax.get_lines() if v.get_label() == "published optimum"] == [5, 6]
    assert lines(ax)["no layer below the head"].get_ydata()[0] == dmn.interval("mnist", "head", "test_accuracy")[0]
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "filters (log scale)"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "4", "6"]
    assert ax.get_ylabel() == "test accuracy, %"
    assert texts(away) == ["not run"]


def test_the_numbers_of_a_curve_may_be_numbers_in_a_study_file(tmp_path):
    plain = {**TINY, "figures": {"curves": {"panels": {"a": {"b": {0.5: "mnist/d4/head", 1: "mnist/d6/head"}}}}}}
    del plain["name"]
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(plain))
    options = study.load(tmp_path / "plain.yaml").figures["curves"].options
    assert options.panels == {"a": {"b": {0.5: "mnist/d4/head", 1.0: "mnist/d6/head"}}}
    # The study as JSON, whose keys are text, gives the same.
    (tmp_path / "plain.json").write_text(json.dumps(study.load(tmp_path / "plain.yaml").raw))
    assert study.load(tmp_path / "plain.json").figures["curves"].options == options


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
    wide = table.pivot_table(index=["seed", "step"], columns="layer", values="change")
    ratio = (wide.div(wide.mean(axis=1), axis=0) - 1)[1].unstack("seed")
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
    import pandas as pd

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


# ---------------------------------------------------------------- what they refuse


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (bars, {"panels": {"mnist": {"d4": {"a": "d5/head"}}}}, "'d5/head' is no network"),
        (bars, {"panels": {"nmist": {"d4": {"a": "d4/head"}}}}, "'nmist' is no data set"),
        (bars, {"panels": {"mnist": {"d5": {"a": "d4/head"}}}, "source": "dmn", "item": "table2"}, "row 'mnist|d5'"),
        (bars, {**BARS, "source": "dnm"}, "no work 'dnm'"),
        (bars, {**BARS, "item": "tabel2"}, "dmn has no 'tabel2'; did you mean 'table2'"),
        (bars, {**BARS, "metrics": {"ConvNet": "covnet_accuracy"}}, "did you mean 'convnet_accuracy'"),
        (bars, {**BARS, "metrics": {"Convnet": "convnet_accuracy"}}, "did you mean 'ConvNet'"),
        (bars, {**BARS, "labels": {"d5": "five"}}, "no row 'd5'"),
        (bars, {**BARS, "baseline": {"cifar10": "head"}}, "no panel 'cifar10'; did you mean 'cifar100'"),
        (bars, {"panels": {"mnist": {"d4": {"a": "d4/head"}}}, "measure": "accuracy"}, "no column of fits.csv"),
        (curves, {"panels": {"a": {"b": {1: "mnist"}}}}, "write a network as dataset/path"),
        (curves, {"panels": {"a": {"b": {1: "mnist/d5/head"}}}}, "'d5/head' is no network"),
        (curves, {"panels": {"a": {"b": {1: "mnist/d4/head"}}}, "marks": {"c": 1.0}}, "no panel 'c'"),
        (curves, {"panels": {"a": {"b": {0: "mnist/d4/head"}}}, "logarithmic": ("a",)}, "not above 0"),
        (curves, {"panels": {"a": {"b": {}}}}, "'b' has no points"),
        (training_curves, {"columns": ("larges",)}, "no column 'larges'; did you mean 'largest'"),
        (training_curves, {"columns": ()}, "'columns' is empty"),
        (training_curves, {"columns": ("norm",), "probe": "trainings"}, "'trainings' is no probe"),
        (training_curves, {"columns": ("norm",), "networks": ("mnist/head",)}, "did not look at 'mnist/head'"),
        (training_curves, {"columns": ("norm",), "networks": ("mnist/deeper",)}, "'deeper' is no network"),
        (training_curves, {"columns": ("value",), "probe": "density"}, "no column 'step'"),
        (gain_curve, {"probe": "training"}, "no column 'ratio'"),
        (fluctuations, {"probe": "settling"}, "too few steps"),
        (fluctuations, {"bins": 1}, "3 bins"),
        (eigenvalues, {"samples": (7, 61)}, "none at 61 samples"),
        (eigenvalues, {}, "60 numbers of samples"),
        (histories, {"dataset": "mnist", "networks": ("d4/ridge",)}, "no valid_accuracy by epoch"),
        (histories, {"dataset": "mnist", "networks": ("d5",)}, "'d5' is no network"),
        (histories, {"dataset": "mnist", "networks": ()}, "'networks' is empty"),
    ],
)
def test_figures_refuse_in_one_line(dmn, module, options, said):
    with pytest.raises(LayerwiseError, match=re.escape(said)) as error:
        module.draw(dmn, module.Options(**options))
    assert "\n" not in str(error.value)


def test_names_of_one_method_have_shades_of_its_colour(dmn):
    told = _panels.colours(dmn, [("a", "mnist/d4/head"), ("b", "mnist/d6/head"), ("c", "mnist/o4/head")])
    assert told["a"] == to_rgb(_style.COLOURS["dmn"])
    assert told["b"] == _style.shaded(_style.COLOURS["dmn"], _style.SHADES[1])
    assert told["c"] == to_rgb(_style.COLOURS["random"])
    mixed = _panels.colours(dmn, [("a", "mnist/d4/head"), ("a", "mnist/c4+head")])
    assert mixed == {"a": to_rgb(_panels.SEVERAL)}
