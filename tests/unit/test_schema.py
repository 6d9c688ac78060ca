"""Schemas: every key of the two files is described, and what does not fit is said by its name."""

from __future__ import annotations

import re

import pytest
import yaml

from layerwise.errors import LayerwiseError
from layerwise.study import schema
from shipped import studies

CONFIG = yaml.safe_load((schema.SCHEMAS / "config.schema.yaml").read_text())
STUDY = yaml.safe_load((schema.SCHEMAS / "study.schema.yaml").read_text())


def refused(content, message):
    with pytest.raises(LayerwiseError, match=message) as caught:
        schema.validate(content, "config", "config.yaml")
    assert "\n" not in str(caught.value)


def described(rules: dict):
    """Give the rules of every key, at any depth."""
    for part in (rules.get("properties", {}).values(), [rules.get("additionalProperties"), rules.get("items")]):
        for each in part:
            if isinstance(each, dict):
                yield each
                yield from described(each)


@pytest.mark.parametrize("rules", [CONFIG, STUDY], ids=["config", "study"])
def test_every_key_is_described_and_no_other_is_taken(rules):
    plain = {"type": "string"}  # a label: the key above it is described
    assert [each for each in described(rules) if each != plain and "description" not in each] == []
    assert rules["additionalProperties"] is False


def test_the_configuration_of_this_clone_is_right():
    content = schema.read_yaml(schema.SCHEMAS.parents[2] / "config.yaml")
    schema.validate(content, "config", "config.yaml")
    assert set(content) == set(CONFIG["properties"])


def test_defaults_fill_what_is_not_given():
    assert schema.with_defaults({}, "config") == {
        "study": "quick",
        "data_root": "data",
        "device": "auto",
        "concurrent": "turn",
        "seeds": None,
    }
    assert schema.with_defaults({"device": "cpu"}, "config")["device"] == "cpu"


def test_a_default_is_what_its_own_schema_takes():
    schema.validate(schema.with_defaults({}, "config"), "config", "defaults")


def test_a_misspelt_key_names_its_neighbour():
    refused({"devise": "cpu"}, re.escape("config.yaml: no key 'devise'; did you mean 'device'?"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"device": "gpu"}, "config.yaml: device: 'gpu' is not what belongs here: where fits run: auto takes a GPU"),
        ({"seeds": 0}, "config.yaml: seeds: 0 is not what belongs here: overrides the seeds of every study"),
        ({"study": 5}, "config.yaml: study: 5 is not what belongs here: the study that runs"),
        ({"data_root": None}, "config.yaml: data_root: None is not what belongs here: folder of downloaded"),
    ],
)
def test_a_wrong_value_says_what_belongs_there(content, message):
    refused(content, message)


def test_a_misspelt_key_is_said_before_the_one_that_it_leaves_missing():
    with pytest.raises(LayerwiseError, match="study: no key 'segmets'; did you mean 'segments'"):
        schema.validate({"title": "t", "segmets": {}, "seeds": "five"}, "study", "study")


def test_yaml_keeps_its_types_and_order(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("b: [1, 2.5, yes, text]\na: {z: null, y: 'é'}\n", encoding="utf-8")
    content = schema.read_yaml(path)
    assert content == {"b": [1, 2.5, True, "text"], "a": {"z": None, "y": "é"}}
    assert list(content) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "line 2 is not YAML: the key 'a' is given twice"),
        ("x:\n  a: {b: 1, b: 2}\n", "line 2 is not YAML: the key 'b' is given twice"),
        ("a: [1, 2\nb: 3\n", "line 2 is not YAML: "),
        (
            "a: !!python/object/apply:os.getcwd []\n",
            "line 1 is not YAML: the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd' is not",
        ),
        ("just text", "holds no mapping"),
        ("", "holds no mapping"),
        ("[1]: 2", "line 1 is not YAML: "),
    ],
)
def test_what_is_no_mapping_of_yaml_is_refused(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(LayerwiseError, match=message) as caught:
        schema.read_yaml(path)
    assert "\n" not in str(caught.value)


def test_a_control_character_is_no_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: \x01\n")
    with pytest.raises(LayerwiseError, match="not YAML, which is text in UTF-8"):
        schema.read_yaml(path)


FAULTS = ["a: 1\na: 2\n", "a: [1, 2\nb: 3\n", "a: b: c\n", "a: !!python/name:os.x\n", "a: *b\n", "a: \x01\n", "\t- a"]


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_said_in_the_same_words_with_libyaml_and_without(tmp_path, monkeypatch, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    said = []
    for _ in range(2):
        with pytest.raises(LayerwiseError) as caught:
            schema.read_yaml(path)
        said.append(str(caught.value))
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert said[0] == said[1]


def test_libyaml_and_pyyaml_read_the_same(monkeypatch):
    fast = [schema.read_yaml(path) for path in studies()]
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert [schema.read_yaml(path) for path in studies()] == fast
