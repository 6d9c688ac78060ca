"""The JSON schema of a whole study file, with the options of every plugin of the package: what an editor checks by.

    python -m layerwise.study.json_schema

writes ``workflow/layerwise/schemas/study.schema.json`` from ``study.schema.yaml`` and from the plugins' Options, and
``docs/reference.md`` from that. A value of a segment may also be text with a placeholder, such as ``0.<n>``, which a
family of segments fills in.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import types
import typing
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from layerwise import plugins, store
from layerwise.options import ON_LENGTHS, bounds_of, hints
from layerwise.preparation import options as preparation
from layerwise.study import reference
from layerwise.study.schema import SCHEMAS, read_yaml

Schema = dict[str, Any]

FILE = SCHEMAS / "study.schema.json"
MORE = {"methods": "placeholder", "selections": "placeholder", "figures": "entries", "tables": "entries"}
SECTIONS = {"methods": "segments"}  # of a study, where its name is not that of the kind of plugin
NUMBERS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
ITEMS = {"min_length": "minItems", "max_length": "maxItems"}
KEYS = {"min_length": "minProperties", "max_length": "maxProperties"}
PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
DEFINITIONS: dict[str, Schema] = {
    "placeholder": {
        "description": "text with a placeholder, such as 0.<n>, for a family of segments",
        "type": "string",
        "pattern": "<[A-Za-z_][A-Za-z0-9_]*>",
    },
    "entries": {
        "description": "several entries: the numbers that a placeholder stands for, or a block of them",
        "type": ["array", "object"],
    },
    "exponent": {
        "description": "a number such as 1e-3, which YAML 1.1 reads as text",
        "type": "string",
        "pattern": r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$",
    },
}


def study_schema() -> Schema:
    """Return the JSON schema of a study file."""
    schema = read_yaml(SCHEMAS / "study.schema.yaml")
    parts = schema["properties"]
    definitions: dict[str, Schema] = dict(DEFINITIONS)
    parts["extends"] = {
        "description": "another study in the same folder, which gives every key that is not given here, where it fits",
        "type": "string",
    }
    schema["anyOf"] = [{"required": ["extends"]}, {"required": schema.pop("required")}]
    for kind, word in plugins.KINDS.items():
        if kind == "selections":  # no section of a study: a segment names one, before its method is looked at
            segment = parts["segments"]["additionalProperties"]["properties"]
            entry, known = segment["selects"], plugins.known(kind)
            definitions |= {f"{word}.{name}": options_schema(kind, name, entry["properties"]) for name in known}
            definitions[f"{word}.any"] = _chosen(entry, word, known)
            segment["selects"] = {"$ref": f"#/$defs/{word}.any"}
            continue
        section = parts[SECTIONS.get(kind, kind)]
        entry, known = section["additionalProperties"], plugins.known(kind)
        for name in known:
            definitions[f"{word}.{name}"] = options_schema(kind, name, entry["properties"])
        chosen = _chosen(entry, word, known)
        if "required" in entry:
            definitions[f"{word}.any"] = chosen
            for each in (section, *section.get("patternProperties", {}).values()):
                each["additionalProperties"] = {"$ref": f"#/$defs/{word}.any"}
        else:  # an entry that names no plugin is called as one
            definitions[f"{word}.any"] = {**chosen, "type": "object", "required": [word]}
            section["additionalProperties"] = {"$ref": f"#/$defs/{word}.any"}
            section["properties"] = {name: _called(entry, word, name, definitions) for name in known}
    return {**schema, "$defs": definitions}


def text() -> str:
    """Return the schema as the file has it."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"


def _chosen(entry: Schema, word: str, known: list[str]) -> Schema:
    """Return the schema of an entry whose options are those of the plugin that it names; a dotted one's are free."""
    described = entry["properties"][word]
    named = {**described, "anyOf": [{"enum": known}, {"pattern": r"\."}]}
    which = [
        {
            "if": {"properties": {word: {"const": name}}, "required": [word]},
            "then": {"$ref": f"#/$defs/{word}.{name}"},
        }
        for name in known
    ]
    return {**entry, "properties": {**entry["properties"], word: named}, "allOf": which}


