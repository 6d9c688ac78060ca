"""Killed in the middle: what stands under a final name is whole, and the next run carries on."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from places import whole

NODE = "results/tiny/networks/digits/seeds/mlp/node.json"
SEED0, SEED1 = "results/tiny/networks/digits/seed0/mlp", "results/tiny/networks/digits/seed1/mlp"


def wait_for(path: Path, run: subprocess.Popen) -> None:
    for _ in range(1200):
        if path.exists():
            return
        assert run.poll() is None, f"ended before {path} was there:\n{run.stdout.read()}"
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def of_group(group: int) -> dict[int, str]:
    """Return the commands of the processes of a group."""
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(each.name)) == group:
                found[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


@pytest.fixture
def slow_fit(workplace):
    """Start a run of a fit: seconds a seed, its state saved ten times, at rest while there is a file `hold`.

    Returns how to start it.
    """
    workplace.slow_down()
    workplace.edit("epochs: 2", "epochs: 40")
    for seed in (0, 1):
        shutil.rmtree(workplace.node("mlp", seed))
    (workplace.folder / NODE).unlink()
    runs = []

    def start() -> subprocess.Popen:
        command = ["snakemake", "--cores", "2", "--", NODE]
        runs.append(
            subprocess.Popen(
                command,
                cwd=workplace.folder,
                env=workplace.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return runs[-1]

    yield start
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        run.stdout.close()


def test_a_killed_run_carries_on_and_a_second_one_is_refused(workplace, slow_fit):
    run = slow_fit()
    wait_for(workplace.folder / SEED0 / ".resume.safetensors", run)
    hold = workplace.folder / "hold"
    hold.touch()  # on a busy machine the second run takes longer to start than the first one to end
    refused = workplace.snakemake("--", NODE, check=False)
    hold.unlink()
    assert "Directory cannot be locked" in refused
    assert "Traceback" not in refused
    wait_for(workplace.folder / SEED1 / ".resume.safetensors", run)
    assert sum("layerwise fit" in command for command in of_group(run.pid).values()) >= 1
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert whole(workplace) > 10
    first = (workplace.folder / SEED0 / "fit.json").read_bytes()
    assert json.loads(first)["options"]["epochs"] == 40
    assert not (workplace.folder / SEED1 / "fit.json").exists()

    workplace.snakemake("--", NODE)
    log = (workplace.folder / "logs/tiny/fit/digits/seeds/mlp.log").read_text().splitlines()
    assert log[0] == "fit digits/seed0/mlp: already made, left alone"
    assert log[1].startswith("fit digits/seed1/mlp: fitted in ")
    assert " s of them before it was interrupted; (10,), train " in log[1]
    assert (workplace.folder / SEED0 / "fit.json").read_bytes() == first
    record = json.loads((workplace.folder / SEED1 / "fit.json").read_text())
    assert [row["epoch"] for row in record["record"]["history"]] == list(range(1, 41))
    assert record["seconds"] > record["seconds_before_interruption"] > 0.2
    assert not list(workplace.results().rglob(".resume.safetensors"))


def test_a_killed_job_carries_on(workplace, slow_fit):
    run = slow_fit()
    wait_for(workplace.folder / SEED1 / ".resume.safetensors", run)
    job = max(pid for pid, command in of_group(run.pid).items() if "layerwise fit" in command)
    os.kill(job, signal.SIGKILL)
    said = run.stdout.read()
    assert run.wait() != 0
    assert "Traceback" not in said
    whole(workplace)
    workplace.snakemake("--", NODE)
    log = (workplace.folder / "logs/tiny/fit/digits/seeds/mlp.log").read_text().splitlines()
    assert log[0] == "fit digits/seed0/mlp: already made, left alone"
    assert " s of them before it was interrupted; (10,), train " in log[1]
    whole(workplace)


# ---------------------------------------------------------------- at any moment


def verb(folder: str, words: list[str]) -> None:
    """Run a verb in a process of its own, which has imported torch already."""
    from layerwise.__main__ import main

    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        os._exit(main(words))


@pytest.fixture(scope="module")
def started():
    """Give a function that starts a verb: forked from a server, in which torch is imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "layerwise.results.study_results", "layerwise.figures.readout_depth", "sklearn.datasets"]
    )

    def start(folder, *words):
        process = context.Process(target=verb, args=(str(folder), list(words)))
        process.start()
        return process

    return start


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        pytest.param("dataset studies/tiny.yaml digits", "datasets/digits/dataset.json", marks=pytest.mark.slow),
        ("fit studies/tiny.yaml digits d4 --seeds 0", "networks/digits/seed0/d4/fit.json"),
        pytest.param(
            "represent studies/tiny.yaml digits d4 --seeds 0",
            "networks/digits/seed0/d4/test.safetensors",
            marks=pytest.mark.slow,
        ),
        ("figure studies/tiny.yaml readout_depth --seeds 0", "figures/readout_depth.svg"),
    ],
    ids=lambda words: words.split()[0],
)
def test_a_verb_killed_at_any_moment_leaves_whole_files(lab, started, words, gone):
    for _ in range(2):  # the first one starts the server
        lab.results(gone).unlink(missing_ok=True)
        begin = time.perf_counter()
        process = started(lab.folder, *words.split())
        process.join()
        assert process.exitcode == 0
    lasts = time.perf_counter() - begin
    moments = random.Random(0)
    killed = 0
    for _ in range(12):
        lab.results(gone).unlink(missing_ok=True)
        process = started(lab.folder, *words.split())
        process.join(timeout=moments.uniform(0, lasts))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        whole(lab)
    assert killed >= 3
    process = started(lab.folder, *words.split())
    process.join()
    assert process.exitcode == 0
    assert lab.results(gone).exists()
    whole(lab)
