"""Additions from outside the package: one file each, named with its dots in a study. Two are those of CONTRIBUTING."""

from __future__ import annotations

import json
import re
import shutil

import pandas as pd
import pytest
import torch

from layerwise import plugins, store
from places import ROOT, Lab

OPTIONS = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Options:
    {}
"""
SOURCE = (
    '''"""Points on either side of a line."""
import torch
from layerwise.contract import Task
from layerwise.contract import Raw
'''
    + OPTIONS.format("""points: int = 60
    '''Number of training points.'''""")
    + """
def load(options, *, root):
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(options.points + 20, 4, generator=noise)
    y = (x[:, 0] > 0).long()
    return Raw((x[:-20], y[:-20]), (x[-20:], y[-20:]), Task("onehot", 2, ("left", "right")))
"""
)
PROBE = (
    '''"""How large the scores are."""
import pandas
'''
    + OPTIONS.format("""split: str = "test"
    '''Split to look at.'''""")
    + """
def look(network, data, options, *, seed, device):
    x = getattr(data, options.split).x
    return pandas.DataFrame({"layers": [len(network)], "largest": [float(network(x).abs().max().detach())]})
"""
)
FIGURE = (
    '''"""What the probe saw, as bars."""
from matplotlib.figure import Figure
'''
    + OPTIONS.format("""probe: str = "size"
    '''The probe.'''""")
    + """
def draw(results, options):
    figure = Figure()
    figure.subplots().bar(*zip(*results.probe(options.probe)[["label", "largest"]].values))
    return figure

def caption(results, options):
    return f"Largest scores, on {results.machines[0]}."
"""
)
TABLE = (
    '''"""What the probe saw, as a table."""
'''
    + OPTIONS.format("""probe: str = "size"
    '''The probe.'''""")
    + """
def make(results, options):
    return results.probe(options.probe)[["label", "seed", "largest"]]

def caption(results, options):
    return "Largest scores."
"""
)
USER = (
    '''"""A ridge read-out that knows how wide another network is."""
from layerwise.contract import Fitted, NO_HOOKS
from layerwise.methods import ridge
'''
    + OPTIONS.format("""loud: bool = False
    '''Nothing to speak of.'''""")
    + """
def fit(segment, features, options, *, seed, device, hooks=NO_HOOKS):
    made = ridge.fit(segment, features, ridge.Options(), seed=seed, device=device, hooks=hooks)
    sizes = {path: sum(p.numel() for p in network.parameters()) for path, network in segment.uses.items()}
    return Fitted(made.module, made.layers, {"uses": sizes, "training": [n.training for n in segment.uses.values()]})
"""
)
PIXEL = (
    '''"""Every unit looks at one pixel: the smallest layer there is."""
import torch
from layerwise.contract import NO_HOOKS, Fitted
from layerwise.layers import build as layers
'''
    + OPTIONS.format("""first: int = 0
    '''the pixel of the first unit'''""")
    + """
def fit(segment, features, options, *, seed, device, hooks=NO_HOOKS):
    module, words = layers.build(segment.layers, segment.shape, segment.outputs)
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(*module[0].weight.shape).roll(options.first, dims=1))
        module[0].bias.zero_()
    return Fitted(module, words, {"first": options.first})
"""
)
STUDY = """
title: From outside
seeds: 1
datasets:
  line: {source: mylab.line, points: 80}
segments:
  pixel: {method: mylab.pixel, layers: [dense 3], first: 1}
  head: {method: sgd, layers: [dense outputs], epochs: 3}
  user: {method: mylab.user, layers: [dense outputs], uses: [pixel/head]}
  means: {method: mylab.means, layers: [dense outputs], shrink: 0.25}
networks:
  line: {pixel/user: a read-out, means: class means}
probes:
  size: {probe: mylab.size, networks: [line/pixel/user]}
figures:
  bars: {figure: mylab.bars}
tables:
  sizes: {table: mylab.sizes}
  gaps: {table: mylab.gaps, dataset: line}
"""


def contributed() -> list[str]:
    """The method and the table that CONTRIBUTING.md shows, word for word."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)


def bring(folder) -> None:
    """Put the additions and their study into a folder."""
    means, gaps = contributed()
    own = {"pixel": PIXEL, "line": SOURCE, "size": PROBE, "bars": FIGURE, "sizes": TABLE, "user": USER}
    (folder / "mylab").mkdir()
    for name, text in {**own, "means": means, "gaps": gaps}.items():
        (folder / "mylab" / f"{name}.py").write_text(text)
    (folder / "studies").mkdir(exist_ok=True)
    (folder / "studies" / "outside.yaml").write_text(STUDY)


