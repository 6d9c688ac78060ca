"""A workplace for real Snakemake runs: a copy of the code with a tiny study, so that a test may edit anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TINY = """
title: Tiny
seeds: 2
seeds_together: true
datasets:
  digits: {source: digits, valid: 0.2}
segments:
  mlp: {method: sgd, layers: [dense 16, relu, dense outputs], epochs: 2}
  d4: {method: dmn, layers: [conv 3 4, relu, maxpool 2]}
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: {mlp: backprop, d4/ridge: class PCA}
probes:
  lsd: {}
tables:
  accuracy: {}
figures:
  readout_depth: {dataset: digits}
"""


class Workplace:
    """A folder with the Snakefile, the package and the study `tiny`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder / "workflow"), "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, check: bool = True, **more) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False, **more
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def snakemake(self, *words: str, check: bool = True) -> str:
        """Run Snakemake; returns what it printed."""
        done = self.run("snakemake", "--cores", "2", *words, check=check)
        return done.stdout + done.stderr

    def layerwise(self, *words: str, check: bool = True, **more) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "layerwise", *words, check=check, **more)

    def results(self, *parts: str) -> Path:
        return self.folder.joinpath("results", "tiny", *parts)


def make(folder: Path) -> Workplace:
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, folder / name, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
    (folder / "studies").mkdir()
    (folder / "studies" / "tiny.yaml").write_text(TINY)
    (folder / "config.yaml").write_text("study: tiny\ndevice: cpu\n")
    return Workplace(folder)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which the study has been run. Tests that change something take `workplace`, a copy."""
    place = make(tmp_path_factory.mktemp("made"))
    place.snakemake("--quiet", "all", "--", "tiny")
    return place


@pytest.fixture
def workplace(made: Workplace, tmp_path: Path) -> Workplace:
    """A copy of the workplace in which the study has been run, times and Snakemake's memory with it."""
    shutil.copytree(made.folder, tmp_path / "place", symlinks=True)
    return Workplace(tmp_path / "place")


@pytest.fixture
def empty(tmp_path: Path) -> Workplace:
    """A workplace in which nothing has been run."""
    (tmp_path / "place").mkdir()
    return make(tmp_path / "place")
