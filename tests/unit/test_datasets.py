"""The data sources and their preparation: what the samples are, which are drawn, and what is kept of them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from layerwise import plugins
from layerwise.contract import Raw, Task
from layerwise.errors import LayerwiseWarning
from layerwise.preparation import prepare as _prepare
from layerwise.preparation.disk import read, write
from layerwise.preparation.draw import deal, equal, proportional
from layerwise.preparation.measure import measure
from layerwise.preparation.options import Preparation, split_options
from layerwise.preparation.prepare import prepare

SOURCES = ("digits", "imagefolder", "torchvision", "toys")


def prepared(source, root=Path("nowhere"), **given):
    """Prepare a source as a study would; constant features are expected where features are standardised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerwiseWarning)
        return prepare(source, *split_options(source, given, "dataset 'x'"), root)


def values(parts):
    return (parts["x"].float() - parts["shift"]) / parts["scale"]


@pytest.fixture
def lines(monkeypatch):
    """A source of 6 classes with unequal counts whose sample number i is the number i: what was drawn can be seen."""

    def make(counts=(30, 25, 20, 15, 12, 10), classes="abcdef", kind="onehot"):
        y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
        x = torch.arange(len(y), dtype=torch.float32)[:, None]
        task = Task(kind, 1 if kind == "signs" else len(counts), tuple(classes))
        raw = Raw((x, y), (x + 1000, y), task)
        monkeypatch.setattr(_prepare.plugins, "load", lambda *_: SimpleNamespace(load=lambda options, root: raw))
        return lambda **given: prepare("lines", None, Preparation(**given), Path())

    return make


# --- the draws


def test_equal_shares_differ_by_one():
    assert equal(10, 4) == [3, 3, 2, 2]


@pytest.mark.parametrize(("total", "counts"), [(3, [2, 2, 100]), (101, [2, 2, 100]), (37, [90, 10, 3]), (5, [7])])
def test_proportional_shares_sum_up_and_leave_one_of_each(total, counts):
    shares = proportional(total, counts)
    assert sum(shares) == total
    assert all(1 <= share <= count - 1 for share, count in zip(shares, counts, strict=True))


def test_proportional_shares_keep_the_proportions():
    assert proportional(20, [100, 50, 50]) == [10, 5, 5]


def test_a_deal_gives_each_hand_its_counts_and_shares_nothing():
    labels = torch.tensor([0, 1, 2] * 20)
    first, second = deal(labels, [[5, 6, 7], [4, 3, 2]], [3, 0])
    assert torch.bincount(labels[first]).tolist() == [5, 6, 7]
    assert torch.bincount(labels[second]).tolist() == [4, 3, 2]
    assert not set(first.tolist()) & set(second.tolist())
    assert first.tolist() == sorted(first.tolist())


def test_subset_and_validation_of_equal_size_are_balanced_and_disjoint(lines):
    tensors, record = lines()(subset=30, valid=1.0, seed=1)  # the papers' MNIST_10k in small
    assert record["class_counts"]["train"] == record["class_counts"]["valid"] == [5] * 6
    assert not set(tensors["train"]["x"].flatten().tolist()) & set(tensors["valid"]["x"].flatten().tolist())
    assert record["counts"] == {"train": 30, "valid": 30, "test": 112}


def test_validation_size_is_independent_of_the_subset(lines):
    assert lines()(subset=36, valid=12)[1]["class_counts"]["valid"] == [2] * 6


def test_a_share_without_subset_is_of_train_and_keeps_proportions(lines):
    tensors, record = lines()(valid=0.25)
    assert record["counts"]["valid"] == 28
    assert record["class_counts"]["valid"] == [8, 6, 5, 4, 3, 2]
    both = torch.cat([tensors["train"]["x"], tensors["valid"]["x"]]).flatten()
    assert sorted(both.tolist()) == list(range(112))


def test_the_seed_and_nothing_else_decides_the_draw(lines):
    prepare_ = lines()
    one, same, other = (prepare_(subset=30, valid=6, test_subset=12, seed=s)[0] for s in (1, 1, 2))
    for split in ("train", "valid", "test"):
        assert torch.equal(one[split]["x"], same[split]["x"])
        assert not torch.equal(one[split]["x"], other[split]["x"])


