"""Numbers and tables as people read them."""

from __future__ import annotations

import html
import math
import re
from typing import Any

import pandas as pd

HALF = "_half_width"


def number(value: Any) -> str:
    """Return a number with up to four significant digits, a whole number or a text as it is, nothing for nan."""
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, str):
        return value
    x = float(value)
    if math.isnan(x):
        return ""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e15 else f"{x:.4g}"


def plus_minus(mean: float, half_width: float) -> str:
    """Return ``mean ± half width``, both to the second significant digit of the half width."""
    if math.isnan(mean) or math.isnan(half_width):
        return number(mean)
    half_width = half_width if half_width > 1e-9 * abs(mean) else 0.0  # rounding alone
    size = max(abs(mean), half_width)
    if size != 0 and not 1e-3 <= size < 1e5:
        power = math.floor(math.log10(size))
        return f"({mean / 10**power:.2f} ± {half_width / 10**power:.2f})e{power:+03d}"
    digits = 2 if half_width == 0 else min(4, max(0, 1 - math.floor(math.log10(half_width))))
    return f"{round(mean, digits) + 0.0:.{digits}f} ± {half_width:.{digits}f}"  # + 0.0: no zero below zero


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of texts: half widths joined to what they belong to, underscores in names made spaces."""
    columns: dict[str, list[str]] = {}
    for name in map(str, table):
        if name.endswith(HALF) and name.removesuffix(HALF) in table:
            continue
        if name + HALF in table:
            texts = [plus_minus(m, h) for m, h in zip(table[name], table[name + HALF], strict=True)]
        else:
            texts = [number(value) for value in table[name]]
        columns[name.replace("_", " ")] = texts
    return pd.DataFrame(columns)


# What Markdown takes for more than itself, of which a backslash makes it a letter; an underscore inside a word is one.
MARKS = re.compile(r"[\\`*|~$\[\]]|(?<![^\W_])_|_(?![^\W_])")


def escaped(text: str) -> str:
    """Return a text, in one line, that Markdown shows as it is written."""
    return MARKS.sub(r"\\\g<0>", html.escape(" ".join(text.splitlines()), quote=False))


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts in Markdown."""

    def line(cells: Any) -> str:
        return "| " + " | ".join(escaped(str(c)) for c in cells) + " |"

    return "\n".join([line(table), line("---" for _ in table.columns), *(line(row) for row in table.to_numpy())]) + "\n"
