"""The little Markdown of the findings."""

from __future__ import annotations

import pytest

from layerwise.report import findings, prose


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("**so** it *is*", "<strong>so</strong> it <em>is</em>"),
        ("`a*b*c <d>`", "<code>a*b*c &lt;d&gt;</code>"),
        ("3*4*5 and 2 * 3 * 4", "3*4*5 and 2 * 3 * 4"),
        ("[dmn](dmn.md)", '<a href="../x/dmn.md">dmn</a>'),
        ("[there](https://example.org/a)", '<a href="https://example.org/a">there</a>'),
        ("**[`a`](b.md)**", '<strong><a href="../x/b.md"><code>a</code></a></strong>'),
        ('[x](a"b)', '<a href="../x/a&quot;b">x</a>'),
        ("± 0.1 % <script>", "± 0.1 % &lt;script&gt;"),
    ],
)
def test_inline(text, html):
    assert prose.inline(text, "../x/") == html


PAGE = """# Title

Some text.

## First

- one
  goes on
- two

  a paragraph of two

| a | b |
|---|---|
- three

## In short

- short
"""


def test_bullets_go_on_in_indented_lines():
    assert prose.bullets(prose.section(PAGE, "First")) == ["one goes on", "two", "three"]
    assert prose.section(PAGE, "None") is None
    assert prose.first_heading(PAGE) == "First"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (PAGE, ["short"]),
        (PAGE.replace("In short", "Later"), ["one goes on", "two", "three"]),
        ("# Title\n\nNo section.\n", None),
        ("# Title\n\n## First\n\nNo bullets.\n", None),
    ],
)
def test_the_findings_of_a_study(text, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert findings.read("s") is None
    (tmp_path / "docs/findings").mkdir(parents=True)
    (tmp_path / "docs/findings/s.md").write_text(text, encoding="utf-8")
    found = findings.read("s")
    assert (found.sentences if found else None) == wanted
