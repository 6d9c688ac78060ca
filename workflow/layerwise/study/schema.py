"""Files of YAML and JSON held against their schemas, with errors that name the key and its nearest neighbour."""

from __future__ import annotations

import difflib
import functools
import json
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError, nearest
from layerwise.study import text
from layerwise.study.text import short

SCHEMAS = Path(__file__).parents[1] / "schemas"
EXPLAINED = 200_000  # letters of a file that PyYAML's own parser, 100 kB a second, may explain
PLAIN_TAGS = (None, "tag:yaml.org,2002:str")  # in a file; others make what JSON has not


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping of plain things; LayerwiseError says where it does not parse.

    Keys are text as they are written, ``no`` and ``1`` as well, and dates are text. A key that is given twice, a tag
    such as ``!!python/object`` and ``010``, which YAML 1.1 reads as 8, are refused.
    """
    try:
        import yaml
    except ModuleNotFoundError:
        raise LayerwiseError(f"{path}: reading YAML needs PyYAML; install it, or give the study as JSON") from None
    given = text.read(path)
    try:
        content = _parsed(given)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise LayerwiseError(f"{path}: line {line} is not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # ValueError: an escape that is no character
        raise LayerwiseError(f"{path}: not YAML, which is text in UTF-8") from None
    except RecursionError:
        raise LayerwiseError(f"{path}: an alias stands within what it names") from None
    return _plain(content, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping; LayerwiseError says where it does not parse."""
    try:
        content = json.loads(text.read(path), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise LayerwiseError(f"{path}: line {error.lineno} is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        said = "too deep" if isinstance(error, RecursionError) else error
        raise LayerwiseError(f"{path}: not JSON: {said}") from None
    return _plain(content, path)


def _plain(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise LayerwiseError(f"{path}: holds no mapping; the keys are described in workflow/layerwise/schemas")
    text.check_plain(content, str(path))
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a mapping of JSON; ValueError for a key that is given twice: the first would be lost in silence."""
    whole: dict[str, Any] = {}
    for key, value in pairs:
        if key in whole:
            raise ValueError(f"the key {short(key)} is given twice")
        whole[key] = value
    return whole


def _parsed(given: str) -> Any:
    """Parse by libyaml where it is there, five times as fast; what it refuses, PyYAML's own parser explains better."""
    import yaml

    if hasattr(yaml, "CSafeLoader"):
        try:
            return _loaded(given, yaml.CSafeLoader)
        except yaml.YAMLError:
            if len(given) > EXPLAINED:
                raise
    return _loaded(given, yaml.SafeLoader)


def _loaded(given: str, loader: Any) -> Any:
    """Parse what is neither too deep, for the parser recurses, nor holds tags."""
    import yaml

    depth = 0
    for count, event in enumerate(yaml.parse(given, Loader=loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        fault = f"more than {text.DEEPEST} levels deep" if depth > text.DEEPEST else ""
        if count > 2 * text.MOST_VALUES:
            fault = f"more than {text.MOST_VALUES:,} values"
        tag = getattr(event, "tag", None)
        if tag not in PLAIN_TAGS:
            fault = f"the tag {short(tag)} is not of text, numbers, lists and mappings; leave it out"
        if fault:
            raise yaml.constructor.ConstructorError(None, None, fault, event.start_mark)  # type: ignore[arg-type]
    return yaml.load(given, Loader=_strict(yaml, loader))


def _strict(yaml: Any, loader: Any) -> Any:
    """Return a safe loader: keys are text as written and given once, numbers are what they look like."""
    error = yaml.constructor.ConstructorError

    class Strict(loader):
        yaml_implicit_resolvers = {  # noqa: RUF012  (dates stay text)
            first: [each for each in rules if each[0] != "tag:yaml.org,2002:timestamp"]
            for first, rules in loader.yaml_implicit_resolvers.items()
        }

        def flatten_mapping(self, node: Any) -> None:
            """Merge what ``<<`` names; merges of merges double, so their size is known before they are made."""
            for key, value in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    merged = [n for n in getattr(value, "value", ()) if isinstance(n, yaml.MappingNode)]
                    merged = [value] if isinstance(value, yaml.MappingNode) else merged
                    for each in merged:
                        self.flatten_mapping(each)
                    if sum(len(each.value) for each in merged) > text.MOST_VALUES // 5:
                        raise error(None, None, "its merged keys are too many", key.start_mark)
            super().flatten_mapping(node)

    def mapping(loader: Any, node: Any) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise error(None, None, "a key is text, and no list or mapping", key.start_mark)
            if key.value in seen:
                raise error(None, None, f"the key {short(key.value)} is given twice", key.start_mark)
            seen.add(key.value)
        loader.flatten_mapping(node)
        return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}

    def integer(loader: Any, node: Any) -> int:
        digits = node.value.lstrip("+-")
        if not digits.isdecimal() or (digits[0] == "0" and len(digits) > 1):  # 010, 0x10, 1_000, 12:30
            raise error(None, None, f"YAML reads {node.value} as another number; put it in quotes", node.start_mark)
        try:
            return yaml.constructor.SafeConstructor.construct_yaml_int(loader, node)
        except ValueError:
            raise error(None, None, f"{short(node.value)} is no number", node.start_mark) from None

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    Strict.add_constructor("tag:yaml.org,2002:int", integer)
    return Strict


def can_validate() -> bool:
    """Tell whether PyYAML and jsonschema are installed."""
    try:
        import jsonschema  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def validate(content: dict[str, Any], schema: str, where: str) -> None:
    """Check `content` by ``schemas/<schema>.schema.yaml``; LayerwiseError says the first thing wrong."""
    import jsonschema

    rules = _rules(schema)
    whole = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, n: type(n) is int)  # 2.0 is none
    checker = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=whole)
    errors = checker(rules).iter_errors(content)

    def order(error: Any) -> tuple[int, bool, str]:  # a misspelt key says more than the one that it leaves missing
        return len(error.absolute_path), error.validator != "additionalProperties", str(error.message)

    error = min(errors, key=order, default=None)
    if error is None:
        return
    place = "/".join(short(p, quoted=False) for p in error.absolute_path)
    at = f"{where}: {place}: " if place else f"{where}: "
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        wrong = next(k for k in error.instance if k not in known)
        raise LayerwiseError(f"{at}no key {short(wrong)}{nearest(str(wrong), known)}")
    if error.validator == "required":
        missing = next(k for k in error.schema["required"] if k not in error.instance)
        unknown = [str(key) for key in error.instance if key not in error.schema.get("properties", {})]
        for key in difflib.get_close_matches(missing, unknown, n=1):
            raise LayerwiseError(f"{at}no key {short(key)}; did you mean {missing!r}?")
        raise LayerwiseError(f"{at}the key {missing!r} is missing: {_describe(error.schema, missing)}")
    wanted = error.schema.get("description", error.message)
    text_wanted = "string" in str(error.schema.get("type")) and isinstance(error.instance, (bool, int, float))
    quotes = "; text that looks like a number or like true or false belongs in quotes" if text_wanted else ""
    raise LayerwiseError(f"{at}{short(error.instance)} is not what belongs here: {short(wanted, False, 400)}{quotes}")


@functools.cache
def _rules(schema: str) -> Any:
    return _parsed((SCHEMAS / f"{schema}.schema.yaml").read_text(encoding="utf-8"))


def _describe(schema: dict[str, Any], key: str) -> str:
    return str(schema.get("properties", {}).get(key, {}).get("description", "see the schema"))


def with_defaults(content: dict[str, Any], schema: str) -> dict[str, Any]:
    """Return `content` with the defaults of the schema's top level filled in."""
    return {k: v["default"] for k, v in _rules(schema)["properties"].items() if "default" in v} | content
