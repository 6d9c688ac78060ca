"""The sources that need no network: digits, toys, and a folder of images."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise import plugins
from layerwise.errors import LayerwiseWarning
from layerwise.preparation.disk import read, write
from layerwise.preparation.folder import digest, scan
from layerwise.preparation.options import split_options
from layerwise.preparation.prepare import prepare


def prepared(source, root=Path("nowhere"), **given):
    """Prepare a source as a study would; constant features are expected where features are standardised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerwiseWarning)
        return prepare(source, *split_options(source, given, "dataset 'x'"), root)


def values(parts):
    return (parts["x"].float() - parts["shift"]) / parts["scale"]


def test_digits_are_sixteenths_in_ten_classes():
    tensors, record = prepared("digits")
    assert record["counts"] == {"train": 1348, "valid": 0, "test": 449}
    assert tensors["train"]["x"].dtype == torch.uint8
    assert values(tensors["train"]).unique().tolist() == [i / 16 for i in range(17)]
    assert record["task"]["classes"] == tuple("0123456789")
    from sklearn.datasets import load_digits

    assert sum(t["x"].sum() for t in tensors.values()) == load_digits().data.sum()
    assert min(record["class_counts"]["test"]) >= 43


def test_the_digits_test_split_is_the_same_for_all_seeds():
    one, other = (prepared("digits", seed=s, valid=0.2)[0] for s in (1, 2))
    assert torch.equal(one["test"]["x"], other["test"]["x"])
    assert not torch.equal(one["train"]["x"], other["train"]["x"])


def test_the_sinusoid_is_two_periods_and_is_tested_between_its_points():
    tensors, record = prepared("toys", problem="sinusoid", samples=101, test_samples=50)
    x, y = tensors["train"]["x"], tensors["train"]["y"]
    assert record["task"] == {"kind": "values", "outputs": 1, "classes": ()}
    assert x[[0, -1], 0].tolist() == [-1, 1]
    torch.testing.assert_close(y, torch.sin(2 * torch.pi * x), atol=1e-6, rtol=0)
    gap = (tensors["test"]["x"] - x.T).abs().amin(1)
    torch.testing.assert_close(gap, torch.full((50,), 0.01))
    assert len(tensors["test"]["x"].unique()) == 50


def test_the_spirals_are_as_documented():
    tensors, record = prepared("toys", problem="spirals", samples=2000)
    x, y = tensors["train"]["x"].double(), tensors["train"]["y"]
    assert record["task"] == {"kind": "signs", "outputs": 1, "classes": ("-1", "+1")}
    assert record["class_counts"]["train"] == [1000, 1000]
    radius = x.norm(dim=1)
    angle = 2 * torch.pi * 1.75 * radius + torch.pi * y
    torch.testing.assert_close(x, radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), atol=1e-5, rtol=0)
    assert abs((radius**2).mean() - 0.5) < 0.03
    assert 0.99 < radius.max() <= 1


def test_spirals_take_turns_and_noise():
    clean, turned, noisy = (
        prepared("toys", problem="spirals", samples=500, **more)[0]["train"]["x"]
        for more in ({}, {"turns": 3}, {"noise": 0.1})
    )
    assert torch.allclose(clean.norm(dim=1), turned.norm(dim=1), atol=1e-6)
    assert not torch.allclose(clean, turned, atol=0.1)
    assert 0.08 < (noisy - clean).std() < 0.12


def test_spirals_start_and_end_where_they_are_told_to():
    how = {"turns": 1.5, "radius": 0.5, "start": 0.1, "even": "turns"}
    tensors, _ = prepared("toys", problem="spirals", samples=2000, **how)
    x, y = tensors["train"]["x"].double(), tensors["train"]["y"]
    radius = x.norm(dim=1)
    angle = 2 * torch.pi * 1.5 * radius / 0.5 + torch.pi * y
    torch.testing.assert_close(x, radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), atol=1e-5, rtol=0)
    assert 0.05 - 1e-6 <= radius.min() < 0.052
    assert 0.498 < radius.max() <= 0.5 + 1e-6
    assert abs(radius.mean() - 0.275) < 0.01  # as many inside as outside


@pytest.mark.parametrize("side", [1.0, 3.0])
def test_the_checkerboard_has_eight_squares_a_side(side):
    tensors, _ = prepared("toys", problem="checkerboard", samples=4000, side=side)
    x, y = tensors["train"]["x"], tensors["train"]["y"]
    assert x.abs().max() <= side / 2
    assert x.abs().max() > 0.49 * side
    middles = side * (torch.arange(8) - 3.5) / 8
    squares = torch.stack([(x[:, [i]] - middles).abs().argmin(1) for i in (0, 1)])
    assert torch.equal(squares.sum(0) % 2, y)
    assert len({(a, b) for a, b in squares.T.tolist()}) == 64


