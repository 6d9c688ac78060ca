"""Places in which a tiny study has been run, made once; a test that changes something takes a copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from layerwise import environment, store
from places import TINY, Lab, Workplace, copied, make

environment.same_instructions()  # as the verbs do, in this process and in those that tests start


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which the study has been run. Tests that change something take `workplace`, a copy."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # then it is made once for all workers
        base = base.parent
    with store.alone(base, wait=True):
        if not (base / "made" / "run.log").exists():
            shutil.rmtree(base / "made", ignore_errors=True)
            said = make(base / "made").snakemake("--verbose", "--", "tiny")
            (base / "made" / "run.log").write_text(said)
    return Workplace(base / "made")


@pytest.fixture
def workplace(made: Workplace, tmp_path: Path) -> Workplace:
    """A copy of the workplace in which the study has been run."""
    return Workplace(copied(made, tmp_path / "place"))


@pytest.fixture
def empty(tmp_path: Path) -> Workplace:
    """A workplace in which nothing has been run."""
    return make(tmp_path / "place")


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The study run on one seed by the verbs, up to fits.csv. Tests that change something take `lab`, a copy."""
    lab = Lab(tmp_path_factory.mktemp("fitted"))
    lab.write(TINY)
    lab.must("dataset", "digits")
    for path in ("mlp", "d4", "d4/ridge"):
        lab.must("fit", "digits", path)
        if path == "d4":
            lab.must("represent", "digits", path)
    lab.must("probe", "lsd", "digits")
    lab.must("fits")
    return lab


@pytest.fixture
def lab(fitted: Lab, tmp_path: Path) -> Lab:
    """A copy of the place in which the verbs have been run."""
    return Lab(copied(fitted, tmp_path / "lab"))
