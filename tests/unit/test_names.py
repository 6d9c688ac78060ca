"""Names of a study: none leaves the folder of the results, is taken for an option, or meets another on some disk."""

from __future__ import annotations

import copy
import json
import re

import pytest
import yaml
from tinystudy import TINY, edited, refused, write

from layerwise import __main__, plugins
from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file
from layerwise.study import text

BAD = [
    "-a",
    "--help",
    "",
    ".",
    "..",
    "../x",
    "/etc/x",
    "a/b",
    "a\\b",
    "a b",
    "a.b",
    "a\n",
    "ä",
    "a:datasets",
    "a" * 201,
]
BAD += ["a\x00b", "{a}", "$HOME", "a;b", "*", "CON.txt", "~", "a" * 300]


def renamed(kind: str, name: str) -> dict:
    """Return the tiny study with one of its things called otherwise, wherever it is named."""
    study = copy.deepcopy(edited(probes={}, figures={}))
    if kind == "segments":
        study["segments"][name] = study["segments"].pop("ridge")
        study["networks"] = {"digits": {f"d4/{name}": "one"}}
    elif kind == "datasets":
        study["datasets"] = {name: {"source": "digits"}}
        study["networks"] = {name: ["d4/ridge"]}
    else:
        plugin = {"probes": "lsd", "figures": "bars", "tables": "accuracy"}[kind]
        options = {"panels": {"digits": {"row": {"kind": "d4/ridge"}}}} if kind == "figures" else {}
        study[kind] = {name: {plugins.KINDS[kind]: plugin, **options}}
    return study


KINDS = ["segments", "datasets", "probes", "figures", "tables"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_name_is_taken(tmp_path, kind):
    for name in ("a", "no", "1", "null", "1e3", "2020-01-01", "a-b_C", "_x", "x" * 200):
        assert study_file.load(write(tmp_path, json.dumps(renamed(kind, name)), "tiny.json"))


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_any_other_is_refused_when_the_study_is_read(tmp_path, kind, name):
    for suffix, content in (("yaml", yaml.safe_dump(renamed(kind, name))), ("json", json.dumps(renamed(kind, name)))):
        path = write(tmp_path, content, f"tiny.{suffix}")
        with pytest.raises(LayerwiseError) as caught:
            study_file.load(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("segment", "number", "path"),
    [
        ("<n>", "..", "../../head"),
        ("a<n>", "/../x", "a/../x/head"),
        ("<n>x", "-", "-x/head"),
        ("<n>", "a" * 201, "a" * 201),
    ],
)
def test_a_name_that_is_made_of_placeholders_is_a_name(tmp_path, segment, number, path):
    segments = {**edited()["segments"], f"<n>={number}": {segment: {"method": "dmn", "layers": ["conv 3 4"]}}}
    refused(tmp_path, edited(segments=segments, networks={"digits": {path: "x"}}, probes={}, figures={}))


@pytest.mark.parametrize("where", ["keep", "uses", "probe", "figure", "verdict"])
def test_a_path_that_leaves_the_folder_is_no_path(tmp_path, where):
    study = edited()
    if where == "keep":
        study["keep"] = ["../../x"]
    elif where == "uses":
        study["segments"]["ridge"]["uses"] = ["../../x"]
    elif where == "probe":
        study["probes"]["lsd"]["networks"] = ["digits/../../x"]
    elif where == "figure":
        study["figures"]["readout_depth"]["networks"] = ["../../x"]
    else:
        study |= {"published": {"dmn": ["table2"]}, "verdicts": [{"item": "table2", "network": "digits/../x"}]}
    assert re.search("no (network|path|segment)|no such", refused(tmp_path, study))


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_differ_in_case_alone_are_refused(tmp_path, kind):
    study = renamed(kind, "abc")
    if kind == "segments":
        study["segments"]["ABC"] = study["segments"]["abc"]
        study["networks"]["digits"]["d4/ABC"] = "two"
    else:
        study[kind]["ABC"] = study[kind]["abc"]
    assert re.search("differ in case alone, and some disks do not; rename one", refused(tmp_path, study))


@pytest.mark.parametrize("path", ["/".join(["r"] * 3000), "+".join(["r"] * 150), "/".join(["r" * 199] * 11)])
def test_a_network_lies_no_deeper_than_a_disk_takes(tmp_path, path):
    segments = {name: {"method": "ridge", "layers": ["dense outputs"]} for name in set(re.split("[/+]", path))}
    study = edited(segments=segments, networks={"digits": [path]}, probes={}, figures={})
    assert "its path is" in refused(tmp_path, study)


@pytest.mark.parametrize("base", ["a/b", "../tiny", "x-", "", "tiny", ".#a", "a" * 300])
def test_a_study_extends_one_beside_it(tmp_path, base):
    write(tmp_path, name="other.yaml")
    (tmp_path / ".#a.yaml").symlink_to("nowhere")
    text_ = yaml.safe_dump({"extends": base, "title": "Part"})
    assert re.match("extends: no other study .*; (known: other|did you mean 'other'.)$", refused(tmp_path, text_))


STRAY = [".#a.yaml", "._a.yaml", "a copy.yaml", "#a.yaml#", "-a.yaml", "a.yaml~", "a.yml", "draft.yaml.swp"]


def test_stray_files_are_no_studies_and_no_hints(tmp_path, capsys):
    write(tmp_path)
    for name in STRAY:
        write(tmp_path, "title: Draft", name)
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "folder.yaml").mkdir()
    assert study_file.names(tmp_path) == ["dangling", "folder", "tiny"]
    assert study_file.names(tmp_path, taken={"folder"}) == ["dangling", "tiny"]
    for name, said in (
        ("a", "; known: dangling, folder, tiny"),
        ("dangling", "cannot be read"),
        ("folder", "not a file"),
    ):
        assert __main__.main(["show", str(tmp_path / f"{name}.yaml")]) == 2
        assert said in capsys.readouterr().err
    assert __main__.main(["show", str(tmp_path / "tiny.yaml")]) == 0


