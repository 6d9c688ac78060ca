"""The examples run, the README's code as well, and what the documentation names is there."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest

from layerwise import __main__, estimators
from layerwise.layers import words

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "bench/gpu/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_estimators_example(capsys):
    runpy.run_path(str(ROOT / "docs/examples/estimators.py"))
    said = dict(
        re.findall(r"^(class PCA and ridge|logistic regression|Platonic network).*?: (\d+\.\d) %", _out(capsys), re.M)
    )
    assert len(said) == 3
    assert all(float(accuracy) > 94 for accuracy in said.values())


def test_the_study_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "docs/examples/study.py"))
    said = _out(capsys)
    means = {n: float(m) for n, m in re.findall(r"^([a-zA-Z ]+): (\d+\.\d) ± \d+\.\d % of the test images", said, re.M)}
    assert set(means) == {"class PCA", "random filters", "backprop"}
    assert min(means.values()) > 90
    assert said.splitlines()[-1] == "classes 0 1 2 3 4"
    assert (tmp_path / "results/digits/tables/accuracy.md").exists()


def test_the_readme_s_notebook(capsys):
    exec(compile(code(README, "python")[0], "README.md", "exec"), {})
    assert float(_out(capsys)) > 0.9


def test_the_readme_s_first_lines_say_what_whose_and_why():
    first = "\n".join(README.splitlines()[:20])
    for name in (
        "Dehmamy",
        "Rohani",
        "Katsaggelos",
        "Ben-David",
        "Ringel",
        "Øland",
        "1703.04757",
        "1902.02354",
        "ICASSP",
    ):
        assert name in first
    for short, spelt in (
        ("DMN", "Density Matrix Networks"),
        ("DGL", "Deep Gaussian Layer-wise"),
        ("DLL", "Deep Layer-wise Learning"),
        ("DPL", "Deep Partition-wise Learning"),
    ):
        before = " ".join(README[: README.index(short)].split())
        assert re.search(rf"{spelt}[a-z ]*\($", before), f"{short} is not spelt out where it is first said"
    assert "Why believe" in first
    assert re.search(r"^!\[.+\]\(docs/figures/.+\.svg\)$", first, re.MULTILINE)


def test_the_readme_s_table_of_studies_has_every_study():
    named = re.findall(r"^\| (`[a-z0-9_`, ]+`) \|.*\|.*\|.*\|$", README, re.MULTILINE)
    assert sorted(name.strip("` ") for names in named for name in names.split(",")) == sorted(
        path.stem for path in (ROOT / "studies").glob("*.yaml")
    )


def test_the_readme_names_every_layer_word():
    listed = README[README.index("Layer words:") :].split("\n\n")[0]
    assert {*words.GRAMMAR, *words.ACTIVATIONS} - set(re.findall("[a-z]+", listed)) == set()


def test_the_readme_counts_the_estimators():
    assert len([name for name in estimators.__all__ if name[0].isupper()]) == 12
    assert "Twelve estimators" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        if "://" not in link:
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in slugs(target), link


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of their text."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(page: Path) -> list[list[str]]:
    """The words of every command of `make` and `layerwise` in the code of a page."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [*(line for block in code(text, "sh") for line in block.splitlines()), *re.findall(r"`([^`\n]+)`", text)]
    found = [
        re.search(r"(?:^|-m )(layerwise|make) (.+)", line.partition(" #")[0].partition(" > ")[0]) for line in lines
    ]
    return [[each[1], *shlex.split(re.sub("^(\\w+) …$", r"\1", each[2]).replace("…", "X"))] for each in found if each]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_are_commands(page):
    makefile = (ROOT / "Makefile").read_text()
    for program, *given in commands(page):
        if program == "make":
            assert re.search(rf"^{given[0]}:", makefile, re.MULTILINE), given
        elif len(given) == 1 and given != ["show"]:  # a verb by itself
            with pytest.raises(SystemExit, match="0"):
                __main__._parser().parse_args([*given, "--help"])
        else:
            __main__._parser().parse_args(given)


def test_extras_that_the_readme_names_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r'pip install "\.\[(\w+)\]"', README)) <= set(extras)


def _out(capsys) -> str:
    return capsys.readouterr().out
