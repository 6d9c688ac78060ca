"""Text of a study: what no reader can take is refused when it is read, with its place; all else is text as it is."""

from __future__ import annotations

import json

import pytest
import yaml
from tinystudy import edited, refused, write

from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file
from layerwise.study import text
from layerwise.study.config import configured

ODD = "{x} {{ }} {wildcards.study} \\mathbb{R} $HOME `id` $(id) ; \" ' & <script> %s \\n 100 % # ÿ 漢 🙂 👩‍🔬 _hidden"
PLACES = {
    "title": lambda s: {"title": s},
    "networks/digits/d4/ridge": lambda s: {"networks": {"digits": {"d4/ridge": s}}},
    "tables/controls/against": lambda s: {"tables": {"controls": {"against": {s: {"digits/d4/ridge": "d4/head"}}}}},
    "description": lambda s: {"description": s},
    "leave_out/digits": lambda s: {"leave_out": {"digits": s}},
    "datasets/x/folder": lambda s: {
        "datasets": {"digits": {"source": "digits"}, "x": {"source": "imagefolder", "folder": s, "size": 8}}
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_text_is_text(tmp_path, place):
    changes = PLACES[place](ODD)
    path = write(tmp_path, yaml.safe_dump(edited(**changes), allow_unicode=True))
    study = study_file.load(path, left_out=place.startswith("leave_out"))
    assert {key: study.raw[key] for key in changes} == changes


UNREADABLE = {
    "\x00": "control character (U+0000)",
    "\x1b[31m": "control character (U+001B)",
    "\x85": "line break",
    "\ud800": "half a character (U+D800)",
    "\u202e": "mark of direction (U+202E)",
    "\u2066": "mark of direction (U+2066)",
    "\u2028": "line break",
    "\ufffe": "control character (U+FFFE)",
    "\r": "line break",
}


@pytest.mark.parametrize("odd", UNREADABLE, ids=ascii)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_text_is_refused_with_its_place(tmp_path, place, odd):
    path = write(tmp_path, json.dumps(edited(**PLACES[place](f"a{odd}b"))), "tiny.json")
    with pytest.raises(LayerwiseError) as caught:
        study_file.load(path)
    assert str(caught.value).startswith(f"{path}: {place}: ")
    assert UNREADABLE[odd] in str(caught.value)
    assert str(caught.value).isprintable()


def test_prose_has_lines_and_labels_have_one(tmp_path):
    assert study_file.load(write(tmp_path, yaml.safe_dump(edited(description="one\n\n- two\tthree\n"))))
    for place in ("title", "networks/digits/d4/ridge"):
        assert f"{place}: 'a\\nb' has a line break" in refused(tmp_path, edited(**PLACES[place]("a\nb")))


@pytest.mark.parametrize("label", ["=1+1", "+cmd", "-a", "@SUM(A1)", '=HYPERLINK("x")', "\uff1d1", "-", "\t=1"])
@pytest.mark.parametrize("place", ["networks/digits/d4/ridge", "tables/controls/against", "leave_out/digits"])
def test_no_cell_is_a_formula(tmp_path, place, label):
    said = refused(tmp_path, edited(**PLACES[place](label)))
    assert said.startswith(f"{place}: ")
    assert "takes such a cell for a formula" in said or "control character" in said


@pytest.mark.parametrize("label", ["-1", "+1.5e-3", "a=b", "1-2", " - ", "\u22125 %"])
def test_a_number_and_a_sign_within_are_none(tmp_path, label):
    assert study_file.load(write(tmp_path, yaml.safe_dump(edited(networks={"digits": {"d4/ridge": label}}))))


@pytest.mark.parametrize("blank", ["", " ", "\u00a0"], ids=ascii)
@pytest.mark.parametrize("place", ["title", "networks/digits/d4/ridge"])
def test_a_title_and_a_label_say_something(tmp_path, place, blank):
    """A label that is blank is that of no network in fits.csv."""
    assert "blank" in refused(tmp_path, edited(**PLACES[place](blank)))


@pytest.mark.parametrize("root", [ODD, "-x", "@scratch", "a b"])
def test_a_folder_of_the_configuration_is_any_text(tmp_path, root):
    assert configured({"data_root": root}, tmp_path / "none.yaml")["data_root"] == root


@pytest.mark.parametrize(
    "content", [{"data_root": "a\nb"}, {"data_root": "a\x00"}, {"study": "x; id"}, {"study": "$(id)"}]
)
def test_what_no_command_can_take_is_no_configuration(tmp_path, content):
    with pytest.raises(LayerwiseError, match=r"^--config or --configfile: "):
        configured(content, tmp_path / "none.yaml")


def test_an_error_is_one_line_whatever_it_names():
    assert text.one_line("a\nb\x1b\udcff é") == "a\\nb\\x1b\\udcff é"
    assert text.short("x" * 5000) == f"'{'x' * 59}…{'x' * 18}'"
