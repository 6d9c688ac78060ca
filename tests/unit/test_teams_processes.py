"""Partitions by several processes each: the bytes of every way, resumed too; up to rounding those of one."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from test_concurrent_processes import SAVES, until
from together import Together, over_network, prepared_in

from layerwise.__main__ import main
from layerwise.gradient.allocation import Allocation
from layerwise.run import processes

STUDY = """
title: t
seeds: 2
datasets: {d: {source: digits, subset: 130, test_subset: 50, valid: 20}}
segments:
  plain: {method: local, schedule: concurrent, partitions: 2, allocation: [2, 1], epochs: [2], batch: 16, crop: false,
      augment: [flip], optimizer: adamw,
      layers: [conv 3 4 pad 1, relu, maxpool 2, conv 3 6 pad 1, relu, dense 12, relu, dense outputs]}
  odd: {method: local, schedule: concurrent, partitions: 2, allocation: [3, 2], epochs: [2], batch: 16, crop: false,
      layers: [conv 3 4 pad 1, relu, maxpool 2, conv 3 6 pad 1, relu, dense 12, relu, dense outputs]}
  c: {method: local, schedule: concurrent, partitions: 2, allocation: [2, 1], epochs: [16], batch: 16, crop: false,
      augment: [flip], layers: [conv 3 4 pad 1, batchnorm, relu, dropout 0.3, maxpool 2, conv 3 6 pad 1, batchnorm,
        relu, dense 12, dropout 0.3, relu, dense outputs]}
networks: {d: {plain: plain, odd: odd, c: c}}
"""


def words(network):
    return ["fit", "studies/t.yaml", "d", network, "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepared_in(tmp_path_factory.mktemp("prepared"), STUDY)


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    place = Path(shutil.copytree(prepared, tmp_path / "place"))
    monkeypatch.chdir(place)
    for name in (*processes.VARIABLES, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return place


def fit(place, network, size, way, **constants):
    if way == "folder":
        how = [*words(network), "--through", str(place / "meeting")], {"WORLD_SIZE": str(size)}
    else:
        how = words(network), over_network(size)
    return Together([place] * size, *how, **constants)


def fitted(place, network, size, way, **constants):
    """The weights of both seeds; then there is no fit any more."""
    started = fit(place, network, size, way, **constants)
    assert started.end() == [0] * size, [started.said(n) for n in range(size)]
    return taken(place)


def taken(place):
    files = {path.parent.parent.name: load_file(path) for path in place.rglob("segment.safetensors")}
    found = {f"{seed}.{name}": w for seed, file in files.items() for name, w in file.items()}
    assert len(files) == 2
    shutil.rmtree(place / "results/t/networks")
    return found


@pytest.mark.parametrize(("network", "size"), [("plain", 3), ("odd", 5)])
def test_they_take_the_steps_of_one_process_up_to_rounding(place, network, size):
    found = fitted(place, network, size, "network")
    other = fitted(place, network, size, "folder")
    assert main(words(network)) == 0
    turn = taken(place)
    assert found.keys() == other.keys() == turn.keys()
    for name, weight in found.items():
        assert (weight == other[name]).all()
        assert (weight - turn[name]).abs().max() < 1e-5


def test_who_ends_is_named_and_the_next_run_goes_on_to_the_byte(place):
    whole = fitted(place, "c", 3, "network")
    started = fit(place, "c", 3, "network", **SAVES)
    try:
        until(lambda: len(list(place.glob("results/t/networks/d/*/c/.resume.partition*"))) == 4)
        os.kill(started.processes[1].pid, signal.SIGKILL)  # the second of the first partition
        for n in (0, 2):
            started.processes[n].join(30)
            assert started.processes[n].exitcode == 2, started.said(n)
            assert f": partition 1 (process 1 on {os.uname().nodename}, epoch " in started.said(n)
            assert ", last step " in started.said(n)
            assert started.said(n).count("\n") == 1
    finally:
        started.kill()
        started.end()
    assert not list(place.rglob("fit.json"))
    again = fitted(place, "c", 3, "folder", **SAVES)
    assert whole.keys() == again.keys()
    assert all((whole[name] == again[name]).all() for name in whole)


def test_who_does_not_come_is_named_with_its_partition(place):
    soon = {"layerwise.run.processes.WAIT": 1.5}
    for way in ("network", "folder"):
        given = over_network(3) if way == "network" else {"WORLD_SIZE": "3"}
        through = ["--through", str(place / "meeting")] if way == "folder" else []
        started = Together([place] * 2, [*words("c"), *through], given, **soon)
        assert started.end() == [2, 2]
        assert "process 2 (partition 2)" in started.said(0)


def test_another_number_of_processes_is_one_line(place, monkeypatch, capfd):
    for name, value in {**over_network(2), "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(words("c")) == 2
    said = capfd.readouterr().err
    assert "WORLD_SIZE=2, and the segment has an allocation of [2, 1]: start 3 processes, or, to fit alone" in said
    assert said.count("\n") == 1


def test_spread_starts_as_many_as_are_allocated(place, monkeypatch):
    def execv(program, words):
        assert words[words.index("--nproc-per-node") + 1] == "5"
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(SystemExit):
        main([*words("odd"), "--spread"])


# ------------------------------------------------------------ sums on GPUs


@pytest.mark.parametrize(
    ("device", "gpus", "sizes", "team"),
    [
        ("cuda", ["a", "b", "c"], (2, 1), [0, 1]),
        ("cuda", ["a", "b", "a"], (2, 1), None),  # two share a GPU
        ("cuda", ["a", "b"], (1, 1), None),  # nothing is summed
        ("cpu", ["a", "b", "c"], (2, 1), None),
    ],
)
def test_sums_are_by_nccl_where_each_process_has_a_gpu(monkeypatch, device, gpus, sizes, team):
    def gathered(into, mine):
        assert mine == gpus[1]
        into[:] = gpus

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=gpus[1]))
    monkeypatch.setattr(processes.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(processes.distributed, "get_world_size", lambda: len(gpus))
    monkeypatch.setattr(processes.distributed, "all_gather_object", gathered)
    monkeypatch.setattr(processes.distributed, "new_group", lambda ranks, backend: (ranks, backend))
    found = processes._by_nccl(torch.device(device), Allocation(sizes), 1)
    assert found == (team and (team, "nccl"))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 3, reason="no three GPUs that torch can use are here")
def test_on_gpus_of_their_own_they_take_the_steps_of_one_process(place):
    command = ["cuda" if word == "cpu" else word for word in words("plain")]
    started = Together([place] * 3, command, over_network(3))
    assert started.end() == [0] * 3, [started.said(n) for n in range(3)]
    found = taken(place)
    assert main(command) == 0
    assert all((found[name] - weight).abs().max() < 1e-4 for name, weight in taken(place).items())
