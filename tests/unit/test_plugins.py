"""Plugins: a name finds its file, its options are read without torch, and its code has a digest."""

import shutil
import subprocess
import sys
import textwrap

import pytest

from layerwise import plugins
from layerwise.errors import LayerwiseError
from layerwise.study import identity, json_schema, reference

BOOST = '''
"""A method from outside the package."""
import torch
from dataclasses import dataclass, field
from typing import Literal

@dataclass(frozen=True)
class Options:
    rounds: int
    """Rounds of
    boosting."""
    rate: float = 0.5
    """Learning rate."""
    kind: Literal["fast", "slow"] = "fast"
    sizes: tuple[int, ...] = ()
    box: tuple[float, float] = (0.0, 1.0)
    limit: float | None = None
    names: dict[str, int] = field(default_factory=dict)
    loud: bool = False

    def __post_init__(self):
        if self.rounds < 1:  # by hand: names of the package's errors need no import
            raise LayerwiseError(f"option 'rounds' is {self.rounds}: choose 1 or more")

def fit(*args, **options):
    return "fitted"
'''

FIT = "\ndef fit(segment, features, options, *, seed, device, hooks): ...\n"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder on the path with a package `mylab`, whose module `boost` is a method."""
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text("")
    (tmp_path / "mylab" / "boost.py").write_text(BOOST)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "mylab"
    for cached in (plugins.file, plugins.options_class, plugins._imports):
        cached.cache_clear()
    for name in [m for m in sys.modules if m.split(".")[0] == "mylab"]:
        del sys.modules[name]


def options(given, name="mylab.boost"):
    return plugins.options("methods", name, given, "segment 's'")


def test_the_package_knows_its_plugins():
    assert "sgd" in plugins.known("methods")
    assert "__init__" not in plugins.known("methods")
    assert plugins.file("methods", "sgd") == plugins.PACKAGE / "methods" / "sgd.py"
    assert plugins.load("methods", "sgd").fit


def test_a_module_from_outside_is_a_plugin(lab):
    assert plugins.file("methods", "mylab.boost") == lab / "boost.py"
    assert plugins.load("methods", "mylab.boost").fit() == "fitted"


@pytest.mark.parametrize("name", ["sdg", "", "__init__", "_hidden", "a/b"])
def test_an_unknown_name_has_a_hint(name):
    with pytest.raises(LayerwiseError, match=f"method {name!r}: no such method"):
        plugins.file("methods", name)
    with pytest.raises(LayerwiseError, match="did you mean 'sgd'"):
        plugins.load("methods", "sdg")


@pytest.mark.parametrize("name", ["nolab.boost", "mylab.bost", "mylab.boost.more", ".boost", "..", "mylab."])
def test_an_unknown_module_says_where_to_put_it(lab, name):
    with pytest.raises(LayerwiseError, match="no such module; install it, or put its folder on PYTHONPATH"):
        plugins.file("methods", name)


def test_options_are_typed(lab):
    given = {
        "rounds": 3,
        "rate": 1,
        "kind": "slow",
        "sizes": [1, 2],
        "box": [0, 2.5],
        "limit": "1e-3",
        "names": {"a": 1},
        "loud": True,
    }
    found = options(given)
    assert (found.rounds, found.rate, found.kind, found.sizes) == (3, 1.0, "slow", (1, 2))
    assert (found.box, found.limit, found.names, found.loud) == ((0.0, 2.5), 0.001, {"a": 1}, True)
    assert isinstance(found.rate, float)
    assert options({"rounds": 3, "limit": None}).limit is None
    assert given["sizes"] == [1, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs the option 'rounds'"),
        ({"round": 3}, "method 'mylab.boost' has no option 'round'; did you mean 'rounds'?"),
        ({"rounds": 3, 5: 1}, "has no option 5; known: box"),
        ({"rounds": "3"}, "option 'rounds' is '3', which is not int"),
        ({"rounds": 3.0}, "option 'rounds' is 3.0, which is not int"),
        ({"rounds": True}, "option 'rounds' is True, which is not int"),
        ({"rounds": None}, "option 'rounds' is None, which is not int"),
        ({"rounds": 0}, "option 'rounds' is 0: choose 1 or more"),
        ({"rounds": 1, "rate": "quick"}, "option 'rate' is 'quick', which is not float"),
        ({"rounds": 1, "rate": False}, "option 'rate' is False, which is not float"),
        ({"rounds": 1, "kind": "slw"}, "option 'kind' is 'slw'; did you mean 'slow'?"),
        ({"rounds": 1, "kind": 2}, "option 'kind' is 2, which is not Literal['fast', 'slow']"),
        ({"rounds": 1, "sizes": [1, "b"]}, "option 'sizes' is 'b', which is not int"),
        ({"rounds": 1, "sizes": 4}, "option 'sizes' is 4, which is not tuple[int, ...]"),
        ({"rounds": 1, "box": [1, 2, 3]}, "option 'box' is [1, 2, 3], which is not tuple[float, float]"),
        ({"rounds": 1, "limit": "none"}, "option 'limit' is 'none', which is not float | None"),
        ({"rounds": 1, "names": ["a"]}, "option 'names' is ['a'], which is not dict[str, int]"),
        ({"rounds": 1, "loud": 1}, "option 'loud' is 1, which is not bool"),
    ],
)
def test_a_wrong_option_is_named(lab, given, said):
    with pytest.raises(LayerwiseError) as caught:
        options(given)
    assert str(caught.value).startswith("segment 's': ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_documentation_is_the_string_after_the_field(lab):
    assert plugins.documentation("methods", "mylab.boost") == {
        "rounds": "Rounds of boosting.",
        "rate": "Learning rate.",
    }


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_option_of_the_package_is_documented(kind):
    for name in plugins.known(kind):
        fields = plugins.options_class(kind, name).__dataclass_fields__
        assert set(plugins.documentation(kind, name)) == set(fields), f"{kind} {name}"


def test_options_are_read_without_torch(lab):
    code = """
        import sys
        from layerwise import plugins
        for name in ("mylab.boost", *plugins.known("methods")):
            cls = plugins.options_class("methods", name)
            plugins.documentation("methods", name)
            plugins.sources("methods", name)
        plugins.options("methods", "mylab.boost", {"rounds": 3}, "here")
        slow = {"torch", "numpy", "pandas", "sklearn"} & set(sys.modules)
        sys.exit(f"imported {slow}" if slow else 0)
    """
    path = f"{lab.parent}:{plugins.PACKAGE.parent}"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "boost.py has no dataclass Options"),
        ("def (:\n", "boost.py, line 1: invalid syntax"),
        ("class Options:\n    size: int = WIDTH\n", "name 'WIDTH' is not defined"),
    ],
)
def test_a_plugin_without_readable_options_is_refused(lab, text, said):
    (lab / "boost.py").write_text(text)
    with pytest.raises(LayerwiseError, match=said):
        plugins.options_class("methods", "mylab.boost")


def test_options_may_name_dataclasses_in_full(lab):
    text = f"import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Options:\n    size: int = 2\n{FIT}"
    (lab / "boost.py").write_text(text)
    assert options({}).size == 2


HEADS = {
    "bounds": ("from layerwise.options import Ge\nfrom typing import Annotated", "a: Annotated[int, Ge(1)] = 1"),
    "bounds by another name": (
        "import typing as t\nfrom layerwise import options as o, store\nimport torch",
        "a: t.Annotated[int, o.Ge(1)] = 1",
    ),
    "bounds without an import": ("import torch", "a: Annotated[int, Ge(1)] = 1"),
    "text": ("from __future__ import annotations\nfrom layerwise.options import Ge", "a: 'Annotated[int, Ge(1)]' = 1"),
    "the standard library": (
        "import os.path, torch\nfrom fractions import Fraction as F",
        "a: Annotated[int, Ge(F(1))] = len(os.path.curdir)",
    ),
}


@pytest.mark.parametrize("what", HEADS)
def test_options_take_the_imports_of_their_file(lab, what):
    """Those that they use, of the standard library and of the modules that are theirs: torch is not imported."""
    head, line = HEADS[what]
    (lab / "boost.py").write_text(
        f"{head}\nfrom dataclasses import dataclass as data\n\n@data(frozen=True)\nclass Options:\n    {line}\n{FIT}"
    )
    assert options({}).a == 1
    with pytest.raises(LayerwiseError, match="segment 's': option 'a' is 0: it must be at least 1"):
        options({"a": 0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "from layerwise import store\n@dataclass\nclass Options:\n    a: int = store.x\n",
            "name 'store' is not defined",
        ),
        ("import torch\n@dataclass\nclass Options:\n    a: torch.Tensor = None\n", "name 'torch' is not defined"),
        ("import fractions\n@dataclass\nclass Options:\n    a: int = fractions.no\n", "has no attribute 'no'"),
        ("class Options:\n    a: int = 1\n", "boost.py has no dataclass Options"),
    ],
)
def test_options_that_use_more_are_refused(lab, text, said):
    (lab / "boost.py").write_text(text)
    with pytest.raises(LayerwiseError, match=said) as caught:
        options({})
    assert "\n" not in str(caught.value)


BARE = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Options:\n    a: int = 1\n"


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_a_plugin_without_its_functions_is_refused_when_a_study_is_checked(lab, kind):
    """Before anything runs, with the function to write."""
    (lab / "boost.py").write_text(BARE)
    with pytest.raises(LayerwiseError) as caught:
        plugins.options_class(kind, "mylab.boost")
    call = plugins.FUNCTIONS[kind][0]
    assert str(caught.value) == f"{plugins.KINDS[kind]} 'mylab.boost': boost.py has no function {call}; write it"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("methods", FIT),
        ("methods", "\nfrom .other import fit\n"),
        ("methods", "\nfrom .other import boost as fit\n"),
        ("methods", "\nfit = print\n"),
        ("methods", "\nif True:\n    def fit(): ...\nelse:\n    def fit(): ...\n"),
        ("methods", "\nfrom .other import *\n"),
        ("probes", "\ndef follow(): ...\n"),
        ("tables", "\ndef make(): ...\ndef caption(): ...\n"),
    ],
)
def test_functions_may_come_from_anywhere(lab, kind, text):
    (lab / "boost.py").write_text(BARE + text)
    assert plugins.options_class(kind, "mylab.boost")().a == 1


def test_a_table_without_a_caption_is_refused(lab):
    (lab / "boost.py").write_text(BARE + "\ndef make(results, options): ...\n")
    with pytest.raises(LayerwiseError, match=r"boost.py has no function caption\(results, options\); write it"):
        plugins.options_class("tables", "mylab.boost")


def test_options_are_spelled_with_their_bounds_and_defaults(lab):
    rules = json_schema.options_schema("methods", "mylab.boost", {})
    spelt = {
        key.name: (key.kind, key.default, key.text) for key in reference.of_plugin("methods", "mylab.boost", rules).keys
    }
    assert spelt["rounds"] == ("whole number", "required", "Rounds of boosting.")
    assert spelt["kind"] == ("one of `fast`, `slow`", '"fast"', "")
    assert spelt["names"] == ("mapping of whole numbers", "{}", "")


def test_sources_follow_the_imports(lab):
    text = BOOST + "\nfrom layerwise.maths import linalg\nfrom layerwise.methods import sgd\n"
    (lab / "boost.py").write_text(text)
    found = plugins.sources("methods", "mylab.boost")
    names = {p.relative_to(plugins.PACKAGE).as_posix() for p in found if p.is_relative_to(plugins.PACKAGE)}
    # linalg and sgd directly, layers and words through sgd
    wanted = {
        "methods/__init__.py",
        "maths/linalg.py",
        "methods/sgd.py",
        "layers/build.py",
        "layers/words.py",
        "errors.py",
    }
    assert names >= wanted
    assert lab / "boost.py" in found
    assert plugins.PACKAGE / "store.py" not in found
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("said", "files"),
    [
        ("import mylab.util", ["__init__.py", "util.py"]),
        ("from mylab import util", ["__init__.py", "util.py"]),
        ("from . import util", ["__init__.py", "util.py"]),
        ("from .util import f", ["util.py"]),
        ("from .parts.cut import f", ["parts/__init__.py", "parts/cut.py", "util.py"]),
        ("from .parts import cut", ["parts/__init__.py", "parts/cut.py", "util.py"]),
        ("def f():\n    import helper", ["__init__.py", "helper.py", "util.py"]),
        ("import beside", ["../beside.py", "../inner/__init__.py", "../inner/deep.py"]),
        ("import numpy, yaml, torch.nn", []),
        ("from ... import nothing", []),
    ],
)
def test_a_plugin_from_outside_goes_by_what_lies_beside_it(lab, said, files):
    (lab / "parts").mkdir()
    (lab.parent / "inner").mkdir()
    for name, text in {
        "util.py": "f = 1\n",
        "helper.py": "import mylab.boost\nfrom mylab.util import f\n",  # a circle
        "parts/__init__.py": "",
        "parts/cut.py": "from ..util import f\n",
        "../beside.py": "from inner.deep import g\n",
        "../inner/__init__.py": "",
        "../inner/deep.py": "g = 1\n",
        "unused.py": "",
    }.items():
        (lab / name).write_text(text)
    (lab / "boost.py").write_text(f"{BOOST}\n{said}\n")
    found = {path for path in plugins.sources("methods", "mylab.boost") if not plugins.inside(path)}
    assert found == {(lab / name).resolve() for name in ["boost.py", *files]}


def test_an_edit_beside_a_plugin_is_another_identity(lab):
    (lab / "boost.py").write_text(BOOST + "\nfrom .util import f\n")
    (lab / "util.py").write_text("from .more import g as f\n")
    seen = set()
    for text in ("g = 1\n", "g = 2\n", "g = 2  # said\n"):
        (lab / "more.py").write_text(text)
        for cached in (plugins._code, identity._identity):
            cached.cache_clear()  # a file does not change while a process runs
        seen.add(identity.identity("methods", "mylab.boost"))
    assert len(seen) == 2


def test_what_else_is_installed_is_not_the_plugin_s(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    (folder / "theirs").mkdir(parents=True)
    for name, text in {
        "boost": BOOST + "\nimport other\nfrom theirs import util\n",
        "util": "",
        "__init__": "",
    }.items():
        (folder / "theirs" / f"{name}.py").write_text(text)
    (folder / "other.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    found = {path for path in plugins.sources("methods", "theirs.boost") if not plugins.inside(path)}
    assert found == {folder / "theirs" / f"{name}.py" for name in ("boost", "util", "__init__")}
    plugins.file.cache_clear()


def test_a_neighbour_that_does_not_read_is_one_line(lab):
    (lab / "boost.py").write_text(BOOST + "\nfrom .util import f\n")
    (lab / "util.py").write_text("def (:\n")
    with pytest.raises(LayerwiseError, match=r"util\.py, line 1: invalid syntax"):
        plugins.sources("methods", "mylab.boost")


def test_the_digest_is_that_of_the_code(lab, tmp_path):
    first = plugins.code_digest(plugins.sources("methods", "mylab.boost"))
    assert first == plugins.code_digest(plugins.sources("methods", "mylab.boost"))
    (lab / "boost.py").touch()
    assert first == plugins.code_digest(plugins.sources("methods", "mylab.boost"))
    for said, same in (("# edited\n", True), ('\n"""Said of it."""\n', True), ("EDITED = 1  # said\n", False)):
        (lab / "boost.py").write_text(BOOST + said)
        plugins._code.cache_clear()  # a file does not change while a process runs
        assert (first == plugins.code_digest(plugins.sources("methods", "mylab.boost"))) == same


def test_only_what_is_said_about_code_is_left_out_of_it(tmp_path):
    text = 'def f(x):\n    """Say\n    two lines."""\n\n    # why\n    return "# no" + x  # why\n'
    (tmp_path / "a.py").write_text(text)
    assert plugins._code(tmp_path / "a.py") == 'def f(x):\n    return "# no" + x'


def test_the_digest_does_not_depend_on_where_the_files_lie(lab, tmp_path):
    (lab / "other.py").write_text("x = 1\n")
    files = [lab / "boost.py", lab / "other.py"]
    shutil.copy(files[0], tmp_path / "z.py")
    shutil.copy(files[1], tmp_path / "a.py")
    assert plugins.code_digest(files) == plugins.code_digest(sorted([tmp_path / "z.py", tmp_path / "a.py"]))
