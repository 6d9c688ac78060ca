"""Any study file loads, or is refused in one line: shipped and tiny studies, mutated, as YAML, as JSON and as text.

LAYERWISE_FUZZ=20000 tries so many mutations of each kind.
"""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file
from layerwise.study import schema

ROOT = Path(__file__).parents[2]
FUZZ = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("LAYERWISE_FUZZ", "100")),
    suppress_health_check=list(HealthCheck),
)
TINY = """
title: Tiny
seeds: 2
leave_out: {twice: elsewhere}
datasets:
  digits: {source: digits, valid: 0.2}
  twice: {source: digits, classes: [1, 7]}
segments:
  d<n>: {method: dmn, layers: [conv 3 <n>, relu, maxpool 2], variants: {half: {variance: 0.5}}}
  block: {method: sgd, epochs: 2, layers: [{repeat: 2, layers: [dense 8, relu]}, dense outputs]}
  head: {method: sgd, layers: [dense outputs], epochs: 2}
  ridge: {method: ridge, layers: [dense outputs], strengths: [1e-3, 1]}
  after: {method: ridge, layers: [dense outputs], uses: [d4/head]}
networks:
  digits: {d<n>/head: {class PCA <n>: [4, 6]}, d4_half/ridge: ridge, block: backprop, d4/after: after}
  twice: [block]
keep: [d4]
probes:
  lsd: {networks: [digits/d4/head]}
figures:
  readout_depth: {dataset: digits, networks: [d4/head]}
  widths: {figure: curves, panels: {one: {line: {4: digits/d4/head, 6: digits/d6/head}}}, x: {one: filters}}
tables:
  accuracy: {control: {digits: block}}
  controls: {against: {backprop: {digits/d4/head: block}}}
published:
  dmn:
    table2: {rows: {'mnist|dmn12,m,sm10': digits/d4/head}}
verdicts:
  - {item: table2, row: '*', network: digits/d6/head, scale: 1.5, reason: because}
"""


def studies() -> list[dict[str, Any]]:
    named = [yaml.safe_load((ROOT / "studies" / f"{name}.yaml").read_text()) for name in ("cifar10_closed", "quick")]
    tiny = yaml.safe_load(TINY)
    tiny["published"], tiny["verdicts"] = {}, []
    return [tiny, tiny, tiny, *named]


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            *(-1, 0, 1, 2**31, 2**63, 10**30, 1e308, float("inf"), float("nan"), "", "..", ".", "/", "../../x", "/etc"),
            *("-a", "--help", "no", "null", "1e3", "<n>", "<n>=..", "<n>=4", "d<n>", "a" * 300, "a/" * 200, "a+" * 300),
            *("=1+1", "@x", "{x}", "\n", "\x00", "\ud800", "\u202e", "digits", "head", "d4/head", "digits/d4/head"),
            *("dense 8", "conv 3 99999999999999999999", "dense outputs", "os.path", "a.b", "sgd", "dmn", "ridge", "*"),
            *([], {}, [[]], {"a": {}}, {"repeat": 10**9, "layers": ["relu"]}, {"repeat": 2.0, "layers": ["relu"]}),
            *({"<n>": ["x", "y"]}, {"d<n>": [[1, 2]]}, {"x": "y"}, ["a", "a"], [1, 1.0]),
        ]
    ),
)


