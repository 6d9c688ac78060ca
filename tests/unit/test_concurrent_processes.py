"""Partitions by a process each: the bytes of one process by every way, and one line where one ends, hangs or lacks."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from together import Together, over_network, prepared_in

from layerwise.__main__ import main
from layerwise.gradient import loop
from layerwise.run import processes

STUDY = """
title: t
seeds: 2
datasets: {d: {source: digits, subset: 120, test_subset: 50, valid: 20}}
segments:
  c: {method: local, schedule: concurrent, partitions: 3, epochs: [16], batch: 16, crop: false, augment: [flip],
      filter: kfilter, filter_from: 3, filter_k: 3, filter_samples: 40,
      layers: [conv 3 4 pad 1, batchnorm, relu, maxpool 2, conv 3 6 pad 1, relu, dense 12, dropout 0.3, relu,
        dense outputs]}
  r: {method: ridge, layers: [dense outputs]}
networks: {d: {c: c, r: r}}
"""
FIT = ["fit", "studies/t.yaml", "d", "c", "--device", "cpu", "--threads", "1"]
SAVES = {"layerwise.gradient.loop.SAVE_SECONDS": 0.0}
SOON = {"layerwise.gradient.partners.BEAT": 0.2, "layerwise.gradient.partners.DEAD": 4.0}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepared_in(tmp_path_factory.mktemp("prepared"), STUDY)


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The weights of the partitions in turn, uninterrupted."""
    place = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("whole") / "place"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(FIT) == 0
    return weights(place)


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    place = Path(shutil.copytree(prepared, tmp_path / "place"))
    monkeypatch.chdir(place)
    for name in (*processes.VARIABLES, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return place


def weights(place):
    """The weights of both seeds, by name."""
    files = {seed: load_file(next(place.rglob(f"{seed}/c/segment.safetensors"))) for seed in ("seed0", "seed1")}
    return {f"{seed}.{name}": w for seed, file in files.items() for name, w in file.items()}


def same(one, other):
    return one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)


def way(name, place, size=3):
    """The words of a fit and its environment: in turn, over the network, or through a folder."""
    if name == "folder":
        return [*FIT, "--through", str(place / "meeting")], {"WORLD_SIZE": str(size)}
    return FIT, over_network(size)


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def test_processes_give_the_bytes_of_one(place, whole):
    fit = Together([place] * 3, *way("network", place))
    assert fit.end() == [0, 0, 0], [fit.said(n) for n in range(3)]
    assert same(weights(place), whole)
    assert not list(place.rglob(".resume*"))


@pytest.mark.parametrize(
    ("name", "who", "how", "then"),
    [
        ("network", 0, signal.SIGKILL, "turn"),
        ("network", 0, signal.SIGSTOP, "folder"),
        ("folder", 1, signal.SIGKILL, "network"),
    ],
)
def test_who_ends_or_hangs_is_named_and_the_next_run_goes_on(place, whole, monkeypatch, name, who, how, then):
    fit = Together([place] * 3, *way(name, place), **SAVES, **(SOON if how == signal.SIGSTOP else {}))
    try:
        until(lambda: len(list(place.glob("results/t/networks/d/*/c/.resume.partition*"))) == 6)
        os.kill(fit.processes[who].pid, how)
        others = [n for n in range(3) if n != who]
        for n in others:
            fit.processes[n].join(30)
            assert fit.processes[n].exitcode == 2, fit.said(n)
            assert fit.said(n).startswith("layerwise: network d/seed0/c: ")
            assert f": partition {who + 1} (process {who} on {os.uname().nodename}, epoch " in fit.said(n)
            assert ", last step " in fit.said(n)
            assert fit.said(n).count("\n") == 1
        assert fit.said(others[0]) == fit.said(others[1]) or who == 0
    finally:
        fit.kill()
        fit.end()
    assert not list(place.rglob("fit.json"))
    assert len(list(place.glob("results/t/networks/d/*/c/.resume.partition*"))) == 6
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    if then == "turn":
        assert main(FIT) == 0
    else:
        again = Together([place] * 3, *way(then, place), **SAVES)
        assert again.end() == [0, 0, 0], [again.said(n) for n in range(3)]
    assert same(weights(place), whole)
    assert not list(place.rglob(".resume*"))
    if then == "folder":
        assert [path.name for path in place.glob("meeting/*")] == []


