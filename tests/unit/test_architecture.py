"""The plan of the package: imports point downwards, in no circle of files or of folders."""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict

from layerwise.plugins import PACKAGE

FILES = {
    ".".join(("layerwise", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in its text, also for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for each in named:
            while each and each not in FILES:
                each = each.rpartition(".")[0]
            found |= {each} - {"", "layerwise", name}
    return found


GRAPH = {name: imports(name) for name in FILES}


def room(name: str) -> str:
    """The file or folder at the top in which a module lies."""
    return name.split(".")[1] if "." in name else name


def test_no_circle_of_files():
    graphlib.TopologicalSorter(GRAPH).prepare()


def test_no_circle_of_folders():
    rooms = defaultdict(set)
    for name, others in GRAPH.items():
        rooms[room(name)] |= {room(other) for other in others} - {room(name)}
    graphlib.TopologicalSorter(rooms).prepare()


def test_the_contract_imports_nothing_of_ours():
    assert GRAPH["layerwise.contract"] == set()


def test_the_study_knows_no_tensors_and_the_mathematics_no_files():
    assert not {name for name in GRAPH if room(name) == "study" and "layerwise.contract" in GRAPH[name]}
    below = {other for name in GRAPH if room(name) == "maths" for other in GRAPH[name]}
    assert {room(other) for other in below} <= {"maths", "errors"}


def test_few_files_lie_flat_at_the_top():
    flat = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len(flat) <= 8, flat