def places(thing: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a study."""
    items = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    return [place for key, value in items for place in ((thing, key), *places(value))]


@st.composite
def mutated(draw: Any) -> dict[str, Any]:
    study = copy.deepcopy(draw(st.sampled_from(studies())))
    for _ in range(draw(st.integers(1, 3))):
        there = places(study)
        if not there:
            break
        container, key = draw(st.sampled_from(there))
        how = draw(st.sampled_from(["value", "value", "key", "drop", "add", "swap", "wrap"]))
        if how == "value":
            container[key] = draw(ODD)
        elif how == "drop":
            del container[key]
        elif how == "swap":
            other, name = draw(st.sampled_from(there))
            if key in container if isinstance(container, dict) else True:
                container[key] = copy.deepcopy(other[name])
        elif how == "wrap":
            container[key] = draw(st.sampled_from([[container[key]], {"x": container[key]}, str(container[key])]))
        elif isinstance(container, dict):
            name = draw(st.one_of(st.text(max_size=8), ODD.filter(lambda odd: isinstance(odd, (str, int, float)))))
            container[name] = container.pop(key) if how == "key" else draw(ODD)
        else:
            container.append(draw(ODD))
    return study


def load(path: Path) -> bool:
    """Load a study, and plan it; tell whether it is right. What is wrong is one line, and soon."""
    start, said = time.process_time(), ""
    try:
        study = study_file.load(path)
        for dataset in study.networks:
            study.dataset_spec(dataset)
            for p in study.paths(dataset):
                study.plan_digest(dataset, p)
                study.asked(dataset, p)
        for node in study.nodes()[:1000]:
            assert node.folder.resolve().is_relative_to(Path("results").resolve())
        assert json.loads(json.dumps(study_file.marked(study.raw)))
        right = True
    except LayerwiseError as error:
        said, right = str(error), False
    assert right or said.startswith(str(path))
    assert "\n" not in said
    assert time.process_time() - start < 10
    return right


@FUZZ
@given(mutated())
def test_a_mutated_study_of_json_loads_or_is_refused(tmp_path_factory, study):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    try:
        path.write_text(json.dumps(study))
    except TypeError:  # a key that JSON has not
        return
    load(path)


@FUZZ
@given(mutated())
def test_a_mutated_study_of_yaml_loads_or_is_refused(tmp_path_factory, study):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False, allow_unicode=False), errors="backslashreplace")
    load(path)


PIECES = ["<<: *a", "&a ", "*a", "!!python/object:os.x ", "!!str ", "? ", "- ", ": ", "\t", "\r\n", "{", "}", "[", "]"]
PIECES += [
    "|\n",
    ">\n",
    "---\n",
    "...\n",
    "%YAML 9\n",
    "\ufeff",
    '"\\ud800"',
    "'",
    '"',
    "#",
    "<n>",
    "0x",
    "010",
    "1:30",
]


@FUZZ
@given(st.data())
def test_a_study_whose_text_is_cut_and_spoilt_loads_or_is_refused(tmp_path_factory, data):
    text = data.draw(st.sampled_from([TINY, (ROOT / "studies" / "quick.yaml").read_text()]))
    for _ in range(data.draw(st.integers(1, 4))):
        at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        piece = data.draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)))
        how = data.draw(st.sampled_from(["in", "over", "cut", "twice"]))
        text = {
            "in": text[:at] + piece + text[at:],
            "over": text[:at] + piece + text[at + len(piece) :],
            "cut": text[:at] + text[min(end, at + 40) :],
            "twice": text[:end] + text[at : at + 100] + text[end:],
        }[how]
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    load(path)


@FUZZ
@given(st.binary(max_size=200), st.sampled_from(["yaml", "json"]))
def test_any_bytes_are_refused(tmp_path_factory, content, kind):
    path = tmp_path_factory.getbasetemp() / f"fuzz.{kind}"
    path.write_bytes(content)
    assert not load(path)


@FUZZ
@given(st.dictionaries(st.sampled_from(["study", "seeds", "device", "data_root", "concurrent", "x"]), ODD, max_size=3))
def test_any_configuration_is_taken_or_refused(tmp_path_factory, content):
    from layerwise.study.config import configured

    known = {"study", "seeds", "device", "data_root", "concurrent"}
    taken, said = known, ""
    try:
        taken = set(configured(content, tmp_path_factory.getbasetemp() / "none.yaml"))
    except LayerwiseError as error:
        said = str(error)
    assert taken == known
    assert "\n" not in said


@pytest.mark.parametrize("name", ["cifar10_closed", "dgl", "quick"])
def test_what_is_mutated_is_right_as_it_stands(name, tmp_path):
    assert load(ROOT / "studies" / f"{name}.yaml")
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.split("published:")[0])
    assert load(path)
    assert schema.can_validate()
