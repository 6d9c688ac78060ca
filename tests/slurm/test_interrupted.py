"""A fit that is cut short: by a kill, a cancelled job, a lost node. It goes on where it was, to the same bytes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cluster
from loopback import processes, said

from places import whole

NODE = "results/tiny/networks/digits/seed0/mlp/node.json"
LOG = "logs/tiny/fit/digits/seed0/mlp.log"


@pytest.fixture
def once(place: Cluster) -> bytes:
    """Take the fit away, that it be made again, slowly; returns its weights."""
    place.slow_down()
    weights = place.node("mlp") / "segment.safetensors"
    fitted = weights.read_bytes()
    place.unfit("mlp")
    (place.folder / NODE).unlink()
    return fitted


@contextlib.contextmanager
def held(place: Cluster, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the fit until a state of it is saved, and hold it there; it goes on at the end of the block."""
    hold = place.folder / "hold"
    with place.begun("snakemake", *place.words, *words, "--", NODE) as run:
        try:
            place.slurm.wait("a saved state", (place.node("mlp") / ".resume.safetensors").exists)
            hold.touch()
            yield run
            hold.unlink()
            run.said, _ = run.communicate(timeout=120)
        finally:
            hold.unlink(missing_ok=True)


def fits(place: Cluster) -> list[int]:
    """Return the processes that fit here."""
    found = processes(b"\0-m\0layerwise\0fit\0", "cmdline")
    return [process for process in found if Path(f"/proc/{process}/cwd").resolve() == place.folder]


def demand_carried_on(place: Cluster, once: bytes) -> None:
    assert " s of them before it was interrupted; " in (place.folder / LOG).read_text()
    assert (place.node("mlp") / "segment.safetensors").read_bytes() == once
    assert whole(place) > 10
    assert not list(place.results().rglob(".resume.safetensors"))
    assert place.plan(NODE) == []


def test_a_killed_fit_is_submitted_again_and_carries_on(place, once):
    with held(place) as run:
        (fit,) = fits(place)
        os.kill(fit, signal.SIGKILL)
    assert run.returncode == 0, run.said
    first, second = place.jobs
    assert (first["JobState"], first.tres("mem")) == ("FAILED", "4000M")
    assert (second["JobState"], second.tres("mem")) == ("COMPLETED", "8000M")
    demand_carried_on(place, once)


def test_a_cancelled_job_ends_the_run_and_the_next_run_carries_on(place, once):
    with held(place, "--retries", "0") as run:
        (job,) = place.jobs
        said("scancel", str(job.number))
        place.slurm.wait("the fit ends", lambda: not fits(place))
    assert run.returncode == 1
    assert f"SLURM-job '{job.number}' failed, SLURM status is: 'CANCELLED'" in run.said
    assert "Traceback" not in run.said
    assert whole(place) > 10
    assert not (place.node("mlp") / "segment.safetensors").exists()
    assert not (place.folder / NODE).exists()
    place.snakemake("--", NODE)
    assert place.states() == [("CANCELLED",), ("COMPLETED",)]
    demand_carried_on(place, once)


def test_the_jobs_of_an_interrupted_run_are_cancelled(place, once):
    with held(place) as run:
        run.send_signal(signal.SIGINT)
        place.slurm.wait("the fit ends", lambda: not fits(place))
    assert run.returncode, run.said
    assert "Traceback" not in run.said
    place.slurm.wait("the job is cancelled", lambda: place.states() == [("CANCELLED",)])  # it is COMPLETING before
    assert whole(place) > 10
    assert not (place.folder / NODE).exists()


def test_the_job_of_a_lost_node_goes_to_another_one_and_carries_on(place, once):
    with held(place, "--retries", "0") as run:
        (job,) = place.jobs
        lost = job["NodeList"]
        place.slurm.lose(lost)
        place.slurm.wait("the fit ends", lambda: not fits(place))
        place.slurm.wait("the job is queued again", lambda: place.states() == [("PENDING",)])
        said("scontrol", "update", f"jobid={job.number}", "starttime=now")  # SLURM would wait for two minutes
    place.slurm.find(lost)
    assert run.returncode == 0, run.said
    (job,) = place.jobs
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert job["NodeList"] != lost
    demand_carried_on(place, once)
