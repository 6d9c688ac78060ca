"""Two at once on one folder: the second says so, and works once the first has ended."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from layerwise import store

HOLD = "import sys; from layerwise import store; from pathlib import Path\nwith store.alone(Path(sys.argv[1])): "


@pytest.fixture
def holder():
    """Hold a folder from another process; gives a function that does it and returns the process."""
    started = []

    def hold(folder):
        code = HOLD + "print('held', flush=True); sys.stdin.read()"
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(other)
        assert other.stdout.readline() == "held\n"
        return other

    yield hold
    for other in started:
        other.kill()
        other.communicate()


@pytest.mark.parametrize(
    ("verb", "folder"), [("fit digits mlp", "networks/digits/seed0/mlp"), ("dataset digits", "datasets/digits")]
)
def test_a_second_process_on_one_folder_is_refused(lab, holder, verb, folder):
    lab.unfit("mlp")
    before = lab.files()
    first = holder(lab.results(folder))
    lab(*verb.split()).refuses(
        f"results/tiny/{folder}: another process is at work here; wait for it to end, or stop it"
    )
    assert lab.files() == before
    first.kill()  # the kernel frees what a dead process held
    first.wait()
    lab.must(*verb.split())


def test_other_nodes_are_free(lab, holder):
    holder(lab.node("d4"))
    lab.unfit("mlp")
    lab.must("fit", "digits", "mlp")
    lab.unfit("d4/ridge")
    lab.must("fit", "digits", "d4/ridge")  # a child reads its parent, which is whole


def test_a_job_that_failed_is_planned_again(workplace):
    """Under new options, where an old result must not pass for the new one."""
    target, fit = workplace.marker("d4/ridge"), workplace.node("d4/ridge") / "fit.json"
    old = json.loads(fit.read_text())["digest"]
    workplace.edit("{method: ridge,", "{method: ridge, strengths: [1.0],")
    with store.alone(workplace.node("d4/ridge")):
        said = workplace.snakemake("--", target, check=False)
    assert "another process is at work here; wait for it to end, or stop it" in said
    assert workplace.plan(target) == ["fit d4/ridge on digits, seeds 0 1"]
    workplace.snakemake("--", target)
    assert json.loads(fit.read_text())["digest"] != old


def test_a_fit_that_fails_frees_its_folder(lab):
    lab.edit("epochs: 2", "epochs: 2, lr: 1.0e+30")
    lab("fit", "digits", "mlp").refuses("network digits/seed0/mlp: method 'sgd': the training diverged in epoch")
    with store.alone(lab.node("mlp")):
        pass
