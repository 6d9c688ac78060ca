"""How a name in a study finds its file: methods, datasets, probes, figures and tables alike.

``method: dmn`` is the module ``layerwise.methods.dmn``; a dotted name (``method: mylab.boost``) is any importable
module, so a new one needs no change here. The keys that a plugin takes are the fields of the dataclass
``Options`` in its file, which is read without running the rest of the file: a study is checked without torch.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import io
import itertools
import tokenize
import types
import typing
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError, nearest

PACKAGE = Path(__file__).parent
KINDS = {"datasets": "source", "methods": "method", "probes": "probe", "figures": "figure", "tables": "table"}


def known(kind: str) -> list[str]:
    """Return the names of the plugins of a kind that come with the package."""
    return sorted(p.stem for p in (PACKAGE / kind).glob("*.py") if not p.stem.startswith("_"))


def module_name(kind: str, name: str) -> str:
    return name if "." in name else f"layerwise.{kind}.{name}"


def load(kind: str, name: str) -> types.ModuleType:
    """Import the plugin's module."""
    file(kind, name)  # says what is wrong with the name
    return importlib.import_module(module_name(kind, name))


@functools.cache
def file(kind: str, name: str) -> Path:
    """Return the file of a plugin; LayerwiseError where there is none."""
    if "." not in name:
        path = PACKAGE / kind / f"{name}.py"
        if name.startswith("_") or not path.is_file():
            raise LayerwiseError(f"{KINDS[kind]} {name!r}: no such {KINDS[kind]}{nearest(name, known(kind))}")
        return path
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # no such module or parent, or a name that cannot be one
        spec = None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise LayerwiseError(f"{KINDS[kind]} {name!r}: no such module; install it, or put its folder on PYTHONPATH")
    return Path(spec.origin)


@functools.cache
def options_class(kind: str, name: str) -> type:
    """Return the dataclass ``Options`` of a plugin, made from its source alone."""
    path = file(kind, name)
    try:
        tree = ast.parse(path.read_text(), str(path))
    except SyntaxError as error:
        raise LayerwiseError(f"{KINDS[kind]} {name!r}: {path.name}, line {error.lineno}: {error.msg}") from None
    found = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Options"]
    if not found:
        raise LayerwiseError(f"{KINDS[kind]} {name!r}: {path.name} has no dataclass Options")
    body = "from __future__ import annotations\nfrom dataclasses import *\nfrom typing import *\nfrom math import *\n"
    body += "import dataclasses, math, typing\n"
    prelude = ast.parse(body + "from layerwise.errors import LayerwiseError\n").body
    # A name of its own in sys.modules is what dataclasses looks up for string annotations.
    space: dict[str, Any] = {"__name__": __name__}
    try:
        exec(compile(ast.Module([*prelude, *found], []), str(path), "exec"), space)
    except NameError as error:
        what = f"{KINDS[kind]} {name!r}: Options in {path.name} may use the standard library alone"
        raise LayerwiseError(f"{what} ({error})") from None
    return space["Options"]


