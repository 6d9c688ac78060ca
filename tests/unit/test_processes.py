"""Processes that share a fit: one that comes alone, another that is about something else, one that is not about it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from together import free_port, prepared_in
from torch import distributed

from layerwise.__main__ import main
from layerwise.closed import shards
from layerwise.run import processes

RIGHT = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
SMALL = """
title: t
seeds: 2
datasets: {d: {source: digits, subset: 60, test_subset: 50, valid: 20}}
segments: {a: {method: dmn, layers: [conv 3 4, relu, maxpool 2]}, r: {method: ridge, layers: [dense outputs]}}
networks: {d: {a/r: a}}
"""
FIT = ["fit", "studies/t.yaml", "d", "a", "--device", "cpu", "--threads", "1", "--seeds", "0", "1"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a study and its data set."""
    return prepared_in(tmp_path_factory.mktemp("prepared"), SMALL)


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    """A copy of it, to fit in, where nothing of torchrun is in the environment and nobody is waited for long."""
    shutil.copytree(prepared, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setattr(processes, "WAIT", 0.3)
    for name in (*processes.VARIABLES, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "place"


@pytest.mark.parametrize(
    "given",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": "abc"},
        {**RIGHT, "RANK": ""},
        {"RANK": "1", "WORLD_SIZE": "4"},
        {**RIGHT, "MASTER_PORT": ""},
        {**RIGHT, "WORLD_SIZE": "1"},
        {"MASTER_ADDR": "login1", "MASTER_PORT": "29500", "SLURM_NTASKS": "8"},
        {"TORCHELASTIC_RUN_ID": "none"},
    ],
    ids=str,
)
def test_a_fit_alone_takes_no_part(place, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    processes.join(torch.device("cpu"), None, "d", "a", None)
    assert shards.size() == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE='abc' in the environment"),
        ({"WORLD_SIZE": "0"}, "needs a number from 1"),
        ({"WORLD_SIZE": "9" * 5000}, "needs a number from 1"),
        ({"WORLD_SIZE": "²"}, "WORLD_SIZE='²'"),
        ({"RANK": "2"}, "needs a number from 0 to 1"),
        ({"RANK": "-1"}, "RANK='-1'"),
        ({"MASTER_PORT": "70000"}, "needs a number from 1 to 65535"),
        ({"MASTER_ADDR": "no host"}, "MASTER_ADDR='no host': "),
        ({}, "process 0 of 2: process 1 did not come within 0 s"),
        ({"WORLD_SIZE": "4"}, "process 1, 2, 3 did not come"),
        ({"RANK": "1"}, "process 1 of 2: process 0 did not come to 127.0.0.1:"),
    ],
    ids=lambda given: str(given),
)
def test_a_fit_that_should_be_shared_and_cannot_be_is_one_line(place, monkeypatch, capfd, given, says):
    for name, value in {**RIGHT, "MASTER_PORT": free_port(), **given}.items():
        monkeypatch.setenv(name, value)
    assert main(FIT) == 2
    said = capfd.readouterr().err
    assert says in said
    assert said.startswith("layerwise: ")
    assert said.count("\n") == 1
    assert "unset RANK" in said
    assert not list(place.rglob("fit.json"))
    for name in RIGHT:
        monkeypatch.delenv(name)
    assert main(FIT) == 0


