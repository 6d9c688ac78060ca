"""The little Markdown of the findings as HTML: sections, bullets, bold, emphasis, code and links; all else is text."""

from __future__ import annotations

import html
import re

INLINE = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)|(?<![\w*])\*([^*\s][^*]*)\*(?!\w)")


def inline(text: str, base: str = "") -> str:
    """Return a run of text as HTML.

    Parameters
    ----------
    base
        The folder, as seen from the page, from which links lead.
    """
    parts, at = [], 0
    for match in INLINE.finditer(text):
        parts.append(html.escape(text[at : match.start()]))
        code, bold, named, link, soft = match.groups()
        if code:
            parts.append(f"<code>{html.escape(code)}</code>")
        elif bold:
            parts.append(f"<strong>{inline(bold, base)}</strong>")
        elif named:
            parts.append(f'<a href="{html.escape(_target(link, base))}">{inline(named, base)}</a>')
        else:
            parts.append(f"<em>{inline(soft, base)}</em>")
        at = match.end()
    return "".join(parts) + html.escape(text[at:])


def _target(link: str, base: str) -> str:
    return link if re.match(r"[a-z]+:|#", link) else base + link


def section(text: str, heading: str) -> str | None:
    """Return what stands under a heading of the second level, up to the next one; None where there is none."""
    found = re.search(rf"^## {re.escape(heading)} *\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else None


def first_heading(text: str) -> str | None:
    """Return the first heading of the second level."""
    found = re.search(r"^## (.+?) *$", text, re.MULTILINE)
    return found[1] if found else None


def bullets(text: str) -> list[str]:
    """Return the bullets of a section, each on one line; indented lines go on with the one before."""
    found: list[str] = []
    within = False
    for line in text.splitlines():
        if line.startswith("- "):
            found.append(line[2:].strip())
            within = True
        elif within and line.startswith("  ") and line.strip():
            found[-1] += " " + line.strip()
        else:
            within = False
    return found
