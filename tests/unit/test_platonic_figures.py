"""The figures of the Platonic study on a tiny one: layers repeated by the hundred, and points with their labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fitted

from layerwise import figures
from layerwise.errors import LayerwiseError
from layerwise.figures import augmented, layer_errors
from layerwise.results import collect
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file

SMALL = {"samples": 80, "test_samples": 40}
DEEP = [{"repeat": 60, "layers": ["dense 6", "tanh"]}, "dense outputs"]
RAW = {
    "name": "tinyplato",
    "title": "Tiny Platonic",
    "seeds": 2,
    "readouts": False,
    "datasets": {
        "sine": {"source": "toys", "problem": "sinusoid", **SMALL},
        "wave": {"source": "toys", "problem": "wave", **SMALL},
        "halves": {"source": "toys", "problem": "halves", **SMALL},
    },
    "segments": {
        "deep": {"method": "platonic", "layers": DEEP},
        "deep_5": {"method": "platonic", "tries": 5, "layers": DEEP},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
    },
    "networks": {"sine": {"deep": "1", "deep_5": "5", "ridge": "r"}, "wave": ["deep"], "halves": ["ridge"]},
    "figures": {
        "errors": {
            "figure": "layer_errors",
            "panels": {"six": {"1 try": "sine/deep", "5 tries": "sine/deep_5"}, "wave": {"1 try": "wave/deep"}},
        },
        "plain": {"figure": "augmented", "datasets": ["halves", "wave"]},
        "axes": {"figure": "augmented", "datasets": ["wave"], "components": True},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("tinyplato"), "tinyplato", RAW)


@pytest.fixture
def plato(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    monkeypatch.chdir(folder)
    return StudyResults(study_file.load("tinyplato.json"))


def drawn(results_, name):
    module, options = figures.opened(results_.study.figures[name])
    return module.draw(results_, options)


@pytest.mark.parametrize("name", RAW["figures"])
def test_a_figure_is_made_with_a_caption(plato, name):
    view = plato.study.figures[name]
    figures.make(plato, view)
    module, options = figures.opened(view)
    caption = module.caption(plato, options)
    assert "results/tinyplato/" in caption
    assert plato.machines[0] in caption


def test_repeated_layers_are_layers_and_are_said_once(plato):
    segment = plato.study.segment("deep")
    assert segment.layers == ("dense 6", "tanh") * 60 + ("dense outputs",)
    told = plato.fits.set_index("path").loc["deep", "layers"]
    assert set(told) == {"60 x (dense 6, tanh), dense 1"}


def test_layer_errors_are_those_that_the_fits_recorded(plato):
    six, wave = drawn(plato, "errors").axes
    shown = {line.get_label(): line for line in six.get_lines()}
    assert list(shown) == ["1 try", "5 tries"]
    recorded = [r["record"]["input_error"] for n, r in plato.records.items() if str(n).endswith("/deep_5")]
    assert len(recorded) == 2
    np.testing.assert_allclose(shown["5 tries"].get_ydata(), np.mean(recorded, axis=0))
    np.testing.assert_allclose(shown["5 tries"].get_xdata(), np.arange(1, 62))
    assert six.get_yscale() == wave.get_yscale() == "log"
    fits = plato.fits[plato.fits["path"] == "deep_5"]
    np.testing.assert_allclose(sorted(fits["least_layer_error"]), sorted(min(r) for r in recorded))
    assert plato.fits.loc[plato.fits["path"] == "ridge", "least_layer_error"].isna().all()


def test_thousands_of_layers_are_thinned(plato, monkeypatch):
    monkeypatch.setattr(layer_errors, "POINTS", 20)
    assert len(drawn(plato, "errors").axes[0].get_lines()[0].get_xdata()) == 16  # every fourth of 61


def test_the_directions_are_of_the_augmented_points():
    """For labels on both sides of a line, w* is its normal, and two components lean to it (thesis figure 7.12)."""
    x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    labels = (x[:, 1] > x[:, 0]).long().numpy()
    signs = torch.from_numpy(2.0 * labels - 1)[:, None]
    found = augmented.directions(x.numpy(), labels, signs)
    whole = np.column_stack([x, signs])
    right = np.linalg.svd((whole - whole.mean(0)) / whole.std(0), full_matrices=False)[2]
    for i in range(3):
        vector, _ = found[f"component {i + 1}"]
        np.testing.assert_allclose(np.abs(vector @ right[i]), 1, rtol=1e-9)
    normal = found["w*"][0]
    np.testing.assert_allclose(normal, [-(0.5**0.5), 0.5**0.5, 0], atol=0.05)
    first = found["component 1"][0][:2]
    assert abs(first @ normal[:2]) / np.linalg.norm(first) > 0.95


def test_points_are_beside_their_augmented_selves(plato):
    flat, deep, *_ = drawn(plato, "plain").axes
    assert flat.name == "rectilinear"
    assert deep.name == "3d"
    heights = deep.collections[0]._offsets3d[2]
    assert set(np.asarray(heights).tolist()) == {-1, 1}
    assert len(drawn(plato, "axes").axes) == 4
    assert len(drawn(plato, "axes").axes[1].get_lines()) == 4


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (layer_errors, {"panels": {}}, "'panels' is {}: it must have 1 or more items"),
        (layer_errors, {"panels": {"a": {"b": "sine/ridge"}}}, "sine/ridge records no errors"),
        (layer_errors, {"panels": {"a": {"b": "sine/deeep"}}}, "'deeep' is no network"),
        (augmented, {"datasets": ()}, "'datasets' is []: it must have 1 or more items"),
        (augmented, {"datasets": ("sine",)}, "'sine' is not points in the plane with two classes"),
    ],
)
def test_figures_refuse_in_one_line(plato, module, options, said):
    with pytest.raises(LayerwiseError, match=re.escape(said)):
        module.draw(plato, module.Options(**options))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dense 16", "celu"] * 10_000 + ["dense 1"], "10,000 x (dense 16, celu), dense 1"),
        (["a"] * 5 + ["b"], "5 x (a), b"),
        (["a", "a", "b"], "a, a, b"),
        ((["a"] * 3 + ["b"]) * 4, "4 x (a, a, a, b)"),
        ([], ""),
    ],
)
def test_words_in_brief(words, told):
    assert collect.in_brief(words) == told
