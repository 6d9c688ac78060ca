"""Mistakes in a study file: each is one line that says what to do."""

from __future__ import annotations

import re

import pytest
from tinystudy import TINY, changed, edited, refused, with_segment, write

from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file

WRONG = {
    "unknown key": ({"segmets": {}}, r"no key 'segmets'; did you mean 'segments'\?"),
    "missing key": ({"title": None}, "the key 'title' is missing: what the study is called"),
    "no segments": ({"segments": {}}, "segments: {} is not what belongs here: segments by name"),
    "seeds are text": ({"seeds": "five"}, "seeds: 'five' is not what belongs here: how many seeds"),
    "no seed": ({"seeds": 0}, "seeds: 0 is not what belongs here: how many seeds"),
    "seed twice": ({"seeds": [1, 1]}, r"seeds: \[1, 1\] is not what belongs here: how many seeds"),
    "networks are a list": ({"networks": ["d4/ridge"]}, r"networks: \['d4/ridge'\] is not what belongs here"),
    "segment without layers": (
        {"segments": {"x": {"method": "dmn"}}},
        "segments/x: the key 'layers' is missing: layer words",
    ),
    "segment without method": ({"segments": {"x": {"layers": ["relu"]}}}, "segments/x: the key 'method' is missing"),
    "layers are text": (with_segment(layers="conv 3"), "segments/x/layers: 'conv 3' is not what belongs here"),
    "name with a slash": ({"segments": {"a/b": {"method": "dmn", "layers": ["relu"]}}}, "'a/b' is not what belongs"),
    "unknown method": (with_segment(method="dnm"), r"method 'dnm': no such method; did you mean 'dmn'\?"),
    "method from nowhere": (with_segment(method="mylab.boost"), "method 'mylab.boost': no such module; install it"),
    "unknown option": (
        with_segment(variences=0.9),
        r"segment 'x': method 'dmn' has no option 'variences'; did you mean 'variance'\?",
    ),
    "option of a wrong type": (with_segment(variance="much"), "segment 'x': option 'variance' is 'much', which is not"),
    "unknown layer": (with_segment(layers=["cnov 3 4"]), r"segment 'x': layer 'cnov 3 4': no such layer; .*'conv'\?"),
    "layer that does not read": (with_segment(layers=["conv x"]), "segment 'x': layer 'conv x' does not read as 'conv"),
    "unknown segment": (
        {"networks": {"digits": ["d5/ridge"]}},
        "network 'd5': no segment 'd5'; known: c4, d4, head, ridge",
    ),
    "unknown data set": ({"networks": {"digit": ["d4/ridge"]}}, r"no data set 'digit'; did you mean 'digits'\?"),
    "unknown source": (
        {"datasets": {"digits": {"source": "digts"}}},
        r"source 'digts': no such source; did you mean 'digits'\?",
    ),
    "unknown option of a data set": (
        {"datasets": {"digits": {"source": "digits", "vaild": 0.2}}},
        r"data set 'digits': source 'digits' has no option 'vaild'; did you mean 'valid'\?",
    ),
    "two methods with a plus": (
        {"networks": {"digits": ["d4+head"]}},
        r"network 'd4\+head': segments fitted together need one method, here d4: dmn, head: sgd",
    ),
    "ends in features": (
        {"networks": {"digits": ["d4"]}},
        "network 'd4' of 'digits' ends in features: end it with 'dense outputs'",
    ),
    "empty name in a path": ({"networks": {"digits": ["d4//ridge"]}}, "network 'd4/': no segment ''"),
    "unknown probe": ({"probes": {"lsdd": {}}}, r"probe 'lsdd': no such probe; did you mean 'lsd'\?"),
    "unknown option of a probe": ({"probes": {"lsd": {"sample": 1}}}, "probe 'lsd': .* has no option 'sample'"),
    "probe of an unknown network": (
        {"probes": {"lsd": {"networks": ["digits/d4/rigde"]}}},
        r"probe 'lsd': no network 'digits/d4/rigde'; did you mean 'digits/d4/ridge'\?",
    ),
    "unknown figure": ({"figures": {"readout_dept": {}}}, "no such figure; did you mean 'readout_depth'"),
    "unknown option of a figure": (
        {"figures": {"readout_depth": {"datset": "digits"}}},
        r"has no option 'datset'; did you mean 'dataset'\?",
    ),
    "unknown table": ({"tables": {"acuracy": {}}}, r"table 'acuracy': no such table; did you mean 'accuracy'\?"),
    "uses an unknown network": (with_segment(uses=["c5+head"]) | {"networks": {"digits": ["x/ridge"]}}, "no segment"),
    "verdict on an unknown network": (
        {
            "published": {"dmn": ["table2"]},
            "verdicts": [{"item": "table2", "network": "digits/d4"}, {"item": "table2", "network": "digits/no"}],
        },
        "verdict on 'table2': no network 'digits/no'",
    ),
    "no network": ({"networks": {}}, "networks: {} is not what belongs here: for each data set, the networks"),
    "layers repeated no times": (
        with_segment(layers=[{"repeat": 0, "layers": ["relu"]}]),
        r"segments.x.layers",
    ),
    "unknown layer among repeated ones": (
        with_segment(layers=["conv 3 4", {"repeat": 2, "layers": ["rleu"]}]),
        r"segment 'x': layer 'rleu': no such layer; did you mean 'relu'\?",
    ),
    "view with a slash": ({"figures": {"a/b": {"figure": "readout_depth"}}}, "'a/b' is not what belongs"),
    "a network of a whole family": (
        {"segments": {"d<n>": {"method": "random", "layers": ["dense outputs"]}}, "networks": {"digits": ["d<n>"]}},
        "network 'd<n>': 'd<n>' is a family of segments; name a number",
    ),
    "no segments beside a key of nearly that name": ({"segments": None}, "the key 'segments' is missing"),
    "keeps an unknown path": ({"keep": ["d4/rigde"]}, r"keep: no path 'd4/rigde'; did you mean 'd4/ridge'\?"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path, what):
    changes, message = WRONG[what]
    changes = {"probes": {}, "verdicts": [], **changes}
    assert re.search(message, refused(tmp_path, edited(**changes)))


def test_segments_that_use_one_another_are_refused(tmp_path):
    segments = changed("d4", uses=["ridge"]) | {
        "ridge": {"method": "ridge", "layers": ["dense outputs"], "uses": ["d4/head"]}
    }
    message = "segment 'd4': it uses a network that 'd4' is part of"
    assert refused(tmp_path, edited(segments=segments)).endswith(message)


def test_a_key_given_twice_is_refused(tmp_path):
    assert "line 9 is not YAML: the key 'd4' is given twice" in refused(
        tmp_path, TINY.replace("  head:", "  d4: {method: pca, layers: [relu]}\n  head:")
    )


def test_what_is_no_yaml_is_refused_with_its_line(tmp_path):
    assert re.match("line 3 is not YAML: ", refused(tmp_path, "title: Tiny\nseeds: [1,\ndatasets: {"))
    assert refused(tmp_path, "- a\n- b\n").startswith("holds no mapping")
    assert refused(tmp_path, "").startswith("holds no mapping")


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_bytes(b"title: \xff\xfe\x00\n")
    with pytest.raises(LayerwiseError, match="which is text in UTF-8") as caught:
        study_file.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["my study.yaml", "a;b.yaml", "a.b.yaml", "ä.json"])
