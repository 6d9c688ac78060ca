"""Jobs by way of profiles/generic, on a PBS of three small scripts: it starts a job at once, and knows how it ended."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from places import ROOT, Workplace

pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="not in this environment: run `make setup`")

QSUB = """#!/bin/bash
[[ -d .snakemake/jobs ]] || exit 1  # where what they print goes
# As a real one kills what takes too much, this one lets nothing live that fits in less than {enough} MB.
number=$(( $(ls {queue}/*.asked 2> /dev/null | wc -l) + 1 ))
echo "$*" > {queue}/$number.asked
[[ "$*" == *"-q stuck"* ]] && echo $number && exit
memory=$(grep -o 'mem=[0-9]*' <<< "$*" | cut -d= -f2)
if [[ "$*" == *"-N node"* && $memory -lt {enough} ]]; then echo 137 > {queue}/$number.status
else (bash "${{@: -1}}" > {queue}/$number.out 2>&1; echo $? > {queue}/$number.status) > /dev/null 2>&1 &
fi
echo $number
"""
QSTAT = """#!/bin/bash
number=${{@: -1}}
[[ -e {queue}/$number.asked ]] || {{ echo "qstat: Unknown Job Id $number" >&2; exit 153; }}
echo "Job Id: $number"
if [[ -e {queue}/$number.status ]]
then echo "    job_state = F"; echo "    Exit_status = $(< {queue}/$number.status)"
else echo "    job_state = R"
fi
"""
QDEL = """#!/bin/bash
for number in "$@"; do echo -29 > {queue}/$number.status; done
"""
WORDS = ("--workflow-profile", "profiles/generic", "--seconds-between-status-checks", "1", "--latency-wait", "20")
STUDY = """
title: Tiny
seeds: 1
datasets:
  digits: {source: digits}
segments:
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: {ridge: pixels}
"""


@pytest.fixture
def pbs(empty: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    queue, commands = empty.folder / "queue", empty.folder / "commands"
    queue.mkdir()
    commands.mkdir()
    for name, text in {"qsub": QSUB, "qstat": QSTAT, "qdel": QDEL}.items():
        (commands / name).write_text(text.format(queue=queue, enough=8000))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=":")
    empty.write(STUDY)
    return empty


def test_jobs_run_and_one_that_needs_more_memory_gets_it(pbs: Workplace):
    node = pbs.marker("ridge", group="seed0")
    pbs.run("snakemake", *WORDS, "--", node)
    asked = [pbs.folder.joinpath("queue", f"{number}.asked").read_text() for number in (1, 2, 3)]
    asks = r"-N (\w+) -q workq -l select=1:ncpus=(\d+):ngpus=(\d+):mem=(\d+)mb -l walltime=(\d+) "
    assert [re.search(asks, words).groups() for words in asked] == [
        ("dataset", "1", "0", "4000", "3600"),
        ("node", "1", "0", "4000", "14400"),
        ("node", "1", "0", "8000", "14400"),
    ]
    assert {path.name for path in pbs.folder.glob("queue/*.asked")} == {"1.asked", "2.asked", "3.asked"}
    assert (pbs.folder / node).exists()


def test_the_jobs_of_an_interrupted_run_are_deleted(pbs: Workplace):
    pbs.edit("-q workq", "-q stuck", "profiles/generic/config.yaml")
    with pbs.begun("snakemake", *WORDS, "--", "tiny") as run:
        wait_for(pbs.folder / "queue/1.asked", run)
        time.sleep(2)  # it has asked for the state at least once
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
    assert run.returncode, said
    assert "Traceback" not in said
    assert [path.name for path in pbs.folder.glob("queue/*.status")] == ["1.status"]


@pytest.mark.parametrize(
    ("status", "word"), [("", "running"), ("0", "success"), ("1", "failed"), ("137", "failed"), ("-29", "failed")]
)
def test_what_the_scheduler_says_of_a_job(pbs: Workplace, status: str, word: str):
    (pbs.folder / "queue/7.asked").touch()
    if status:
        (pbs.folder / "queue/7.status").write_text(status)
    assert said_of(pbs, "7") == word


def test_a_job_that_is_forgotten_has_failed_and_a_server_that_is_silent_is_asked_again(pbs: Workplace):
    assert said_of(pbs, "8") == "failed"
    (pbs.folder / "commands/qstat").write_text("#!/bin/bash\necho 'cannot connect to server' >&2; exit 111\n")
    assert said_of(pbs, "8") == "running"


def wait_for(path: Path, run: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert run.poll() is None, f"ended before {path} was there"
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.1)


def said_of(place: Workplace, number: str) -> str:
    command = ["bash", str(ROOT / "profiles/generic/status.sh"), number]
    return subprocess.run(command, env=place.environment(), capture_output=True, text=True, check=True).stdout.strip()
