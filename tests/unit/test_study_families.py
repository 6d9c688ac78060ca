"""Families: what differs by a number is said once, in segments, networks and the options of views."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml
from tinystudy import edited, load, refused, write

from layerwise.errors import LayerwiseError
from layerwise.study import families
from layerwise.study import file as study_file

HEADS = {
    "head": {"method": "sgd", "layers": ["dense outputs"], "epochs": 2},
    "ridge": {"method": "ridge", "layers": ["dense outputs"]},
}
CONV = {"method": "dmn", "layers": ["conv 3 <n>", "relu", "maxpool 2"]}


def study(tmp_path, segments, *networks, **more):
    views = {"probes": {}, "figures": {}, "tables": {}}
    return load(tmp_path, segments={**segments, **HEADS}, networks={"digits": list(networks)}, **{**views, **more})


def wrong(tmp_path, segments, *networks):
    views = {"probes": {}, "figures": {}, "tables": {}}
    return refused(tmp_path, edited(segments={**segments, **HEADS}, networks={"digits": list(networks)}, **views))


# ---------------------------------------------------------------- segments


def test_a_family_is_filled_in_wherever_its_number_stands(tmp_path):
    given = {
        "d<n>": CONV,
        "pc<n>": {**CONV, "layers": ["conv 3", "relu"], "variance": 0.98, "correlation": "0.<n>"},
        "x<k>_<n>": {"method": "sgd", "layers": [{"repeat": "<k>", "layers": ["dense <n>", "relu"]}], "epochs": "<n>"},
    }
    made = study(tmp_path, given, "d9/head", "d15/ridge", "pc30/head", "pc8/head", "x2_7/head")
    assert list(made.segments) == ["d9", "d15", "pc30", "pc8", "x2_7", "head", "ridge"]
    assert made.families == ("d<n>", "pc<n>", "x<k>_<n>")
    assert made.segments["d15"].layers == ("conv 3 15", "relu", "maxpool 2")
    assert [made.segments[f"pc{n}"].options.correlation for n in (30, 8)] == [0.3, 0.8]
    assert made.segments["x2_7"].layers == ("dense 7", "relu") * 2
    assert made.segments["x2_7"].options.epochs == 7
    assert made.raw["segments"]["d9"] == {"method": "dmn", "layers": ["conv 3 9", "relu", "maxpool 2"]}
    assert "d<n>" not in made.raw["segments"]


def test_a_member_is_the_same_as_the_segment_written_out(tmp_path):
    uses = {"method": "permuted", "layers": ["dense <n>", "relu"], "uses": ["d<n>/head"]}
    one = study(tmp_path, {"d<n>": CONV, "p<n>": uses}, "p9/head")
    plain = json.loads(json.dumps({"d9": CONV, "p9": uses}).replace("<n>", "9"))
    other = study(tmp_path, plain, "p9/head")
    assert one.paths("digits") == other.paths("digits") == ["d9", "d9/head", "p9", "p9/head"]
    for path in one.paths("digits"):
        assert one.segment(path) == other.segment(path)
        assert one.asked("digits", path) == other.asked("digits", path)
    assert one.nodes() == other.nodes()


def test_an_explicit_name_has_the_say_over_a_family_and_an_idle_family_is_fine(tmp_path):
    explicit = {**CONV, "layers": ["conv 3 4"], "fraction": 0.5}
    made = study(tmp_path, {"d4": explicit, "d<n>": CONV, "e<n>": {**CONV, "method": "pca"}}, "d4/head", "d5/head")
    assert made.segments["d4"].layers == ("conv 3 4",)
    assert made.segments["d5"].options.fraction == 1.0
    assert set(made.segments) == {"d4", "d5", "head", "ridge"}


@pytest.mark.parametrize(
    ("text", "read"),
    [("0.<n>", 0.3), ("<n>", 30), ("1e-<n>", "1e-30"), ("a<n>", "a30"), ("<n>.", 30.0), ("-<n>", -30), (4, 4)],
)
def test_a_scalar_is_read_as_yaml_would(text, read):
    value = families.fill(text, {"n": "30"}, read=True)
    assert (value, type(value)) == (read, type(read))


def test_a_placeholder_that_stands_twice_is_one_number(tmp_path):
    square = {"method": "sgd", "layers": ["dense <n>", "relu"]}
    assert list(study(tmp_path, {"s<n>x<n>": square}, "s4x4/head").segments) == ["s4x4", "head", "ridge"]
    assert "no segment 's4x5'" in wrong(tmp_path, {"s<n>x<n>": square}, "s4x5/head")


def test_variants_are_the_same_as_segments_written_out(tmp_path):
    variants = {"half": {"fraction": 0.5}, 7: {"layers": ["conv 3 7"]}, "by<k>": {"variance": "0.<k>"}}
    given = {
        "d<n>": {**CONV, "fraction": 0.7, "variants": variants},
        "e": {**CONV, "layers": ["relu"], "variants": {"a": {}}},
    }
    made = study(tmp_path, given, "d9/head", "d9_half/head", "d4_7/head", "d9_by8/head", "e_a/head")
    assert list(made.segments) == ["d9", "d9_half", "d4_7", "d9_by8", "e", "e_a", "head", "ridge"]
    assert made.families == ("d<n>", "d<n>_half", "d<n>_7", "d<n>_by<k>")
    assert made.raw["segments"]["d9_half"] == {**CONV, "layers": ["conv 3 9", "relu", "maxpool 2"], "fraction": 0.5}
    assert made.segments["d4_7"].layers == ("conv 3 7",)
    assert (made.segments["d9_by8"].options.variance, made.segments["d9_by8"].options.fraction) == (0.8, 0.7)
    (tmp_path / "copy.json").write_text(json.dumps(made.raw))
    assert study_file.load(tmp_path / "copy.json").segments == made.segments


def test_segments_below_a_setting_are_taken_with_its_number(tmp_path):
    both = {
        "<c>e<n>": {"method": "sgd", "layers": ["dense <n>", "relu"], "epochs": "<e>"},
        "<c>d<n>": {**CONV, "variants": {"x": {"uses": ["<c>e<n>/head"]}}},
    }
    made = study(tmp_path, {"<c>= <e>=2": both, "<c>=c_ <e>=3": both}, "d4_x/head", "c_d4_x/head")
    assert list(made.segments) == ["e4", "d4_x", "c_e4", "c_d4_x", "head", "ridge"]
    assert [made.segments[name].options.epochs for name in ("e4", "c_e4")] == [2, 3]
    assert made.segments["c_d4_x"].uses == ("c_e4/head",)


WRONG = {
    "two families": (
        {"d<n>": CONV, "d1<n>": CONV},
        "d15/head",
        r"segment 'd15': d<n> and d1<n> both fit it; rename one",
    ),
    "no family": ({"d<n>": CONV}, "e9/head", r"network 'e9': no segment 'e9'; known: d<n>, head, ridge"),
    "near a family": ({"conv<n>": CONV}, "conv/head", r"no segment 'conv'; did you mean 'conv<n>'\?"),
    "no digits": ({"d<n>": CONV}, "dx/head", "no segment 'dx'"),
    "a number that is not in the name": (
        {"d<n>": {**CONV, "layers": ["conv 3 <m>"]}},
        "d9/head",
        "segment 'd<n>': <m> stands in it and not in its name",
    ),
    "an explicit name with a placeholder in it": (
        {"d9": CONV},
        "d9/head",
        "segment 'd9': <n> stands in it and not in its name; write a number",
    ),
    "placeholders side by side": ({"d<n><m>": CONV}, "d9/head", "'d<n><m>': two placeholders stand side by side"),
    "an endless family": (
        {"d<n>": {**CONV, "uses": ["d1<n>/head"]}},
        "d9/head",
        "segment 'd<n>': what it uses is of its own family, without end",
    ),
    "no layers": (
        {"d<n>": {**CONV, "layers": [{"repeat": "<n>", "layers": ["relu"]}]}},
        "d0/head",
        "segment 'd0': its layers are repeated no times",
    ),
    "a layer that does not read": ({"d<n>": {**CONV, "layers": ["cnov 3 <n>"]}}, "d9/head", "segment 'd9': layer 'cn"),
    "a wrong option": ({"d<n>": {**CONV, "fracton": "0.<n>"}}, "d9/head", "'fracton'; did you mean 'fraction'"),
    "a variant of a name that is there": (
        {"d<n>": {**CONV, "variants": {"all": {}}}, "d<n>_all": CONV},
        "d9_all/head",
        "segment 'd<n>_all': it is given twice, once as a variant or below <n>=4; delete one",
    ),
    "a name that stays the same below a setting": (
        {"<c>=": {"<c>d<n>": CONV, "d<n>": CONV}, **HEADS},
        "d9/head",
        "segment 'd<n>': it is given twice, once as a variant",
    ),
    "a variant of another method": (
        {"d<n>": {**CONV, "variants": {"pca": {"method": "pca"}}}},
        "d9/head",
        "segments/d<n>/variants/pca: 'method' is not what belongs here: an option, layers, uses or selects",
    ),
    "a variant with a wrong option": (
        {"d<n>": {**CONV, "variants": {"half": {"fracton": 0.5}}}},
        "d9_half/head",
        "segment 'd9_half': .*'fracton'; did you mean 'fraction'",
    ),
    "no segment below a setting": ({"<c>=4": {"d9": 5}, "d9": CONV}, "d9/head", "segments/<c>=4/d9: 5 is not what bel"),
    "a setting that is left out": (
        {"<c>=": {"d<n>": {**CONV, "epochs": "<e>"}}},
        "d9/head",
        "<e> stands in it and not",
    ),
    "a name of capitals": ({"d<N>": CONV}, "d9/head", "segments: 'd<N>' is not what belongs here"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_in_a_family_is_one_line(tmp_path, what):
    segments, network, message = WRONG[what]
    assert re.search(message, wrong(tmp_path, segments, network))


def test_families_work_in_json_and_in_a_study_that_extends_another(tmp_path):
    networks = {"digits": {"d<n>/head": {"class PCA <n>": [4, 9]}}}
    whole = edited(segments={"d<n>": CONV, **HEADS}, networks=networks, probes={}, figures={}, tables={})
    text = "extends: whole\ntitle: Part\nnetworks: {digits: {d<n>/head: {d<n>: [9, 3]}}}\n"
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    part = study_file.load(write(tmp_path, text, "part.yaml"))
    assert part.networks == {"digits": {"d9/head": "d9", "d3/head": "d3"}}
    assert list(part.segments) == ["d9", "d3", "head", "ridge"]
    for raw in (whole, study_file.load(tmp_path / "whole.yaml").raw):
        (tmp_path / "copy.json").write_text(json.dumps(raw))
        assert study_file.load(tmp_path / "copy.json").networks == {
            "digits": {"d4/head": "class PCA 4", "d9/head": "class PCA 9"}
        }


def test_a_study_of_json_needs_no_yaml(tmp_path):
    rows = {"mnist|d<n>": "digits/d<n>/head"}
    raw = edited(segments={"d<n>": CONV, **HEADS}, networks={"digits": ["d4/head"]}, probes={}, figures={}, tables={})
    raw = study_file.marked({**raw, "published": {"dmn": {"table2": {"rows": rows}}}})
    path = write(tmp_path, json.dumps(raw), "a.json")
    code = (
        "import sys; sys.modules |= {'yaml': None, 'jsonschema': None, 'torch': None, 'pandas': None}\n"
        f"from layerwise.study import file; file.load({str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no row fits" not in done.stderr
    assert "published dmn table2: row 'mnist|d6': no network 'digits/d6/head'" in done.stderr


# ---------------------------------------------------------------- entries


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({"d<n>/head": {"d<n>": [4, 6]}, "x": "y"}, {"d4/head": "d4", "d6/head": "d6", "x": "y"}),
        ({"d<n>/d<m>": {"<n>, <m>": [[4, 15], ["06", 93]]}}, {"d4/d15": "4, 15", "d06/d93": "06, 93"}),
        (
            {"a": {"<x>": {"mnist/d<x>": [1, 2]}, 9: "mnist/c9"}},
            {"a": {"1": "mnist/d1", "2": "mnist/d2", 9: "mnist/c9"}},
        ),
        ({"<n>=4": {"d<n>": "d<n>", "p<n>": "p<n>"}}, {"d4": "d4", "p4": "p4"}),
        ({"<c>= <n>=2": {"<c>d<n>": "<n>"}, "<c>=c_ <n>=3": {"<c>d<n>": "<n>"}}, {"d2": "2", "c_d3": "3"}),
        ({"<n>=4": {"d<n>_<k>": {"<k>": ["a", "b"]}}}, {"d4_a": "a", "d4_b": "b"}),
        (
            {"<n>=4": {"d<n>/<h>": {"d<n>, <how>": [["head", "trained"], ["ridge", "closed"]]}}},
            {"d4/head": "d4, trained", "d4/ridge": "d4, closed"},
        ),
        ([{"<n>": {"<n>": [1]}}, "d<n>", 3], [{"1": "1"}, "d<n>", 3]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2]}}),
    ],
)
def test_an_entry_that_lists_its_numbers_stands_for_several(given, whole):
    assert families.listed(given, "networks") == whole
    assert list(families.listed(given, "networks")) == list(whole)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"d<n>": {"d<n>": [4]}, "d4": "d4"}, "networks: 'd4' is given twice, by lists of numbers; delete one"),
        ({"d<n>_<m>": {"d<n>": [4]}}, "networks: 'd<n>_<m>': 'd<n>' has 2 placeholders, and 4 does not fill them"),
        ({"d<n>": {"d<m>": [4]}}, "networks: 'd<n>': 'd<m>' has 2 placeholders, and 4 does not fill them"),
    ],
)
def test_a_list_of_numbers_that_does_not_fit_is_refused(given, said):
    with pytest.raises(LayerwiseError, match=re.escape(said)):
        families.listed(given, "networks")


def test_a_label_is_text_in_the_end(tmp_path):
    given = edited(networks={"digits": {"d4/head": {"x": [1]}}})
    assert "networks: 'd4/head': {'x': [1]} is no label" in refused(tmp_path, given)
    assert "networks/digits/d4/head: 5 is not what belongs here" in refused(
        tmp_path, edited(networks={"digits": {"d4/head": 5}})
    )
