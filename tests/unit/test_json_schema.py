"""The JSON schema of study files: as the options are, and strict where an editor can help."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest
import yaml
from tinystudy import edited

from layerwise.study import json_schema
from layerwise.study.schema import SCHEMAS
from shipped import studies

ROOT = SCHEMAS.parents[2]
SCHEMA = json.loads(json_schema.FILE.read_text(encoding="utf-8"))
FILES = [*studies(), ROOT / "docs/examples/images.yaml"]


def errors(content: dict) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(content)]


def test_the_file_is_what_the_options_say():
    """`make schema` writes it anew."""
    assert json_schema.FILE.read_text(encoding="utf-8") == json_schema.text()
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_study_fits_and_tells_editors_where_the_schema_lies(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../workflow/layerwise/schemas/study.schema.json\n")
    assert errors(yaml.safe_load(text)) == []


def segment(**keys) -> dict:
    return {"segments": {**edited()["segments"], "x": {"method": "sgd", "layers": ["dense outputs"], **keys}}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        segment(epochs=3, lr="1e-3", milestones=[3, 4], schedule="multistep"),
        segment(epochs="<n>", lr="0.<n>", milestones=["<n>", 4], schedule="<word>"),
        segment(method="dgl", lr=[0.1, 0.01], noise="evidence"),
        segment(method="mylab.boost", rounds=3, anything={"a": 1}),
        segment(method="dgl", variants={"ntk": {"kernel": "ntk", "layers": ["relu"], "uses": ["c4"]}}),
        {"segments": {"<c>= <e>=20": edited()["segments"], "<c>=c_ <e>=10": edited()["segments"]}},
        {"datasets": {"digits": {"source": "digits", "valid": 0.2, "test": 0.5, "classes": [1, "7"]}}},
        {"datasets": {"digits": {"source": "mylab.line", "points": 80}}},
        {"figures": {"readout_depth": {"dataset": "digits"}, "b": {"figure": "readout_depth", "dataset": "digits"}}},
        {"figures": {"bars": {"figure": "readout_depth", "dataset": "digits"}}},
        {"figures": {"mine": {"figure": "mylab.bars", "what": 1}}},
        {"tables": {"accuracy": None}, "probes": {"lsd": None}},
        {"title": None, "segments": None, "networks": None, "extends": "dmn"},
    ],
)
def test_what_a_study_may_say(changes):
    assert errors(edited(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (segment(epohcs=3), "'epohcs' was unexpected"),
        (segment(variance=0.9), "'variance' was unexpected"),  # which another method has
        (segment(epochs=0), "0 is not valid under any of the given schemas"),
        (segment(epochs="many"), "'many' is not valid under any"),
        (segment(gamma=1.5), "1.5 is not valid under any"),
        (segment(schedule="cosin"), "'cosin' is not valid under any"),
        (segment(milestones=[0]), "not valid under any"),
        (segment(variants={"long": {"epohcs": 3}}), "'epohcs' was unexpected"),
        (segment(variants={"none": {"epochs": 0}}), "0 is not valid under any of the given schemas"),
        (segment(variants={"dgl": {"method": "dgl"}}), "'method' was unexpected"),
        ({"segments": {"<c>=": {"d": {"method": "sgd"}}}}, "'layers' is a required property"),
        (segment(method="sdg"), "'sdg' is not valid under any"),
        (segment(method="dgl", lr=[]), "[] is not valid under any"),
        ({"datasets": {"digits": {"source": "digits", "vaild": 0.2}}}, "'vaild' was unexpected"),
        ({"datasets": {"digits": {"source": "digits", "subset": -1}}}, "-1 is less than the minimum of 0"),
        ({"datasets": {"digits": {"source": "toys"}}}, "'problem' is a required property"),
        ({"figures": {"readout_depth": None}}, "None is not of type 'object'"),
        ({"figures": {"readout_depth": {"dataset": "digits", "probes": "lsd"}}}, "'probes' was unexpected"),
        ({"figures": {"mine": {"dataset": "digits"}}}, "'figure' is a required property"),
        ({"tables": {"a": {"table": "accuracy", "seed": 1}}}, "'seed' was unexpected"),
        ({"probes": {"lsd": {"samples": 1}}}, "1 is less than the minimum of 2"),
        ({"segmets": {}}, "'segmets' was unexpected"),
        ({"segments": None}, "is not valid under any of the given schemas"),
    ],
)
def test_what_an_editor_flags(changes, said):
    found = errors(edited(**changes))
    assert any(said in each for each in found), found


def test_an_option_has_its_text_bounds_and_default():
    rules = SCHEMA["$defs"]["method.dmn"]["properties"]["variance"]
    assert rules["description"].startswith("T_v, the share of each class's variance")
    assert rules["default"] == 0.95
    assert {"type": "number", "exclusiveMinimum": 0, "maximum": 1} in rules["anyOf"]


def test_an_edit_of_the_options_is_seen(monkeypatch):
    changed = copy.deepcopy(json_schema.study_schema())
    changed["$defs"]["method.dmn"]["properties"]["variance"]["default"] = 0.9
    monkeypatch.setattr(json_schema, "study_schema", lambda: changed)
    assert json_schema.text() != json_schema.FILE.read_text(encoding="utf-8")
