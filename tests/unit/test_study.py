"""A study file: every name and option is checked before anything runs, and a mistake is one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from layerwise import study as studies
from layerwise.errors import LayerwiseError
from layerwise.trie import Node

TINY = """
title: Tiny
seeds: 2
datasets:
  digits: {source: digits, valid: 0.2}
segments:
  c4: {method: sgd, layers: [conv 3 4, relu, maxpool 2]}
  d4: {method: dmn, layers: [conv 3 4, relu, maxpool 2]}
  head: {method: sgd, layers: [dense outputs], epochs: 2}
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: {c4+head: backprop, d4/ridge: class PCA, d4/head: a trained head}
probes:
  lsd: {networks: [digits/d4/ridge]}
figures:
  readout_depth: {dataset: digits}
tables:
  accuracy: {}
"""


def write(folder: Path, text: str = TINY, name: str = "tiny.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def edited(**changes) -> dict:
    """Return the study with top-level keys replaced; None takes one away."""
    return {k: v for k, v in {**yaml.safe_load(TINY), **changes}.items() if v is not None}


def load(tmp_path: Path, **changes) -> studies.Study:
    return studies.load(write(tmp_path, yaml.safe_dump(edited(**changes), sort_keys=False)))


def refused(tmp_path: Path, content: str | dict) -> str:
    """Load what must be refused; return the message, which is one line and begins with the file."""
    path = write(tmp_path, content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(LayerwiseError) as caught:
        studies.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def with_segment(**keys) -> dict:
    return {"segments": {**edited()["segments"], "x": {"method": "dmn", "layers": ["conv 3 4"], **keys}}}


# ---------------------------------------------------------------- what a study says


def test_a_study_is_read_into_segments_networks_and_targets(tmp_path):
    study = load(tmp_path)
    assert (study.name, study.title, study.seeds, study.seeds_together) == ("tiny", "Tiny", (0, 1), False)
    assert study.networks == {"digits": {"c4+head": "backprop", "d4/ridge": "class PCA", "d4/head": "a trained head"}}
    assert study.paths("digits") == ["c4+head", "d4", "d4/head", "d4/ridge"]  # parents first, a shared prefix once
    assert study.nodes()[:2] == [Node("tiny", "digits", 0, "c4+head"), Node("tiny", "digits", 1, "c4+head")]
    assert len(study.nodes()) == 8
    assert study.looks() == [("lsd", "digits", "d4/ridge")]
    assert study.targets() == [
        "fits.csv",
        "verdicts.csv",
        "tables/accuracy.csv",
        "tables/accuracy.md",
        "figures/readout_depth.svg",
        "figures/readout_depth.png",
        "report.html",
    ]


def test_segments_joined_with_a_plus_are_one_segment_of_all_their_layers(tmp_path):
    joined = load(tmp_path).segment("d4/c4+head")
    assert joined.name == "c4+head"
    assert joined.layers == ("conv 3 4", "relu", "maxpool 2", "dense outputs")
    assert joined.options.epochs == 2  # the last one has the say


def test_a_list_of_networks_labels_each_by_its_path(tmp_path):
    assert load(tmp_path, networks={"digits": ["d4/ridge"]}).networks["digits"] == {"d4/ridge": "d4/ridge"}


@pytest.mark.parametrize(("given", "seeds"), [(3, (0, 1, 2)), ([7, 2], (7, 2)), (None, (0, 1, 2, 3, 4))])
def test_seeds_are_a_number_or_a_list(tmp_path, given, seeds):
    assert load(tmp_path, seeds=given).seeds == seeds


def test_many_seeds_are_said_in_few_words(tmp_path):
    assert load(tmp_path, seeds=[0, 2, 3]).seeds_in_words() == "0, 2, 3"
    assert load(tmp_path, seeds=100).seeds_in_words() == "0 to 99"


def test_a_caller_may_give_other_seeds(tmp_path):
    assert studies.load(write(tmp_path), [5]).seeds == (5,)
    assert studies.load(write(tmp_path), 1).seeds == (0,)


def test_keep_marks_the_features_that_stay(tmp_path):
    assert all(load(tmp_path).kept(p) for p in ("d4", "d4/ridge"))
    study = load(tmp_path, keep=["d4"])
    assert (study.kept("d4"), study.kept("d4/ridge")) == (True, False)
    assert not load(tmp_path, keep=[]).kept("d4")


def test_a_probe_without_networks_looks_at_all(tmp_path):
    networks = ["c4+head", "d4/ridge", "d4/head"]
    assert load(tmp_path, probes={"lsd": {}}).looks() == [("lsd", "digits", n) for n in networks]
    assert load(tmp_path, probes={"lsd": None}).looks() == [("lsd", "digits", n) for n in networks]


def test_two_views_may_share_a_module(tmp_path):
    study = load(tmp_path, figures={"a": {"figure": "readout_depth", "dataset": "digits"}})
    assert study.figures["a"].module == "readout_depth"
    assert study.figures["a"].options.dataset == "digits"


def test_a_used_network_is_fitted_too_and_one_that_it_uses(tmp_path):
    segments = {
        **edited()["segments"],
        "x": {"method": "dmn", "layers": ["conv 3 4"], "uses": ["d4/head"]},
        "y": {"method": "ridge", "layers": ["dense outputs"], "uses": ["x/ridge"]},
    }
    study = load(tmp_path, segments=segments, networks={"digits": ["y"]}, probes={})
    assert study.paths("digits") == ["d4", "x", "y", "d4/head", "x/ridge"]


def test_the_study_as_json_is_the_same_study(tmp_path):
    study = load(tmp_path)
    copy = studies.load(write(tmp_path, json.dumps(study.raw), "copy.json"))
    node = Node("tiny", "digits", 1, "d4/ridge")
    assert copy.name == "tiny"
    assert (copy.nodes(), copy.targets(), copy.digest(node, "r")) == (
        study.nodes(),
        study.targets(),
        study.digest(node, "r"),
    )


# ---------------------------------------------------------------- digests


@pytest.fixture
def digest(tmp_path):
    """The digest of a node in the study with some keys changed."""

    def of(path: str, seed: int = 0, root: str = "root", **changes) -> str:
        return load(tmp_path, **changes).digest(Node("tiny", "digits", seed, path), root)

    return of


def changed(name: str, **keys) -> dict:
    segments = edited()["segments"]
    return {**segments, name: {**segments[name], **keys}}


def test_a_digest_says_all_that_a_fit_stands_on(digest):
    assert digest("d4/ridge") == digest("d4/ridge")
    others = [
        digest("d4/ridge", seed=1),
        digest("d4/ridge", root="another data set"),
        digest("d4/head"),
        digest("d4/ridge", segments=changed("d4", variance=0.5)),
        digest("d4/ridge", segments=changed("d4", layers=["conv 3 5", "relu", "maxpool 2"])),
        digest("d4/ridge", segments=changed("ridge", method="sgd")),
    ]
    assert len({digest("d4/ridge"), *others}) == 7


def test_a_digest_says_nothing_of_what_a_fit_does_not_stand_on(digest):
    assert digest("d4/ridge") == digest("d4/ridge", segments=changed("head", epochs=9))
    assert digest("d4") == digest("d4", segments=changed("ridge", strengths=[3.0]), title="Other", seeds=9, keep=[])
    assert digest("d4") == digest("d4", segments=changed("d4", layers=["conv  3  4", "relu", "maxpool 2 stride 2"]))


def test_a_digest_holds_the_networks_that_a_fit_uses(digest):
    def using(**keys) -> dict:
        segments = changed("head", **keys)
        return {**segments, "ridge": {**segments["ridge"], "uses": ["c4+head"]}}

    assert digest("d4/ridge", segments=using()) != digest("d4/ridge")
    assert digest("d4/ridge", segments=using()) != digest("d4/ridge", segments=using(epochs=9))
    assert digest("d4/ridge", segments=using()) != digest("d4/ridge", root="other", segments=using())


def test_the_digest_of_a_view_says_its_options_and_labels(tmp_path):
    study = load(tmp_path)
    assert study.view_digest("figures", "readout_depth") == load(tmp_path).view_digest("figures", "readout_depth")
    relabelled = load(tmp_path, networks={"digits": {**study.networks["digits"], "d4/ridge": "another label"}})
    assert study.view_digest("figures", "readout_depth") != relabelled.view_digest("figures", "readout_depth")
    assert study.view_digest("probes", "lsd") == relabelled.view_digest("probes", "lsd")


# ---------------------------------------------------------------- mistakes

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
        {"verdicts": [{"item": "table2", "network": "digits/d4"}, {"item": "table2", "network": "digits/no"}]},
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
    with pytest.raises(LayerwiseError, match="not YAML, which is text in UTF-8") as caught:
        studies.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["my study.yaml", "a;b.yaml", "a.b.yaml", "ä.json"])
def test_a_study_is_called_by_a_plain_name(tmp_path, name):
    with pytest.raises(LayerwiseError, match="call the file by letters, digits, _ and -"):
        studies.load(write(tmp_path, name=name))


@pytest.mark.parametrize("seeds", [[-1], [1, 1]])
def test_other_seeds_are_checked_too(tmp_path, seeds):
    with pytest.raises(LayerwiseError, match=r"seeds: .*: give each once, and none below 0"):
        studies.load(write(tmp_path), seeds)


def test_an_unknown_study_names_the_nearest(tmp_path):
    write(tmp_path)
    with pytest.raises(LayerwiseError, match=r"study 'tny': no file .*tny.yaml; did you mean 'tiny'\?"):
        studies.load(tmp_path / "tny.yaml")


def test_a_study_of_json_that_is_cut_short_is_refused(tmp_path):
    path = write(tmp_path, '{"title": ', "copy.json")
    with pytest.raises(LayerwiseError, match="not a readable record"):
        studies.load(path)


def test_a_study_of_json_that_misses_a_key_is_refused(tmp_path):
    path = write(tmp_path, '{"title": "Tiny"}', "copy.json")
    with pytest.raises(LayerwiseError, match=r"copy.json: no study, 'datasets' is missing") as caught:
        studies.load(path)
    assert "\n" not in str(caught.value)


def test_reading_a_study_imports_no_torch(tmp_path):
    code = (
        "import sys; from layerwise import study; s = study.load(sys.argv[1]); s.digest(s.nodes()[-1], 'r');"
        "slow = {'torch', 'numpy', 'pandas', 'matplotlib', 'sklearn', 'torchvision'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, write(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
