"""Every key of a study in words, from the JSON schema: docs/reference.md, and what the verb ``show`` prints."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from layerwise import plugins

Schema = dict[str, Any]

FILE = plugins.PACKAGE.parents[1] / "docs" / "reference.md"  # of a checkout; a wheel has no page
ENDLESS = 1e300  # a bound that leaves all numbers but the infinite
WIDTH = 110  # columns of a terminal
TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
    "null": "null",
}
BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
CALLED = ("probes.", "figures.", "tables.")  # whose entries may be called by a plugin's name, in place of naming it
SHORTHAND = {"#/$defs/placeholder", "#/$defs/entries", "#/$defs/exponent"}  # of any value, said once on the page
TITLES = {
    "datasets": "Data sets",
    "selections": "Selections of training samples",
    "methods": "Methods",
    "probes": "Probes",
    "figures": "Figures",
    "tables": "Tables",
}
WHERE = {
    "datasets": "`datasets: {NAME: {source: …}}`",
    "selections": "`segments: {NAME: {selects: {selection: …}}}`",
    "methods": "`segments: {NAME: {method: …}}`",
    "probes": "`probes: {NAME: {probe: …}}`, or `probes: {lsd: {}}` by its own name",
    "figures": "`figures: {NAME: {figure: …}}`, or `figures: {bars: {…}}` by its own name",
    "tables": "`tables: {NAME: {table: …}}`, or `tables: {accuracy: {}}` by its own name",
}
HEAD = """# All keys of a study

