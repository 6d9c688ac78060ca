"""How a name in a study finds its file: methods, datasets, selections, probes, figures and tables alike.

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
import sys
import tokenize
import types
import typing
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError, nearest
from layerwise.options import typed

PACKAGE = Path(__file__).parent
KINDS = {
    "datasets": "source",
    "selections": "selection",
    "methods": "method",
    "probes": "probe",
    "figures": "figure",
    "tables": "table",
}
# The functions of a plugin's file, as they are called; of a probe, one of them.
FUNCTIONS = {
    "datasets": ("load(options, *, root)",),
    "selections": ("select(candidates, options, *, seed, device)",),
    "methods": ("fit(segment, features, options, *, seed, device, hooks)",),
    "probes": ("look(network, data, options, *, seed, device)", "follow(fitted, features, options, *, seed, device)"),
    "figures": ("draw(results, options)", "caption(results, options)"),
    "tables": ("make(results, options)", "caption(results, options)"),
}
# What Options may use of this package: no torch is in it.
FREE = ("layerwise.errors", "layerwise.options", "layerwise.coding.words")
# What Options may use without importing it, as long as there have been Options.
PRELUDE = """
from dataclasses import *
from typing import *
from math import *
import dataclasses, math, typing
from layerwise.errors import LayerwiseError, nearest
from layerwise.options import *
"""


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
        if name not in known(kind):
            raise LayerwiseError(f"{KINDS[kind]} {name!r}: no such {KINDS[kind]}{nearest(name, known(kind))}")
        return PACKAGE / kind / f"{name}.py"
    return module_file(name, f"{KINDS[kind]} {name!r}")


def module_file(name: str, where: str) -> Path:
    """Return the file of an importable module; LayerwiseError, which begins with `where`, where there is none."""
    spec = None
    if all(part.isidentifier() for part in name.split(".")) and len(name) < 1000:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):  # no such module or parent
            pass
        except Exception as error:  # of the parent, which runs: a plugin's own code
            said = " ".join(str(error).split())
            raise LayerwiseError(f"{where}: its package fails ({said}); mend it") from None
    if spec is None or not str(spec.origin).endswith(".py") or not Path(str(spec.origin)).is_file():
        raise LayerwiseError(f"{where}: no such module; install it, or put its folder on PYTHONPATH")
    return Path(str(spec.origin))


@functools.cache
def options_class(kind: str, name: str) -> type:
    """Return the dataclass ``Options`` of a plugin, made from its source alone."""
    path = file(kind, name)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise LayerwiseError(f"{KINDS[kind]} {name!r}: {path.name}, line {error.lineno}: {error.msg}") from None
    except (ValueError, OSError) as error:
        raise LayerwiseError(
            f"{KINDS[kind]} {name!r}: {path.name} cannot be read as Python in UTF-8 ({error})"
        ) from None
    found = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Options"]
    if not found:
        raise LayerwiseError(f"{KINDS[kind]} {name!r}: {path.name} has no dataclass Options")
    body = [*ast.parse(PRELUDE).body, *_imports_for(found[0], tree), *found]
    space: dict[str, Any] = {"__name__": __name__}  # a module that there is, which dataclasses looks up
    try:
        exec(compile(ast.Module(body, []), str(path), "exec", dont_inherit=True), space)
        cls = space["Options"]
        cls.__annotations__ = typing.get_type_hints(cls, space, include_extras=True)  # whatever is text, here
    except Exception as error:
        what = f"{KINDS[kind]} {name!r}: Options in {path.name} may use the standard library"
        said = " ".join(str(error).split())
        raise LayerwiseError(f"{what}, layerwise.errors and layerwise.options alone ({said})") from None
    if not dataclasses.is_dataclass(space["Options"]):
        raise LayerwiseError(f"{KINDS[kind]} {name!r}: {path.name} has no dataclass Options")
    there = _bound(tree)
    absent = [call for call in FUNCTIONS[kind] if call.partition("(")[0] not in there]
    if "*" not in there and (len(absent) == len(FUNCTIONS[kind]) or (absent and kind != "probes")):
        raise LayerwiseError(f"{KINDS[kind]} {name!r}: {path.name} has no function {absent[0]}; write it")
    return cls


def _bound(tree: ast.Module) -> set[str]:
    """Return the names that a file binds at its top, and ``*`` where it imports all that another has."""
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names.add(statement.name)
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.alias):
                names.add(node.asname or node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.FunctionDef):
                names.add(node.name)
    return names


def _imports_for(cls: ast.ClassDef, tree: ast.Module) -> list[ast.stmt]:
    """Return the imports at the top of a file that its Options use and may use."""
    used = {node.id for node in ast.walk(cls) if isinstance(node, ast.Name)}
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            free = [a for a in node.names if _is_free(a.name)]
            names = [a for a in free if (a.asname or a.name.split(".")[0]) in used]
            kept += [ast.copy_location(ast.Import(names), node)] if names else []
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and node.module != "__future__":
            free = [a for a in node.names if _is_free(node.module) or _is_free(f"{node.module}.{a.name}")]
            names = [a for a in free if (a.asname or a.name) in used or a.name == "*"]
            kept += [ast.copy_location(ast.ImportFrom(node.module, names, 0), node)] if names else []
    return kept


def _is_free(module: str) -> bool:
    return module.split(".")[0] in sys.stdlib_module_names or module in FREE


def documentation(kind: str, name: str) -> dict[str, str]:
    """Return the text that documents each option: the string that follows the field."""
    return documentation_of(file(kind, name), "Options")


def documentation_of(path: Path, cls: str) -> dict[str, str]:
    """Return the text that documents each field of a class in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls)
    return {
        field.target.id: " ".join(str(ast.literal_eval(text.value)).split())
        for field, text in itertools.pairwise(body)
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


def sources(kind: str, name: str) -> list[Path]:
    """Return the plugin's file, and the files that it imports, directly or through another.

    Files of the package count, and for a plugin from outside the modules that lie beside it.
    """
    path = file(kind, name)
    more = [PACKAGE / "preparation" / "prepare.py"] if kind == "datasets" else []  # what is done to what a source gives
    return closure(path, PACKAGE / kind / "__init__.py", *more, root=_root(path, name))


def module_sources(name: str, where: str) -> list[Path]:
    """Return the file of an importable module, and the files beside it that it imports."""
    path = module_file(name, where)
    return closure(path, root=_root(path, name))


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
