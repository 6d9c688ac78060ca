"""The templates of all pages, and the style that they share."""

from __future__ import annotations

from pathlib import Path

import jinja2

PARTS = Path(__file__).parent
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(PARTS),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
STYLE = (PARTS / "style.css").read_text(encoding="utf-8")
