"""A study through the profile: what its jobs ask SLURM for, and what they come to."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import torch
from safetensors.torch import load_file

# A fit that two processes share, a partition each. Any will do that they are able to share, such as a ridge read-out.
SHARED = (
    "{method: local, schedule: concurrent, partitions: 2, epochs: [2], "
    "layers: [dense 16, relu, dense 16, relu, dense outputs]}"
)

SHARED_BY_TWO = """
set-resources:
  node:
    mpi: "'srun' if wildcards.path == 'shared' else ''"
    nodes: 2 if wildcards.path == 'shared' else 1
    tasks: 2 if wildcards.path == 'shared' else 1
"""
HUNGRY = '''"""A read-out that takes memory, for as long as it takes SLURM to look."""
import time
from dataclasses import dataclass

import torch

from layerwise.methods import ridge


@dataclass(frozen=True)
class Options:
    megabytes: int = 900
    "taken"


def fit(segment, features, options, **more):
    memory = torch.ones(options.megabytes * 250_000)
    time.sleep(4)
    return ridge.fit(segment, features, ridge.Options(), **more)
'''


def test_every_job_of_a_study_is_a_job_of_slurm(made):
    rules = ["dataset", "fits", "node", "node", "node", "report", "verdicts"]
    assert sorted(job.rule for job in made.ran) == rules
    assert {job["JobState"] for job in made.ran} == {"COMPLETED"}
    assert {job["Requeue"] for job in made.ran} == {"1"}
    assert {job["Partition"] for job in made.ran} == {"main"}
    fits = [job for job in made.ran if job.rule == "node"]
    assert {(job.tres("mem"), job["TimeLimit"], job["TresPerJob"]) for job in fits} == {
        ("4000M", "04:00:00", "gres:gpu:1")
    }
    others = [job for job in made.ran if job.rule != "node"]
    assert not any("gpu" in repr(job) for job in others)
    assert {job["TimeLimit"] for job in others} == {"01:00:00"}


def test_independent_fits_run_side_by_side_on_a_node_and_gpu_each(made):
    one, two = [job for job in made.ran if job.rule == "node" and "ridge" not in job["Comment"]]
    begins, ends = ([datetime.fromisoformat(job[name]) for job in (one, two)] for name in ("StartTime", "EndTime"))
    assert max(begins) < min(ends)
    assert {one["NodeList"], two["NodeList"]} == {"n1", "n2"}


def test_a_job_that_ran_out_of_memory_is_submitted_again_with_more(place):
    place.edit("method: ridge", "method: lab.hungry")
    (place.folder / "lab").mkdir()
    (place.folder / "lab/hungry.py").write_text(HUNGRY)
    node = place.marker("d4/ridge", group="seed0")
    place.snakemake("--set-resources", "node:mem_mb=1000*attempt", "--", node)
    first, second = place.jobs
    assert (first["JobState"], first.tres("mem")) == ("FAILED", "1000M")
    assert (second["JobState"], second.tres("mem")) == ("COMPLETED", "2000M")
    assert "exceeded memory limit" in Path(first["StdOut"]).read_text()
    assert (place.folder / node).exists()


def test_two_processes_share_a_fit_over_two_nodes(place):
    place.edit("segments:", f"segments:\n  shared: {SHARED}")
    place.edit("mlp: backprop", "mlp: backprop, shared: by two")
    fit = ("fit", "studies/tiny.yaml", "digits", "shared", "--seeds", "0", "--device", "cpu", "--threads", "1")
    place.layerwise(*fit)
    alone = load_file(place.node("shared") / "segment.safetensors")
    place.unfit("shared")
    place.unfit("d4/ridge")
    with (place.folder / "profiles/slurm/config.yaml").open("a") as profile:
        profile.write(SHARED_BY_TWO)
    nodes = [place.marker(path, group="seed0") for path in ("shared", "d4/ridge")]
    place.snakemake("--", *nodes)
    jobs = {job["Comment"].rpartition("_seed0_")[2]: job for job in place.jobs}
    assert [jobs["shared"][name] for name in ("JobState", "NodeList", "NumTasks")] == ["COMPLETED", "n[1-2]", "2"]
    assert [jobs["d4_ridge"][name] for name in ("JobState", "NumNodes", "NumTasks")] == ["COMPLETED", "1", "1"]
    assert json.loads((place.node("shared") / "fit.json").read_text())["processes"] == 2
    shared = load_file(place.node("shared") / "segment.safetensors")
    for name in alone:
        torch.testing.assert_close(shared[name], alone[name], rtol=1e-4, atol=1e-6)
    assert place.plan(*nodes) == []  # who started the processes makes no fit owed again, with the profile or without
