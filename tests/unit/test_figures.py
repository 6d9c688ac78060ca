"""Figures and tables of the tiny study: what they hold, that they look the same twice, and what they refuse."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import image
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import nn

from layerwise import figures, tables
from layerwise.errors import LayerwiseError
from layerwise.figures import (
    _panels,
    _style,
    accuracy_seconds,
    filters,
    readout_depth,
    spectra,
    toy_curve,
    toy_regions,
)
from layerwise.study.trie import home
from layerwise.tables import _format, accuracy, controls

FIGURES = ["accuracy", "error", "depth", "depth_test", "regions", "curve", "filters", "spectra"]


# ---------------------------------------------------------------- every figure


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_as_svg_and_png(tiny, name):
    view = tiny.study.figures[name]
    figures.make(tiny, view)
    svg = (home("tiny") / "figures" / f"{name}.svg").read_text()
    picture = image.imread(home("tiny") / "figures" / f"{name}.png")
    assert svg.count("<svg") == 1
    assert "seed" in svg  # the caption is inside
    assert picture.std() > 0.02
    assert 300 < picture.shape[1] < 3000
    module, options = figures.opened(view)
    caption = module.caption(tiny, options)
    assert "results/tiny/" in caption
    assert tiny.machines[0] in caption
    assert "\n" not in caption


def test_the_same_figure_gives_the_same_bytes(tiny, tmp_path):
    module, options = figures.opened(tiny.study.figures["depth"])
    written = []
    for name in ("a", "b"):
        with matplotlib.rc_context(_style.STYLE):
            figures.save(module.draw(tiny, options), tmp_path / name, "a caption")
        written.append([(tmp_path / f"{name}.{kind}").read_bytes() for kind in ("svg", "png")])
    assert written[0] == written[1]
    assert not re.search(rb"20\d\d-\d\d-\d\d", written[0][0])


def test_no_figure_touches_pyplot(tiny):
    import sys

    module, options = figures.opened(tiny.study.figures["accuracy"])
    before = "matplotlib.pyplot" in sys.modules
    assert isinstance(module.draw(tiny, options), Figure)
    assert ("matplotlib.pyplot" in sys.modules) == before


# ---------------------------------------------------------------- what they show


def test_accuracy_against_seconds_has_a_point_a_network_and_names_them_from_top_to_bottom(tiny):
    figure = accuracy_seconds.draw(tiny, accuracy_seconds.Options("digits"))
    (ax,) = figure.axes
    handles, labels = ax.get_legend_handles_labels()
    points = {label: tuple(point.get_xydata()[0]) for label, point in zip(labels, handles, strict=True)}
    expected = {
        label: tuple(tiny.interval("digits", path, m)[0] for m in ("total_seconds", "test_accuracy"))
        for path, label in tiny.study.networks["digits"].items()
    }
    assert points == expected
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == sorted(named, key=lambda name: -points[name][1])
    assert set(named) == set(expected)
    assert ax.get_xscale() == "log"
    assert "seconds" in ax.get_xlabel()
    assert ax.get_ylabel() == "test accuracy, %"


def test_an_error_has_a_logarithmic_axis(tiny):
    ax = accuracy_seconds.draw(tiny, accuracy_seconds.Options("sine")).axes[0]
    assert ax.get_yscale() == "log"
    assert "squared error" in ax.get_ylabel()


def test_readout_shows_the_geometric_mean_at_every_depth(tiny):
    figure = readout_depth.draw(tiny, readout_depth.Options("digits", networks=("d4/ridge",)))
    line = next(line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1)
    table = tiny.probe("lsd")
    mine = table[(table["dataset"] == "digits") & (table["path"] == "d4/ridge")]
    expected = np.exp(np.log(mine["train_lsd"]).groupby(mine["depth"]).mean())
    np.testing.assert_allclose(line.get_ydata(orig=False), expected)


def test_a_network_looks_the_same_in_every_figure(tiny):
    all_of_them = _style.looks(tiny, "digits", tiny.networks("digits"))
    alone = _style.looks(tiny, "digits", ["r4/ridge"])["r4/ridge"]
    assert alone == all_of_them["r4/ridge"]
    assert len({(look.colour, look.marker) for look in all_of_them.values()}) == len(all_of_them)


def test_a_colour_is_a_method_in_every_figure(tiny):
    for dataset, networks in tiny.study.networks.items():
        found = _style.looks(tiny, dataset, ())
        assert list(found) == list(networks)
        assert all(look.colour == to_rgb(_style.COLOURS[tiny.method(path)]) for path, look in found.items())
    assert len({*_style.COLOURS.values(), *_style.SPARE}) == len(_style.COLOURS) + len(_style.SPARE)


def test_networks_are_told_apart_without_colour():
    methods = list(_style.COLOURS)[:5]
    paths = [f"{method}{i}" for i in range(10) for method in methods]
    segments = {path: SimpleNamespace(method=path.rstrip("0123456789")) for path in paths}
    study = SimpleNamespace(segments=segments, networks={"digits": dict.fromkeys(paths)})
    told = _style.looks(SimpleNamespace(study=study, method=lambda path: segments[path].method), "digits", ())
    assert len({(look.marker, str(look.dashes)) for look in told.values()}) == 50
    assert len({told[f"{method}0"].marker for method in methods}) == 5


def test_methods_beside_those_of_the_palette_have_one_colour_in_a_study():
    segments = {n: SimpleNamespace(method=m) for n, m in enumerate(["lab.b", "sgd", "lab.a", "lab.b"])}
    told = _style.method_colours(SimpleNamespace(study=SimpleNamespace(segments=segments)))
    assert (told["lab.b"], told["lab.a"], told["sgd"]) == (*_style.SPARE[:2], _style.COLOURS["sgd"])


def test_lines_of_a_figure_are_told_apart_without_colour():
    axes = _style.grid(2, 2, 2, 2)[1]
    curve = pd.DataFrame({"mean": [1.0, 2.0], "low": [0.5, 1.5], "high": [1.5, 2.5]})
    for ax, names in zip(axes, (["a", "_b", "c"], ["c", "a"]), strict=True):
        for name in names:
            _panels.line(ax, curve, name, (0.0, 0.0, 0.0))
    _panels.line(axes[1], curve, "own", (0.0, 0.0, 0.0), ls=":")
    dashes = [{line.get_label(): line._unscaled_dash_pattern for line in ax.get_lines()} for ax in axes]
    assert len(set(map(str, dashes[0].values()))) == 3
    assert all(dashes[1][name] == dashes[0][name] for name in ("a", "c"))  # a name has its dashes in every panel
    assert str(dashes[1]["own"]) not in set(map(str, dashes[0].values()))


def test_the_data_show_the_board(tiny):
    points = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    board = ((points > 0.5).sum(1) % 2).long()
    halves = [SimpleNamespace(x=points[s], y=board[s]) for s in (slice(0, 200), slice(200, 400))]
    corners = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    found = toy_regions.nearest(SimpleNamespace(train=halves[0], test=halves[1]), corners)
    assert list(found) == [0, 1, 1, 0]
    picture = toy_regions.draw(tiny, toy_regions.Options("spirals")).axes[0].get_images()[0].get_array()
    assert set(np.unique(picture)) == {0, 1}


def test_the_outputs_are_hollow(tiny):
    ax = readout_depth.draw(tiny, readout_depth.Options("digits")).axes[0]
    hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white"]
    assert len(hollow) == len(tiny.networks("digits"))
    assert all(len(line.get_xdata()) == 1 for line in hollow)


def test_regions_have_a_panel_a_network(tiny):
    figure = toy_regions.draw(tiny, toy_regions.Options("spirals", seed=1))
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == ["the data", "random", "linear"]
    fits = tiny.fits.set_index(["dataset", "seed", "path"])
    assert f"{fits.loc[('spirals', 1, 'ridge'), 'test_accuracy']:.1f} %" in figure.axes[2].get_title()


def test_regions_are_what_the_network_says_there(tiny):
    ax = toy_regions.draw(tiny, toy_regions.Options("spirals")).axes[2]
    picture = ax.get_images()[0]
    left, right, bottom, top = picture.get_extent()
    x, y = left + 0.9 * (right - left), bottom + 0.2 * (top - bottom)
    shown = picture.get_array()[int(0.2 * toy_regions.SIDE), int(0.9 * toy_regions.SIDE)]
    said = tiny.network("spirals", "ridge", 0)(torch.tensor([[x, y]])).item() > 0
    assert shown == said


def test_the_residual_of_a_curve_is_its_distance_from_the_data(tiny):
    above, below = toy_curve.draw(tiny, toy_curve.Options("sine", networks=("ridge",))).axes
    data = tiny.data("sine").test
    with torch.no_grad():
        error = (tiny.network("sine", "ridge", 0)(data.x) - data.y).abs()[:, 0]
    np.testing.assert_allclose(below.get_lines()[0].get_ydata(), error, rtol=1e-5)
    assert "mse" in above.get_lines()[1].get_label()


def test_filters_of_conv_and_dense_layers_are_pictures():
    assert filters.pictures(nn.Sequential(nn.Conv2d(3, 5, 2)), (3, 8, 8)).shape == (5, 3, 2, 2)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(18, 4), nn.Linear(4, 2))
    assert torch.equal(filters.pictures(dense, (2, 3, 3)), dense[1].weight.reshape(4, 2, 3, 3))
    assert filters.pictures(nn.Sequential(nn.Linear(2, 4)), (2,)) is None
    assert filters.pictures(nn.Sequential(nn.ReLU()), (1, 8, 8)) is None


def test_filters_stand_in_a_row_a_first_segment(tiny):
    figure = filters.draw(tiny, filters.Options("digits", count=3))
    labels = [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()]
    assert labels == ["pixels\n3 of 10", "backprop\n3 of 4", "class PCA\n3 of 4", "random\n3 of 4"]


def test_spectra_leave_the_output_out(tiny):
    figure = spectra.draw(tiny, spectra.Options("digits", networks=("d4/ridge", "r4/ridge")))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["depth 1"]
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["input", "class PCA", "random"]


def test_seeds_that_are_one_have_no_bars():
    assert _style.bar(2.0, float("nan")) == [[0.0], [0.0]]
    assert _style.bar(2.0, 5.0) == [[1.8], [5.0]]
    assert _style.bar(2.0, 5.0, logarithmic=False) == [[5.0], [5.0]]


# ---------------------------------------------------------------- what figures refuse


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (accuracy_seconds, {"dataset": "mnist"}, "'mnist' is no data set"),
        (accuracy_seconds, {"dataset": "digits", "networks": ("d5/ridge",)}, "'d5/ridge' is no network"),
        (
            readout_depth,
            {"dataset": "digits", "measure": "train_lst"},
            "no column 'train_lst'; did you mean 'train_lsd'",
        ),
        (readout_depth, {"dataset": "digits", "probe": "lds"}, "'lds' is no probe"),
        (toy_regions, {"dataset": "digits"}, "not points in the plane"),
        (toy_regions, {"dataset": "sine"}, "not points in the plane"),
        (toy_curve, {"dataset": "spirals"}, "not one value of one coordinate"),
        (filters, {"dataset": "spirals"}, "does not take images"),
        (spectra, {"dataset": "spirals"}, "saw no network of 'spirals'"),
    ],
)
def test_figures_refuse_in_one_line(tiny, module, options, said):
    with pytest.raises(LayerwiseError, match=re.escape(said)) as error:
        module.draw(tiny, module.Options(**options))
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- tables


def test_the_accuracy_table(tiny):
    table = accuracy.make(tiny, accuracy.Options(control={"digits": "ridge"}))
    assert len(table) == sum(map(len, tiny.study.networks.values()))
    row = table.set_index(["dataset", "path"]).loc[("digits", "d4/ridge")]
    mean, half = tiny.interval("digits", "d4/ridge", "test_accuracy")
    assert (row["test"], row["test_half_width"]) == (mean, half)
    assert row["difference"] == pytest.approx(mean - tiny.interval("digits", "ridge", "test_accuracy")[0])
    assert (row["n"], row["method"], row["network"]) == (2, "dmn", "class PCA")
    assert row["parameters"] == 40 + 370
    own = table.set_index(["dataset", "path"]).loc[("digits", "ridge")]
    assert np.isnan(own["difference"])
    assert set(table["measure"]) == {"accuracy %", "mse"}


def test_without_controls_there_is_no_difference(tiny):
    table = accuracy.make(tiny, accuracy.Options(datasets=("sine",)))
    assert "difference" not in table
    assert set(table["dataset"]) == {"sine"}


def test_differences_are_paired_by_seed(tiny):
    gap, half = accuracy.difference(tiny, "digits", "r4/ridge", "ridge", "test_accuracy")
    fits = tiny.fits[tiny.fits["dataset"] == "digits"]
    mine, other = (
        fits[fits["path"] == p].sort_values("seed")["test_accuracy"].to_numpy() for p in ("r4/ridge", "ridge")
    )
    assert gap == pytest.approx((mine - other).mean())
    assert half == pytest.approx(12.7062 * (mine - other).std(ddof=1) / 2**0.5, rel=1e-4)


def test_the_controls_table(tiny):
    options = controls.Options({"random": {"digits/d4/ridge": "r4/ridge"}, "backprop": {"digits/d4/head": "c4+head"}})
    table = controls.make(tiny, options).set_index("network")
    assert list(table.index) == ["class PCA", "class PCA, <head>"]
    assert table.loc["class PCA", "random_control"] == "random"
    assert table.loc["class PCA", "backprop_control"] == ""
    assert np.isnan(table.loc["class PCA", "minus_backprop"])
    seconds = [tiny.interval("digits", p, "total_seconds")[0] for p in ("d4/head", "c4+head")]
    assert table.loc["class PCA, <head>", "seconds_over_backprop"] == pytest.approx(seconds[0] / seconds[1])


@pytest.mark.parametrize("name", ["accuracy", "controls"])
def test_a_table_is_written_for_machines_and_for_people(tiny, name):
    tables.make(tiny, tiny.study.tables[name])
    stem = home("tiny") / "tables" / name
    table = pd.read_csv(stem.with_suffix(".csv"))
    lines = stem.with_suffix(".md").read_text().splitlines()
    assert lines[0].startswith("| dataset | network |")
    assert len([line for line in lines if line.startswith("|")]) == len(table) + 2
    assert "half_width" not in lines[0]
    assert "±" in lines[2]
    assert lines[-1].startswith(("Mean ±", "Test value"))


def test_tables_refuse_unknown_controls(tiny):
    with pytest.raises(LayerwiseError, match="'x' is no network"):
        accuracy.make(tiny, accuracy.Options(control={"digits": "x"}))
    with pytest.raises(LayerwiseError, match="none of its data sets"):
        accuracy.make(tiny, accuracy.Options(datasets=("sine",), control={"digits": "ridge"}))
    with pytest.raises(LayerwiseError, match=r"'against' is \{\}: it must have 1 or more items"):
        controls.Options({})
    with pytest.raises(LayerwiseError, match="dataset/path"):
        controls.Options({"random": {"digits": "ridge"}})


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (97.123, 0.234, "97.12 ± 0.23"),
        (97.123, 2.34, "97.1 ± 2.3"),
        (97.1, 12.0, "97 ± 12"),
        (97.1234, 1e-14, "97.12 ± 0.00"),
        (0.0052, 0.00091, "0.0052 ± 0.0009"),
        (2.62e-4, 8.8e-4, "(2.62 ± 8.80)e-04"),
        (8.56e-5, 3.094e-3, "0.0001 ± 0.0031"),
        (8.56e-5, 3.094e-4, "(0.86 ± 3.09)e-04"),
        (2.84e-15, 0.208, "0.00 ± 0.21"),
        (-2.84e-15, 0.208, "0.00 ± 0.21"),
        (0.0, 2e-6, "(0.00 ± 2.00)e-06"),
        (97.1234, float("nan"), "97.12"),
        (float("nan"), float("nan"), ""),
    ],
)
def test_numbers_with_their_half_width(mean, half, text):
    assert _format.plus_minus(mean, half) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(52.0, "52"), (0.018, "0.018"), (2e-5, "2e-05"), (12345, "12,345"), (2342.0, "2,342"), (float("nan"), ""),
     ("a", "a"), (0.0, "0"), (99.17, "99.17"), (None, "")],
)  # fmt: skip
def test_numbers_alone(value, text):
    assert _format.number(value) == text


def test_markdown_keeps_a_bar_inside_its_cell():
    text = _format.markdown(pd.DataFrame({"a|b": ["c|d"]}))
    assert text.splitlines() == ["| a\\|b |", "| --- |", "| c\\|d |"]


def test_a_view_of_another_module_is_loaded(tiny):
    view = replace(tiny.study.figures["depth"], module="no_such_figure")
    with pytest.raises(LayerwiseError, match="no such figure"):
        figures.make(tiny, view)