@pytest.mark.parametrize("problem", ["halves", "wave"])
def test_two_sides_leave_a_gap(problem):
    tensors, record = prepared("toys", problem=problem, samples=3000)
    x, y = tensors["train"]["x"].double(), tensors["train"]["y"]
    edge = x[:, 0] if problem == "halves" else torch.sin(torch.pi * x[:, 0]) / 2
    assert torch.equal(y, (x[:, 1] > edge).long())
    assert 0.05 - 1e-6 < (x[:, 1] - edge).abs().min() < 0.06
    assert x.abs().max() <= 1
    assert min(record["class_counts"]["train"]) > 1300


@pytest.mark.parametrize("problem", ["spirals", "checkerboard", "wave"])
def test_toy_points_come_of_the_seed_and_test_points_are_fresh(problem):
    one, same, other = (prepared("toys", problem=problem, samples=50, test_samples=50, seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(one["train"]["x"], same["train"]["x"])
    assert not torch.equal(one["train"]["x"], other["train"]["x"])
    assert not torch.equal(one["train"]["x"], one["test"]["x"])


def test_a_regression_gives_validation_points_too():
    tensors, record = prepared("toys", problem="sinusoid", samples=100, test_samples=50, valid=0.2, test_subset=10)
    assert record["counts"] == {"train": 80, "valid": 20, "test": 10}
    assert record["class_counts"] == {}
    torch.testing.assert_close(
        tensors["valid"]["y"], torch.sin(2 * torch.pi * tensors["valid"]["x"]), atol=1e-6, rtol=0
    )


def images(top, counts, size=(6, 4)):
    """Make images whose red is their class and whose green is their number."""
    for split, classes in counts.items():
        for c, (name, n) in enumerate(classes.items()):
            folder = top / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                Image.new("RGB", size, (40 * c, i, 9)).save(folder / f"{i:02d}.png")
    return top


def test_an_image_folder_end_to_end(tmp_path):
    top = images(tmp_path / "in", {"train": {"cat": 8, "dog": 6}, "test": {"dog": 3, "cat": 2}})
    (top / "train" / "cat" / "zz.JPG").write_bytes((top / "train" / "cat" / "00.png").read_bytes())
    (top / "train" / ".hidden").mkdir()
    write(tmp_path / "out", *prepared("imagefolder", folder=str(top), size=5, valid=4))
    data = read(tmp_path / "out")
    assert data.task.classes == ("cat", "dog")
    assert (len(data.train), len(data.valid), len(data.test)) == (11, 4, 5)
    assert data.test.x.shape == (5, 3, 5, 5)
    assert data.test.y.tolist() == [0, 0, 1, 1, 1]
    red = torch.cat([data.train.x, data.valid.x])[:, 0, 2, 2] * 255
    labels = torch.cat([data.train.y, data.valid.y])
    torch.testing.assert_close(red, 40.0 * labels)
    torch.testing.assert_close(data.test.x[:, 2], torch.full((5, 5, 5), 9 / 255))


def test_an_image_is_turned_and_greyed(tmp_path):
    top = images(tmp_path, {"train": {"a": 2, "b": 2}, "test": {"a": 1}})
    picture = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 2, 0))  # dark left, light right
    turned = picture.getexif()
    turned[0x0112] = 3  # taken upside down
    for path, exif in (("train/a/00.png", None), ("train/a/01.png", turned)):
        picture.save(top / path, exif=exif) if exif else picture.save(top / path)
    x = prepared("imagefolder", folder=str(top), size=2, grey=True)[0]["train"]["x"]
    assert x.shape == (4, 1, 2, 2)
    assert x[0, 0].tolist() == [[0, 255], [0, 255]]
    assert x[1, 0].tolist() == [[255, 0], [255, 0]]


def test_an_image_folder_may_have_its_own_validation_split(tmp_path):
    top = images(tmp_path, {"train": {"a": 4, "b": 4}, "valid": {"b": 3}, "test": {"a": 1}})
    tensors, record = prepared("imagefolder", folder=str(top), size=2, subset=4)
    assert record["counts"] == {"train": 4, "valid": 3, "test": 1}
    assert tensors["valid"]["y"].tolist() == [1, 1, 1]


def test_files_of_an_image_folder_are_what_it_reads(tmp_path):
    top = images(tmp_path, {"train": {"a": 2, "b": 1}, "test": {"a": 1}})
    (top / "train" / "a" / "notes.txt").write_text("no image")
    options = split_options("imagefolder", {"folder": str(top), "size": 2}, "x")[0]
    rows = {name: [path for path, _ in rows] for name, rows in scan(top).splits.items()}
    assert rows["train"] == [top / p for p in ("train/a/00.png", "train/a/01.png", "train/b/00.png")]
    assert rows["test"] == [top / "test/a/00.png"]
    assert digest("digits", split_options("digits", {}, "x")[0]) == ""
    with pytest.warns(LayerwiseWarning, match=r"1 files are no images .*left out: 1 \.txt in train/a"):
        plugins.load("datasets", "imagefolder").load(options, root=top)
