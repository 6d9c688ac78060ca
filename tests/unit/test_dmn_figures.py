"""The figures of the DMN papers on a tiny study of their kind: what is drawn are the numbers that were measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from matplotlib.colors import to_hex, to_rgb
from tinydmn import BARS, ROWS, TINY, drawn, lines, texts

from layerwise import figures
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
from layerwise.study import file as study_file
from layerwise.study import trie

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


def test_bars_and_curves_show_what_was_fitted_elsewhere(dmn):
    fits = dmn.fits[dmn.fits["dataset"] == "mnist"]
    dmn.__dict__["elsewhere"] = fits[fits["path"] != "c4+head"].assign(dataset="cifar100", machine="a GPU")
    means = {path: dmn.interval("mnist", path, "test_accuracy")[0] for path in ("d6/head", "d4/head", "head")}
    away = drawn(dmn, "bars").axes[1]
    assert [bar.get_height() for bar in away.patches][:1] == [means["d6/head"]]
    assert texts(away) == []
    published = [line for line in away.get_lines() if line.get_label() == "published"]
    assert [float(line.get_ydata()[0]) for line in published] == [30.93, 26.14]
    assert to_rgb(published[0].get_markerfacecolor()) == (1, 1, 1)
    assert to_hex(published[1].get_markerfacecolor()).upper() == _style.COLOURS["sgd"]  # which was not fitted there
    assert lines(away)["no layer below the head"].get_ydata()[0] == means["head"]
    away = drawn(dmn, "curves").axes[1]
    np.testing.assert_allclose(away.containers[0].lines[0].get_xydata(), [[4, means["d4/head"]]])
    for name in ("bars", "curves"):
        module, options = figures.opened(dmn.study.figures[name])
        told = module.caption(dmn, options)
        assert "cifar100: fitted elsewhere, on a GPU." in told
        assert "Not run" not in told


def test_bars_of_several_tables_and_without_any(dmn):
    options = bars.Options(
        source="dmn",
        item=("table2", "table3"),
        columns=("test",),
        rows=("*,m,*",),
        kinds={"*|d*": "PCA", "*|c*": "ConvNet"},
        labels={"d6,m,de10": "six"},
    )
    told = {"d6,m,de10": {"PCA": bars.Bar("mnist/d6/head", 97.53)}}
    told["c9,m,de10"] = {"ConvNet": bars.Bar("mnist/c4+head", 98.27)}
    assert bars.bars(dmn, options) == {"mnist": told}
    ax = bars.draw(dmn, options).axes[0]
    published = [line for line in ax.get_lines() if line.get_label() == "published"]
    assert [float(line.get_ydata()[0]) for line in published] == [97.53, 98.27]
    assert ax.get_xticklabels()[0].get_text() == "six"
    assert list(bars.bars(dmn, replace(options, labels={}, but=("mnist|c9*",)))["mnist"]) == ["d6,m,de10"]
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
    options = study_file.load(tmp_path / "plain.yaml").figures["curves"].options
    assert options.panels == {"a": {"b": {0.5: "mnist/d4/head", 1.0: "mnist/d6/head"}}}
    # The study as JSON, whose keys are text, gives the same.
    (tmp_path / "plain.json").write_text(json.dumps(study_file.load(tmp_path / "plain.yaml").raw))
    assert study_file.load(tmp_path / "plain.json").figures["curves"].options == options


# ---------------------------------------------------------------- what they refuse


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (bars, {"panels": {"mnist": {"d4": {"a": "d5/head"}}}}, "'d5/head' is no network"),
        (bars, {"panels": {"nmist": {"d4": {"a": "d4/head"}}}}, "'nmist' is no data set"),
        (bars, {**BARS, "source": "dnm"}, "a work 'dnm'; did you mean 'dmn'"),
        (bars, {**BARS, "item": "tabel2"}, "no row of dmn 'tabel2'; did you mean 'table2'"),
        (bars, {**BARS, "columns": ("Convnet",)}, "option 'columns': no 'Convnet'; did you mean 'ConvNet'"),
        (bars, {**BARS, "rows": ("mnist|d5",)}, "option 'rows': no row fits 'mnist|d5'; did you mean"),
        (bars, {**BARS, "but": ("mnist|d5",)}, "option 'but': no row fits 'mnist|d5'"),
        (bars, {**BARS, "but": ("*",)}, "no row is left to draw"),
        (bars, {**BARS, "labels": {"d5": "five"}}, "option 'labels': no 'd5'"),
        (bars, {**BARS, "baseline": {"cifar10": "head"}}, "option 'baseline': no 'cifar10'; did you mean 'cifar100'"),
        (bars, {**BARS, "kinds": {"*": "a"}}, "name the one column that it renames"),
        (bars, {}, "name the source and the item whose rows are drawn, or give panels"),
        (bars, {"panels": {"mnist": {"d4": {"a": "d4/head"}}}, "measure": "accuracy"}, "no column of fits.csv"),
        (curves, {"panels": {"a": {"b": {1: "mnist"}}}}, "write a network as dataset/path"),
        (curves, {"panels": {"a": {"b": {1: "mnist/d5/head"}}}}, "'d5/head' is no network"),
        (curves, {"panels": {"a": {"b": {1: "mnist/d4/head"}}}, "marks": {"c": 1.0}}, "no panel 'c'"),
        (curves, {"panels": {"a": {"b": {0: "mnist/d4/head"}}}, "logarithmic": ("a",)}, "not above 0"),
        (curves, {"panels": {"a": {"b": {}}}}, "'panels/a/b' is {}: it must have 1 or more items"),
        (training_curves, {"columns": ("larges",)}, "no column 'larges'; did you mean 'largest'"),
        (training_curves, {"columns": ()}, "'columns' is []: it must have 1 or more items"),
        (training_curves, {"columns": ("norm",), "probe": "trainings"}, "'trainings' is no probe"),
        (training_curves, {"columns": ("norm",), "networks": ("mnist/head",)}, "did not look at 'mnist/head'"),
        (training_curves, {"columns": ("norm",), "networks": ("mnist/deeper",)}, "'deeper' is no network"),
        (training_curves, {"columns": ("value",), "probe": "density"}, "no column 'step'"),
        (gain_curve, {"probe": "training"}, "no column 'ratio'"),
        (fluctuations, {"probe": "settling"}, "too few steps"),
        (fluctuations, {"bins": 1}, "'bins' is 1: it must be at least 3"),
        (eigenvalues, {"samples": (7, 61)}, "none at 61 samples"),
        (eigenvalues, {}, "60 numbers of samples"),
        (histories, {"dataset": "mnist", "networks": ("d4/ridge",)}, "no valid_accuracy by epoch"),
        (histories, {"dataset": "mnist", "networks": ("d5",)}, "'d5' is no network"),
        (histories, {"dataset": "mnist", "networks": ()}, "'networks' is []: it must have 1 or more items"),
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
