"""Golden fits walk all there is; the code of the package is vouched for by them, or its revision rises."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import types
import typing

import pytest

from layerwise import golden, plugins
from layerwise.errors import LayerwiseError
from layerwise.golden import cases, vouch
from layerwise.layers import words
from layerwise.study import identity

CASES = cases.every()

# ---------------------------------------------------------------- what the set walks


def hints(cls):
    """The annotations of an Options class, without what they say of bounds."""
    names = {**vars(typing), **vars(plugins)}
    return typing.get_type_hints(cls, names, include_extras=False)


def lacking(hint, values, default):
    """What the values of an option do not show of its annotation, as text."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return [text for part in args for text in lacking(part, values, default)]
    if origin is typing.Literal:
        return [repr(value) for value in args if value not in values]
    if hint is bool:
        return [str(value) for value in (False, True) if not any(v is value for v in values)]
    if hint is type(None):
        return [] if None in values else ["None"]
    kind = {int: int, float: (int, float), tuple: tuple, dict: dict, str: str}[origin or hint]
    others = [v for v in values if isinstance(v, kind) and not isinstance(v, bool) and v not in (default, (default,))]
    return [] if others else [f"another {getattr(hint, '__name__', hint)} than {default!r}"]


def missing(method, cls, its):
    """The options, and their values, of a method that none of its golden fits has."""
    found = []
    for field in dataclasses.fields(cls):
        values = [case.options.get(field.name, field.default) for case in its]
        found += [f"{method}: {field.name}: {text}" for text in lacking(hints(cls)[field.name], values, field.default)]
    return found


@pytest.mark.parametrize("method", plugins.known("methods"))
def test_every_value_of_every_option_has_a_golden_fit(method):
    its = [case for case in CASES if case.method == method]
    assert its, f"method {method!r} has no golden fit: add some to golden/cases.py"
    assert missing(method, plugins.options_class("methods", method), its) == []
    assert {case.dtype for case in its} == {"float32", "float64"}
    assert {case.valid for case in its} == {False, True}
    several = any(sum(words.parse(w).weighted for w in case.layers) > 1 for case in its)
    assert several or method == "ridge", "no golden fit of several layers"  # ridge fits one
    for case in its:
        plugins.options("methods", method, case.options, case.name)


def test_a_value_without_a_golden_fit_is_found():
    @dataclasses.dataclass
    class Options:
        kind: typing.Literal["a", "b"] = "a"
        loud: bool = False
        size: int = 3
        rate: float | None = None
        rates: tuple[float, ...] | float = 0.1
        noise: typing.Literal["auto"] | float = "auto"
        bounded: typing.Annotated[int, "1 or more"] = 1

    first = cases.Case("m", (), {})
    assert missing("m", Options, [first]) == [
        "m: kind: 'b'",
        "m: loud: True",
        "m: size: another int than 3",
        "m: rate: another float than None",
        "m: rates: another tuple than 0.1",
        "m: rates: another float than 0.1",
        "m: noise: another float than 'auto'",
        "m: bounded: another int than 1",
    ]
    given = {"kind": "b", "loud": True, "size": 4, "rate": 0.5, "rates": (0.1, 0.2), "noise": 0.1, "bounded": 2}
    assert missing("m", Options, [first, cases.Case("m", (), given)]) == ["m: rates: another float than 0.1"]


@pytest.mark.parametrize("method", ["random", "sgd", identity.SCORES])
def test_every_layer_word_has_a_golden_fit(method):
    said = [word.split() for case in CASES if case.method == method for word in case.layers]
    by_gradient = {"torchvision"} if method == "sgd" else set()  # timm, which may not be there, is built as that is
    for kind in (set(words.GRAMMAR) - set(words.LIBRARIES)) | by_gradient:
        grammar = words.GRAMMAR[kind]
        own = [word for word in said if word[0] == kind]
        assert own, f"layer word {kind!r} has no golden fit of {method}: add one to golden/cases.py"
        for option in re.findall(r"\[([a-z]+)\b(?!\|)", grammar):
            assert any(option in word for word in own), f"{kind} {option}"


def test_methods_that_look_at_networks_do():
    looking = {case.method for case in CASES if case.uses}
    source = {n: plugins.file("methods", n).read_text(encoding="utf-8") for n in plugins.known("methods")}
    assert looking == {name for name, text in source.items() if "segment.uses" in text}


def test_a_golden_fit_goes_by_its_name():
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name.partition(":")[0] for case in CASES} == set(identity.names())
    assert {case.data for case in CASES} == {"digits", "signs", "values", "many"}


def test_golden_fits_differ_where_they_say_something_else():
    """An option that changes nothing of its golden fit is not walked by it."""
    from layerwise.golden import fits

    digests = dict(fits.digests())
    assert list(digests) == [case.name for case in CASES]
    same = {}
    for case in CASES:
        same.setdefault(digests[case.name], []).append(case)
    for twins in same.values():
        # A validation split that nothing is chosen by; the loss that `auto` stands for; features held or fed.
        options = {
            tuple(sorted((k, v) for k, v in c.options.items() if v != "cross_entropy" and k != "features"))
            for c in twins
        }
        assert len({(c.method, c.layers, c.data, c.dtype, c.uses) for c in twins}) == len(options) == 1, twins
    again = dict(fits.digests(["permuted", "ridge"]))
    assert again == {name: digests[name] for name in again}


