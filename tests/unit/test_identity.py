"""What code counts for in a digest: a revision where golden fits vouch for its text, the text else."""

import json
import time

import pytest
import tinystudy

from layerwise import plugins
from layerwise.study import file as study_file
from layerwise.study import identity


def forget():
    for cached in (plugins.file, plugins.options_class, plugins._imports, plugins._code):
        cached.cache_clear()
    for cached in (identity._identity, identity._all_vouched, identity.sources):
        cached.cache_clear()


@pytest.fixture
def record(monkeypatch):
    """A record that vouches for all code as it is, whatever the one in git says."""
    known = {name: {"revision": 1, "text": identity.text(name)} for name in identity.names()}
    monkeypatch.setattr(identity, "revisions", lambda: known)
    forget()
    yield known
    forget()


@pytest.fixture
def edited(monkeypatch):
    """Give files of the package another text."""
    whole = plugins._code

    def edit(*names):
        def code(path):
            return whole(path) + "\nEDITED = 1" * (plugins.inside(path) and path.name in names)

        code.cache_clear = whole.cache_clear
        monkeypatch.setattr(plugins, "_code", code)
        forget()

    return edit


def outside(folder, monkeypatch, text):
    (folder / "ourlab").mkdir()
    (folder / "ourlab" / "boost.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return lambda: identity.identity("methods", "ourlab.boost")


def vouch(record):
    forget()
    record |= {name: {"revision": known["revision"], "text": identity.text(name)} for name, known in record.items()}
    forget()


def test_what_is_vouched_for_goes_by_its_revision(record):
    assert identity.identity("methods", "dmn") == "dmn 1"
    assert identity.identity("methods", "layerwise.methods.dmn") == "dmn 1"
    assert identity.identity(identity.SCORES, identity.SCORES) == "scores 1"
    record["dmn"]["revision"] = 3
    forget()
    assert identity.identity("methods", "dmn") == "dmn 3"
    assert identity.identity("methods", "pca") == "pca 1"


def test_what_is_not_vouched_for_goes_by_its_text(record):
    record["dmn"]["text"] = "another"
    del record["scores"]
    forget()
    assert identity.identity("methods", "dmn") == plugins.code_digest(plugins.sources("methods", "dmn"))
    scores = plugins.code_digest(plugins.represent_sources())
    assert identity.identity(identity.SCORES, identity.SCORES) == scores
    assert identity.identity("methods", "sgd") == "sgd 1"


def test_without_a_record_all_goes_by_its_text(monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "REVISIONS", tmp_path / "none.json")
    identity.revisions.cache_clear()
    forget()
    assert identity.identity("methods", "dmn") == identity.text("dmn")
    identity.revisions.cache_clear()
    forget()


def test_what_draws_no_weights_goes_by_its_text(record):
    for kind in ("datasets", "probes", "figures", "tables"):
        name = plugins.known(kind)[0]
        assert identity.identity(kind, name) == plugins.code_digest(plugins.sources(kind, name))


def test_a_vouched_edit_of_the_package_does_not_refit_a_method_from_outside(record, edited, tmp_path, monkeypatch):
    own = outside(tmp_path, monkeypatch, "from layerwise.maths import linalg\n")
    first = own()
    edited("linalg.py")
    assert own() != first  # and nothing vouches for it
    vouch(record)
    assert own() == first
    record["ridge"]["revision"] = 2  # which uses linalg
    forget()
    assert own() != first


def test_a_method_from_outside_that_imports_nothing_goes_by_itself(record, edited, tmp_path, monkeypatch):
    own = outside(tmp_path, monkeypatch, "import torch\n")
    first = own()
    record["ridge"]["revision"] = 2
    forget()
    assert own() == first
    edited("linalg.py")
    assert own() == first


def test_a_new_method_of_the_package_changes_no_method_from_outside(record, tmp_path, monkeypatch):
    own = outside(tmp_path, monkeypatch, "from layerwise.maths import linalg\n")
    first = own()
    names = identity.names()
    monkeypatch.setattr(identity, "names", lambda: [name for name in names if name != "ridge"])
    forget()
    assert own() == first


def test_code_that_no_golden_fit_runs_counts_by_its_text(record, edited, tmp_path, monkeypatch):
    own = outside(tmp_path, monkeypatch, "from layerwise.maths import intervals\n")
    first = own()
    edited("intervals.py")
    vouch(record)
    assert own() != first


def test_a_study_takes_the_identity_into_its_digests(record, edited, tmp_path):
    def digests():
        forget()
        plan = study_file.load(tinystudy.write(tmp_path))
        return {str(node): plan.digest(node, "root") for node in plan.nodes() if node.seed == 0}

    first = digests()
    edited("dmn.py")
    changed = digests()
    assert {name for name in first if first[name] != changed[name]} == {name for name in first if "d4" in name}
    vouch(record)
    assert digests() == first


def test_a_long_study_is_planned_at_once(record, tmp_path):
    filters = {f"d{i}": {"method": "dmn", "layers": [f"conv 3 {i}"]} for i in range(1, 171)}
    raw = {
        "title": "Long",
        "datasets": {"digits": {"source": "digits"}},
        "segments": {**filters, "ridge": {"method": "ridge", "layers": ["dense outputs"]}},
        "networks": {"digits": {f"{name}/ridge": name for name in filters}},
    }
    (tmp_path / "long.json").write_text(json.dumps(raw))
    plan = study_file.load(tmp_path / "long.json")
    start = time.process_time()
    assert {plan.segment_spec(path)["code"] for path in filters} == {"dmn 1"}
    assert time.process_time() - start < 1.0