class Outside(Lab):
    study = "outside"


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A place with the additions, in which their study was run, beside which nothing of the package was changed."""
    folder = tmp_path_factory.mktemp("outside")
    bring(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        place = Outside(folder)
        place.must("all")
        yield place
        for cached in (plugins.file, plugins.options_class, plugins._imports):
            cached.cache_clear()


def test_the_method_in_contributing_finds_the_nearest_mean(outside):
    """Its class is that of the nearest mean, which is told here by distances."""
    record = json.loads((outside.node("means", dataset="line") / "fit.json").read_text())
    assert (record["method"], record["options"]) == ("mylab.means", {"shrink": 0.25})
    splits = {s: store.read_tensors(outside.results(f"datasets/line/{s}.safetensors")) for s in ("train", "test")}
    x, y = splits["train"]["x"], splits["train"]["y"]
    means = torch.stack([0.75 * x[y == k].mean(dim=0) + 0.25 * x.mean(dim=0) for k in (0, 1)])
    fits = pd.read_csv(outside.results("fits.csv")).set_index("path").loc["means"]
    for name, split in splits.items():
        right = torch.cdist(split["x"], means).argmin(dim=1) == split["y"]
        assert fits[f"{name}_accuracy"] == pytest.approx(100 * float(right.float().mean()))
    assert fits["right_percent"] == pytest.approx(fits["train_accuracy"])


def test_the_table_in_contributing_tells_what_test_samples_cost(outside):
    fits = pd.read_csv(outside.results("fits.csv")).set_index("label")
    table = pd.read_csv(outside.results("tables/gaps.csv")).set_index("network")
    assert set(table.index) == {"a read-out", "class means"}
    for label in table.index:
        assert table["loss"][label] == pytest.approx(fits["train_accuracy"][label] - fits["test_accuracy"][label])
    assert "points, on line; measured on" in outside.results("tables/gaps.md").read_text()


def test_the_method_in_contributing_refuses_what_it_does_not_fit(outside, tmp_path):
    for old, new, said in (
        (
            "layers: [dense outputs], shrink",
            "layers: [relu, dense outputs], shrink",
            "class means fit the layers [dense outputs] alone",
        ),
        ("shrink: 0.25", "shrink: 1.5", "option 'shrink' is 1.5: it must be at least 0 and at most 1"),
    ):
        shutil.copytree(outside.folder / "results", tmp_path / "results", dirs_exist_ok=True)
        place = Outside(tmp_path)
        place.write(STUDY.replace(old, new), "outside")
        place("fit", "line", "means").refuses(said)


def test_a_method_of_ones_own_fits_what_it_says(outside):
    record = json.loads((outside.node("pixel", dataset="line") / "fit.json").read_text())
    assert (record["method"], record["options"], record["record"]) == ("mylab.pixel", {"first": 1}, {"first": 1})
    given = store.read_tensors(outside.results("datasets/line/test.safetensors"))["x"]
    weights = store.read_tensors(outside.node("pixel", dataset="line") / "segment.safetensors")
    assert torch.equal(given @ weights["0.weight"].T, given[:, 1:4])


def test_each_kind_of_addition_ran(outside):
    assert json.loads(outside.results("datasets/line/dataset.json").read_text())["counts"]["train"] == 80
    seen = pd.read_csv(outside.node("pixel/user", dataset="line") / "size.csv")
    assert seen["largest"][0] > 0
    assert pd.read_csv(outside.results("tables/sizes.csv"))["largest"].tolist() == seen["largest"].tolist()
    assert "Largest scores." in outside.results("tables/sizes.md").read_text()
    assert "</svg>" in outside.results("figures/bars.svg").read_text()
    assert outside.results("report.html").stat().st_size > 0


def test_a_method_looks_at_the_network_that_its_segment_uses(outside):
    assert (outside.node("pixel/head", dataset="line") / "segment.safetensors").exists()
    record = json.loads((outside.node("pixel/user", dataset="line") / "fit.json").read_text())["record"]
    assert record == {"uses": {"pixel/head": 5 * 3 + 4 * 2}, "training": [False]}


def test_another_option_of_the_used_network_is_another_fit(outside, tmp_path):
    shutil.copytree(outside.folder, tmp_path / "copy")
    place = Outside(tmp_path / "copy")
    place.edit("epochs: 3", "epochs: 4", "studies/outside.yaml")
    before = json.loads((place.node("pixel/user", dataset="line") / "fit.json").read_text())["digest"]
    place("fit", "line", "pixel/user").refuses("seed0/pixel/head/fit.json: made for other options")
    place.must("fit", "line", "pixel/head")
    assert "fitted in" in place.must("fit", "line", "pixel/user")
    assert json.loads((place.node("pixel/user", dataset="line") / "fit.json").read_text())["digest"] != before


def test_an_addition_that_is_wrong_is_said(outside, tmp_path):
    for old, new, text in (
        ("first: 1", "frist: 1", "segment 'pixel': method 'mylab.pixel' has no option 'frist'; did you mean 'first'?"),
        (
            "mylab.pixel",
            "mylab.pixl",
            "method 'mylab.pixl': no such module; install it, or put its folder on PYTHONPATH",
        ),
        ("points: 80", "points: many", "data set 'line': option 'points' is 'many', which is not int"),
    ):
        place = Outside(tmp_path)
        place.write(STUDY.replace(old, new), "outside")
        place("fit", "line", "pixel").refuses(text)


def test_snakemake_finds_them_and_orders_the_fits(empty):
    bring(empty.folder)
    target = "results/outside/networks/line/seed0/pixel/user/node.json"
    assert empty.plan(target) == [
        "fit pixel on line, seeds 0",
        "fit pixel/head on line, seeds 0",
        "fit pixel/user on line, seeds 0",
        "prepare data set line",
    ]
    first = "results/outside/networks/line/seed0/pixel/node.json"
    empty.snakemake("--", first)
    record = (empty.folder / first).with_name("fit.json")
    assert json.loads(record.read_text())["record"] == {"first": 1}
    empty.edit("the pixel of the first unit", "which is no other code", "mylab/pixel.py")
    assert empty.plan(first) == []
    empty.edit("return Fitted(module, words, {", "return Fitted(module, words, {'edited': 1, ", "mylab/pixel.py")
    assert empty.plan(first) == ["fit pixel on line, seeds 0"]