def test_a_test_subset_is_balanced_and_leaves_train_alone(lines):
    prepare_ = lines()
    tensors, record = prepare_(test_subset=18)
    assert record["class_counts"]["test"] == [3] * 6
    assert (tensors["test"]["x"] >= 1000).all()
    assert torch.equal(tensors["train"]["x"], prepare_()[0]["train"]["x"])


def test_without_any_draw_the_samples_come_as_they_are(lines):
    tensors, record = lines()()
    assert tensors["train"]["x"].flatten().tolist() == list(range(112))
    assert record["counts"] == {"train": 112, "valid": 0, "test": 112}


@pytest.mark.parametrize(("kind", "counts"), [("onehot", (30, 25, 20, 15, 12, 10)), ("signs", (60, 40))])
def test_wrong_labels_are_a_share_of_the_training_samples_alone_and_never_right(lines, kind, counts):
    prepare_ = lines(counts, "abcdef"[: len(counts)], kind)
    right = prepare_(valid=20, seed=1)[0]
    wrong, record = prepare_(valid=20, seed=1, wrong_labels=0.25)
    changed = wrong["train"]["y"] != right["train"]["y"]
    assert int(changed.sum()) == round(0.25 * len(changed))
    assert record["class_counts"]["train"] == torch.bincount(wrong["train"]["y"], minlength=len(counts)).tolist()
    for split, part in (("train", "x"), ("valid", "x"), ("valid", "y"), ("test", "y")):
        assert torch.equal(wrong[split][part], right[split][part])
    others = torch.stack([prepare_(valid=20, seed=s, wrong_labels=0.25)[0]["train"]["y"] for s in range(8)])
    assert (others.min(0).values < others.max(0).values).any()
    assert set(wrong["train"]["y"][changed].tolist()) == set(range(len(counts)))


def test_labels_stay_with_their_samples(lines):
    prepare_ = lines()
    whole = prepare_()[0]["train"]
    drawn = prepare_(subset=30, valid=12, seed=5)[0]
    for split in ("train", "valid"):
        rows = drawn[split]["x"].flatten().long()
        assert torch.equal(whole["y"][rows], drawn[split]["y"])


def test_a_class_subset_is_relabelled_in_the_order_given(lines):
    tensors, record = lines()(classes=("e", "b"), targets="signs")
    assert record["task"] == {"kind": "signs", "outputs": 1, "classes": ("e", "b")}
    assert record["class_counts"]["train"] == [12, 25]
    old = lines()()[0]["train"]["y"][tensors["train"]["x"].flatten().long()]
    assert torch.equal(old == 4, tensors["train"]["y"] == 0)
    assert set(tensors["test"]["y"].tolist()) == {0, 1}


def test_classes_by_number_unless_a_class_has_that_name(lines):
    assert lines()(classes=(5, 0))[1]["task"]["classes"] == ("f", "a")
    assert lines(classes=("9", "8", "7", "2", "1", "0"))(classes=(1, 7))[1]["task"]["classes"] == ("1", "7")


# --- standardisation


def test_statistics_are_those_of_numpy():
    x = torch.randn(5000, 3, 2, generator=torch.Generator().manual_seed(0)) * 5 + 1e4
    found, sure = measure(x), x.numpy().astype(np.float64)
    np.testing.assert_allclose(found.mean, sure.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, sure.var(0), rtol=1e-9)
    shift, scale = found.standardisation("global", 1.0)
    np.testing.assert_allclose([shift.item(), scale.item()], [sure.mean(), sure.std()], rtol=1e-6)


