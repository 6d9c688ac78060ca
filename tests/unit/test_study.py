"""A study file: every name and option is checked before anything runs, and a mistake is one line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tinystudy import changed, edited, load, write

from layerwise.methods import ridge
from layerwise.study import file as study_file
from layerwise.study import model
from layerwise.study.trie import Node

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
        ".made/fits.json",
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
    assert study_file.load(write(tmp_path), [5]).seeds == (5,)
    assert study_file.load(write(tmp_path), 1).seeds == (0,)


def test_keep_marks_the_features_that_stay(tmp_path):
    assert not any(load(tmp_path).kept(p) for p in ("d4", "d4/ridge"))
    assert all(load(tmp_path, keep="all").kept(p) for p in ("d4", "d4/ridge"))
    study = load(tmp_path, keep=["d4"])
    assert (study.kept("d4"), study.kept("d4/ridge")) == (True, False)


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
    study = load(tmp_path, segments=segments, networks={"digits": ["y"]}, probes={}, figures={})
    # Each behind what it uses and what it stands on, so that they can be fitted in this order.
    assert study.paths("digits") == ["d4", "d4/head", "x", "x/ridge", "y"]


def test_the_study_as_json_is_the_same_study(tmp_path):
    study = load(tmp_path)
    copy = study_file.load(write(tmp_path, json.dumps(study.raw), "copy.json"))
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


def test_an_option_that_came_after_published_fits_counts_where_it_is_said(digest):
    assert model.changed(ridge.Options()) == {}
    assert model.changed(ridge.Options(floor=0.1)) == {"floor": 0.1}
    assert digest("d4/ridge") == digest("d4/ridge", segments=changed("ridge", floor=0.0))
    assert digest("d4/ridge") != digest("d4/ridge", segments=changed("ridge", floor=0.1))


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
    assert study.probe_digest("lsd") == relabelled.probe_digest("lsd")


def test_reading_a_study_imports_no_torch(tmp_path):
    code = (
        "import sys; from layerwise.study import file; s = file.load(sys.argv[1]); s.digest(s.nodes()[-1], 'r');"
        "slow = {'torch', 'numpy', 'pandas', 'matplotlib', 'sklearn', 'torchvision'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, write(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
