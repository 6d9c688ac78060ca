"""The wheel: what pip installs, with nothing but what the wheel asks for, runs a study in another folder.

One of the default tests: `.ci/run` builds, installs and tries the wheel by `make test`.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement

from places import ROOT, TINY

PACKAGE = ROOT / "workflow" / "layerwise"
STUDY = TINY + "published: {thesis: [fig7.4]}\n"
AFTERWARDS = """
import layerwise, pathlib, sys
from sklearn.datasets import load_digits
from layerwise.__main__ import main
from layerwise.estimators import DensityMatrixTransformer, RidgeReadoutClassifier
from layerwise.use import load_network

assert pathlib.Path(layerwise.__file__).is_relative_to(sys.prefix), layerwise.__file__
assert main(["predict", "tiny.yaml", "digits", "mlp", "new.csv"]) == 0
assert main(["export", "tiny.yaml", "digits", "mlp", "net.safetensors"]) == 0
network = load_network("net.safetensors")
x, y = load_digits(return_X_y=True)
print("classes", *network.labels(network.scores(network.read("new.csv"))))
z = DensityMatrixTransformer(layers=("conv 3 8", "relu", "maxpool 2"), image_shape=(1, 8, 8)).fit(x, y).transform(x)
print("accuracy", RidgeReadoutClassifier().fit(z[:1000], y[:1000]).score(z[1000:], y[1000:]))
assert main(["show"]) == main(["golden", "--check"]) == 0
"""


def run(*command: str | Path, where: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with no way to the packages of this environment."""
    free = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=where,
        env={**free, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what the build reads, so that nothing is left in this folder."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(PACKAGE, folder / "workflow" / "layerwise", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", ".", *offline, "--wheel-dir", "dist", where=folder)
    (built,) = (folder / "dist").glob("layerwise-*.whl")
    return built


def distributions(*required: str, seen: set[str] | None = None) -> set[str]:
    """Return the installed packages that requirements ask for, directly or through another."""
    seen = set() if seen is None else seen
    for requirement in map(Requirement, required):
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in seen:
            seen.add(requirement.name)
            distributions(*(importlib.metadata.requires(requirement.name) or ()), seen=seen)
    return seen


@pytest.fixture(scope="module")
def place(wheel) -> Path:
    """A folder beside an environment ``env`` that holds the wheel and what it asks for, and nothing else.

    The packages that it asks for are links to those of this environment, as no network is needed then.
    """
    folder = wheel.parents[1] / "elsewhere"
    venv.create(folder / "env", symlinks=True)
    (site,) = folder.glob("env/lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", folder / "env", "install", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--no-index", wheel, where=folder)
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = (
            importlib.metadata.PathDistribution(zipfile.Path(opened, name.removesuffix("METADATA"))).requires or []
        )
        for package in distributions(*metadata):
            for file in importlib.metadata.files(package) or ():
                top = site / file.parts[0]
                if file.parts[0] not in ("..", "__pycache__") and not top.exists():
                    top.symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / file.parts[0])
    (folder / "tiny.yaml").write_text(STUDY)
    np.savetxt(folder / "new.csv", np.eye(64)[:3] * 16, delimiter=",")
    return folder


def test_the_wheel_holds_every_file_of_the_package(wheel):
    """Code and data alike: schemas, published values, golden digests, the report's page, style and script."""
    there = {p.relative_to(PACKAGE.parent).as_posix() for p in PACKAGE.rglob("*") if p.is_file()}
    there = {name for name in there if "__pycache__" not in name and not Path(name).name.startswith(".")}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("layerwise/")}
    assert packed == there
    data = {name for name in packed if not name.endswith(".py")}
    for name in ("results/published.csv", "golden/revisions.json", "golden/digests.json", "schemas/study.schema.yaml"):
        assert f"layerwise/{name}" in data
    assert {f"layerwise/report/{name}" for name in ("page.html", "style.css", "page.js")} <= data


def test_an_installed_wheel_runs_a_study_from_another_folder(place):
    assert not list(place.glob("env/lib/python*/site-packages/snakemake*"))
    run(
        place / "env/bin/layerwise",
        "all",
        "tiny.yaml",
        "--seeds",
        "0",
        "--device",
        "cpu",
        "--threads",
        "1",
        where=place,
    )
    assert (place / "results/tiny/report.html").read_text().rstrip().endswith("</html>")
    assert len(pd.read_csv(place / "results/tiny/verdicts.csv")) > 0
    assert len(pd.read_csv(place / "results/tiny/fits.csv")) == 3
    said = run(place / "env/bin/python", "-c", AFTERWARDS, where=place).stdout.splitlines()
    rows = [line.split(",") for line in said[: 1 + 3]]
    assert rows[0][-2:] == ["class", "score"]
    assert ["classes", *(row[-2] for row in rows[1:])] in [line.split() for line in said]
    (accuracy,) = (float(line.split()[1]) for line in said if line.startswith("accuracy"))
    assert accuracy > 0.9
    assert any(line.startswith("method sgd: ") for line in said)
