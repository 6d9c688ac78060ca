"""The report page: whole, safe, with no request but its own figures; and the picture of the trie."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from layerwise import figures, store, tables
from layerwise.errors import LayerwiseError
from layerwise.report import page as report
from layerwise.report import picture as dag
from layerwise.report.templates import STYLE, TEMPLATES
from layerwise.report.view import table
from layerwise.results import made, published
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file
from layerwise.study import works
from layerwise.study.trie import home

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page, holding that its tags are closed in order, and keeps what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def make_all(results: StudyResults) -> None:
    for view in results.study.figures.values():
        figures.make(results, view)
    for view in results.study.tables.values():
        tables.make(results, view)
    write_verdicts(results, published.verdicts(results.study, results.fits))


def write_verdicts(results: StudyResults, table: pd.DataFrame) -> None:
    path, digest = home("tiny") / "verdicts.csv", results.study.verdicts_digest()
    with made.making(results.study, "verdicts", made.view_digest(results.study, digest), [path]):
        store.write_csv(path, table)


@pytest.fixture(scope="module")
def text(ran) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ran)
        results = StudyResults(study_file.load("tiny.json"))
        make_all(results)
        report.write(results.study, home("tiny") / "report.html")
        return (home("tiny") / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_the_page_is_well_formed(page):
    assert page.open == []
    assert {tag for tag, _ in page.tags} >= {"main", "header", "nav", "table", "figure", "svg"}
    assert page.all("html")[0]["lang"] == "en"


def test_nothing_is_requested_but_the_figures_beside_it(ran, text, page):
    pictures = [a["src"] for a in page.all("img")]
    assert len(pictures) == 8
    for picture in pictures:
        root = ElementTree.parse(ran / home("tiny") / picture).getroot()
        links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)
        assert root.find("*[@id='figure_1']") is not None
    assert not page.all("link")
    assert all("src" not in a for a in page.all("script"))
    assert all(a["href"].startswith("#") for a in page.all("a"))
    assert not re.search(r"https?://|@import|url\(|data:", text)
    assert "default-src 'none'" in text


def test_links_lead_somewhere(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert {"verdicts", "tables", "figures", "networks", "provenance"} <= set(ids)


def test_everything_is_escaped(text, page):
    assert "Tiny <study> & more" in page.text
    assert "<b>small</b>" not in text
    assert "class PCA, <head>" in page.text
    assert "it is tiny <here>" in page.text
    assert "${" not in text


def test_the_tables_are_for_all_to_use(page):
    heads = [a for a in page.all("th") if "aria-sort" in a]
    assert all(a["scope"] in ("col", "row") for a in page.all("th"))
    assert all(a["scope"] == "col" and a["aria-sort"] == "none" for a in heads)
    assert page.tags.count(("button", {"type": "button"})) == len(heads)
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a["aria-label"] for a in page.all("svg"))
    assert all(a["tabindex"] == "0" for a in page.all("div") if a.get("role") == "region")


def test_the_verdicts_are_counted_and_told(page, tiny):
    n = len(works.answered(tiny.study.published))
    assert f"{n - 1} not run" in page.text
    assert "1 worse" in page.text
    assert published.NOBODY in page.text


def test_what_went_wrong_stands_first_and_chips_name_the_verdicts(text, page):
    told = [a["data-verdict"] for a in page.all("td") if "data-verdict" in a]
    assert told == sorted(told, key=published.VERDICTS.index)
    assert told[0] == "worse"
    chips = [a for a in page.all("button") if "data-verdict" in a]
    assert [a["data-verdict"] for a in chips] == list(dict.fromkeys(told))
    assert all(a["aria-pressed"] == "false" for a in chips)
    assert ">method<" in text  # the role of each value, and the counts by role


def test_findings_stand_first_where_there_are_some(text, spoilt, monkeypatch):
    assert "findings" not in {a.get("id") for a in Page(text).all("section")}
    found = Path("docs/findings/tiny.md")
    digest = spoilt.study.report_digest()
    found.parent.mkdir(parents=True)
    found.write_text(
        "# Tiny\n\n## In short\n\n- It *is* <tiny>,\n  and [small](other.md).\n- `x` **y**\n\n## More\n\n- no\n"
    )
    assert spoilt.study.report_digest() != digest  # a page of other findings is owed
    report.write(spoilt.study, home("tiny") / "report.html")
    page = (home("tiny") / "report.html").read_text()
    assert [a["id"] for a in Page(page).all("section")][:2] == ["findings", "verdicts"]
    small = '<a href="../../docs/findings/other.md">small</a>'
    assert f"<li>It <em>is</em> &lt;tiny&gt;, and {small}.</li>\n<li><code>x</code> <strong>y</strong></li>" in page
    assert "<li>no</li>" not in page


def test_what_is_left_out_and_what_was_strange_is_told(text, spoilt, monkeypatch):
    assert 'class="notes"' not in text
    reasons = {"a": "needs <hours>", "b": "needs <hours>", "c": "a GPU"}
    notes = report.left_out(replace(spoilt.study, left_out=reasons))
    assert notes == [("Left out here: a, b:", "needs <hours>"), ("Left out here: c:", "a GPU")]
    real = report.dataset_record
    odd = {"warnings": ["3 files are <odd>"]}
    monkeypatch.setattr(report, "dataset_record", lambda study, name: real(study, name) | odd)
    report.write(spoilt.study, home("tiny") / "report.html")
    assert "<strong>digits:</strong> 3 files are &lt;odd&gt;</li>" in (home("tiny") / "report.html").read_text()


def test_what_rounding_leaves_is_no_difference(text, spoilt):
    row = dict.fromkeys(published.COLUMNS, "x") | {"n": 5, "verdict": "reproduced", "half_width": 0.1}
    pairs = [{"published": 97.51, "measured": 97.51 - 1.5e-14}, {"published": 2.6e-22, "measured": 3.6e-22}]
    write_verdicts(spoilt, pd.DataFrame([row | pair for pair in pairs])[published.COLUMNS])
    report.write(spoilt.study, home("tiny") / "report.html")
    page = (home("tiny") / "report.html").read_text()
    assert "e-14" not in page
    assert ">1e-22<" in page  # a small value is not small for its own kind


def test_provenance_is_complete(page, tiny):
    record = next(iter(tiny.records.values()))
    for said in (record["machine"], record["versions"]["torch"], record["versions"]["numpy"], "fits.csv"):
        assert said in page.text
    assert tiny.data("digits").record["digest"] in page.text
    assert "snakemake --cores 2 tiny" in page.text
    assert f"{len(tiny.fits)} fits of segments" in page.text


def test_only_segments_in_use_are_listed(text, spoilt):
    idle = {"r5": {"method": "random", "layers": ["conv 3 5", "relu"]}}
    segments = spoilt.study.raw["segments"] | idle
    Path("tiny.json").write_text(json.dumps(spoilt.study.raw | {"segments": segments}))
    report.write(study_file.load("tiny.json"), home("tiny") / "report.html")
    assert (home("tiny") / "report.html").read_text() == text


def test_options_stand_as_a_study_file_has_them():
    given = {"method": "x", "whiten": None, "uses": ["e2"], "lr": 0.01, "select": "valid"}
    assert report._options(given, "method") == "whiten: null, uses: [e2], lr: 0.01, select: valid"
    assert report._options({"method": "x"}, "method") == ""


def test_the_same_results_give_the_same_page(tiny, text, tmp_path):
    report.write(tiny.study, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["figures/depth.svg", "tables/controls.csv", "verdicts.csv"])
def test_what_is_missing_is_named(text, spoilt, name):
    (home("tiny") / name).unlink()
    with pytest.raises(LayerwiseError, match=re.escape(name)):
        report.write(spoilt.study, home("tiny") / "report.html")


def test_a_study_that_answers_for_nothing_says_so(text, spoilt):
    write_verdicts(spoilt, pd.DataFrame(columns=published.COLUMNS))
    report.write(spoilt.study, home("tiny") / "report.html")
    assert "answers for no published value" in (home("tiny") / "report.html").read_text()


# ---------------------------------------------------------------- the table and the trie


def test_cells_sort_by_their_value():
    data = pd.DataFrame({"x": [0.12345, None], "x_half_width": [0.01, None], "name": ["a<b", None]})
    alone = '{% import "parts.html" as parts with context %}{{ parts.table(shown) }}'
    text = TEMPLATES.from_string(alone).render(shown=table(data, "t"))
    assert 'data-value="0.12345">0.123 ± 0.010<' in text
    assert 'data-value=""><' in text
    assert "a&lt;b" in text
    assert "half" not in text


def test_a_wide_table_folds_what_matters_least():
    wide = (
        {"network": ["x"]}
        | {f"test {i}": ["0.12 ± 0.01" * 2] for i in range(6)}
        | {"path": ["a/" * 11], "reason": ["why " * 30]}
    )
    shown = table(pd.DataFrame(wide), "t")
    away = [head.text for head in shown.heads if "more" in head.style.split()]
    assert away == ["test 5", "path"]  # the path before all, never the reason
    assert shown.folded_columns == 2
    assert all(
        [("more" in c.style.split()) for c in row] == [h.text in away for h in shown.heads] for row in shown.rows
    )
    narrow = table(pd.DataFrame({"network": ["x"], "path": ["a/b"]}), "t")
    assert (narrow.folded_columns, narrow.folded_rows) == (0, False)


@pytest.mark.parametrize(("rows", "away"), [(15, False), (16, True)])
def test_a_long_table_shows_its_first_rows(rows, away):
    assert table(pd.DataFrame({"x": range(rows)}), "t").folded_rows is away
    assert "tr:nth-child(n + 16)" in STYLE  # the same number


def test_the_trie_has_a_box_a_node_and_a_line_to_each(tiny):
    picture = ElementTree.fromstring(
        dag.drawing(tiny.study, "digits", {"d4": "dmn, 1 s"}, {"d4/ridge": "class PCA: 9 %"})
    )
    boxes = [each for each in picture.iter() if each.tag.endswith("rect")]
    lines = [each for each in picture.iter() if each.tag.endswith("path")]
    paths = tiny.study.paths("digits")
    assert len(boxes) == len(paths) + 1
    assert len(lines) == len(paths)
    titles = [each.text for each in picture.iter() if each.tag.endswith("title")]
    assert set(titles) == {"digits", *paths}
    said = [each.text for each in picture.iter() if each.tag.endswith("text")]
    assert {"dmn, 1 s", "class PCA: 9 %"} <= set(said)
    assert "Networks on digits" in picture.get("aria-label")


def test_the_boxes_of_the_trie_do_not_cover_each_other(tiny):
    picture = ElementTree.fromstring(dag.drawing(tiny.study, "digits", {}, {}))
    boxes = [
        tuple(float(each.get(k)) for k in ("x", "y", "width", "height"))
        for each in picture.iter()
        if each.tag.endswith("rect")
    ]
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert x + w <= float(picture.get("width"))
        assert 0 <= y <= y + h <= float(picture.get("height"))
        for a, b, c, d in boxes[i + 1 :]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_a_table_or_figure_is_titled_by_the_work_and_the_place_in_it():
    names = ["dmn_table2", "dmn_si_fig10", "icassp_fig1", "platonic_fig11_mse", "few_images"]
    titles = ["DMN table 2", "DMN supplement, figure 10", "ICASSP figure 1", "Platonic figure 11 (mse)", "Few images"]
    assert [report._title(name) for name in names] == titles
