"""Parts of a study: seeds by data set, data left out, a study that extends another, probes that follow."""

from __future__ import annotations

import json

import pytest
import yaml
from tinystudy import edited, load, refused, write

from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file
from layerwise.study.trie import Node

TWO = {
    "datasets": {"digits": {"source": "digits"}, "more": {"source": "digits", "subset": 500}},
    "networks": {"digits": ["d4/head", "d4/ridge"], "more": ["d4/ridge"]},
    "probes": {"lsd": {"networks": ["digits/d4/ridge", "more/d4/ridge"]}},
    "figures": {},
    "published": {"dmn": ["table2"]},
    "verdicts": [{"item": "table2", "network": "more/d4/ridge"}],
}


def test_data_sets_may_have_seeds_of_their_own(tmp_path):
    study = load(tmp_path, **TWO, seeds={"digits": 2, "more": [7]})
    assert (study.seeds_of("digits"), study.seeds_of("more"), study.seeds) == ((0, 1), (7,), (0, 1, 7))
    assert [n.seed for n in study.nodes() if n.dataset == "more"] == [7, 7]
    assert (study.groups("digits"), study.groups("more")) == (["seed0", "seed1"], ["seed7"])
    assert load(tmp_path, **TWO, seeds={"digits": 2}).seeds_of("more") == (0, 1, 2, 3, 4)
    assert load(tmp_path, **TWO, seeds_together=True).groups("more") == ["seeds"]
    assert refused(tmp_path, edited(**TWO, seeds={"digit": 2})) == "seeds: no data set 'digit'; did you mean 'digits'?"


def test_a_data_set_that_is_left_out_is_checked_and_not_run(tmp_path):
    study = load(tmp_path, **TWO, leave_out={"more": "an hour"})
    assert list(study.networks) == ["digits"]
    assert study.left_out == {"more": "an hour"}
    assert study.looks() == [("lsd", "digits", "d4/ridge")]
    wrong = {**TWO, "networks": {**TWO["networks"], "more": ["d5/ridge"]}}
    assert "no segment 'd5'" in refused(tmp_path, edited(**wrong, leave_out={"more": "an hour"}))
    assert "leave_out: no data set 'moer'" in refused(tmp_path, edited(**TWO, leave_out={"moer": "an hour"}))
    assert "nothing is left of the study" in refused(
        tmp_path, edited(**TWO, leave_out={"more": "an hour", "digits": "no time"})
    )


def test_a_study_extends_another_as_far_as_it_fits(tmp_path):
    write(tmp_path, yaml.safe_dump(edited(**TWO, seeds={"digits": 2, "more": 3}), sort_keys=False), "whole.yaml")
    path = write(tmp_path, "extends: whole\ntitle: Part\nnetworks: {digits: [d4/ridge]}\n", "part.yaml")
    study = study_file.load(path)
    assert (study.name, study.title, study.networks) == ("part", "Part", {"digits": {"d4/ridge": "d4/ridge"}})
    assert (study.seeds, list(study.datasets), study.verdicts, study.probes) == ((0, 1), ["digits"], [], {})
    node = Node("part", "digits", 0, "d4/ridge")
    whole = study_file.load(tmp_path / "whole.yaml")
    assert study.digest(node, "root") == whole.digest(Node("whole", "digits", 0, "d4/ridge"), "root")
    again = tmp_path / "part.json"
    again.write_text(json.dumps(study.raw))
    assert study_file.load(again).networks == study.networks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: whoel", "extends: no other study 'whoel'; did you mean 'whole'?"),
        ("extends: part", "extends: no other study 'part'"),
        ("extends: whole\nseedz: 3", "no key 'seedz'; did you mean 'seeds'?"),
        ("extends: whole\nnetworks: {digits: [d4/rigde]}", "no segment 'rigde'"),
    ],
)
def test_an_extension_that_does_not_fit_is_refused(tmp_path, text, said):
    write(tmp_path, yaml.safe_dump(edited(**TWO), sort_keys=False), "whole.yaml")
    with pytest.raises(LayerwiseError) as caught:
        study_file.load(write(tmp_path, text, "part.yaml"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_probe_follows_is_asked_of_its_file(tmp_path):
    study = load(tmp_path, probes={"lsd": {}, "training": {}})
    assert (study.follows("lsd"), study.follows("training")) == (False, True)