def test_the_rules_and_the_schema_know_a_name_by_the_same_pattern():
    rules = (plugins.PACKAGE.parent / "rules" / "common.smk").read_text()
    assert rules.count("NAME.pattern") == 5
    schema = (plugins.PACKAGE / "schemas" / "study.schema.yaml").read_text()
    assert schema.count(f"'^{text.NAME.pattern}$'") == 4
    assert "[A-Za-z0-9_-]+$" not in schema


VIEWS = {
    "data set of a figure": ({"figures": {"readout_depth": {"dataset": "digts"}}}, "no data set 'digts' with networks"),
    "network of a figure": (
        {"figures": {"readout_depth": {"dataset": "digits", "networks": ["d4/rigde"]}}},
        "'readout_depth': no network 'd4/rigde'; did you mean 'digits/d4/ridge'?",
    ),
    "probe of a figure": (
        {"figures": {"readout_depth": {"dataset": "digits", "probe": "lsdd"}}},
        "'readout_depth': no probe 'lsdd'; did you mean 'lsd'?",
    ),
    "network of a panel": (
        {"figures": {"curves": {"panels": {"a": {"b": {1: "digits/d4/rigde"}}}}}},
        "'curves': no network 'digits/d4/rigde'; did you mean 'digits/d4/ridge'?",
    ),
    "path of a panel": (
        {"figures": {"bars": {"panels": {"digits": {"row": {"kind": "d4/rigde"}}}}}},
        "'bars': no network 'd4/rigde'; did you mean 'digits/d4/ridge'?",
    ),
    "control": ({"tables": {"accuracy": {"control": {"digits": "d4/rigde"}}}}, "'accuracy': no network 'd4/rigde'"),
    "data set of a control": ({"tables": {"accuracy": {"control": {"digit": "d4/ridge"}}}}, "no data set 'digit'"),
    "beside a control": (
        {"tables": {"controls": {"against": {"random": {"digits/d4/rigde": "d4/head"}}}}},
        "'controls': no network 'digits/d4/rigde'; did you mean 'digits/d4/ridge'?",
    ),
    "network of a table": (
        {"tables": {"widths": {"networks": {"digits/d5": "x"}}}},
        "'widths': no network 'digits/d5'",
    ),
    "no panel": ({"figures": {"curves": {"panels": {}}}}, "option 'panels' is {}: it must have 1 or more items"),
    "empty panel": ({"figures": {"bars": {"panels": {"digits": {}}}}}, "'panels/digits' is {}: it must have 1 or more"),
    "no record": ({"probes": {"density": {"every": 10, "until": 5}}}, "'every' is 10: it must be at most 'until'"),
}


@pytest.mark.parametrize("what", VIEWS)
def test_what_a_view_shows_is_there_before_any_fit(tmp_path, what):
    changes, said = VIEWS[what]
    changes = {"figures": {}, **changes}
    assert said in refused(tmp_path, edited(**changes))


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_a_misspelt_option_of_any_plugin_names_the_nearest(kind):
    for plugin in plugins.known(kind):
        for option in plugins.documentation(kind, plugin):
            with pytest.raises(LayerwiseError, match=f"has no option '{option}_'; (did you mean|known:)"):
                plugins.options(kind, plugin, {f"{option}_": 1}, "here")


def test_a_misspelt_key_is_said_rather_than_the_one_that_it_leaves_missing(tmp_path):
    segments = {**edited()["segments"], "x": {"metod": "random", "layers": ["relu"]}}
    assert refused(tmp_path, edited(segments=segments)) == "segments/x: no key 'metod'; did you mean 'method'?"


@pytest.mark.parametrize(
    "method", ["/etc/passwd", "a/b", "..", ".", "os.path.", "numpy.linalg._umath_linalg", "a" * 300, "\u00e9.x"]
)
def test_a_method_is_a_module(tmp_path, method):
    segments = {**edited()["segments"], "ridge": {"method": method, "layers": ["dense outputs"]}}
    assert re.search("no such (method|module)", refused(tmp_path, edited(segments=segments)))


def test_two_networks_with_one_label_are_told_of(tmp_path, capsys):
    path = write(tmp_path, TINY.replace("a trained head", "class PCA"))
    assert __main__.main(["show", str(path)]) == 0
    said = "layerwise: warning: .*: networks 'd4/ridge' and 'd4/head' of 'digits' have one label, 'class PCA'"
    assert re.match(said, capsys.readouterr().err)
