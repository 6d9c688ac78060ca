"""One fit by two processes that torchrun starts, and data sets that have numbers of seeds of their own."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from places import TINY, Workplace

TWO = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "layerwise", "fit", "studies/tiny.yaml", "digits")


def test_two_processes_write_what_one_does(workplace: Workplace):
    before = load_file(workplace.node("d4") / "segment.safetensors")
    workplace.unfit("d4")
    scored = workplace.node("d4") / "score.json"
    score = json.loads(scored.read_text())
    scored.unlink()  # of features: a read-out, which the first process fits alone
    done = workplace.run(sys.executable, *TWO, "d4", "--seeds", "0", "--threads", "1")
    assert "shared in" in done.stdout
    record = json.loads((workplace.node("d4") / "fit.json").read_text())
    assert record["processes"] == 2
    again = json.loads(scored.read_text())
    assert again["splits"]["test"]["mse"] == pytest.approx(score["splits"]["test"]["mse"], rel=1e-3)
    after = load_file(workplace.node("d4") / "segment.safetensors")
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-6)
    # What is made is left alone, by both.
    assert "already made" in workplace.run(sys.executable, *TWO, "d4", "--seeds", "0", "--threads", "1").stdout


def test_a_method_that_is_not_shared_is_refused(workplace: Workplace):
    workplace.unfit("mlp")
    done = workplace.run(sys.executable, *TWO, "mlp", "--seeds", "0", check=False)
    assert done.returncode
    assert "layerwise: network digits/seed0/mlp: method 'sgd': 2 processes share a fit whose 'workers'" in done.stderr
    assert not (workplace.node("mlp") / "fit.json").exists()


@pytest.mark.slow
def test_each_data_set_runs_with_its_own_seeds(empty: Workplace):
    more = TINY.replace("seeds: 2", "seeds: {digits: 2, few: [7]}\nleave_out: {never: an hour}\nreadouts: false")
    more = more.replace("valid: 0.2}\n", "valid: 0.2}\n  few: {source: digits, subset: 500}\n", 1)
    more = more.replace("  few:", "  never: {source: torchvision, name: CIFAR100, download: false}\n  few:", 1)
    more = more.replace("probes:", "  few: {d4/ridge: few images}\n  never: {d4/ridge: not here}\nprobes:")
    empty.write(more)
    empty.snakemake("--", "tiny")
    assert {p.name for p in empty.results("networks").iterdir()} == {"digits", "few"}
    assert {p.name for p in empty.results("networks", "digits").iterdir()} == {"seed0", "seed1", "seeds"}
    assert {p.name for p in empty.results("networks", "few").iterdir()} == {"seed7", "seeds"}
    assert json.loads((empty.node("d4") / "score.json").read_text())["kind"] == "features"
    assert not (empty.node("d4/ridge") / "test.safetensors").exists()
    assert empty.plan("tiny") == []
    empty.edit("leave_out: {never: an hour}", "leave_out: {}")
    assert "prepare data set never" in empty.plan("tiny")
