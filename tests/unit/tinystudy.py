"""A tiny study file, whole, edited, or to be refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file
from layerwise.study import model as studies

TINY = """
title: Tiny
seeds: 2
datasets:
  digits: {source: digits, valid: 0.2}
segments:
  c4: {method: sgd, layers: [conv 3 4, relu, maxpool 2]}
  d4: {method: dmn, layers: [conv 3 4, relu, maxpool 2]}
  head: {method: sgd, layers: [dense outputs], epochs: 2}
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: {c4+head: backprop, d4/ridge: class PCA, d4/head: a trained head}
probes:
  lsd: {networks: [digits/d4/ridge]}
figures:
  readout_depth: {dataset: digits}
tables:
  accuracy: {}
"""


def write(folder: Path, text: str = TINY, name: str = "tiny.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def edited(**changes) -> dict:
    """Return the study with top-level keys replaced; None takes one away."""
    return {k: v for k, v in {**yaml.safe_load(TINY), **changes}.items() if v is not None}


def load(tmp_path: Path, **changes) -> studies.Study:
    return study_file.load(write(tmp_path, yaml.safe_dump(edited(**changes), sort_keys=False)))


def refused(tmp_path: Path, content: str | dict) -> str:
    """Load what must be refused; return the message, which is one line and begins with the file."""
    path = write(tmp_path, content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(LayerwiseError) as caught:
        study_file.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def with_segment(**keys) -> dict:
    return {"segments": {**edited()["segments"], "x": {"method": "dmn", "layers": ["conv 3 4"], **keys}}}


def changed(name: str, **keys) -> dict:
    segments = edited()["segments"]
    return {**segments, name: {**segments[name], **keys}}
