"""The memory of the steps of networks that are left out: what a fit would record, counted without data."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import tinystudy
import torch

from layerwise.__main__ import main
from layerwise.contract import Features, Segment, Split, Task
from layerwise.methods import local
from layerwise.results import published
from layerwise.run import steps
from layerwise.tables import published_rows

TASK = Task("onehot", 10, tuple("0123456789"))
NET = ["conv 3 8 pad 1", "relu", "maxpool 2", "conv 3 16 pad 1", "batchnorm", "relu", "avgpool 14", "dense outputs"]
LEFT_OUT = {
    "seeds": 1,
    "datasets": {
        "digits": {"source": "digits", "valid": 0.2},
        "cifar10": {"source": "torchvision", "name": "CIFAR10"},
        "two": {"source": "torchvision", "name": "MNIST", "classes": [1, 7]},
    },
    "segments": {
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
        "net": {"method": "local", "layers": ["torchvision squeezenet1_1"], "decision": [], "memory": 0.3},
        "slow": {"method": "local", "layers": ["torchvision squeezenet1_1"], "decision": [], "memory": 0.3, "lr": 0.1},
    },
    "networks": {
        "digits": {"ridge": "linear"},
        "cifar10": {"net": "layer by layer", "slow": "at another rate", "ridge": "linear"},
        "two": {"net": "two classes"},
    },
    "leave_out": {"cifar10": "for a GPU", "two": "for a GPU"},
    "probes": {},
    "figures": {},
}


@pytest.mark.parametrize("how", [{"decision": (), "memory": 0.8}, {"window": 2, "overlap": 1, "optimizer": "adamw"}])
def test_a_count_is_what_a_fit_records(how):
    layers = (*NET[:6], "conv 3 8 pad 1", "relu", *NET[6:])
    options = local.Options(epochs=(1,), batch=16, crop=False, **how)
    segment = Segment(layers, (3, 28, 28), 10)
    x, y = torch.randn(32, 3, 28, 28), torch.arange(32) % 10
    features = Features(Split(x, y), Split(x[:0], y[:0]), TASK)
    rows = local.fit(segment, features, options, seed=0, device=torch.device("cpu")).record["blocks"]
    counted = local.count(segment, TASK, options)
    shared = ("first", "last", "decision", "parameters", "memory_bytes", "memory_share")
    assert [[row[name] for name in shared] for row in counted] == [[row[name] for name in shared] for row in rows]
    assert all(row["least_share"] <= row["memory_share"] for row in counted)


def test_a_target_that_cannot_be_met_counts_an_affine_decision():
    rows = local.count(Segment(tuple(NET), (3, 28, 28), 10), TASK, local.Options(decision=(), memory=0.01, batch=16))
    assert [word.split()[0] for word in rows[0]["decision"]] == ["avgpool", "flatten", "dense"]
    assert rows[0]["memory_share"] == rows[0]["least_share"] > 0.01


def test_what_is_counted_is_left_out_and_needs_no_data(tmp_path, monkeypatch):
    study = tinystudy.load(tmp_path, **LEFT_OUT)
    assert study.counted == ("cifar10/net", "cifar10/slow")  # classes that are drawn from the data are not known
    counts = []
    monkeypatch.setattr(local, "count", lambda *a, count=local.count: counts.append(a) or count(*a))
    table = steps.count(study)
    assert len(counts) == 1  # a learning rate takes no memory
    net, slow = (table[table["path"] == path].drop(columns="path").reset_index(drop=True) for path in ("net", "slow"))
    pd.testing.assert_frame_equal(net, slow)
    most = steps.networks(table).set_index("path")
    assert most.loc["net", steps.SHARE] == steps.decided(net)["percent"].max()
    assert "steps.csv" in study.targets()


@pytest.mark.parametrize(
    ("key", "value"), [("networks", {"cifar10": {"slow": "renamed"}}), ("segments", {"net": {"memory": 0.4}})]
)
def test_a_count_is_of_the_networks_and_options_that_are_asked(tmp_path, key, value):
    one = {**LEFT_OUT, "networks": {**LEFT_OUT["networks"], "cifar10": {"net": "layer by layer"}}}
    other = {**one, key: {**one[key], **value}}
    if key == "segments":
        other[key]["net"] = {**LEFT_OUT["segments"]["net"], **value["net"]}
    studies = [tinystudy.load(tmp_path, **each) for each in (one, one, other)]
    assert studies[0].steps_digest() == studies[1].steps_digest() != studies[2].steps_digest()


def test_a_count_answers_for_a_published_share(tmp_path):
    row = "cifar10 mobilenet_v2"
    memory = {"published": "relative_memory_percent", "measure": steps.SHARE}
    item = {"columns": {"memory": memory, "dll": "dll_accuracy"}, "rows": {row: "cifar10/net"}}
    study = tinystudy.load(tmp_path, **LEFT_OUT, published={"thesis": {"table6.2": item}})
    counted = pd.DataFrame(
        {
            "dataset": "cifar10",
            "path": "net",
            "decision": ["dense outputs", "dense outputs", ""],
            "percent": [29.0, 30.4, 80.0],
            "least_percent": [1.0, 2.0, 80.0],
        }
    )
    fits = pd.DataFrame({"dataset": ["digits"], "path": ["ridge"], "seed": [0], "test_accuracy": [1.0]})
    table = published.verdicts(study, fits, None, counted).set_index(["row", "metric"])
    share = table.loc[row, "relative_memory_percent"]
    assert (share["measured"], share["verdict"], share["reason"]) == (30.4, "reproduced", published.COUNTED)
    assert table.loc[row, "dll_accuracy"]["verdict"] == "not run"
    results = SimpleNamespace(study=study, steps=counted, runs=lambda *_: False)
    shown = published_rows.make(results, published_rows.Options("thesis", "table6.2")).iloc[0]
    assert (shown["memory_published"], shown["memory"], shown["n"]) == (share["published"], 30.4, 0)
    assert pd.isna(shown["dll"])


def test_what_is_counted_already_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tinystudy.load(tmp_path, **LEFT_OUT)  # writes the file
    counts = []
    monkeypatch.setattr(steps, "count", lambda study: counts.append(study) or pd.DataFrame({"decision": ["a"]}))
    table = tmp_path / "results" / "tiny" / "steps.csv"
    for known, change in ((0, None), (1, None), (1, "edited")):
        if change:
            table.write_text(change)
        assert main(["steps", "tiny.yaml"]) == 0
        assert ("left alone" in capsys.readouterr().out) == (len(counts) == known)
    assert len(counts) == 2