# ---------------------------------------------------------------- a package whose code is edited


class Copy:
    """A copy of the package in a git repository of its own, all vouched for."""

    def __init__(self, folder):
        self.package = folder / "workflow" / "layerwise"
        shutil.copytree(plugins.PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.folder, self.records = folder, self.package / "golden" / "revisions.json"
        record = {name: {"revision": 1, "text": identity.text(name)} for name in identity.names()}
        self.records.write_text(json.dumps(record))
        (self.package / "golden" / "digests.json").unlink(missing_ok=True)

    def git(self, *given):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", *who, *given], cwd=self.folder, check=True, capture_output=True)

    def commit(self):
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "as it is")

    def __call__(self, *given):
        code = [sys.executable, *given]
        environment = {**os.environ, "PYTHONPATH": str(self.package.parent)}
        return subprocess.run(code, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def golden(self, *given):
        return self("-m", "layerwise", "golden", *given)

    def edit(self, old, new, file="methods/dmn.py"):
        text = (self.package / file).read_text(encoding="utf-8")
        assert old in text
        (self.package / file).write_text(text.replace(old, new), encoding="utf-8")

    def identity(self, name):
        done = self("-c", f"from layerwise.study.identity import identity; print(identity('methods', {name!r}))")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def revisions(self):
        return {name: known["revision"] for name, known in json.loads(self.records.read_text()).items()}


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def refusal(*names):
    methods = ", ".join(f"method {name!r}" for name in names)
    return f"layerwise: {methods}: the code is not that of the golden fits; run make golden\n"


def test_comments_and_docstrings_need_no_fit(copy):
    copy.edit("def within(", "# Said of it.\ndef within(")
    copy.edit("Return the columns of unit vectors", "Return columns of unit vectors")
    assert copy.identity("dmn") == "dmn 1"
    done = copy.golden("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_edited_code_is_vouched_for_or_raises_the_revision_of_whom_it_concerns(copy):
    """The past comes from git: nothing is recorded of this machine."""
    copy.commit()
    copy.edit("mixed", "shuffled", "methods/permuted.py")  # a local name
    copy.edit("variance + 1e-12", "variance + 0.1", "methods/dmn.py")  # a constant
    before = {name: copy.identity(name) for name in ("dmn", "permuted", "sgd")}
    assert before["sgd"] == "sgd 1"
    assert all(re.fullmatch("[0-9a-f]{16}", before[name]) for name in ("dmn", "permuted"))
    done = copy.golden("--check")
    assert (done.returncode, done.stderr) == (2, refusal("dmn", "pca", "permuted"))

    done = copy.golden()
    assert done.returncode == 0, done.stderr
    assert re.search(r"method 'permuted': \d+ golden fits are the same, vouched for as revision 1\n", done.stdout)
    assert copy.identity("permuted") == "permuted 1"
    for name in ("dmn", "pca"):
        assert re.search(rf"^differs: {name}: as it comes \| ", done.stdout, re.MULTILINE)
        assert re.search(rf"method '{name}': \d+ of \d+ golden fits differ, now revision 2\n", done.stdout)
        assert copy.identity(name) == f"{name} 2"
    assert "differs: permuted" not in done.stdout
    assert copy.revisions() == {name: 2 if name in ("dmn", "pca") else 1 for name in identity.names()}
    assert copy.golden("--check").returncode == 0
    [(kind, digests)] = json.loads(copy.records.with_name("digests.json").read_text()).items()
    assert " torch " in kind
    assert {name.partition(":")[0] for name in digests} == {"dmn", "pca", "permuted"}


def test_the_check_imports_no_torch():
    code = (
        "import sys; from layerwise.__main__ import main; main(['golden', '--check']);"
        "sys.exit(' '.join({'torch', 'numpy', 'pandas', 'sklearn'} & set(sys.modules)) or 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(plugins.PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_lint_runs_the_check():
    makefile = (plugins.PACKAGE.parents[1] / "Makefile").read_text(encoding="utf-8")
    lint = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    assert "\tpython -m layerwise golden --check" in lint


# ---------------------------------------------------------------- what make golden writes down


class Desk:
    """The records in a folder, with code and golden fits that are not real: a text and digests for each method."""

    def __init__(self, folder, monkeypatch):
        self.texts = {"dmn": "a", "pca": "b"}
        self.fits = {"dmn": {"dmn: 1": "x", "dmn: 2": "y"}, "pca": {"pca: 1": "z"}}
        self.earlier = {}  # the fits of a commit that is vouched for, on this machine
        self.asked = []
        monkeypatch.setattr(identity, "REVISIONS", folder / "revisions.json")
        monkeypatch.setattr(vouch, "DIGESTS", folder / "digests.json")
        monkeypatch.setattr(vouch, "machine_kind", lambda: "here")
        monkeypatch.setattr(vouch, "_earlier", self._earlier)
        monkeypatch.setattr(identity, "names", lambda: list(self.texts))
        monkeypatch.setattr(identity, "text", lambda name: self.texts[name])
        monkeypatch.setitem(sys.modules, "layerwise.golden.fits", self)
        monkeypatch.setattr(golden, "fits", self, raising=False)

    def digests(self, names):
        return [item for name in names for item in self.fits[name].items()]

    def _earlier(self, names, revisions):
        self.asked += names
        return {name: self.earlier[name] for name in names if name in self.earlier}

    def golden(self, again=False):
        identity.revisions.cache_clear()
        return list(vouch.golden(again))

    def read(self):
        revisions = {n: (k["revision"], k["text"]) for n, k in json.loads(identity.REVISIONS.read_text()).items()}
        return revisions, json.loads(vouch.DIGESTS.read_text())


@pytest.fixture
def desk(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        made = Desk(tmp_path, patch)
        made.golden()
        yield made
    identity.revisions.cache_clear()


def test_first_there_is_revision_1(desk):
    fits = {fit: digest for its in desk.fits.values() for fit, digest in its.items()}
    assert desk.read() == ({"dmn": (1, "a"), "pca": (1, "b")}, {"here": fits})
    assert desk.golden() == ["all code is that of its golden fits; golden --all fits them nevertheless"]
    assert desk.golden(again=True)[0] == "method 'dmn': the code of revision 1, 2 golden fits"


def test_the_same_bytes_vouch_for_another_text(desk):
    desk.texts["dmn"] = "c"
    assert desk.golden() == ["method 'dmn': 2 golden fits are the same, vouched for as revision 1"]
    assert desk.read()[0] == {"dmn": (1, "c"), "pca": (1, "b")}
    assert desk.asked == []


def test_other_bytes_raise_the_revision_and_forget_other_machines(desk):
    record = json.loads(vouch.DIGESTS.read_text())
    vouch.DIGESTS.write_text(json.dumps(record | {"there": record["here"]}))
    desk.texts["dmn"], desk.fits["dmn"]["dmn: 2"] = "c", "other"
    assert desk.golden() == ["differs: dmn: 2", "method 'dmn': 1 of 2 golden fits differ, now revision 2"]
    assert desk.read()[0] == {"dmn": (2, "c"), "pca": (1, "b")}
    assert desk.read()[1] == {
        "here": {"dmn: 1": "x", "dmn: 2": "other", "pca: 1": "z"},
        "there": {"pca: 1": "z"},
    }


def test_a_difference_counts_between_two_fits_on_one_machine(desk):
    """A kind of machine is coarse: where the earlier code does not give the recorded bytes here, its own count."""
    desk.texts["dmn"], desk.fits["dmn"]["dmn: 2"] = "c", "of this machine"
    desk.earlier["dmn"] = {"dmn: 1": "x", "dmn: 2": "of this machine"}
    assert desk.golden() == ["method 'dmn': 2 golden fits are the same, vouched for as revision 1"]
    assert desk.asked == ["dmn"]
    assert desk.read()[1]["here"]["dmn: 2"] == "of this machine"


def test_a_new_golden_fit_has_no_past(desk):
    desk.texts["dmn"], desk.fits["dmn"] = "c", {"dmn: 1": "x", "dmn: 3": "w"}
    assert desk.golden() == ["method 'dmn': 2 golden fits are the same, vouched for as revision 1"]
    assert set(desk.read()[1]["here"]) == {"dmn: 1", "dmn: 3", "pca: 1"}
    desk.texts["dmn"], desk.fits["dmn"] = "d", {"dmn: 4": "x"}  # nothing is left to compare
    assert desk.golden() == ["method 'dmn': 0 of 1 golden fits differ, now revision 2"]


def test_a_machine_without_a_past_says_what_to_do(desk):
    vouch.DIGESTS.write_text("{}")
    desk.texts["dmn"] = "c"
    before = identity.REVISIONS.read_text()
    with pytest.raises(
        LayerwiseError, match=r"^method 'dmn': no golden fit of its earlier code on a here.*: check out"
    ):
        desk.golden()
    assert identity.REVISIONS.read_text() == before
    desk.earlier["dmn"] = desk.fits["dmn"]
    assert desk.golden() == ["method 'dmn': 2 golden fits are the same, vouched for as revision 1"]


def test_a_method_that_is_new_or_gone(desk):
    desk.texts = {"dmn": "a", "ridge": "r"}
    desk.fits["ridge"] = {"ridge: 1": "v"}
    identity.revisions.cache_clear()
    with pytest.raises(LayerwiseError) as caught:
        vouch.check()
    assert str(caught.value) == (
        "method 'ridge': the code is not that of the golden fits; method 'pca': there are golden fits and no code; run "
        "make golden"
    )
    assert desk.golden() == ["method 'ridge': new, 1 golden fits, revision 1"]
    assert desk.read()[0] == {"dmn": (1, "a"), "ridge": (1, "r")}
    assert set(desk.read()[1]["here"]) == {"dmn: 1", "dmn: 2", "ridge: 1"}
    identity.revisions.cache_clear()
    vouch.check()
