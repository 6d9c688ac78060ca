"""However a step fails under other options or other code, the next run goes on with what is owed.

Nothing of the older options may pass for new, and Snakemake may not say that there is nothing to be done.
"""

from __future__ import annotations

import json
import subprocess

import pytest

# Run by every Python that starts in the place: a step fails in the way that the file `sabotage` says.
SABOTAGE = """
import os, resource, signal, sys
from pathlib import Path

way, _, step = Path("sabotage").read_text().partition(" ") if Path("sabotage").exists() else ("", "", "")
if way and "layerwise" in sys.orig_argv and set(step.split()) <= set(sys.orig_argv):
    if way == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "terminated":
        os.killpg(os.getpgid(0), signal.SIGTERM)
        signal.pause()
    elif way == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    else:
        sys.exit("layerwise: refused")
"""
CHANGES = {
    "option": ("studies/tiny.yaml", "{method: ridge,", "{method: ridge, strengths: [1.0],"),
    "code": ("workflow/layerwise/methods/ridge.py", "range(-8, 0)", "range(-9, 0)"),
}
BELOW_THE_FITS = ["draw readout_depth", "hold tiny against the published values", "make table accuracy"]


@pytest.fixture
def place(workplace):
    (workplace.folder / "sitecustomize.py").write_text(SABOTAGE)
    environment = workplace.environment()
    workplace.environment = lambda: {**environment, "PYTHONPATH": f"{workplace.folder}:{environment['PYTHONPATH']}"}
    return workplace


def fail(place, way: str, step: str) -> None:
    """Run the study, and let a step of it fail."""
    (place.folder / "sabotage").write_text(f"{way} {step}")
    command = ["snakemake", "--cores", "2", "--", "tiny"]
    done = subprocess.run(
        command,
        cwd=place.folder,
        env=place.environment(),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # a signal to the group of the run is for it alone
    )
    (place.folder / "sabotage").unlink()
    assert done.returncode, done.stdout + done.stderr


def digest(place) -> str:
    return json.loads((place.node("d4/ridge") / "fit.json").read_text())["digest"]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("way", "change"),
    [
        ("killed", "option"),
        ("full", "option"),
        pytest.param("terminated", "option", marks=SLOW),
        pytest.param("refused", "option", marks=SLOW),
        *(pytest.param(way, "code", marks=SLOW) for way in ("killed", "terminated", "full", "refused")),
    ],
)
def test_a_fit_that_failed_is_owed(place, way, change):
    file, old, new = CHANGES[change]
    place.edit(old, new, file)
    fail(place, way, "fit d4/ridge")
    plan = place.plan("tiny")
    assert "fit d4/ridge on digits, seeds 0 1" in plan
    assert set(BELOW_THE_FITS) | {"gather the fits of tiny", "write the report of tiny"} <= set(plan)
    assert "fit mlp on digits, seeds 0 1" not in plan or change == "code"
    if way == "killed":
        before = digest(place)
        place.snakemake("--", "tiny")
        assert digest(place) != before
        assert digest(place) in place.results("fits.csv").read_text()
        assert place.plan("tiny") == []


@pytest.mark.parametrize(
    ("step", "owed"),
    [
        pytest.param("fits", "gather the fits of tiny", marks=SLOW),
        ("table accuracy", "make table accuracy"),
    ],
)
def test_what_comes_after_the_fits_is_owed_too(place, step, owed):
    file, old, new = CHANGES["option"]
    place.edit(old, new, file)
    fail(place, "killed", step)
    assert {owed, "write the report of tiny"} <= set(place.plan("tiny"))
    place.snakemake("--", "tiny")
    assert digest(place) in place.results("fits.csv").read_text()
    assert place.plan("tiny") == []


@pytest.mark.slow
def test_options_that_come_back_after_a_failure_are_right_too(place):
    """Where a refit failed half way, what was fitted under the old options is made again."""
    file, old, new = CHANGES["option"]
    before = digest(place)
    place.edit(old, new, file)
    place.layerwise("fit", "studies/tiny.yaml", "digits", "d4/ridge", "--seeds", "0", "--device", "cpu")
    assert digest(place) != before
    fail(place, "killed", "fit d4/ridge")
    place.edit(new, old, file)
    place.snakemake("--", "tiny")
    assert digest(place) == before
    assert before in place.results("fits.csv").read_text()


def test_a_run_without_snakemakes_memory_takes_nothing_old_for_new(place):
    file, old, new = CHANGES["option"]
    subprocess.run(["rm", "-r", str(place.folder / ".snakemake")], check=True)
    place.edit(old, new, file)
    assert "gather the fits of tiny" in place.plan("tiny")
    place.snakemake("--", "tiny", check=False)  # finds fits that are not those asked for, and says so
    place.snakemake("--", "tiny")
    assert digest(place) in place.results("fits.csv").read_text()
    assert json.loads((place.node("d4/ridge") / "fit.json").read_text())["options"]["strengths"] == [1.0]


@pytest.mark.parametrize("quiet", [[], ["--quiet", "all"]], ids=["plain", "quiet"])
def test_what_a_job_said_is_shown_and_in_its_log(place, quiet):
    """Once, in every way of running: DVC runs Snakemake quietly."""
    place.edit("conv 3 4", "conv 3 5000")
    said = place.snakemake(*quiet, "--", place.marker("d4"), check=False)
    lines = [line for line in said.splitlines() if line.startswith("layerwise: network digits/seed0/d4: ")]
    assert len(lines) == 1, said
    assert lines[0] in (place.folder / "logs/tiny/fit/digits/seeds/d4.log").read_text().splitlines()
    assert "Traceback" not in said