def test_a_study_is_called_by_a_plain_name(tmp_path, name):
    with pytest.raises(LayerwiseError, match="call the file by letters, digits, _ and -"):
        study_file.load(write(tmp_path, name=name))


@pytest.mark.parametrize("seeds", [[-1], [1, 1]])
def test_other_seeds_are_checked_too(tmp_path, seeds):
    with pytest.raises(LayerwiseError, match=r"seeds: .*: give each once, and none below 0"):
        study_file.load(write(tmp_path), seeds)


def test_an_unknown_study_names_the_nearest(tmp_path):
    write(tmp_path)
    with pytest.raises(LayerwiseError, match=r"study 'tny': no file .*tny.yaml; did you mean 'tiny'\?"):
        study_file.load(tmp_path / "tny.yaml")


def test_a_file_without_its_ending_is_named_with_it(tmp_path):
    path = write(tmp_path)
    with pytest.raises(LayerwiseError) as caught:
        study_file.load(path.with_suffix(""))
    assert str(caught.value).endswith(f"did you mean {path}?")


def test_a_study_of_json_that_is_cut_short_is_refused(tmp_path):
    path = write(tmp_path, '{"title": ', "copy.json")
    with pytest.raises(LayerwiseError, match="line 1 is not JSON: Expecting value"):
        study_file.load(path)


def test_a_study_of_json_that_misses_a_key_is_refused(tmp_path):
    path = write(tmp_path, '{"title": "Tiny"}', "copy.json")
    with pytest.raises(LayerwiseError, match=r"copy.json: the key 'datasets' is missing: data sets by name") as caught:
        study_file.load(path)
    assert "\n" not in str(caught.value)