def test_a_port_in_use_is_one_line(place, monkeypatch, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in {**RIGHT, "MASTER_PORT": str(taken.getsockname()[1])}.items():
            monkeypatch.setenv(name, value)
        assert main(FIT) == 2
    said = capfd.readouterr().err
    assert "is in use; set another MASTER_PORT" in said
    assert said.count("layerwise: ") == 1


def edited(place: Path, old: str, new: str) -> Path:
    """A copy of the place, with another study."""
    other = shutil.copytree(place, place.with_name("other"))
    study = other / "studies/t.yaml"
    text = study.read_text()
    assert old in text
    study.write_text(text.replace(old, new))
    return other


def prepared_anew(place: Path, old: str, new: str) -> Path:
    other = edited(place, old, new)
    shutil.rmtree(other / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(other)
        assert main(["dataset", "studies/t.yaml", "d"]) == 0
    return other


def fitted_otherwise(place: Path) -> Path:
    """A copy in which the segment before has other weights, though its record says the same."""
    assert main(FIT) == 0
    other = shutil.copytree(place, place.with_name("other"))
    with next(other.rglob("segment.safetensors")).open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"?")
    return other


def as_it_is(place: Path) -> Path:
    return place


DIFFERENT = {
    "layers": (lambda place: edited(place, "conv 3 4", "conv 3 5"), {}, FIT, "layers of a: ("),
    "option": (lambda place: edited(place, "method: dmn,", "method: dmn, fraction: 0.5,"), {}, FIT, "fraction of a: "),
    "data": (lambda place: prepared_anew(place, "subset: 60", "subset: 80"), {}, FIT, "digest of code and data set"),
    "weights": (fitted_otherwise, {}, [w.replace("a", "a/r") if w == "a" else w for w in FIT], "sha256 of the weights"),
    "seed": (as_it_is, {}, [*FIT[:-2], "7"], "seeds: 0 1 here, and 7 in process 1"),
    "threads": (as_it_is, {}, [*FIT, "--threads", "2"], "number of threads: 1 here, and 2 in process 1"),
    "world": (as_it_is, {"WORLD_SIZE": "3"}, FIT, "WORLD_SIZE: 2 here, and 3 in process 1"),
}


def start(place: Path, words: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "layerwise", *words],
        cwd=place,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("what", DIFFERENT)
def test_processes_that_are_about_different_fits_both_say_so(place, what):
    make, environment, words, says = DIFFERENT[what]
    other, right = make(place), {**RIGHT, "MASTER_PORT": free_port()}
    first = words if what == "weights" else FIT
    both = [start(place, first, **right), start(other, words, **{**right, "RANK": "1", **environment})]
    before = sorted(place.rglob("fit.json"))
    told = [run.communicate(timeout=100)[1] for run in both]
    for run, err in zip(both, told, strict=True):
        assert run.returncode == 2, err
        assert re.fullmatch(r"layerwise: process \d of \d: .*; start all with the same words.*\n", err), err
    assert says in told[0]
    assert sorted(place.rglob("fit.json")) == before


def test_a_fit_of_features_is_shared_and_scored_by_the_first(place):
    """Whose score is a fit of its own, a read-out: no sum of that is one with the others."""
    port = free_port()
    both = [start(place, FIT, **{**RIGHT, "MASTER_PORT": port, "RANK": rank}) for rank in "01"]
    told = [run.communicate(timeout=100) for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    assert told[1][0].count("shared in") == 2
    shared = {path.relative_to(place): json.loads(path.read_text()) for path in place.rglob("score.json")}
    assert len(shared) == 2
    shutil.rmtree(place / "results/t/networks")
    assert main(FIT) == 0
    for path, score in shared.items():
        alone = json.loads((place / path).read_text())
        assert score["splits"]["test"]["mse"] == pytest.approx(alone["splits"]["test"]["mse"], rel=1e-4)


MEET = """
import os, sys, torch
from torch import distributed
from layerwise.closed import shards
from layerwise.errors import LayerwiseError
from layerwise.run import processes
rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
shards.add(torch.ones(3))
if rank == 1:
    os._exit(0)
try:
    shards.add(torch.ones(3))
except LayerwiseError as error:
    processes.leave()
    sys.exit(f"layerwise: {error}")
"""


def test_a_process_that_ends_ends_the_others(tmp_path):
    words = [sys.executable, "-c", MEET]
    second = subprocess.Popen([*words, "1", str(tmp_path / "meet")])
    first = subprocess.run([*words, "0", str(tmp_path / "meet")], capture_output=True, text=True, timeout=100)
    assert second.wait() == 0
    assert first.returncode == 1
    assert first.stderr.startswith("layerwise: process 0 of 2: another process of this fit ended"), first.stderr
    assert first.stderr.count("\n") == 1


def test_estimators_share_nothing(tmp_path):
    """Though a notebook may have processes of its own."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "get_world_size", lambda: 2)
            assert shards.size() == 2
            with shards.alone():
                assert shards.size() == 1
    finally:
        distributed.destroy_process_group()
