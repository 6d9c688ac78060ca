"""The user's own images: PNG files of any names in folders, through Snakemake."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

STUDY = """
title: Mine
seeds: 1
datasets:
  stripes: {source: imagefolder, folder: photos, size: 8, grey: true}
segments:
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  stripes: [ridge]
"""
NODE = "results/mine/networks/stripes/seed0/ridge/node.json"
# Names of images that mean something to Snakemake, to a shell, or are no UTF-8.
ODD = ["scan{12}.png", "{wildcards.x}.png", "a$b.png", "q'\".png", "new\nline.png", "-rf.png", os.fsdecode(b"\xe9.png")]
SCORE = "results/mine/networks/stripes/seed0/ridge/score.json"


def draw(path, across, noise):
    """A picture of stripes, across or down."""
    x = np.tile([40.0, 200.0], (16, 8)) + noise.normal(0, 20, (16, 16))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((x if across else x.T).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def photos(empty):
    empty.write(STUDY, "mine")
    noise = np.random.default_rng(0)
    for split, number in (("train", 20), ("test", 5)):
        for kind in ("across", "down"):
            for i in range(number):
                name = ODD[i - 5] if 5 <= i < 5 + len(ODD) else f"{i:02}.png"
                draw(empty.folder / "photos" / split / kind / name, kind == "across", noise)
    (empty.folder / "photos/train/down/later.ppm").write_bytes(b"")
    return empty


def test_a_study_of_own_images(photos):
    said = photos.snakemake("--", NODE)
    suffixes = ".png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp"
    left_out = f"1 files are no images in a class folder ({suffixes}) and were left out: 1 .ppm in train/down"
    assert f"layerwise: warning: photos: {left_out}" in said.splitlines()
    record = json.loads((photos.folder / "results/mine/datasets/stripes/dataset.json").read_text())
    assert record["task"]["classes"] == ["across", "down"]
    assert record["counts"] == {"train": 40, "valid": 0, "test": 10}
    assert json.loads((photos.folder / SCORE).read_text())["splits"]["test"]["accuracy"] == 100
    assert photos.plan(NODE) == []

    again = ["fit ridge on stripes, seeds 0", "prepare data set stripes"]
    draw(photos.folder / "photos/train/down/new.png", False, np.random.default_rng(1))
    assert photos.plan(NODE) == again
    (photos.folder / "photos/train/down/new.png").unlink()
    assert photos.plan(NODE) == []
    draw(photos.folder / "photos/test/down/00.png", True, np.random.default_rng(1))
    assert photos.plan(NODE) == again
    photos.snakemake("--", NODE)
    assert photos.plan(NODE) == []
    other = photos.folder / "other.png"
    draw(other, False, np.random.default_rng(2))
    os.utime(other, (1e9, 1e9))  # taken long ago
    shutil.copy2(other, photos.folder / "photos/test/down/00.png")
    assert photos.plan(NODE) == again

    image = photos.folder / "photos/test/down/00.png"
    image.write_bytes(image.read_bytes()[:60])
    said = photos.snakemake("--", NODE, check=False)
    assert "layerwise: photos/test/down/00.png: not a whole image" in said
    assert "mend the file or remove it" in said
    assert "Traceback" not in said
    assert "01.png" not in said  # the others are not listed
    image.unlink()
    photos.snakemake("--", NODE)
    record = json.loads((photos.folder / "results/mine/datasets/stripes/dataset.json").read_text())
    assert record["counts"] == {"train": 40, "valid": 0, "test": 9}
