"""The examples of own images train what they say."""

from __future__ import annotations

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from layerwise import plugins
from layerwise.contract import Features, Segment, Split, Task
from layerwise.methods import local

ROOT = Path(__file__).parents[2]
TINY = """
from torch import nn

def tiny(num_classes):
    stem = [nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*stem, nn.Conv2d(4, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4096, num_classes))
"""


def stripes(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of stripes across and down, in turn."""
    generator, y = torch.Generator().manual_seed(0), torch.arange(count) % 2
    x = torch.tensor([40.0, 200.0]).repeat(side // 2).expand(count, 3, side, side)
    x = torch.where(y.view(-1, 1, 1, 1) == 1, x.transpose(-1, -2), x)
    return (x + 20 * torch.randn(x.shape, generator=generator)).clamp(0, 255), y


def test_the_lines_of_python(tmp_path, monkeypatch, capsys):
    x, y = stripes(50, 32)
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        path = tmp_path / "photos" / ("train" if i < 40 else "test") / "ad"[label] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy().astype(np.uint8)).save(path)
    (tmp_path / "own_models.py").write_text(TINY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["images.py", "photos", "own_models.tiny"])
    runpy.run_path(str(ROOT / "docs/examples/images.py"))
    *blocks, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in blocks] == ["block 1", "block 2"]
    assert re.fullmatch(r"cropped at block [12]: 100\.0 % of the test images", last)
    assert "0.0.weight" in torch.load(tmp_path / "trained.pt")


def test_the_local_network_of_the_study():
    study = yaml.safe_load((ROOT / "docs/examples/images.yaml").read_text())
    given = study["segments"]["l32"]
    words, method = given.pop("layers"), given.pop("method")
    options = replace(local.Options(**vars(plugins.options("methods", method, given, "l32"))), epochs=(3,))
    x, y = stripes(60, 32)
    x = x / 128 - 1
    features = Features(Split(x[20:], y[20:]), Split(x[:20], y[:20]), Task("onehot", 2, ("across", "down")))
    fitted = local.fit(Segment(tuple(words), (3, 32, 32), 2), features, options, seed=0, device=torch.device("cpu"))
    assert fitted.record["blocks"][0]["valid_accuracy"] == 100
