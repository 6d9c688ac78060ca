"""A fitted network on files of new samples, and as one file: the very scores of the study, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from layerwise import __main__, store
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.run import loading, source
from layerwise.study import file as study_file
from layerwise.study.trie import Node
from layerwise.use import load_network
from layerwise.use.exported import NOTE

MODEL = """
from torch import nn

def tiny(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, num_classes))
"""
STUDY = {
    "title": "Use",
    "seeds": 2,
    "datasets": {
        "digits": {"source": "digits", "valid": 0.2, "standardise": "feature"},
        "moons": {"source": "toys", "problem": "spirals", "samples": 60, "standardise": "global"},
        "waves": {"source": "toys", "problem": "sinusoid", "samples": 60, "test_samples": 20},
        "mine": {"source": "imagefolder", "folder": "photos", "size": 8, "standardise": "global"},
    },
    "segments": {
        "d4": {"method": "dmn", "layers": ["conv 3 4", "relu", "maxpool 2"]},
        "p20": {"method": "platonic", "layers": ["dense 20", "tanh"]},
        "head": {"method": "sgd", "layers": ["dense outputs"], "epochs": 2},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
        "own": {"method": "sgd", "layers": ["use_models.tiny"], "epochs": 1},
    },
    "networks": {
        "digits": ["d4/ridge", "p20/head"],
        "moons": ["p20/ridge"],
        "waves": ["p20/ridge"],
        "mine": ["p20/ridge", "own"],
    },
}
FITTED = [(dataset, path) for dataset, paths in STUDY["networks"].items() for path in paths]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the study is fitted, its first seed alone."""
    folder = tmp_path_factory.mktemp("use")
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, bright in (("dark", 60), ("light", 190)):
            (folder / "photos" / split / label).mkdir(parents=True)
            for i in range(12):
                pixels = draw.normal(bright, 20, (10, 12, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / split / label / f"{i:02}.png")
    (folder / "use_models.py").write_text(MODEL)
    store.write_json(folder / "use.json", STUDY)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for dataset in STUDY["networks"]:
            assert not __main__.main(["dataset", "use.json", dataset])
        for dataset, path in [("digits", "d4"), *((d, "p20") for d in STUDY["networks"]), *FITTED]:
            assert not __main__.main(["fit", "use.json", dataset, path, "--seeds", "0", "--threads", "1"])
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which the command line sets


def raw(dataset: str) -> torch.Tensor:
    return load_file(f"results/use/datasets/{dataset}/test.safetensors")["x"]


def own_scores(dataset: str, path: str) -> torch.Tensor:
    """Return the scores of the test split, as the study makes them to score the network."""
    study = study_file.load("use.json")
    data = loading.read_dataset(study, dataset)
    return source.outputs(study, Node("use", dataset, 0, path), "test", data, torch.device("cpu")).x


def predicted(capsys, *words: str) -> str:
    capsys.readouterr()
    assert not __main__.main(["predict", "use.json", *words, "--threads", "1", "--device", "cpu"])
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert __main__.main(list(words)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(("dataset", "path"), FITTED)
def test_an_exported_network_gives_the_scores_of_the_study_to_the_byte(place, tmp_path, dataset, path):
    file = tmp_path / "one.safetensors"
    assert not __main__.main(["export", "use.json", dataset, path, str(file)])
    assert [p.name for p in tmp_path.iterdir()] == ["one.safetensors"]
    drawn = torch.get_rng_state()
    network = load_network(file, own_models=True)
    assert torch.equal(torch.get_rng_state(), drawn)
    want = own_scores(dataset, path)
    assert torch.equal(network.scores(raw(dataset)), want)
    with torch.no_grad():
        torch.testing.assert_close(network(raw(dataset)), want, rtol=1e-4, atol=1e-4)
        assert torch.equal(layers.apply(network, raw(dataset)[:0]), want[:0])
    data = loading.read_dataset(study_file.load("use.json"), dataset)
    assert (network.classes, network.task) == (data.task.classes, data.task)
    assert not network.training
    again = tmp_path / "two.safetensors"
    __main__.main(["export", "use.json", dataset, path, str(again)])
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kind", ["csv", "names.csv", "numbers.csv", "safetensors", "flat.safetensors"])
def test_samples_are_read_from_tables_and_tensors(tmp_path, capsys, kind):
    x, file = raw("digits")[:7], tmp_path / f"x.{kind}"
    if kind.endswith("csv"):
        rows = [",".join(map(str, row)) for row in x.flatten(1).tolist()]
        names = [] if kind == "csv" else [",".join(f"{'pixel' * (kind == 'names.csv')}{i}" for i in range(64))]
        file.write_text("\r\n".join([*names, *rows, "", ""]))
    else:
        save_file({"samples": x.flatten(1).contiguous().float() if "flat" in kind else x}, file)
    told = list(csv.DictReader(io.StringIO(predicted(capsys, "digits", "d4/ridge", str(file)))))
    scores = own_scores("digits", "d4/ridge")[:7]
    assert [row["row"] for row in told] == list("0123456")
    assert [row["class"] for row in told] == [str(i) for i in scores.argmax(1).tolist()]
    np.testing.assert_allclose([float(row["score"]) for row in told], scores.amax(1), rtol=1e-5)
    assert {row["file"] for row in told} == {str(file)}


def test_json_has_the_scores_of_all_classes(tmp_path, capsys):
    save_file({"x": raw("digits")[:3], "y": torch.zeros(2)}, tmp_path / "x.safetensors")
    rows = json.loads(predicted(capsys, "digits", "p20/head", str(tmp_path / "x.safetensors"), "--json"))
    scores = [list(row["scores"].values()) for row in rows]
    np.testing.assert_allclose(scores, own_scores("digits", "p20/head")[:3], rtol=1e-4, atol=1e-5)
    assert all(row["scores"][row["class"]] == row["score"] == max(row["scores"].values()) for row in rows)


def test_a_regression_has_values_and_two_classes_a_sign(tmp_path, capsys):
    for dataset in ("waves", "moons"):
        save_file({"x": raw(dataset)}, tmp_path / f"{dataset}.safetensors")
    rows = predicted(capsys, "waves", "p20/ridge", str(tmp_path / "waves.safetensors")).splitlines()
    assert rows[0] == "file,row,value_1"
    values = [float(row.split(",")[2]) for row in rows[1:]]
    np.testing.assert_allclose(values, own_scores("waves", "p20/ridge")[:, 0], rtol=1e-6)
    told = json.loads(predicted(capsys, "moons", "p20/ridge", str(tmp_path / "moons.safetensors"), "--json"))
    task = loading.read_dataset(study_file.load("use.json"), "moons").task
    assert task.kind == "signs"
    assert all(row["class"] == task.classes[row["score"] > 0] for row in told)


def test_images_and_folders_of_them_are_read_as_the_study_reads_them(capsys):
    told = list(csv.DictReader(io.StringIO(predicted(capsys, "mine", "p20/ridge", "photos/test"))))
    scores = own_scores("mine", "p20/ridge")
    assert [row["class"] for row in told] == [("dark", "light")[i] for i in scores.argmax(1)]
    assert len(told) == 24
    np.testing.assert_allclose([float(row["score"]) for row in told], scores.amax(1), rtol=1e-5)
    one = predicted(capsys, "mine", "own", "photos/test/dark/00.png").splitlines()
    assert len(one) == 2


def test_a_picture_goes_through_a_loaded_network_in_three_lines(tmp_path):
    __main__.main(["export", "use.json", "mine", "p20/ridge", str(tmp_path / "mine.safetensors")])
    network = load_network(tmp_path / "mine.safetensors")
    scores = network(network.read("photos/test/dark/00.png", "photos/test/light/00.png"))
    assert network.labels(scores) == ["dark", "light"]
    alone = load_network(tmp_path / "mine.safetensors").inputs
    assert (alone.shape, alone.pixels) == ((3, 8, 8), True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("digits d4/rigde x.csv", "'d4/rigde' is no path of 'digits' in the study use; did you mean 'd4/ridge'?"),
        ("digits d4/ridge x.csv --seeds 1", "digits/seed1/d4/ridge: not fitted yet; run 'snakemake use', or 'python"),
        ("digits d4/ridge x.csv --seeds 0 1", "a network is of one seed; name one"),
        ("digits d4 x.csv", "gives features, no scores; name one that ends in a read-out, such as d4/ridge"),
        ("digits d4/ridge nowhere.csv", "nowhere.csv: no such file or folder"),
        ("digits d4/ridge use_models.py", "no kind of file that is read here (.png"),
        ("digits d4/ridge empty", "empty: no image in this folder"),
        ("digits d4/ridge photos/test", "00.png: an image, and the network takes 1 x 8 x 8 that are no pixels"),
        ("mine p20/ridge text.png", "text.png: not a whole image"),
        ("digits d4/ridge wide.csv", "wide.csv: samples of 3 numbers, and the network takes 1 x 8 x 8"),
        ("digits d4/ridge odd.csv", "odd.csv: not a table of numbers (the number of columns changed from 3 to 2"),
        ("moons p20/ridge word.csv", "word.csv: not a table of numbers (could not convert string 'b'"),
        ("moons p20/ridge names.csv", "names.csv: no row of numbers in it"),
        ("moons p20/ridge nan.csv", "nan.csv: holds NaN or infinity"),
        ("moons p20/ridge text.safetensors", "text.safetensors: cut short, or not a safetensors file"),
        ("mine p20/ridge grey.safetensors", "samples of 1 x 8 x 8, and the network takes 3 x 8 x 8"),
        ("mine p20/ridge two.safetensors", "no tensor 'x' in it, and not one alone (a, b); call the samples x"),
    ],
)
def test_bad_input_is_one_line(place, capsys, words, text):
    (place / "empty").mkdir(exist_ok=True)
    tables = {"x": "1,2", "wide": "1,2,3", "odd": "1,2,3\n1,2", "word": "1,2\n1,b", "names": "a,b", "nan": "nan,1"}
    for name, rows in tables.items():
        (place / f"{name}.csv").write_text(rows)
    for name in ("text.png", "text.safetensors"):
        (place / name).write_text("no such thing")
    save_file({"x": torch.zeros(2, 1, 8, 8)}, "grey.safetensors")
    save_file({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, "two.safetensors")
    assert text in refused(capsys, "predict", "use.json", *words.split(), "--device", "cpu")


def test_an_export_has_one_name_and_no_half(place, capsys, tmp_path):
    words = ("export", "use.json", "digits", "d4/ridge")
    assert "name a file that ends in .safetensors" in refused(capsys, *words, str(tmp_path / "x.pt"))
    (tmp_path / "x.safetensors").mkdir()
    assert "cannot be written" in refused(capsys, *words, str(tmp_path / "x.safetensors"))
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_file_that_is_no_whole_network_is_one_line(tmp_path):
    __main__.main(["export", "use.json", "mine", "own", str(tmp_path / "own.safetensors")])
    with pytest.raises(LayerwiseError, match=r"'use_models.tiny' is code of your own; say own_models=True"):
        load_network(tmp_path / "own.safetensors")
    tensors = load_file(tmp_path / "own.safetensors")
    notes = json.loads(store.read_notes(tmp_path / "own.safetensors")[NOTE])
    first = next(iter(notes["fingerprints"]))
    for change, text in [
        ({"format": 2}, "format 2, and this version of layerwise reads 1"),
        ({"words": [["dens 3"]]}, "did you mean 'dense'"),
        ({"task": None}, "needs the option 'kind'"),
        ({"shapes": []}, "segments with 0 shapes"),
        ({"fingerprints": {first: "other"}}, "is another block here: install use_models"),
        ({"inputs": {"shape": [4, 8, 8], "pixels": True}}, "square, grey or coloured"),
    ]:
        save_file(tensors, tmp_path / "bad.safetensors", {NOTE: json.dumps(notes | change)})
        with pytest.raises(LayerwiseError, match=text) as caught:
            load_network(tmp_path / "bad.safetensors", own_models=True)
        assert str(caught.value).startswith(f"{tmp_path / 'bad.safetensors'}: ")
    for parts in (
        {k: v for k, v in tensors.items() if k != "shift"},
        tensors | {"more": torch.zeros(1)},
        {k: v[:1].contiguous() if k.endswith("0.0.weight") else v for k, v in tensors.items()},
    ):
        save_file(parts, tmp_path / "bad.safetensors", {NOTE: json.dumps(notes)})
        with pytest.raises(LayerwiseError, match="its weights are not those of its words"):
            load_network(tmp_path / "bad.safetensors", own_models=True)
    save_file(tensors, tmp_path / "plain.safetensors")
    with pytest.raises(LayerwiseError, match="no network that the verb export wrote"):
        load_network(tmp_path / "plain.safetensors")
