"""The command line: verbs, help, and what a mistake looks like."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings

import pytest

from layerwise import __main__, __version__
from layerwise.errors import LayerwiseError, LayerwiseWarning

TINY = """
title: Tiny
seeds: 2
datasets:
  digits: {source: digits}
segments:
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: {ridge: a read-out}
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def refused(capsys, *words: str) -> str:
    """Run a verb that must be refused in one line; returns the line."""
    assert __main__.main(list(words)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("layerwise: ")
    assert said.err.count("\n") == 1
    return said.err


def test_a_study_is_printed_as_json_that_reads_as_the_same(study, capsys, tmp_path):
    assert __main__.main(["study", study]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["name"] == "tiny"
    (tmp_path / "other.json").write_text(text)
    assert __main__.main(["study", str(tmp_path / "other.json")]) == 0
    assert capsys.readouterr().out == text


def test_a_study_shows_its_networks_and_every_option_of_its_methods(study, capsys):
    assert __main__.main(["show", study]) == 0
    said = capsys.readouterr().out
    assert "tiny: Tiny; seeds 0, 1" in said
    assert re.search(r"^  ridge +a read-out$", said, re.MULTILINE)
    assert re.search(
        r"^  strengths +list of numbers at least 0, default \[\]\n +Ridge strengths to choose from",
        said,
        re.MULTILINE,
    )


def test_other_seeds_are_taken(study, capsys):
    assert __main__.main(["show", study, "--seeds", "4", "9"]) == 0
    assert "seeds 4, 9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("show nowhere/tiny.yaml", "study 'tiny': no file nowhere/tiny.yaml"),
        ("fit {} digit ridge", "'digit' is no data set of the study tiny: digits"),
        ("dataset {} digit", "'digit' is no data set of the study tiny"),
        ("fit {} digits rigde", "'rigde' is no path of 'digits' in the study tiny"),
        ("probe {} lsd digits ridge", "'lsd' is none of the probes of the study tiny; known: none"),
        ("figure {} curve", "'curve' is none of the figures of the study tiny"),
        ("table {} accuracy", "'accuracy' is none of the tables of the study tiny"),
        ("fit {} digits ridge --device tpu", "device 'tpu': say auto, cpu or cuda"),
        ("show {} --seeds -3", "seeds: [-3]: give each once, and none below 0"),
        ("all {} --data-root nowhere --device tpu", "device 'tpu': say auto, cpu or cuda"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(study, capsys, monkeypatch, tmp_path, words, text):
    monkeypatch.chdir(tmp_path)
    assert text in refused(capsys, *(word.format(study) for word in words.split()))
    assert not list(tmp_path.glob("results/tiny/networks/**/fit.json"))


@pytest.mark.parametrize("words", ["", "fti studies/tiny.yaml", "fit", "fit a b c --seeds one", "fit a b c --dev cpu"])
def test_words_that_are_no_command_show_the_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        __main__.main(words.split())
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "usage: python -m layerwise" in said
    assert "Traceback" not in said


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit) as caught:
        __main__.main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for verb in (
        "dataset",
        "fit",
        "represent",
        "probe",
        "fits",
        "figure",
        "table",
        "verdicts",
        "report",
        "all",
        "predict",
        "export",
        "show",
        "golden",
    ):
        assert re.search(rf"^ +{verb}\b", said, re.MULTILINE), verb


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"


def test_a_warning_is_one_line(study, capsys, monkeypatch):
    def warned(args):
        warnings.warn("two features are constant", LayerwiseWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(__main__, "_show", warned)
    warned.__name__ = "_show"
    shown = warnings.showwarning
    try:
        assert __main__.main(["show", study]) == 0
    finally:
        warnings.showwarning = shown
    assert "layerwise: warning: two features are constant\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (LayerwiseError("a thing: wrong; do this"), 2, "layerwise: a thing: wrong; do this\n"),
        (KeyboardInterrupt(), 130, "layerwise: stopped; run the same command again to go on\n"),
        (MemoryError("8 TB"), 2, "layerwise: out of memory (8 TB); fit fewer samples or narrower layers\n"),
        (
            RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB"),
            2,
            "layerwise: out of memory (CUDA out of memory. Tried to allocate 2 GiB); "
            "fit fewer samples or narrower layers\n",
        ),
    ],
)
def test_what_ends_a_verb_is_one_line(study, capsys, monkeypatch, error, status, text):
    def ended(args):
        raise error

    ended.__name__ = "_show"
    monkeypatch.setattr(__main__, "_show", ended)
    assert __main__.main(["show", study]) == status
    assert capsys.readouterr().err == text


def test_a_fault_of_the_program_keeps_its_traceback(study, monkeypatch):
    def broken(args):
        raise RuntimeError("shapes do not go together")

    broken.__name__ = "_show"
    monkeypatch.setattr(__main__, "_show", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        __main__.main(["show", study])


@pytest.mark.parametrize("words", [["show"], ["show", "STUDY"]])
def test_looking_around_imports_no_torch(study, words):
    code = (
        "import sys; from layerwise.__main__ import main; status = main(sys.argv[1:]);"
        "sys.exit('torch was imported' if 'torch' in sys.modules else status)"
    )
    given = [study if word == "STUDY" else word for word in words]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_memory_of_a_model_is_printed_block_by_block(capsys):
    assert __main__.main(["memory", "squeezenet1_1", "--batch", "8"]) == 0
    first, whole, head, *rows, last = capsys.readouterr().out.splitlines()
    assert first.startswith("torchvision squeezenet1_1: ")
    assert whole.startswith("whole model: ")
    assert head.split()[-1] == "share"
    assert [int(row.split()[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert all(float(row.split()[-1].rstrip("%")) > 0 for row in rows)
    assert last.startswith("A block's step")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["vgg13bn"], "did you mean 'vgg13_bn'?"),
        (["torchvision vgg13_bn 3"], "is no model"),
        (["conv 3 4"], "is no model"),
        (["vgg13_bn", "--size", "1", "--channels", "999999", "--batch", "999999"], "give a smaller batch"),
    ],
)
def test_a_model_whose_memory_cannot_be_told(capsys, words, text):
    assert __main__.main(["memory", *words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert text in told
