"""What came of a study, from docs/findings/<study>.md: its section *In short*, or the bullets of its first one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from layerwise import store
from layerwise.report import prose
from layerwise.study.trie import FINDINGS

SHORT = "In short"


class Findings(NamedTuple):
    """The sentences of a page of findings, as Markdown, and the page."""

    sentences: list[str]
    file: Path


def text(study: str) -> str:
    """Return the page of findings of a study, empty where there is none."""
    file = FINDINGS / f"{study}.md"
    return store.read_text(file) if file.is_file() else ""


def read(study: str) -> Findings | None:
    """Return what a study found; None where no page tells of it, or its first section has no bullets."""
    page = text(study)
    heading = SHORT if prose.section(page, SHORT) is not None else prose.first_heading(page)
    sentences = prose.bullets(prose.section(page, heading) or "") if heading else []
    return Findings(sentences, FINDINGS / f"{study}.md") if sentences else None