`make schema` writes this page from the JSON schema of study files; `python -m layerwise show` prints the same.
A number may also be written as 1e-3. In a segment any value may hold a placeholder, such as `0.<n>`, for a
[family](studies.md#families); in figures, tables and `networks` one entry may stand for several. `NAME` is a name of
your choice. Numbers are finite unless a bound is infinite.
"""


@dataclass(frozen=True)
class Key:
    """A key of a study: its name, the type with its bounds, its default as JSON or ``required``, and what it does."""

    name: str
    kind: str
    default: str
    text: str


@dataclass(frozen=True)
class Section:
    """Keys that belong together.

    Parameters
    ----------
    plugin
        Kind and name of the plugin whose options the keys are; None for keys that are no plugin's own.
    """

    title: str
    text: str
    keys: tuple[Key, ...]
    plugin: tuple[str, str] | None = None


def sections(schema: Schema) -> Iterator[Section]:
    """Give the keys of a study, and after them those of every plugin of the package, from the schema of study files."""
    yield Section("Keys", "A study file is a mapping of these keys.", tuple(_nested(schema, schema)))
    for kind, word in plugins.KINDS.items():
        named = {name: schema["$defs"][f"{word}.{name}"] for name in plugins.known(kind)}
        shared = {key: rule for name, rules in named.items() for key, rule in _split(kind, name, rules)[1].items()}
        keys = tuple(_key(key, rule, "") for key, rule in shared.items())
        yield Section(TITLES[kind], f"Named in a study as {WHERE[kind]}.", keys)
        yield from (of_plugin(kind, name, rules) for name, rules in named.items())


def of_plugin(kind: str, name: str, rules: Schema) -> Section:
    """Return the options of one plugin, whose rules are as `json_schema.options_schema` makes them."""
    own, _ = _split(kind, name, rules)
    keys = tuple(_key(key, rule, "required" if key in rules["required"] else "") for key, rule in own.items())
    return Section(f"{plugins.KINDS[kind]} {name}", rules["description"], keys, (kind, name))


def page(schema: Schema) -> str:
    """Return the reference page as Markdown."""
    parts = [HEAD]
    for section in sections(schema):
        title = f"### `{section.plugin[1]}`" if section.plugin else f"## {section.title}"
        parts.append(f"{title}\n\n{_escaped(section.text)}\n")
        if section.keys:
            rows = (f"| `{k.name}` | {_cell(k.kind)} | {_code(k.default)} | {_cell(k.text)} |" for k in section.keys)
            parts.append("\n".join(["| key | type | default | |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def lines(section: Section) -> Iterator[str]:
    """Give a section as lines for a terminal."""
    yield f"\n{section.title}: {plugins.file(*section.plugin)}" if section.plugin else f"\n{section.title}"
    yield from _filled(section.text, 2)
    for key in section.keys:
        default = key.default if key.default.startswith("required") or not key.default else f"default {key.default}"
        yield f"  {key.name:14} {', '.join(filter(None, (_plain(key.kind), default)))}"
        yield from _filled(key.text, 17)


# ---------------------------------------------------------------- keys out of rules


def _split(kind: str, name: str, rules: Schema) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return the rules of a plugin's own options, and of those that all plugins of its kind take."""
    fields = {field.name for field in dataclasses.fields(plugins.options_class(kind, name))}
    options = {key: rule for key, rule in rules["properties"].items() if "description" in rule}
    return {k: r for k, r in options.items() if k in fields}, {k: r for k, r in options.items() if k not in fields}


def _nested(rule: Schema, schema: Schema, path: str = "") -> Iterator[Key]:
    """Give the keys of a mapping and those within them, each by its path, such as ``segments.NAME.layers``."""
    more = _resolved(rule.get("additionalProperties", {}), schema)
    required = dict.fromkeys(rule.get("required", ()), "required")
    if not path:  # what a study has to say, if it extends no other
        required = dict.fromkeys(schema["anyOf"][1]["required"], "required unless extends")
    within = rule.get("properties", {})
    if path in CALLED:
        within, more = {}, {**more, "required": []}
    for name, given in {**within, **({"NAME": more} if more else {})}.items():
        given = _resolved(given, schema)
        if "description" in given:
            yield _key(f"{path}{name}", given, required.get(name, ""))
        yield from _nested(given, schema, f"{path}{name}.")
        if "properties" in given.get("items", {}):
            yield from _nested(given["items"], schema, f"{path}{name}[].")


def _resolved(rule: Any, schema: Schema) -> Schema:
    if not isinstance(rule, dict):  # true or false
        return {}
    return schema["$defs"][rule["$ref"].removeprefix("#/$defs/")] if "$ref" in rule else rule


def _key(name: str, rule: Schema, required: str) -> Key:
    return Key(
        name, spelled(rule), required or (json.dumps(rule["default"]) if "default" in rule else ""), rule["description"]
    )


def spelled(rule: Schema) -> str:
    """Return what a value may be, such as ``number above 0 and at most 1, or null``."""
    return ", or ".join(dict.fromkeys(_ways(rule)))


def _ways(rule: Schema) -> Iterator[str]:
    if rule.get("$ref") in SHORTHAND:
        return
    arms = rule.get("anyOf") or rule.get("oneOf")
    if arms and "type" not in rule:
        for arm in arms:
            yield from _ways(arm)
    elif "enum" in rule or "const" in rule:
        choices = rule.get("enum") or [rule["const"]]
        named = ", ".join(f"`{value}`" if isinstance(value, str) else json.dumps(value) for value in choices)
        yield f"one of {named}" if len(choices) > 1 else named
    else:
        kinds = rule.get("type", [])
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            yield " ".join(filter(None, (TYPES[kind], _bounds(rule), _within(kind, rule))))


def _bounds(rule: Schema) -> str:
    return " and ".join(
        f"{word} {rule[bound]:,}" for bound, word in BOUNDS.items() if abs(rule.get(bound, ENDLESS)) < ENDLESS
    )


def _within(kind: str, rule: Schema) -> str:
    """Return what a list or a mapping holds, and how much of it."""
    if kind == "array" and "prefixItems" in rule:
        return f"of {len(rule['prefixItems'])}: {'; '.join(map(spelled, rule['prefixItems']))}"
    inner = rule.get({"array": "items", "object": "additionalProperties"}.get(kind, ""))
    own = kind == "object" and isinstance(inner, dict) and "description" in inner  # has a row of its own
    what = spelled(inner) if isinstance(inner, dict) and not own else ""
    what = f"({what})" if ", or " in what else what
    least = rule.get({"array": "minItems", "object": "minProperties"}.get(kind, ""), 0)
    count = f"{least} or more" if least and what else ""
    return " ".join(filter(None, ("of" if what or count else "", count, _plural(what))))


def _plural(what: str) -> str:
    return re.sub(r"^(whole number|number|text|list|mapping)\b", r"\1s", what)


# ---------------------------------------------------------------- words on a page and in a terminal


def _escaped(text: str) -> str:
    """Return text for Markdown, in which ``<n>`` outside of code would be HTML, and ``*`` the start of italics."""
    parts = re.split(r"(`[^`]*`)", text.replace("``", "`"))
    return "".join(part if part.startswith("`") else re.sub(r"[<*]", r"\\\g<0>", part) for part in parts)


def _cell(text: str) -> str:
    return _escaped(text).replace("|", r"\|")


def _code(text: str) -> str:
    return text if not text or text.startswith("required") else f"`{text}`"


def _plain(text: str) -> str:
    return text.replace("`", "")


def _filled(text: str, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(_plain(text), WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
