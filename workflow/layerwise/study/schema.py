"""YAML files held against their JSON schemas, with errors that name the key and its nearest neighbour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError, nearest

SCHEMAS = Path(__file__).parents[2] / "schemas"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; LayerwiseError says where it does not parse."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise LayerwiseError(f"{path}: reading YAML needs PyYAML; install it, or give the study as JSON") from None
    try:
        content = _parsed(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise LayerwiseError(f"{path}: line {line} is not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise LayerwiseError(f"{path}: not YAML, which is text in UTF-8") from None
    if not isinstance(content, dict):
        raise LayerwiseError(f"{path}: holds no mapping; the keys are described in workflow/schemas")
    return content


def _parsed(text: str) -> Any:
    """Parse by libyaml where it is there, five times as fast; what it refuses, PyYAML's own parser explains better."""
    import yaml

    if hasattr(yaml, "CSafeLoader"):
        try:
            return yaml.load(text, Loader=_strict(yaml, yaml.CSafeLoader))
        except yaml.YAMLError:
            pass
    return yaml.load(text, Loader=_strict(yaml, yaml.SafeLoader))


def _strict(yaml: Any, loader: Any) -> Any:
    """Return a safe loader that refuses a key which is given twice: the first would be lost in silence."""

    class Strict(loader):
        pass

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is given twice", key.start_mark)
            seen.add(name)
        return yaml.constructor.SafeConstructor.construct_mapping(loader, node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return Strict


def can_validate() -> bool:
    """Tell whether the schemas and what reads them are here: the package by itself runs without."""
    try:
        import jsonschema  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError:
        return False
    return SCHEMAS.is_dir()


def validate(content: dict[str, Any], schema: str, where: str) -> None:
    """Hold `content` against ``workflow/schemas/<schema>.schema.yaml``; LayerwiseError says the first thing wrong."""
    import jsonschema

    rules = _parsed((SCHEMAS / f"{schema}.schema.yaml").read_text(encoding="utf-8"))
    errors = jsonschema.Draft202012Validator(rules).iter_errors(content)

    def order(error: Any) -> tuple[int, bool, str]:  # a misspelt key says more than the one that it leaves missing
        return len(error.absolute_path), error.validator != "additionalProperties", str(error.message)

    error = min(errors, key=order, default=None)
    if error is None:
        return
    place = "/".join(str(p) for p in error.absolute_path)
    at = f"{where}: {place}: " if place else f"{where}: "
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        wrong = next(k for k in error.instance if k not in known)
        raise LayerwiseError(f"{at}no key {wrong!r}{nearest(str(wrong), known)}")
    if error.validator == "required":
        missing = next(k for k in error.schema["required"] if k not in error.instance)
        raise LayerwiseError(f"{at}the key {missing!r} is missing: {_describe(error.schema, missing)}")
    wanted = error.schema.get("description", error.message)
    raise LayerwiseError(f"{at}{error.instance!r} is not what belongs here: {wanted}")


def _describe(schema: dict[str, Any], key: str) -> str:
    return str(schema.get("properties", {}).get(key, {}).get("description", "see the schema"))


def with_defaults(content: dict[str, Any], schema: str) -> dict[str, Any]:
    """Return `content` with the defaults of the schema's top level filled in."""
    rules = _parsed((SCHEMAS / f"{schema}.schema.yaml").read_text(encoding="utf-8"))
    return {k: v["default"] for k, v in rules["properties"].items() if "default" in v} | content