def _called(entry: Schema, word: str, name: str, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of an entry that is called as a plugin, and may yet name another."""
    own = f"{word}.{name}"
    return {
        "description": definitions[own]["description"],
        "type": "object" if definitions[own]["required"] else ["object", "null"],
        "if": {"required": [word], "type": "object"},
        "then": {"$ref": f"#/$defs/{word}.any"},
        "else": {"$ref": f"#/$defs/{own}"},
    }


def options_schema(kind: str, name: str, common: Schema) -> Schema:
    """Return the schema of a plugin's options, beside the `common` keys that all entries of its section have."""
    classes = [(plugins.options_class(kind, name), plugins.documentation(kind, name))]
    if kind == "datasets":
        classes.append((preparation.Preparation, plugins.documentation_of(Path(preparation.__file__), "Preparation")))
    properties: dict[str, Schema] = {}
    required = []
    for cls, texts in reversed(classes):  # a source's own option is shown rather than the preparation's of that name
        for field in dataclasses.fields(cls):
            more = MORE.get(kind, "")
            rules = _value(hints(cls)[field.name], more)
            properties[field.name] = {"description": texts.get(field.name, ""), **rules, **_default(field)}
            required += [] if "default" in properties[field.name] else [field.name]
    if kind == "probes" and "every" not in properties:  # an option of those that follow a training by themselves
        text = "probe every so many steps of the last segment's training, which is repeated; 0: the fitted network"
        properties["every"] = {"description": text, "type": "integer", "minimum": 0, "default": 0}
    if kind == "methods":  # a variant has options of its segment's method
        own = {key: {"$ref": f"#/$defs/method.{name}/properties/{key}"} for key in properties}
        rules = {"properties": {"layers": {}, "uses": {}, "selects": {}, **own}, "additionalProperties": False}
        properties["variants"] = {"additionalProperties": rules}
    first = (ast.get_docstring(ast.parse(plugins.file(kind, name).read_text(encoding="utf-8"))) or name).split("\n\n")[
        0
    ]
    return {
        "description": " ".join(first.split()),
        "properties": {**{key: {} for key in common}, **properties},
        "required": required,
        "additionalProperties": False,
    }


def _default(field: dataclasses.Field) -> Schema:
    if field.default_factory is not dataclasses.MISSING:
        return {"default": field.default_factory()}
    return {} if field.default is dataclasses.MISSING else {"default": field.default}


def _value(hint: Any, more: str) -> Schema:
    """Return the schema of a value as an annotation wants it.

    Parameters
    ----------
    more
        ``placeholder``: or text with one. ``entries``: within a mapping, or what stands for several entries.
    """
    ways = _ways(hint, (), more)
    if more == "placeholder" and {"type": "string"} not in ways:
        ways.append({"$ref": "#/$defs/placeholder"})
    ways = [way for i, way in enumerate(ways) if way not in ways[:i]]
    return ways[0] if len(ways) == 1 else {"anyOf": ways}


def _ways(hint: Any, bounds: tuple[Any, ...], more: str) -> list[Schema]:
    """Return the schemas of which a value has to fit one."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _ways(args[0], (*bounds, *args[1:]), more)
    if origin in (typing.Union, types.UnionType):
        return [way for arm in args for way in _ways(arm, bounds, more)]
    if origin is Literal:
        return [{"enum": list(args)}]
    if origin is tuple:
        lengths = {ITEMS[kind]: bound for kind, bound in bounds_of(bounds, ON_LENGTHS)}
        if args[-1] is Ellipsis:
            return [{"type": "array", "items": _value(args[0], more), **lengths}]
        count = {"minItems": len(args), "maxItems": len(args)}
        return [{"type": "array", "prefixItems": [_value(a, more) for a in args], **count}]
    if origin is dict:
        lengths = {KEYS[kind]: bound for kind, bound in bounds_of(bounds, ON_LENGTHS)}
        within = _value(args[1], more)
        if more == "entries":
            within = {"anyOf": [within, {"$ref": "#/$defs/entries"}]}
        return [{"type": "object", "additionalProperties": within, **lengths}]
    numeric = bounds_of(bounds) if hint in (int, float) else ()
    numbers = {NUMBERS[kind]: bound for kind, bound in numeric if isfinite(bound)}
    also = [{"$ref": "#/$defs/exponent"}] if hint is float else []
    return [{"type": PLAIN[hint], **numbers}, *also]


if __name__ == "__main__":
    for file, content in ((FILE, text()), (reference.FILE, reference.page(study_schema()))):
        store.write_text(file, content)
        print(file)
