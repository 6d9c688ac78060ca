"""One SLURM for all tests of this folder, and places in which a small study runs on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from loopback import Job, Slurm

from layerwise import environment
from places import Workplace, copied, make

environment.same_instructions()  # as jobs do: fits in this process are to give their bytes

STUDY = """
title: Small
seeds: 1
datasets:
  digits: {source: digits, valid: 0.2}
segments:
  mlp: {method: sgd, layers: [dense 16, relu, dense outputs], epochs: 40}
  d4: {method: dmn, layers: [conv 3 4, relu, maxpool 2]}
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: {mlp: backprop, d4/ridge: class PCA}
"""

# The executor looks ten seconds later each time that it finds no job at its end.
EVERY_SECOND = """
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
"""


class Cluster(Workplace):
    """A place whose Snakemake submits to SLURM, by the profile that users get."""

    words = ("--workflow-profile", "profiles/slurm", "--latency-wait", "20", "--slurm-status-command", "squeue")

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        super().__init__(folder)
        self.slurm = slurm
        self.before = len(slurm.jobs)

    def snakemake(self, *words: str, check: bool = True) -> str:
        done = self.run("snakemake", *self.words, *words, check=check)
        assert check or done.returncode, "Snakemake was expected to fail"
        return done.stdout + done.stderr

    @property
    def jobs(self) -> list[Job]:
        """What SLURM has on record of the jobs of this place."""
        return self.slurm.jobs[self.before :]

    def states(self, *fields: str) -> list[tuple[str, ...]]:
        return [tuple(job[field] for field in ("JobState", *fields)) for job in self.jobs]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory):
    if hindrance := Slurm.hindrance():
        pytest.skip(f"no SLURM: {hindrance}")
    slurm = Slurm(tmp_path_factory.mktemp("slurm") / "of")
    slurm.start()
    yield slurm
    slurm.stop()


@pytest.fixture(scope="session")
def made(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The study, run on SLURM, with a GPU a fit. Tests that change something take `place`, a copy."""
    folder = make(tmp_path_factory.mktemp("made") / "place").folder
    shutil.rmtree(folder / "studies")
    place = Cluster(folder, slurm)
    place.write(STUDY)
    with (folder / "Snakefile").open("a") as snakefile:
        snakefile.write(EVERY_SECOND)
    place.said = place.snakemake("--set-resources", "node:gpu=1", "--", "tiny")
    place.ran = place.jobs
    return place


@pytest.fixture
def place(made: Cluster, tmp_path: Path) -> Cluster:
    return Cluster(copied(made, tmp_path / "place"), made.slurm)
