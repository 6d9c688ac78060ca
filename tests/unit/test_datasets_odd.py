"""What a source from anywhere gives, and what lies on disk of a data set: as it should be, or one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from layerwise import plugins, store
from layerwise.contract import Raw, Task
from layerwise.errors import LayerwiseError
from layerwise.preparation.disk import content, read, write
from layerwise.preparation.options import Preparation
from layerwise.preparation.prepare import prepare
from layerwise.report import page
from layerwise.run import loading
from layerwise.study.model import digest_of

NOISE = torch.randn(18, 2, generator=torch.Generator().manual_seed(0))
X, Y = NOISE[:12], torch.arange(12) % 3
TEST = (NOISE[12:], torch.arange(6) % 3)
CLASSES = ("a", "b", "c")


def raw(x=X, y=Y, *, test=TEST, task=None, classes=CLASSES, kind="onehot", outputs=3, **more) -> Raw:
    return Raw((x, y), test, task or Task(kind, outputs, classes), **more)


def prepared(given: object, standardise: str = "none"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "load", lambda *_: SimpleNamespace(load=lambda options, root: given))
        return prepare("lab", None, Preparation(standardise=standardise), Path())


def one_line(function, *args) -> str:
    with pytest.raises(LayerwiseError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what a source gives

ODD = {
    "nothing": (None, "gives NoneType, and load must return a layerwise.contract.Raw"),
    "a dict": ({}, "gives dict"),
    "arrays": (raw(X.numpy(), Y.numpy()), "the train split is of ndarray, ndarray; it must be two tensors"),
    "samples alone": (raw(test=TEST[0]), "the test split is of Tensor"),
    "three parts": (raw(test=(*TEST, TEST[1])), "the test split is of Tensor, Tensor, Tensor"),
    "no test": (raw(test=None), "the test split is of NoneType"),
    "an odd valid": (raw(valid="x"), "the valid split is of str"),
    "gradients": (raw(X.clone().requires_grad_()), "must be dense tensors (N, ...) on the CPU, without gradients"),
    "sparse": (raw(X.to_sparse()), "must be dense tensors"),
    "elsewhere": (raw(X.to("meta")), "must be dense tensors"),
    "one number": (raw(torch.tensor(1.0)), "must be dense tensors"),
    "one label": (raw(y=torch.tensor(1)), "must be dense tensors"),
    "no features": (raw(X[:, :0], test=(TEST[0][:, :0], TEST[1])), "has x (12, 0)"),
    "no axis of features": (raw(X[:, 0]), "x must be (N, features) uint8 or float32"),
    "complex": (raw(X + 0j), "x (12, 2) torch.complex64"),
    "truths": (raw(X > 0), "x (12, 2) torch.bool"),
    "half": (raw(X.half()), "x (12, 2) torch.float16"),
    "float labels": (raw(y=Y.float()), "y (12,) torch.float32"),
    "a column of labels": (raw(y=Y[:, None]), "y (12, 1) torch.int64"),
    "one-hot labels": (raw(y=torch.eye(3)[Y]), "y (12, 3) torch.float32"),
    "too few labels": (raw(y=Y[:5]), "y (5,) torch.int64"),
    "too few classes": (raw(classes=("a", "b"), outputs=2), "labels from 0 to 2, and its 2 classes"),
    "classes by number": (raw(classes=(0, 1, 2)), "task: option 'classes' is 0, which is not str"),
    "classes as one text": (raw(classes="abc"), "task: option 'classes' is 'abc'"),
    "no classes": (raw(classes=None), "task: option 'classes' is None"),
    "a name twice": (raw(classes=("a", "a", "c")), "class name 'a' stands for two classes"),
    "a name on two lines": (raw(classes=("a", "b\n", "c")), r"class name 'b\n' is no text on one line"),
    "a broken name": (raw(classes=("a", "b\ud800", "c")), r"class name 'b\ud800' is no text"),
    "an empty name": (raw(classes=("a", " ", "c")), "class name ' ' is no text"),
    "another kind": (raw(kind="binary"), "task: option 'kind' is 'binary'"),
    "outputs that are not whole": (raw(outputs=3.0), "task: option 'outputs' is 3.0, which is not int"),
    "outputs that do not fit": (raw(outputs=2), "'onehot' with 2 outputs and 3 classes does not go together"),
    "signs of three": (raw(kind="signs", outputs=1), "'signs' with 1 outputs and 3 classes"),
    "values with classes": (raw(kind="values", outputs=1), "'values' with 1 outputs and 3 classes"),
    "a dict as task": (raw(task={"kind": "onehot"}), "task is dict"),
    "scale 0": (raw(scale=0), "scale is 0; it must be a finite number above 0"),
    "scale nan": (raw(scale=float("nan")), "scale is nan"),
    "scale of a shape": (raw(scale=torch.ones(2)), "scale is Tensor (2,)"),
    "scale as text": (raw(scale="255"), "scale is '255'"),
    "scale beyond float32": (raw(scale=1e-60), "the scale of a feature is 0 or beyond float32"),
    "notes of tensors": (raw(notes={"x": X}), "notes must be a dict that JSON can hold"),
    "a list of notes": (raw(notes=[1]), "notes must be a dict that JSON can hold (list, not a dict)"),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_source_is_one_line(what):
    given, text = ODD[what]
    said = one_line(prepared, given)
    assert said.startswith("source 'lab'")
    assert text in said


def test_a_plugin_without_load_is_one_line(monkeypatch):
    monkeypatch.setattr(plugins, "load", lambda *_: SimpleNamespace())
    assert "no function load" in one_line(prepare, "lab", None, Preparation(), Path())


SAME = {
    "in another order of memory": raw(X.t().contiguous().t()),
    "as a list": Raw([X, Y], list(TEST), Task("onehot", 3, list(CLASSES))),
    "with numpy's names and scale": raw(classes=tuple(np.array(CLASSES)), scale=np.float32(1)),
}


@pytest.mark.parametrize("what", SAME)
def test_what_is_only_spelt_otherwise_is_the_same_data_set(what):
    assert prepared(SAME[what])[1] == prepared(raw())[1]


# --- what lies on disk


@pytest.fixture
def folder(tmp_path) -> Path:
    write(tmp_path, *prepared(raw(), "feature"))
    return tmp_path


SPOILED = {
    "labels out of range": ("train", "y", lambda v: v + 7),
    "labels that are shuffled": ("train", "y", lambda v: v.flip(0)),
    "one label": ("test", "y", lambda v: v.scatter(0, torch.tensor(0), 1)),
    "one value": ("test", "x", lambda v: v.index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(0.5))),
    "float labels": ("train", "y", lambda v: v.float()),
    "labels in two axes": ("train", "y", lambda v: v[:, None]),
    "no axis of labels": ("train", "y", lambda v: torch.tensor(1)),
    "a scale of another shape": ("test", "scale", lambda v: torch.ones(7)),
    "a scale of 0": ("train", "scale", lambda v: v * 0),
    "a scale of nan": ("valid", "scale", lambda v: v * float("nan")),
    "a shift without axis": ("train", "shift", lambda v: torch.tensor(0.0)),
    "no x": ("train", "x", lambda v: None),
    "bfloat16": ("train", "x", lambda v: v.bfloat16()),
    "double": ("train", "x", lambda v: v.double()),
    "nan": ("test", "x", lambda v: v * float("nan")),
    "fewer samples": ("test", "x", lambda v: v[:2]),
}
SEEN_BY_CONTENT_ALONE = {"labels that are shuffled", "one label", "one value"}


@pytest.mark.parametrize("what", SPOILED)
def test_tensors_that_are_not_those_prepared_are_one_line(folder, what):
    split, name, change = SPOILED[what]
    tensors = {s: store.read_tensors(folder / f"{s}.safetensors") for s in ("train", "valid", "test")}
    changed = change(tensors[split].pop(name))
    tensors[split] |= {} if changed is None else {name: changed}
    save_file({k: v.contiguous() for k, v in tensors[split].items()}, folder / f"{split}.safetensors")
    assert str(folder) in one_line(read, folder)
    if what not in SEEN_BY_CONTENT_ALONE | {"bfloat16"}:  # and where the record was made to agree
        record = store.read_json(folder / "dataset.json")
        store.write_json(folder / "dataset.json", {**record, "content": content(tensors)})
        assert str(folder) in one_line(read, folder)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
PLACES = [(), *([key] for key in ("source", "task", "shape", "counts", "class_counts", "content", "constant_features")),
          *(["task", key] for key in ("kind", "outputs", "classes")), ["counts", "train"], ["shape", 0],
          ["class_counts", "test"], ["task", "classes", 1], ["class_counts", "train", 0]]  # fmt: skip


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fixed")
    write(folder, *prepared(raw()))
    return folder


@settings(derandomize=True, deadline=None, database=None, max_examples=int(os.environ.get("LAYERWISE_FUZZ", 200)))
@given(place=st.sampled_from(PLACES), junk=JUNK)
def test_a_record_of_anything_is_one_line(fixed, place, junk):
    path = fixed / "dataset.json"
    whole = json.loads(path.read_text())
    changed = json.loads(path.read_text()) if place else junk
    at = changed
    for key in place[:-1]:
        at = at[key]
    if place:
        at[place[-1]] = junk
    path.write_text(json.dumps(changed))
    try:
        said = str(read(fixed).task)
    except LayerwiseError as error:
        said = str(error)
    finally:
        path.write_text(json.dumps(whole))
    assert said.startswith((str(fixed), "Task("))
    assert "\n" not in said


def test_a_digest_that_is_not_of_the_content_is_one_line(spoilt):
    path = Path("results/tiny/datasets/digits/dataset.json")
    record = store.read_json(path)
    assert record["digest"] == digest_of([record["content"], record["task"]])
    store.write_json(path, {**record, "digest": "0" * 16})
    said = one_line(loading.read_dataset, spoilt.study, "digits")
    assert said.startswith("results/tiny/datasets/digits/dataset.json: its digest is not that of its content")


def test_the_report_shows_what_was_said_of_a_data_set(spoilt):
    path = Path("results/tiny/datasets/digits/dataset.json")
    assert "warnings" not in page._dataset(spoilt, "digits")
    store.write_json(path, {**store.read_json(path), "warnings": ["20 .webp in train/cat", "no test for 'dog'"]})
    assert page._dataset(spoilt, "digits")["warnings"] == "20 .webp in train/cat; no test for 'dog'"