def test_many_pieces_measure_as_one(monkeypatch):
    x = torch.randint(0, 256, (1000, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = measure(x)
    monkeypatch.setattr("layerwise.preparation.measure.VALUES", 50)
    np.testing.assert_allclose(measure(x).variance, whole.variance, rtol=1e-12)
    np.testing.assert_array_equal(measure(x).mean, x.numpy().mean(0, dtype=np.float64))


def test_feature_standardisation_is_of_train_alone():
    tensors, record = prepared("digits", valid=0.2, standardise="feature")
    x = values(tensors["train"]).flatten(1).double()
    constant = x.amax(0) == x.amin(0)
    assert record["constant_features"] == int(constant.sum()) == 6
    assert x.mean(0).abs().max() < 1e-6
    assert (x[:, ~constant].var(0, correction=0) - 1).abs().max() < 1e-5
    assert (tensors["train"]["scale"].flatten()[constant] == 1).all()
    for split in ("valid", "test"):
        assert torch.equal(tensors[split]["scale"], tensors["train"]["scale"])
        assert values(tensors[split]).mean(0).abs().max() > 1e-3


def test_constant_features_are_told_of():
    given = split_options("digits", {"standardise": "feature"}, "x")
    with pytest.warns(
        LayerwiseWarning, match=r"of 64 features are constant in the training split: their scale is set to 1"
    ):
        prepare("digits", *given, Path())


def test_global_standardisation_is_one_pair():
    tensors, _ = prepared("digits", standardise="global")
    assert tensors["train"]["shift"].shape == (1, 1, 1)
    x = values(tensors["train"]).double()
    assert abs(x.mean().item()) < 1e-6
    assert abs(x.std().item() - 1) < 1e-4


# --- on disk


def test_what_is_written_is_what_is_read(tmp_path):
    tensors, record = prepared("digits", valid=0.1, standardise="feature")
    write(tmp_path, tensors, {**record, "digest": "abc"})
    data = read(tmp_path)
    for name in ("train", "valid", "test"):
        split = getattr(data, name)
        assert split.x.dtype == torch.float32
        assert torch.equal(split.x, values(tensors[name]))
        assert torch.equal(split.y, tensors[name]["y"])
    assert data.task == Task("onehot", 10, tuple("0123456789"))
    assert data.record["digest"] == "abc"
    assert data.features.valid is data.valid
    assert data.features.shape == (1, 8, 8)


def test_a_split_that_does_not_exist_is_empty(tmp_path):
    write(tmp_path, *prepared("toys", problem="sinusoid"))
    data = read(tmp_path)
    assert len(data.valid) == 0
    assert data.valid.x.shape == (0, 1)


def test_the_content_follows_every_tensor(tmp_path):
    contents = [
        prepared("digits", **g)[1]["content"] for g in ({}, {}, {"seed": 1, "valid": 20}, {"standardise": "global"})
    ]
    assert contents[0] == contents[1]
    assert len(set(contents)) == 3


# --- options


def test_keys_are_told_apart_and_seed_goes_to_both():
    options, preparation = split_options(
        "toys", {"problem": "spirals", "seed": 7, "valid": 0.5, "classes": ["+1", "-1"]}, "x"
    )
    assert (options.problem, options.seed, options.samples) == ("spirals", 7, 5000)
    assert preparation == Preparation(seed=7, valid=0.5, classes=("+1", "-1"))


def test_options_are_checked_without_torch():
    code = (
        "import sys; import layerwise.preparation.folder; from layerwise.preparation.options import split_options\n"
        f"for source in {SOURCES}:\n"
        "    given = {'toys': {'problem': 'spirals'}, 'torchvision': {'name': 'MNIST'}}\n"
        "    given['imagefolder'] = {'folder': 'x', 'size': 4}\n"
        "    split_options(source, given.get(source, {}), 'x')\n"
        "print('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(plugins.PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("source", SOURCES)
def test_every_option_is_documented(source):
    from dataclasses import fields

    named = {field.name for field in fields(plugins.options_class("datasets", source))}
    assert set(plugins.documentation("datasets", source)) == named


def test_the_preparation_is_among_the_sources_of_every_dataset():
    found = {path.name for path in plugins.sources("datasets", "digits")}
    assert {"digits.py", "prepare.py", "draw.py", "measure.py", "check.py", "disk.py"} <= found
    assert not {"toys.py", "torchvision.py", "imagefolder.py"} & found


def test_a_source_from_outside_the_package(tmp_path, monkeypatch):
    (tmp_path / "mylab_sets").mkdir()
    (tmp_path / "mylab_sets" / "pair.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom layerwise.contract import Raw, Task\n"
        "@dataclass(frozen=True)\nclass Options:\n    n: int = 4\n"
        "def load(options, *, root):\n"
        "    x = torch.arange(options.n).float()[:, None]\n    y = torch.arange(options.n) % 2\n"
        "    return Raw((x, y), (x, y), Task('onehot', 2, ('even', 'odd')), notes={'lab': 'mine'})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    _, record = prepared("mylab_sets.pair", n=8, subset=4)
    assert record["class_counts"]["train"] == [2, 2]
    assert record["notes"] == {"lab": "mine"}