def documentation(kind: str, name: str) -> dict[str, str]:
    """Return the text that documents each option: the string that follows the field."""
    path = file(kind, name)
    body = next(n.body for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef) and n.name == "Options")
    pairs = itertools.pairwise(body)
    return {
        field.target.id: " ".join(str(ast.literal_eval(text.value)).split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def options(kind: str, name: str, given: dict[str, Any], where: str) -> Any:
    """Make the plugin's Options of what a study gives; LayerwiseError names the key that is wrong.

    Parameters
    ----------
    where
        What to call the place in an error, such as ``segment 'd6'``.
    """
    return typed(options_class(kind, name), given, where, f"{KINDS[kind]} {name!r}")


def typed(cls: type, given: dict[str, Any], where: str, what: str) -> Any:
    """Make a dataclass of what a study gives, each value as its field's annotation wants it.

    Parameters
    ----------
    where, what
        The place and the thing in an error, such as ``segment 'd6'`` and ``method 'dmn'``.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    types_ = typing.get_type_hints(cls, vars(typing))
    for key, value in given.items():
        if key not in fields:
            raise LayerwiseError(f"{where}: {what} has no option {key!r}{nearest(str(key), fields)}")
        given = {**given, key: _typed(value, types_[key], f"{where}: option {key!r}")}
    missing = [
        f.name
        for f in fields.values()
        if f.name not in given and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise LayerwiseError(f"{where}: {what} needs the option {missing[0]!r}")
    try:
        return cls(**given)
    except (LayerwiseError, ValueError) as error:
        raise LayerwiseError(f"{where}: {error}") from None


def _typed(value: Any, wanted: Any, where: str) -> Any:
    """Return the value as the annotation wants it (a list becomes a tuple, an int a float)."""
    origin, args = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        for each in args:
            try:
                return _typed(value, each, where)
            except LayerwiseError:
                continue
    elif origin is typing.Literal:
        if value in args:
            return value
        if isinstance(value, str):
            raise LayerwiseError(f"{where} is {value!r}{nearest(value, map(str, args))}")
    elif origin is tuple and isinstance(value, (list, tuple)):
        columns = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(columns) == len(value):
            return tuple(_typed(v, column, where) for v, column in zip(value, columns, strict=True))
    elif origin is dict and isinstance(value, dict):
        keys = {str(k) if args[0] is str else _typed(k, args[0], where): k for k in value}  # YAML reads 1 as a number
        return {key: _typed(value[k], args[1], where) for key, k in keys.items()}
    elif wanted is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif wanted is type(None) and value is None:
        return None
    elif isinstance(wanted, type) and type(value) is wanted:
        return value
    elif wanted is float and isinstance(value, str):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    name = getattr(wanted, "__name__", str(wanted)) if not args else str(wanted).replace("typing.", "")
    raise LayerwiseError(f"{where} is {value!r}, which is not {name}")


def sources(kind: str, name: str) -> list[Path]:
    """Return the plugin's file, and the files that it imports, directly or through another.

    Files of the package count, and for a plugin from outside the modules that lie beside it.
    """
    path = file(kind, name)
    more = [PACKAGE / "preparation" / "prepare.py"] if kind == "datasets" else []  # what is done to what a source gives
    return closure(path, PACKAGE / kind / "__init__.py", *more, root=_root(path, name))


def represent_sources() -> list[Path]:
    """Return the files whose code decides what representing a fit gives: running its layers, and scoring them."""
    return closure(PACKAGE / "layers" / "build.py", PACKAGE / "run" / "scores.py")


def closure(*files: Path, root: Path | None = None) -> list[Path]:
    """Return the files, and those of the package and below `root` that they import, directly or through another."""
    todo, seen = list(files), set[Path]()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _imports(path, None if inside(path) else root)
    return sorted(seen)


def inside(path: Path) -> bool:
    """Tell whether a file is the package's own."""
    return path.is_relative_to(PACKAGE)


def _root(path: Path, name: str) -> Path:
    """Return the folder from which a dotted name leads to its file: what lies there is beside the plugin."""
    module = path.parent if path.name == "__init__.py" else path.with_suffix("")
    parts = tuple(name.split("."))
    return module.parents[len(parts) - 1] if module.parts[-len(parts) :] == parts else path.parent


@functools.cache
def _imports(path: Path, root: Path | None = None) -> list[Path]:
    """Return the files that a file imports: those of this package, and those below the root, found by their names."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise LayerwiseError(f"{path}, line {error.lineno}: {error.msg}") from None
    names: set[str] = set()
    relative: set[Path] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level <= len(path.parents):
            folder = path.parents[node.level - 1]
            relative |= set() if node.module else {folder}
            for alias in node.names:
                relative |= set(_steps(folder, *(node.module or "").split("."), alias.name))
    own = {PACKAGE.parent / name.replace(".", "/") for name in names if name.split(".")[0] == PACKAGE.name}
    beside: set[Path] = set()
    if root is not None and path.is_relative_to(root):
        beside |= {step for step in relative if step.is_relative_to(root)}
        others = [name.split(".") for name in names if name.split(".")[0] != PACKAGE.name]
        if {"site-packages", "dist-packages"} & set(root.parts):  # what else is installed there is not the plugin's
            others = [parts for parts in others if parts[0] == path.relative_to(root).parts[0]]
        folders = [folder for folder in path.parents if folder.is_relative_to(root)]
        beside |= {step for parts in others for folder in folders for step in _steps(folder, *parts)}
    found = (p for module in own | beside for p in (module.with_suffix(".py"), module / "__init__.py"))
    return sorted(p for p in found if p.is_file())


def _steps(folder: Path, *parts: str) -> list[Path]:
    """Return the modules that importing ``a.b.c`` from a folder runs: the folder's ``a``, ``a/b`` and ``a/b/c``."""
    parts = tuple(part for part in parts if part)
    return [folder.joinpath(*parts[: i + 1]) for i in range(len(parts))]


def code_digest(files: list[Path]) -> str:
    """Return a digest of the code in the files: comments, documentation and empty lines do not count."""
    digest = hashlib.sha256()
    for each in sorted(hashlib.sha256(_code(path).encode()).digest() for path in files):  # wherever the files lie
        digest.update(each)
    return digest.hexdigest()[:16]


@functools.cache
def _code(path: Path) -> str:
    """Return the code of a file alone, so that hours of fits outlive an edit of what is said about them."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
