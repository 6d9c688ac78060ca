"""Studies of JSON: held against the schema, or printed by the verb study where nothing can hold them against it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tinystudy import edited, write

from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file


def printed(tmp_path: Path, **changes) -> dict:
    """Return a study as the verb prints it, edited afterwards; None takes a key away."""
    marked = study_file.marked(study_file.load(write(tmp_path)).raw)
    return {k: v for k, v in {**marked, **changes}.items() if v is not None}


def load(tmp_path: Path, content: object):
    path = tmp_path / "copy.json"
    path.write_text(json.dumps(content))
    return study_file.load(path)


def refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(LayerwiseError, match=said) as caught:
        load(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'copy.json'}: ")
    assert "\n" not in str(caught.value)


def take_away(monkeypatch, what: str) -> None:
    """Leave the machine without a package."""
    monkeypatch.setitem(sys.modules, what, None)


AWAY = pytest.mark.parametrize("away", ["jsonschema", "yaml"])


def test_a_printed_study_is_the_same_study(tmp_path):
    first, second = study_file.load(write(tmp_path)), load(tmp_path, printed(tmp_path))
    assert study_file.marked(second.raw) == study_file.marked(first.raw)
    assert [second.segment_spec(p) for p in second.paths("digits")] == [
        first.segment_spec(p) for p in first.paths("digits")
    ]
    assert "checked" not in second.raw


def test_a_study_of_json_may_be_written_by_hand(tmp_path):
    assert load(tmp_path, edited()).name == "copy"
    assert load(tmp_path, printed(tmp_path, title="Another", checked=None)).title == "Another"
    assert load(tmp_path, printed(tmp_path, title="Another")).title == "Another"  # the schema says what the mark cannot


WRONG = {
    "misspelt key": ({"segmets": {}}, r"no key 'segmets'; did you mean 'segments'\?"),
    "number for text": ({"title": 5}, "title: 5 is not what belongs here: what the study is called"),
    "number for a description": ({"description": 5}, "description: 5 is not what belongs here"),
    "number for a source": ({"datasets": {"digits": {"source": 5}}}, "datasets/digits/source: 5 is not what belongs"),
    "number for a layer": (
        {"segments": {"x": {"method": "dmn", "layers": [5]}}},
        "segments/x/layers/0: 5 is not what belongs here",
    ),
    "name of another folder": ({"name": "../../../x"}, r"name: '../../../x' is not what belongs here: letters, digits"),
    "number for a name": ({"name": 5}, "name: 5 is not what belongs here"),
    "list for a name": ({"name": ["a"]}, r"name: \['a'\] is not what belongs here"),
    "empty name": ({"name": ""}, "name: '' is not what belongs here"),
    "networks of no data set": ({"networks": {"x": 5}}, "networks/x: 5 is not what belongs here"),
    "another study": ({"extends": "dmn"}, "no key 'extends'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_one_line(tmp_path, what):
    changes, said = WRONG[what]
    refused(tmp_path, printed(tmp_path, **changes), said)


@pytest.mark.parametrize("content", [[], 5, "text", None])
def test_what_is_no_study_is_refused(tmp_path, content):
    refused(tmp_path, content, "holds no mapping; the keys are described")


@AWAY
def test_a_printed_study_runs_where_nothing_can_hold_it_against_the_schema(tmp_path, monkeypatch, away):
    content = printed(tmp_path)
    take_away(monkeypatch, away)
    study = load(tmp_path, content)
    assert (study.name, list(study.segments)) == ("tiny", ["c4", "d4", "head", "ridge"])
    assert study_file.marked(study.raw) == content


@AWAY
@pytest.mark.parametrize("what", [*WRONG, "no mark", "another title"])
def test_any_other_is_refused_there(tmp_path, monkeypatch, away, what):
    changes, _ = WRONG.get(what, ({"title": "Another"} if what == "another title" else {"checked": None}, ""))
    content = printed(tmp_path, **changes)
    take_away(monkeypatch, away)
    refused(tmp_path, content, re.escape("print it anew, or install jsonschema and PyYAML"))


@AWAY
def test_a_mark_does_not_make_a_name_of_a_folder(tmp_path, monkeypatch, away):
    raw = {k: v for k, v in printed(tmp_path, name="../x").items() if k != "checked"}
    take_away(monkeypatch, away)
    refused(tmp_path, study_file.marked(raw), "name: '../x' is not what belongs here")
