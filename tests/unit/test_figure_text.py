"""Labels of a study are shown as they are written: in figures, in their SVG, in tables and on the page."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.text import Text

from layerwise import figures
from layerwise.errors import LayerwiseWarning
from layerwise.figures import _panels, _style
from layerwise.report import picture
from layerwise.tables import _format

LABELS = [
    "costs $5 and $6",
    r"$\frac{1}$",
    r"$\nonsense{$",
    r"$$ \$ $",
    "_hidden",
    "_nolegend_",
    "_child0",
    "__init__",
    "a_b^c",
    "50%",
    "",
    "two\nlines",
    "<b>bold</b> & <script>alert(1)</script>",
    "]]> --> -- <!-- <?xml",
    "&amp; &#36; &lt;",
    "a|b `c` *d* **e** ~~f~~ [g](h) ![i](j)",
    "back\\slash \\| \\n",
    "{braces} {{x}} {% if %} #{y}",
    "ÄÖÜ ß ± λ² 10³",
    "control \x07 \x1b[31m \x0c \ufffe",
]
# The figures of the tiny study in which a network has a label, and a label is in the legend or beside the panels.
LEGENDS = ["accuracy", "error", "depth", "spectra", "curve"]


def labelled(results, label: str):
    """Give the last network of each data set another label, once its fits are read: they were made for the old one."""
    assert len(results.fits) == len(results.records)
    for networks in results.study.networks.values():
        networks.update(dict.fromkeys(list(networks)[-1:], label))
    return results


def drawn(results, name):
    module, options = figures.opened(results.study.figures[name])
    return module.draw(results, options)


@pytest.mark.filterwarnings("ignore:.*Glyph")
@pytest.mark.parametrize("label", LABELS)
def test_a_figure_shows_a_label_as_written(tmp_path, label):
    with figures.style():
        figure = _style.new(16, 3)
        ax = figure.add_subplot()
        ax.plot([1, 2], [1, 1e5], label=_panels.entry(label))
        ax.set_yscale("log")
        ax.set_title(label)
        ax.set_xticks([1], [label])
        _panels.legend([ax])
    figures.save(figure, tmp_path / "a", f"caption of {label}")
    ElementTree.parse(tmp_path / "a.svg")  # well-formed
    texts = [*figure.legends[0].get_texts(), ax.title, *ax.get_xticklabels()]
    assert [text.get_text() for text in texts] == [label] * 3
    assert not any(text.get_parse_math() for text in texts)


def test_a_letter_that_the_font_has_not_is_said_once(tmp_path):
    with figures.style():
        figure = _style.new(2, 2)
        figure.add_subplot().set_title("\u65e5 \x1b[31m")
    with pytest.warns(LayerwiseWarning) as told:
        figures.save(figure, tmp_path / "a")
    assert len(told) == 2
    assert any("a.svg: Glyph 26085 " in str(each.message) for each in told)
    assert not any("\x1b" in str(each.message) for each in told)


@pytest.mark.parametrize("name", ["regions", "accuracy"])
def test_a_figure_of_a_study_has_no_mathematics_but_its_ticks(tiny, name):
    with figures.style():
        figure = drawn(labelled(tiny, r"$\nonsense{$"), name)
    texts = [text for text in figure.findobj(Text) if r"$\nonsense{$" in text.get_text()]
    assert texts
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize("name", LEGENDS)
@pytest.mark.parametrize("label", ["_hidden", "", "$x$"])
def test_no_label_is_kept_out_of_a_legend(tiny, name, label):
    with figures.style():
        figure = drawn(tiny, name)
    before = [text.get_text() for text in figure.legends[0].get_texts()]
    with figures.style():
        figure = drawn(labelled(tiny, label), name)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == len(before)
    assert any(text.partition(": mse")[0] == label for text in names)
    assert not any(_panels._JOINER in text for text in names)


def test_powers_of_ten_are_set_as_mathematics(tmp_path):
    with figures.style():
        figure = _style.new(3, 3)
        ax = figure.add_subplot()
        ax.set_xticks([0, 1], ["$5", "$6"])  # made before the axis below is logarithmic
        ax.set_yscale("log")
        ax.plot([0, 1], [1e-9, 1e3])
    figures.save(figure, tmp_path / "a")
    shown = [label for label in ax.get_yticklabels() if label.get_text()]
    assert shown
    assert all(label.get_parse_math() for label in shown)
    assert [(label.get_text(), label.get_parse_math()) for label in ax.get_xticklabels()] == [
        ("$5", False),
        ("$6", False),
    ]


def shown(cell: str) -> str:
    """What Markdown makes of a cell: of a backslash before punctuation the punctuation, of an entity its letter."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell))


@pytest.mark.parametrize("label", LABELS)
def test_a_table_in_markdown_shows_a_label_as_written(label):
    _, _, row = _format.markdown(pd.DataFrame({"network": [label], "n": ["1"]})).splitlines()
    _, cell, n, _ = re.split(r"(?<!\\)(?:\\\\)*\|", row)
    assert n == " 1 "
    assert shown(cell[1:-1]) == " ".join(label.splitlines())
    plain = re.sub(r"\\.|&\w+;", "", cell)
    assert not re.search(r"[<>`*~$\[\]]|\b_(?!\w)|(?<!\w)_", plain)


def test_what_needs_no_escape_stays():
    for text in (
        "d4/ridge (3 of 4), 97.1 ± 2.3 %",
        "test_accuracy of a-b_c",
        "(0.86 ± 3.09)e-04",
        "results/x/fits.csv.",
    ):
        assert _format.escaped(text) == text


@pytest.mark.parametrize("label", LABELS)
def test_the_picture_of_the_trie_shows_a_label_as_written(tiny, label):
    svg = picture.drawing(tiny.study, "digits", {"ridge": label}, {"ridge": label})
    assert html.unescape(svg).count(label) >= 3  # in the box, at the end, and for who does not see
    assert not re.search("<(?!/?(svg|path|g|title|rect|text)[ >])", svg)
