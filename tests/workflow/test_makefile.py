"""What make does with the name of a study that it is given: it goes into commands, and into `rm -rf`."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from places import ROOT

WORDS = [
    "a b",
    "../other",
    "..",
    ".",
    "",
    "/",
    "*",
    "quick; touch ran",
    "$(shell touch ran)",
    "$(touch ran)",
    "`touch ran`",
]
WORDS += ["a\nb", "quick'", '"', "${HOME}", "$$(touch ran)", "a/b", "é", "-n x"]


@pytest.fixture
def place(tmp_path):
    """A folder with results, a Makefile, and an environment that is not made anew."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("results/quick/x", "results/other/x", "logs/quick/x", "other/x", "studies/quick.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("requirements.lock", "pyproject.toml", ".venv/bin/snakemake", ".venv/installed"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv/bin/snakemake").write_text(SNAKEMAKE)
    (tmp_path / ".venv/bin/snakemake").chmod(0o755)
    return tmp_path


SNAKEMAKE = """#!/bin/bash
case "${@: -1}" in
  broken) echo "Building"; echo "layerwise: studies/broken.yaml: networks: missing"; exit 1;;
  *) printf 'Job stats:\\njob count\\n---\\nfit 3\\n\\nmore\\n';;
esac
"""


# Where these tests are run by make, its own words are in the environment: a lone make has none.
OWN = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "STUDY")}


def make(place, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(command, cwd=place, env={**OWN, **environment}, capture_output=True, text=True, check=False)


def files(place) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("given", ["argument", "environment"])
@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("target", ["clean", "run", "adopt"])
def test_a_word_that_names_no_study_is_refused(place, target, word, given):
    before = files(place)
    done = make(place, target, f"STUDY={word}") if given == "argument" else make(place, target, STUDY=word)
    assert done.returncode, done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("layerwise: STUDY="), done.stderr
    assert "name one study" in lines[0]
    assert files(place) == before


def test_clean_takes_one_study_and_no_other(place):
    assert make(place, "clean", "STUDY=quick").returncode == 0
    assert {"results/other/x", "other/x", "studies/quick.yaml"} <= files(place)
    assert not {"results/quick/x", "logs/quick/x"} & files(place)


def test_a_study_that_is_not_there_is_one_line(place):
    done = make(place, "run", "STUDY=quik")
    assert done.returncode
    assert done.stderr.splitlines()[0] == "layerwise: STUDY=quik: no file studies/quik.yaml; there are: quick.yaml"


@pytest.mark.parametrize("known", [True, False], ids=["of the repository", "a draft"])
def test_a_broken_draft_stops_no_dry_run(place, known):
    (place / "studies/broken.yaml").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    subprocess.run(["git", "add", *(["studies"] if known else ["studies/quick.yaml"])], cwd=place, check=True)
    done = make(place, "dry-run")
    assert bool(done.returncode) == known, done.stderr
    assert "layerwise: studies/broken.yaml: networks: missing" in done.stdout.splitlines()
    assert ("a draft, skipped:" in done.stdout) != known
    assert "== quick\nJob stats:\njob count\n---\nfit 3\n" in done.stdout  # it goes on after the broken one
    assert not (place / ".dry-run.log").exists()
