"""What is wrong with data or options is said in one line, and nothing half-made is left under a final name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise import store
from layerwise.contract import Raw, Task
from layerwise.errors import LayerwiseError
from layerwise.preparation import disk as _disk
from layerwise.preparation import prepare as _prepare
from layerwise.preparation.disk import read, write
from layerwise.preparation.folder import digest
from layerwise.preparation.options import Preparation, split_options
from layerwise.preparation.prepare import prepare


def refused(match, function, *args, **kwargs):
    """Call the function, which must raise a LayerwiseError of one line that matches."""
    with pytest.raises(LayerwiseError, match=match) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)


def load(source, root=Path("nowhere"), **given):
    return prepare(source, *split_options(source, given, "dataset 'mine'"), Path(root))


# --- options


@pytest.mark.parametrize(
    ("source", "given", "match"),
    [
        (
            "digits",
            {"standardize": "global"},
            r"dataset 'mine': .*'digits' has no option 'standardize'; .* 'standardise'\?",
        ),
        ("digits", {"tset": 0.2}, r"has no option 'tset'; did you mean 'test'\?"),
        ("digits", {"problem": "spirals"}, r"has no option 'problem'"),
        ("digist", {}, r"'digist': no such source; did you mean 'digits'\?"),
        ("digits", {"standardise": "features"}, r"option 'standardise' is 'features'; did you mean 'feature'\?"),
        ("digits", {"subset": "many"}, r"option 'subset' is 'many', which is not int"),
        ("digits", {"subset": -1}, r"option 'subset' is -1: it must be at least 0"),
        ("digits", {"valid": float("nan")}, r"option 'valid' is nan: it must be a finite number at least 0"),
        ("digits", {"valid": 1.0}, r"option 'valid' is 1.0: a share of the training split is below 1.0"),
        ("digits", {"classes": ["3"]}, r"'classes' names one class"),
        ("digits", {"test": 1.5}, r"dataset 'mine': option 'test' is 1.5"),
        ("toys", {}, r"needs the option 'problem'"),
        ("toys", {"problem": "spiral"}, r"option 'problem' is 'spiral'; did you mean 'spirals'\?"),
        ("toys", {"problem": "sinusoid", "samples": 50}, r"'test_samples' is 1000: the sinusoid needs fewer"),
        ("toys", {"problem": "spirals", "side": 2}, r"option 'side' is of the checkerboard alone, not of spirals"),
        ("toys", {"problem": "checkerboard", "side": 0}, r"option 'side' is 0: it must be above 0"),
        ("toys", {"problem": "spirals", "radius": 0}, r"option 'radius' is 0: it must be above 0"),
        ("toys", {"problem": "spirals", "start": 1}, r"option 'start' is 1: it must be at least 0 and below 1"),
        ("toys", {"problem": "spirals", "even": "arm"}, r"option 'even' is 'arm'; did you mean 'arms'\?"),
        (
            "toys",
            {"problem": "checkerboard", "turns": 3},
            r"'turns', .* and 'even' are of the spirals alone, not of check",
        ),
        ("toys", {"problem": "checkerboard", "start": 0.1}, r"'turns', .* and 'even' are of the spirals alone"),
        (
            "toys",
            {"problem": "spirals", "noise": -1},
            r"option 'noise' is -1: it must be at least 0",
        ),
        ("toys", {"problem": "spirals", "samples": 0}, r"option 'samples' is 0: it must be at least 4"),
        (
            "toys",
            {"problem": "spirals", "samples": 10**12},
            r"'samples' is 1\d+: it must be at least 4 and at most 1\d+",
        ),
        ("digits", {"subset": 10, "valid": 1e308}, r"'valid' is 1e\+308: it must be at least 0 and at most 1\d+"),
        ("torchvision", {"name": "CIFAR"}, r"option 'name' is 'CIFAR'; did you mean 'CIFAR10"),
        ("imagefolder", {"folder": "x", "size": 0}, r"option 'size' is 0: it must be at least 1 and at most 1024"),
    ],
)
def test_options_that_are_refused(source, given, match):
    refused(match, split_options, source, given, "dataset 'mine'")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"classes": ["3", "thre"]}, r"source 'digits': no class 'thre'"),
        ({"classes": [3, 10]}, r"no class 10"),
        ({"classes": [3, "3"]}, r"'classes' names class '3' twice"),
        ({"targets": "signs"}, r"has 10 classes, and targets: signs needs two"),
        ({"subset": 1340}, r"subset: 1340 asks for 134 samples of class '\d', which has 13\d; ask for fewer"),
        (
            {"subset": 700, "valid": 1.0},
            r"subset: 700 with valid: 1.0 asks for 140 samples of class '0', which has 133",
        ),
        ({"subset": 5}, r"subset: 5 is too small for 10 classes"),
        ({"test_subset": 449}, r"test_subset: 449 asks for 45 samples of class '\d', which has 4\d; ask for fewer"),
        ({"valid": 1340}, r"valid: 1340 leaves too few of 1348 training samples; give less"),
        ({"valid": 1}, r"valid: 1 is 1 of 1348 samples, too few for 10 classes"),
    ],
)
def test_preparations_that_the_data_do_not_allow(given, match):
    refused(match, load, "digits", **given)


@pytest.mark.parametrize("given", [{"classes": ("a", "b")}, {"targets": "signs"}])
def test_a_regression_has_no_classes(given):
    refused(r"regression", load, "toys", problem="sinusoid", **given)


# --- data


def blobs(n=12, classes=3):
    y = torch.arange(n) % classes
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0)), y


TASK = Task("onehot", 3, ("a", "b", "c"))


def spoiled(split="train", **changes):
    """A Raw whose given split was changed: x or y replaced by a function of itself."""
    parts = {"train": blobs(), "test": blobs(6)}
    x, y = parts[split]
    parts[split] = (changes.get("x", lambda v: v)(x.clone()), changes.get("y", lambda v: v)(y.clone()))
    return Raw(parts["train"], parts["test"], changes.get("task", TASK))


def at(place, value):
    def put(v):
        v[place] = value
        return v

    return put


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (
            spoiled(x=at((4, 1), float("nan"))),
            r"'lab': the train split has NaN or infinite features in 1 of 12 .* number 4",
        ),
        (spoiled("test", x=at((5, 0), float("inf"))), r"the test split has NaN or infinite features in 1 of 6 samples"),
        (spoiled(y=at(3, 12)), r"the train split has labels from 0 to 12, and its 3 classes are 0 to 2"),
        (spoiled("test", y=at(0, -1)), r"the test split has labels from -1 to 2"),
        (spoiled(x=torch.zeros_like), r"all 2 features are constant in the training split"),
        (spoiled(x=lambda v: v[:0], y=lambda v: v[:0]), r"the train split is empty"),
        (spoiled("test", x=lambda v: v[:0], y=lambda v: v[:0]), r"the test split is empty"),
        (spoiled(y=lambda v: v[:-1]), r"the train split has x \(12, 2\) torch.float32 and y \(11,\)"),
        (spoiled("test", x=lambda v: v[:, :1]), r"the test split has x \(6, 1\)"),
        (spoiled(x=torch.Tensor.double), r"x must be \(N, 2\) uint8 or float32"),
        (spoiled(y=torch.Tensor.float), r"y \(N,\) int64"),
        (spoiled(y=lambda v: v % 2), r"class 'c' has no training sample"),
        (spoiled(task=Task("onehot", 1, ("a",)), y=torch.zeros_like), r"labels|has one class, 'a'"),
        (spoiled("train", task=Task("values", 1)), r"of values, \(N, outputs\) float32"),
    ],
)
def test_samples_that_are_refused(raw, match, monkeypatch):
    monkeypatch.setattr(_prepare.plugins, "load", lambda *_: SimpleNamespace(load=lambda options, root: raw))
    refused(match, prepare, "lab", None, Preparation(), Path())


def test_one_class_is_refused(monkeypatch):
    (x, y), task = blobs(), Task("onehot", 1, ("a",))
    raw = Raw((x, y * 0), (x, y * 0), task)
    monkeypatch.setattr(_prepare.plugins, "load", lambda *_: SimpleNamespace(load=lambda options, root: raw))
    refused(r"has one class, 'a': two are needed", prepare, "lab", None, Preparation(), Path())


def test_values_that_are_not_finite_are_refused(monkeypatch):
    x = torch.randn(5, 2)
    y = torch.tensor([[0.0], [1], [float("nan")], [2], [3]])
    raw = Raw((x, y), (x, y), Task("values", 1))
    monkeypatch.setattr(_prepare.plugins, "load", lambda *_: SimpleNamespace(load=lambda options, root: raw))
    refused(r"NaN or infinite targets in 1 of 5 samples", prepare, "lab", None, Preparation(), Path())


def test_a_class_with_one_sample_cannot_be_split(monkeypatch):
    x, y = blobs()
    keep = torch.tensor([i for i in range(12) if y[i] != 1 or i == 1])
    raw = Raw((x[keep], y[keep]), blobs(6), TASK)
    monkeypatch.setattr(_prepare.plugins, "load", lambda *_: SimpleNamespace(load=lambda options, root: raw))
    refused(r"class 'b' has one training sample", prepare, "lab", None, Preparation(valid=0.4), Path())
    assert prepare("lab", None, Preparation(), Path())[1]["class_counts"]["train"] == [4, 1, 4]
    assert prepare("lab", None, Preparation(valid=0.5, classes=("a", "c")), Path())[1]["counts"]["valid"] == 4


def test_wrong_labels_that_cannot_be_given_are_refused(monkeypatch):
    x = torch.randn(5, 2)
    values, few = (x, torch.randn(5, 1)), (x, torch.tensor([0, 1, 1, 1, 1]))
    for samples, task, share, match in (
        (values, Task("values", 1), 0.2, r"is a regression: leave the option 'wrong_labels' out"),
        (
            few,
            Task("onehot", 2, ("a", "b")),
            0.8,
            r"wrong_labels: 0.8 leaves no training sample of class 'b'; give less",
        ),
    ):
        raw = Raw(samples, samples, task)
        monkeypatch.setattr(_prepare.plugins, "load", lambda *_, raw=raw: SimpleNamespace(load=lambda o, root: raw))
        refused(match, prepare, "lab", None, Preparation(wrong_labels=share, seed=6), Path())


# --- on disk


def test_a_kill_between_the_splits_leaves_no_record(tmp_path, monkeypatch):
    made = load("toys", problem="spirals", samples=20, test_samples=4)
    write(tmp_path, *made)  # an earlier, whole data set: its record must not vouch for the new splits

    def killed(path, tensors):
        raise KeyboardInterrupt

    monkeypatch.setattr(_disk.store, "write_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, *load("toys", problem="spirals", samples=40, test_samples=4))
    refused(r"dataset.json: no such file", read, tmp_path)
    monkeypatch.undo()
    write(tmp_path, *made)
    assert len(read(tmp_path).train) == 20


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    made = load("toys", problem="spirals", samples=20, test_samples=4)
    refused(r"/file: cannot be written \(Not a directory\)", write, tmp_path / "file", *made)


def test_the_record_is_written_last(tmp_path, monkeypatch):
    order = []

    def noting(write_one, path, *content):
        order.append(path.name)
        write_one(path, *content)

    for name in ("write_tensors", "write_json"):
        monkeypatch.setattr(_disk.store, name, partial(noting, getattr(store, name)))
    write(tmp_path, *load("digits"))
    assert order == ["train.safetensors", "valid.safetensors", "test.safetensors", "dataset.json"]


def test_a_data_set_that_does_not_match_itself_is_refused(tmp_path):
    write(tmp_path, *load("toys", problem="spirals", samples=20, test_samples=4))
    train = tmp_path / "train.safetensors"
    whole = train.read_bytes()
    train.write_bytes(whole[:-7])
    refused(r"train.safetensors: cut short", read, tmp_path)
    train.write_bytes((tmp_path / "test.safetensors").read_bytes())
    refused(r"has samples \(4, 2\) where its record says \(20, 2\)", read, tmp_path)
    store.write_tensors(train, {"x": torch.zeros(20, 2)})
    refused(r"train.safetensors: not a split of a data set", read, tmp_path)
    train.write_bytes(whole)
    record = store.read_json(tmp_path / "dataset.json")
    record.pop("task")
    store.write_json(tmp_path / "dataset.json", record)
    refused(r"dataset.json: not the record of a data set", read, tmp_path)


# --- images


@pytest.fixture
def folder(tmp_path):
    for place in ("train/a", "train/b", "test/a"):
        (tmp_path / place).mkdir(parents=True)
        for i in range(3):
            Image.effect_noise((16, 16), 60 + i).save(tmp_path / place / f"{i}.png")
    return tmp_path


def empty(top, place):
    for path in sorted((top / place).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda top: empty(top, "train"), r"/train: no class folder in it; images belong in .*/train/<class>/"),
        (lambda top: empty(top, "test"), r"/test: no class folder in it"),
        (lambda top: empty(top, "train/b"), r"/train/b: no image in it \(.png, "),
        (lambda top: (top / "test/a").rename(top / "test/bb"), r"class 'bb' is not among those of train; .* 'b'\?"),
    ],
)
def test_image_folders_that_are_refused(folder, spoil, match):
    spoil(folder)
    refused(match, load, "imagefolder", folder=str(folder), size=4)
    refused(match, digest, "imagefolder", SimpleNamespace(folder=str(folder)))


def test_a_missing_image_folder(tmp_path):
    refused(r"gone: no such folder; images belong in", load, "imagefolder", folder=str(tmp_path / "gone"), size=4)


def noise(path, **more):
    Image.effect_noise((64, 64), 90).save(path, **more)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.bmp"])
def test_a_truncated_image_is_named(folder, name):
    path = folder / "train/a" / name
    path.write_bytes(noise(path)[:-400])
    refused(
        rf"train/a/{name}: not a whole image \(.+\); mend the file or remove it",
        load,
        "imagefolder",
        folder=str(folder),
        size=4,
    )


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_a_file_that_is_no_image_is_named(folder, content):
    (folder / "test/a/odd.png").write_bytes(content)
    refused(r"test/a/odd.png: not a whole image", load, "imagefolder", folder=str(folder), size=4)


def test_an_image_with_a_spoiled_middle_is_named(folder):
    path = folder / "train/b/spoiled.png"
    data = bytearray(noise(path))
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(bytes(data))
    refused(r"train/b/spoiled.png: not a whole image", load, "imagefolder", folder=str(folder), size=4)


def test_an_image_of_16_bits_is_refused(folder):
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(folder / "train/a/deep.png")
    refused(r"deep.png: an image of more than 8 bits a channel", load, "imagefolder", folder=str(folder), size=4)


def test_two_validation_splits_are_refused(folder):
    (folder / "valid/a").mkdir(parents=True)
    noise(folder / "valid/a/0.png")
    refused(
        r"has a validation split of its own: leave the option 'valid' out",
        load,
        "imagefolder",
        folder=str(folder),
        size=4,
        valid=2,
    )
