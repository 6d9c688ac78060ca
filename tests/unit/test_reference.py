"""The reference of all keys: complete, as the options say, up to date, and the same on the page and in a terminal."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from layerwise import __main__, plugins
from layerwise.study import json_schema, reference

SCHEMA = json_schema.study_schema()
SECTIONS = list(reference.sections(SCHEMA))
PAGE = reference.FILE.read_text(encoding="utf-8")
KEYS = {key.name: key for key in SECTIONS[0].keys}
EVERY = [(kind, name) for kind in plugins.KINDS for name in plugins.known(kind)]


def test_the_page_is_what_the_options_say():
    """`make schema` writes it anew."""
    assert reference.page(SCHEMA) == PAGE


def test_every_plugin_has_a_section_with_all_its_options():
    found = {section.plugin: section for section in SECTIONS if section.plugin}
    assert list(found) == EVERY
    for kind, name in EVERY:
        section, fields = found[kind, name], dataclasses.fields(plugins.options_class(kind, name))
        assert ([key.name for key in section.keys] and section.text) or not fields
        assert {key.name for key in section.keys} == {field.name for field in fields}
        texts = plugins.documentation(kind, name)
        for key in section.keys:
            field = next(field for field in fields if field.name == key.name)
            absent = field.default is field.default_factory is dataclasses.MISSING
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            assert key.default == ("required" if absent else json.dumps(default)), (kind, name, key.name)
            assert key.text == texts[key.name]
            assert key.kind


def test_what_all_plugins_of_a_kind_take_is_said_once():
    shared = {section.title: [key.name for key in section.keys] for section in SECTIONS if not section.plugin}
    options = ["classes", "subset", "valid", "test_subset", "wrong_labels", "standardise", "targets", "seed"]
    assert shared["Data sets"] == options
    assert shared["Probes"] == ["every"]
    assert shared["Methods"] == shared["Figures"] == []


@pytest.mark.parametrize(
    ("key", "kind", "default"),
    [
        ("title", "text", "required unless extends"),
        ("extends", "text", ""),
        ("readouts", "true or false", "true"),
        ("segments.NAME.method", "text", "required"),
        ("segments.NAME.selects.selection", "text", "required"),
        ("probes.NAME.probe", "text", ""),
        ("published.NAME.NAME.order", "one of `work`, `rows`", '"work"'),
        ("verdicts[].where.NAME", "number, or text", ""),
        ("verdicts[].scale", "number", ""),
    ],
)
def test_keys_of_a_study(key, kind, default):
    assert (KEYS[key].kind, KEYS[key].default) == (kind, default)


def test_every_described_key_of_the_schema_is_there():
    """Each key of the schema file has a row, whether a mapping, a list or an alias leads to it."""
    described = set(re.findall(r"^ +([a-z_]+): *(?:&\w+ *)?\{?(?:description:|\n)", _yaml(), re.MULTILINE))
    last = {name.split(".")[-1] for name in KEYS}
    assert described - last - {"properties", "items", "layers", "repeat"} == set()


def _yaml() -> str:
    return (json_schema.SCHEMAS / "study.schema.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "number above 0 and at most 1"),
        ({"type": "integer", "minimum": 1, "maximum": 10**9}, "whole number at least 1 and at most 1,000,000,000"),
        ({"anyOf": [{"type": "number"}, {"$ref": "#/$defs/exponent"}, {"type": "null"}]}, "number, or null"),
        ({"anyOf": [{"enum": ["a", "b"]}, {"$ref": "#/$defs/placeholder"}]}, "one of `a`, `b`"),
        ({"const": "all"}, "`all`"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, "list of 2 or more texts"),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
         "list of (text, or whole number)"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2, "minItems": 2}, "list of 2: number; number"),
        ({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}},
         "mapping of lists of numbers"),
        ({"type": ["object", "null"]}, "mapping, or null"),
    ],
)  # fmt: skip
def test_types_in_words(rule, said):
    assert reference.spelled(rule) == said


def test_markdown_keeps_placeholders_stars_and_bars():
    section = reference.Section("x", "``d<n>`` and d<n>, * or a|b", ())
    assert reference._cell(section.text) == r"`d<n>` and d\<n>, \* or a\|b"
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(rows) > 400
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}


def test_show_without_a_study_prints_every_key_of_the_page(capsys):
    assert __main__.main(["show"]) == 0
    said = capsys.readouterr().out
    for kind, name in EVERY:
        assert f"\n{plugins.KINDS[kind]} {name}: " in said
    whole = " ".join(said.split())
    for section in SECTIONS:
        for key in section.keys:
            assert f" {key.name} {reference._plain(key.kind)}" in whole
            assert " ".join(reference._plain(key.text).split()) in whole


def test_show_of_a_study_prints_the_same_lines_of_what_it_uses(capsys, tmp_path):
    (tmp_path / "tiny.yaml").write_text("""
title: Tiny
datasets: {digits: {source: digits}}
segments: {ridge: {method: ridge, layers: [dense outputs]}}
networks: {digits: [ridge]}
tables: {accuracy: {}}
""")
    assert __main__.main(["show", str(tmp_path / "tiny.yaml")]) == 0
    said = capsys.readouterr().out
    found = {section.plugin: "\n".join(reference.lines(section)) for section in SECTIONS if section.plugin}
    uses = {("datasets", "digits"), ("methods", "ridge"), ("tables", "accuracy")}
    assert {plugin for plugin, text in found.items() if text in said} == uses
