"""What is made anew after a change: what stands on it, and nothing else."""

from __future__ import annotations

import os
import time

import pytest

from places import Workplace, copied

SEEDS = ", seeds 0 1"
BELOW_THE_FITS = [
    "draw readout_depth",
    "gather the fits of tiny",
    "hold tiny against the published values",
    "make table accuracy",
    "write the report of tiny",
]


PROBE = "probe lsd on digits" + SEEDS


def fits(*paths: str) -> list[str]:
    return [f"fit {path} on digits{SEEDS}" for path in paths]


@pytest.fixture(scope="module")
def place(made, tmp_path_factory):
    """A copy that the dry runs of this module share; each puts back what it edits."""
    return Workplace(copied(made, tmp_path_factory.mktemp("rerun") / "place"))


@pytest.fixture
def editing(place):
    """Edit files, for the length of a test, times and all."""
    kept = {}

    def edit(file, change):
        path = place.folder / file
        kept.setdefault(path, (path.read_text(), path.stat()))
        path.write_text(change(path.read_text()))
        later = time.time() + 10
        os.utime(path, (later, later))

    yield edit
    for path, (text, stat) in kept.items():
        path.write_text(text)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


REPRESENT = "represent digits by d4" + SEEDS


def test_an_edited_method_fits_its_own_segments_and_what_stands_on_them(place, editing):
    editing("workflow/layerwise/methods/dmn.py", lambda text: text + "\nEDITED = 1\n")
    assert place.plan("tiny") == sorted([*fits("d4", "d4/ridge"), REPRESENT, PROBE, *BELOW_THE_FITS])


def test_a_plan_says_how_many_fits_it_makes_and_makes_anew(place, editing):
    told = "layerwise: study tiny: "
    assert told + "6 fits: 6 up to date\n" in place.snakemake("--dry-run", "--quiet", "all", "--", "tiny")
    editing("workflow/layerwise/methods/dmn.py", lambda text: text + "\nEDITED = 1\n")
    editing("studies/tiny.yaml", lambda text: text.replace("seeds: 2", "seeds: 3"))
    said = place.snakemake("--dry-run", "--quiet", "all", "--", "tiny")
    counts = "9 fits: 3 to run, 4 to rerun (options, code or data changed), 2 up to date; those to run took "
    assert said.count(told) == 1
    assert told + counts in said


def test_a_touched_method_or_a_comment_fits_nothing(place, editing):
    editing("workflow/layerwise/methods/dmn.py", lambda text: text + "\n# an edit\n")
    editing("workflow/layerwise/layers/build.py", lambda text: text)
    assert place.plan("tiny") == []


def test_another_option_fits_that_segment_and_what_stands_on_it(place, editing):
    editing("studies/tiny.yaml", lambda text: text.replace("{method: ridge,", "{method: ridge, strengths: [1.0],"))
    assert place.plan("tiny") == sorted([*fits("d4/ridge"), PROBE, *BELOW_THE_FITS])


def test_another_option_of_a_figure_draws_that_figure(place, editing):
    editing("studies/tiny.yaml", lambda text: text.replace("{dataset: digits}", "{dataset: digits, measure: test_mse}"))
    assert place.plan("tiny") == ["draw readout_depth", "write the report of tiny"]


def test_an_edited_figure_is_drawn_anew(place, editing):
    editing("workflow/layerwise/figures/readout_depth.py", lambda text: text + "\nEDITED = 1\n")
    assert place.plan("tiny") == ["draw readout_depth", "write the report of tiny"]


def test_another_split_of_the_data_makes_all_anew(place, editing):
    editing("studies/tiny.yaml", lambda text: text.replace("valid: 0.2", "valid: 0.3"))
    assert place.plan("tiny") == sorted(
        ["prepare data set digits", *fits("mlp", "d4", "d4/ridge"), REPRESENT, PROBE, *BELOW_THE_FITS]
    )


def test_one_more_network_leaves_the_others_alone(place, editing):
    editing(
        "studies/tiny.yaml", lambda text: text.replace("d4/ridge: class PCA}", "d4/ridge: class PCA, ridge: pixels}")
    )
    assert place.plan("tiny") == sorted([*fits("ridge"), PROBE, *BELOW_THE_FITS])


def test_a_study_that_is_broken_stops_no_other(place, editing, tmp_path):
    """Nor is it read: nothing of it is asked for."""
    (place.folder / "studies" / "broken.yaml").write_text("title: [")
    (place.folder / "studies" / ".#tiny.yaml").write_text("a lock of an editor's")
    (place.folder / "studies" / "fits.yaml").write_text("title: called as a rule is")
    try:
        assert place.plan("tiny") == []
        said = place.snakemake("--dry-run", "--", "broken", check=False)
        assert "layerwise: studies/broken.yaml: line" in said
        assert "Traceback" not in said
    finally:
        for name in ("broken", ".#tiny", "fits"):
            (place.folder / "studies" / f"{name}.yaml").unlink()


def test_another_description_writes_the_report_alone(place, editing):
    editing("studies/tiny.yaml", lambda text: text + "description: A few words.\n")
    assert place.plan("tiny") == ["write the report of tiny"]


def test_the_place_is_as_it_was(place):
    """What the tests above stand on: they put everything back."""
    assert place.plan("tiny") == []
