"""The page over all works: what it counts, and that the one in this repository is that of now."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from layerwise.__main__ import main
from layerwise.errors import LayerwiseError
from layerwise.report import index
from layerwise.results.rules import VERDICTS
from layerwise.study import works

ROOT = Path(__file__).parents[2]
DGL = [v for v in works.values() if v.source == "dgl" and v.kind == "result"]
HEAD = "source,item,row,metric,published,measured,half_width,n,verdict,reason"


def verdicts(*rows):
    """The text of a verdicts.csv, of a value and its verdict each."""
    lines = [f"{v.source},{v.item},{v.row},{v.metric},{v.value},1,1,3,{verdict}," for v, verdict in rows]
    return "\n".join([HEAD, *lines]) + "\n"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the works of this repository and no results."""
    (tmp_path / "docs/findings").mkdir(parents=True)
    shutil.copy(ROOT / index.WORKS, tmp_path / index.WORKS)
    (tmp_path / "README.md").write_text("before\n{}\nhere before\n{}\nafter\n".format(*index.MARKS))
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(clone, study, text):
    folder = clone / "results" / study
    folder.mkdir()
    (folder / "verdicts.csv").write_text(text)


def of(study):
    """The one work of a study."""
    (work,) = (w for w in index.works() if w.study == study)
    return work


# ---------------------------------------------------------------- this repository


@pytest.fixture
def tracked(tmp_path, monkeypatch):
    """What of this repository the index reads, as git has it: a study of one's own that ran here is not in it."""
    files = ["results/*/verdicts.csv", "results/*/report.html", "docs/findings", "README.md"]
    listed = subprocess.run(["git", "ls-files", *files], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)


def test_the_index_is_that_of_the_verdicts_and_findings_beside_it(tracked):
    """If it is not: python -m layerwise index."""
    page, readme = index.made()
    assert page == (ROOT / index.PAGE).read_text(encoding="utf-8")
    assert readme == (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_published_result_is_of_one_work(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = index.works()
    assert sum(work.results for work in found) == sum(v.kind == "result" for v in works.values())
    assert all((ROOT / f"studies/{work.study}.yaml").is_file() for work in found)
    assert all(work.results and work.claim and work.outcome for work in found)


def test_links_lead_somewhere(tracked):
    page, readme = index.made()
    block = readme.split(index.MARKS[0])[1].split(index.MARKS[1])[0]
    targets = [ROOT / "results" / t for t in re.findall(r'href="([^"#]+)"', page)]
    targets += [ROOT / t for t in re.findall(r"\]\(([^)]+)\)", block)]
    assert len(targets) > 20
    assert not [t for t in targets if not t.is_file()]
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids


def test_the_page_is_well_formed(monkeypatch):
    monkeypatch.chdir(ROOT)
    left: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            left.extend([tag] if tag != "meta" else [])

        def handle_endtag(self, tag):
            assert left.pop() == tag

    Reader().feed(index.made()[0])
    assert left == []


# ---------------------------------------------------------------- counts


def test_nothing_has_run(clone):
    found = index.works()
    assert {work.measured for work in found} == {0}
    assert of("dgl").results == len(DGL) == of("dgl").count("not run")
    assert of("dgl").report == of("dgl").page == ""


def test_verdicts_are_counted_and_what_no_study_has_is_not_run(clone):
    told = ["worse", "better", "inconclusive", "not run"]
    results(clone, "dgl", verdicts(*zip(DGL[:4], told, strict=True)))
    work = of("dgl")
    assert [work.count(v) for v in VERDICTS] == [1, 1, 0, 1, len(DGL) - 3]
    assert (work.measured, work.results) == (3, len(DGL))
    assert sum(sum(counts.values()) for counts in work.verdicts.values()) == len(DGL)
    assert index.total(index.works()).measured == 3


@pytest.mark.parametrize(
    ("own", "other", "counts"),
    [
        ("worse", "better", "worse"),  # the chapter's own study has the say
        ("not run", "inconclusive", "inconclusive"),  # who measured it
        ("not run", "not run", "not run"),
        (None, "reproduced", "reproduced"),
    ],
)
def test_a_value_of_two_studies_counts_once(clone, own, other, counts):
    if own:
        results(clone, "dgl", verdicts((DGL[0], own)))
    results(clone, "another", verdicts((DGL[0], other)))
    work = of("dgl")
    assert work.results == len(DGL)
    assert work.count(counts) == (len(DGL) if counts == "not run" else 1)


@pytest.mark.parametrize(
    ("item", "chapter"), [("table6.2", "6"), ("ch3", "3"), ("section5.4.2", "5"), ("fig5.18-20", "5"), ("fig7.11", "7")]
)
def test_the_chapter_of_a_value(item, chapter):
    assert index.chapter(works.Value("thesis", item, "r", "m", 1.0, "result")) == chapter
    assert index.chapter(works.Value("dmn", item, "r", "m", 1.0, "result")) == ""


# ---------------------------------------------------------------- the verb


def test_the_verb_writes_the_page_and_what_stands_between_the_marks(clone):
    (clone / "docs/findings/dgl.md").write_text("## In short\n\n- **One** <x>.\n- Two.\n- Three.\n- Four.\n")
    results(clone, "dgl", verdicts((DGL[0], "better")))
    (clone / "results/dgl/report.html").touch()
    (clone / "results/lone").mkdir()
    (clone / "results/lone/report.html").touch()
    assert main(["index"]) == 0
    readme = (clone / "README.md").read_text()
    assert readme.startswith(f"before\n{index.MARKS[0]}\n| work |")
    assert readme.endswith(f"{index.MARKS[1]}\nafter\n")
    assert "here before" not in readme
    assert "[findings](docs/findings/dgl.md), [report](results/dgl/report.html)" in readme
    page = (clone / "results/index.html").read_text()
    assert "<li><strong>One</strong> &lt;x&gt;.</li>" in page
    assert "Three." in page
    assert "Four." not in page  # three sentences
    assert '<a href="lone/report.html">lone</a>' in page
    assert main(["index"]) == 0
    assert (clone / "README.md").read_text() == readme


@pytest.mark.parametrize("readme", ["no marks", "{0}", "{1}{0}", "{0}{0}{1}"])
def test_a_readme_without_the_marks_is_left_alone(clone, capsys, readme):
    readme = readme.format(*index.MARKS)
    (clone / "README.md").write_text(readme)
    assert main(["index"]) == 2
    assert capsys.readouterr().err.startswith("layerwise: README.md: the table of works belongs between")
    assert (clone / "README.md").read_text() == readme
    assert not (clone / "results/index.html").exists()


def test_a_work_that_is_not_listed_is_named(clone):
    lines = (clone / index.WORKS).read_text(encoding="utf-8").splitlines()
    others = [line for line in lines if not line.startswith("thesis,6")]
    (clone / index.WORKS).write_text("\n".join(others), encoding="utf-8")
    with pytest.raises(LayerwiseError, match=r"works\.csv: no line for thesis 6, which has results"):
        index.works()


def test_a_verdict_that_is_none_is_refused(clone):
    results(clone, "dgl", verdicts((DGL[0], "good")))
    with pytest.raises(LayerwiseError, match=r"dgl/verdicts\.csv: no verdict 'good'"):
        index.works()


def test_the_works_are_a_table_of_whole_lines():
    with (ROOT / index.WORKS).open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert {len(line) for line in lines} == {6}