def test_an_error_of_one_is_the_line_of_all(place):
    study = place / "studies/t.yaml"
    study.write_text(study.read_text().replace("partitions: 3,", "partitions: 3, lr: 0.1, lr_by_block: 1.0e+9,"))
    fit = Together([place] * 3, *way("network", place))
    assert fit.end() == [2, 2, 2]
    said = [fit.said(n) for n in range(3)]
    assert said[0] == said[1] == said[2]
    assert "diverged in epoch" in said[0]
    assert said[0].startswith("layerwise: network d/seed0/c: partition ")
    assert said[0].count("\n") == 1


def test_a_folder_that_is_not_shared_is_one_line(place, tmp_path):
    other = Path(shutil.copytree(place, tmp_path / "other"))
    words = [*FIT, "--through", "meeting"]  # in the folder of each
    fit = Together([place, other, other], words, {"WORLD_SIZE": "3"}, **{"layerwise.run.processes.WAIT": 1.5})
    assert fit.end() == [2, 2, 2]
    assert "process 1 (partition 2), 2 (partition 3) was not seen in meeting within 2 s" in fit.said(0)
    assert "process 1 of 3: process 0 was not seen in meeting" in fit.said(1)
    assert [fit.said(n).count("\n") for n in range(3)] == [1, 1, 1]


def test_who_does_not_come_is_named(place):
    words, variables = way("network", place)
    fit = Together([place] * 2, words, variables, **{"layerwise.run.processes.WAIT": 1.5})
    assert fit.end() == [2, 2]
    assert "process 2 (partition 3) did not come within" in fit.said(0)


@pytest.mark.parametrize(
    ("words", "given", "says"),
    [
        (FIT, over_network(2), "WORLD_SIZE=2, and the segment has 3 partitions: start a process for each"),
        (
            [*FIT, "--through", "meeting"],
            {"WORLD_SIZE": "3"},
            "RANK is not set",
        ),
        (
            [*FIT, "--through", "meeting"],
            {"WORLD_SIZE": "2", "RANK": "0"},
            "WORLD_SIZE=2, and the segment has 3 partitions",
        ),
        ([*FIT, "--through", "studies/t.yaml"], {"WORLD_SIZE": "3", "RANK": "1"}, "cannot be used (File exists)"),
        (
            [w.replace("c", "r") if w == "c" else w for w in FIT] + ["--through", "s"],
            {},
            "'r' is not fitted in partitions",
        ),
    ],
    ids=["world", "rank", "world through a folder", "no folder", "one partition"],
)
def test_what_cannot_be_is_one_line(place, monkeypatch, capfd, words, given, says):
    for name, value in {**({"RANK": "0"} if "MASTER_PORT" in given else {}), **given}.items():
        monkeypatch.setenv(name, value)
    assert main(words) == 2
    said = capfd.readouterr().err
    assert says in said
    assert said.startswith("layerwise: ")
    assert said.count("\n") == 1


def test_spread_goes_on_as_torchrun_with_the_same_words(place, monkeypatch):
    started: list = []

    def execv(program, words):
        started.append(words)
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr("layerwise.run.node.fit", lambda *_: "fitted")
    with pytest.raises(SystemExit):
        main([*FIT[:-1], "7", "--seeds", "1", "--done", "done.json", "--spread"])
    (words,) = started
    at = words.index("layerwise")
    assert words[1:at] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", "-m"]
    rest = [
        "fit",
        "studies/t.yaml",
        "d",
        "c",
        "--device",
        "cpu",
        "--threads",
        "2",
        "--seeds",
        "1",
        "--done",
        "done.json",
    ]
    assert words[at + 1 :] == rest
    started.clear()
    assert main([*FIT[:3], "r", *FIT[4:], "--spread"]) == 0  # no partitions: fitted here
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main([*FIT, "--spread"]) == 0  # started by torchrun already
    assert not started
