"""Figures and table of thesis chapter 5: what they show are the numbers that probes, fits and data hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import fitted
from tinydmn import lines

from layerwise.contract import Task
from layerwise.errors import LayerwiseError
from layerwise.figures import input_gradients, lens, planes, pure_cells, unit_classes
from layerwise.layers import build as layers
from layerwise.maths.neighbours import pure_map
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file
from layerwise.tables import by_depth

TINY = {
    "title": "Lenses",
    "seeds": 2,
    "datasets": {
        "digits": {"source": "digits", "subset": 100, "test_subset": 100},
        "board": {"source": "toys", "problem": "checkerboard", "samples": 200, "test_samples": 50},
        "wave": {"source": "waves", "samples": 120, "test_samples": 50},
        "away": {"source": "digits", "subset": 100, "test_subset": 100},
    },
    "segments": {
        "net": {"method": "sgd", "batch": 25, "epochs": 2, "layers": ["dense 6", "relu", "dense outputs"]},
        "few": {"method": "sgd", "batch": 25, "epochs": 2, "layers": ["dense 6", "relu", "dense outputs"],
                "selects": {"selection": "random", "keep": 0.5}},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
    },
    "networks": {"digits": ["net"], "board": ["net", "few"], "wave": ["ridge"], "away": ["net"]},
    "leave_out": {"away": "another machine has it"},
    "probes": {
        "redundancy": {"networks": ["digits/net", "away/net"], "k": [2, 3], "every": 4},
        "selections": {"networks": ["digits/net", "away/net"], "every": 4},
        "components": {"networks": ["digits/net", "away/net"]},
        "cells": {"networks": ["digits/net", "board/net"]},
        "lsd": {"networks": ["digits/net", "board/few"]},
    },
    "figures": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("lenses"), "lenses", TINY)


@pytest.fixture
def results(folder, monkeypatch) -> StudyResults:
    monkeypatch.chdir(folder)
    return StudyResults(study_file.load("lenses.json"))


def test_a_lens_shows_means_over_the_seeds(results):
    options = lens.Options("redundancy", "redundancy", lines="step", where={"k": 2})
    figure = lens.draw(results, options)
    table = results.probe("redundancy")
    shown = lines(figure.axes[0])
    assert list(shown) == ["step 0", "step 4", "step 8"]
    for step in (0, 4, 8):
        mine = table[(table["k"] == 2) & (table["step"] == step)]
        np.testing.assert_allclose(shown[f"step {step}"].get_ydata(), mine.groupby("depth")["redundancy"].mean())
    assert [t.get_text() for t in figure.axes[1].texts] == ["not run"]
    assert "Not run: away" in lens.caption(results, options)


def test_a_lens_of_one_line_is_a_mean_over_all_else(results):
    figure = lens.draw(results, lens.Options("selections", "entropy", x="step", networks=("digits/net",)))
    (line,) = lines(figure.axes[0]).values()
    table = results.probe("selections")
    expected = table.groupby(["seed", "step"])["entropy"].mean().groupby("step").mean()
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_bars_are_the_classes_that_a_unit_selects(results):
    figure = unit_classes.draw(results, unit_classes.Options("digits/net", 1, units=(1, 3), seed=1))
    assert len(figure.axes) == 6
    table = results.probe("selections").query("seed == 1 and depth == 1 and unit == 3 and step == 8").iloc[0]
    heights = [bar.get_height() for bar in figure.axes[5].patches]
    assert heights == [table[f"class_{i}"] for i in range(10)]
    assert figure.axes[5].get_title() == f"step 8\nH = {table['entropy']:.2f} bits"


def test_dots_are_the_places_along_the_components(results):
    figure = planes.draw(results, planes.Options("digits/net", depths=(0, 2)))
    table = results.probe("components").query("seed == 0 and depth == 2")
    dots = np.concatenate([c.get_offsets() for c in figure.axes[1].collections])
    expected = table.sort_values("class", kind="stable")[["first", "second"]]
    np.testing.assert_allclose(dots, expected)


def test_the_map_has_the_cells_of_its_title(results):
    figure = pure_cells.draw(results, pure_cells.Options(("wave",)))
    data = results.data("wave").train
    found = pure_map(data.x, data.y)
    points, cells = figure.axes
    assert len(points.collections[0].get_offsets()) == 120
    assert cells.get_title() == f"{len(found.centres)} cells\nentropy {found.entropy:.2f} bits"
    np.testing.assert_allclose(cells.collections[0].get_offsets(), data.x[found.centres])
    colours = np.unique(cells.get_images()[0].get_array().reshape(-1, 3), axis=0)
    assert len(colours) == len(found.centres)


def test_gradients_in_input_space_are_those_of_finite_differences():
    torch.manual_seed(0)
    network = layers.build(["dense 5", "tanh", "dense outputs"], (2,), 1)[0].double()
    x, y = torch.randn(7, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    slope = input_gradients.gradients(network, x, y, Task("signs", 1, ("-", "+")))

    def losses(at):
        with torch.no_grad():
            return torch.nn.functional.softplus(-(2 * y[:, None] - 1) * network(at))[:, 0]

    for i in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[i] = 1e-6
        torch.testing.assert_close(slope[:, i], (losses(x + step) - losses(x - step)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_a_network_that_answers_the_same_everywhere_has_no_arrows(results, monkeypatch, recwarn):
    monkeypatch.setattr(input_gradients, "gradients", lambda network, x, y, task: torch.zeros_like(x))
    arrows = input_gradients.draw(results, input_gradients.Options("board", arrows=30)).axes[1]
    assert not arrows.collections
    assert [text.get_text() for text in arrows.texts] == ["0 everywhere"]
    assert not recwarn.list


def test_the_points_are_those_that_a_fit_kept(results):
    figure = input_gradients.draw(results, input_gradients.Options("board", arrows=30))
    assert [ax.get_title().split("\n")[1] for ax in figure.axes[::2]] == ["200 points", "100 points"]
    assert len(figure.axes[1].collections[0].get_offsets()) == 30


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (lens, {"probe": "redundancy", "column": "redundancy", "where": {"k": 9}}, "saw nothing where k is 9"),
        (lens, {"probe": "redundancy", "column": "redundance"}, "no column 'redundance'; did you mean 'redundancy'"),
        (unit_classes, {"network": "digits/net", "depth": 9}, "no unit 1 at depth 9"),
        (unit_classes, {"network": "digits/net", "depth": 1, "units": (40,)}, "no unit 40 at depth 1"),
        (planes, {"network": "digits/net", "depths": (7,)}, "saw no depth 7"),
        (pure_cells, {"datasets": ("digits",)}, "not points in the plane"),
        (input_gradients, {"dataset": "digits"}, "not points in the plane"),
    ],
)
def test_figures_refuse_in_one_line(results, module, options, said):
    with pytest.raises(LayerwiseError, match=said) as caught:
        module.draw(results, module.Options(**options))
    assert "\n" not in str(caught.value)


def test_what_is_left_out_is_said(results):
    for module, options in (
        (unit_classes, unit_classes.Options("away/net", 1)),
        (planes, planes.Options("away/net")),
    ):
        assert [t.get_text() for t in module.draw(results, options).axes[0].texts] == ["not run"]
        assert "Not run: away" in module.caption(results, options)


def test_what_probes_saw_stands_side_by_side_by_depth(results):
    columns = {"LSD": "lsd/train_lsd", "cells": "cells/cells", "redundant": "redundancy/redundancy"}
    table = by_depth.make(results, by_depth.Options(columns, where={"k": 2, "step": 0}))
    networks = [("digits", "net"), ("board", "few"), ("board", "net")]
    assert list(dict.fromkeys(zip(table["dataset"], table["path"], strict=True))) == networks
    for (dataset, path), rows in table.groupby(["dataset", "path"]):
        assert list(rows["depth"]) == [0, 1, 2]
        for name, named in columns.items():
            probe, column = named.split("/")
            seen = results.probe(probe)
            seen = seen[(seen["dataset"] == dataset) & (seen["path"] == path) & (seen["depth"] == 1)]
            for key, value in {"k": 2, "step": 0}.items():
                seen = seen[seen[key] == value] if key in seen else seen
            mine = rows[rows["depth"] == 1].iloc[0]
            assert mine["n"] == 2
            np.testing.assert_equal(mine[name], seen[column].mean() if len(seen) else np.nan)
    assert np.isfinite(table[table["path"] == "few"]["LSD_half_width"]).all()


def test_a_column_or_a_probe_that_is_not_there_is_named(results, tmp_path):
    with pytest.raises(LayerwiseError, match=r"probe lsd has no column 'train_lds'; did you mean 'train_lsd'\?"):
        by_depth.make(results, by_depth.Options({"LSD": "lsd/train_lds"}))
    with pytest.raises(LayerwiseError, match="table by_depth: 'cells/stage': 'stage' holds no numbers: name one of"):
        by_depth.make(results, by_depth.Options({"a": "cells/stage"}))
    with pytest.raises(LayerwiseError, match="figure lens: 'stage' holds no numbers: name one of"):
        lens.draw(results, lens.Options("cells", "stage"))
    with pytest.raises(LayerwiseError, match="option 'seed' is 9: the study fits digits/net with 0, 1"):
        planes.draw(results, planes.Options("digits/net", seed=9))
    (tmp_path / "odd.json").write_text(
        json.dumps(TINY | {"tables": {"sides": {"table": "by_depth", "columns": {"LSD": "lds/train_lsd"}}}})
    )
    with pytest.raises(LayerwiseError, match="'sides': no probe 'lds'; did you mean 'lsd'"):
        study_file.load(str(tmp_path / "odd.json"))
