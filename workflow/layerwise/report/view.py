"""A table as a page shows it: its cells as text, and what of it is folded away so that it fits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from layerwise.tables._format import HALF, number, plus_minus

WIDTH = 1270  # pixels that a table may take of a page of 1,400, as they are estimated
LETTER, PADDING = 7.0, 16  # pixels: a letter of a table, at most on average, and the room beside a cell
LONG, LONGEST = 24, 90  # letters: of a text that may be broken, and of one that needs a wide column
ROWS = 15  # shown of a table before the rest is asked for; style.css counts them

# Columns that are folded first, by name, until a table fits; then those at the right, but for the reason of a verdict.
MINOR = ("digest", "path", "seconds over .*", ".* control", "source", "measure", "method", "parameters", "difference")


class Cell(NamedTuple):
    """A cell or a head of a table: its text, its class, the value that it sorts by if not by its text, its verdict."""

    text: str
    style: str = ""
    value: str | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Table:
    """A table as the page shows it.

    Parameters
    ----------
    folded_columns, folded_rows
        How many columns are shown on demand, and whether rows are.
    """

    caption: str
    heads: Sequence[Cell]
    rows: Sequence[tuple[Cell, ...]]
    folded_columns: int = 0
    folded_rows: bool = False


def table(data: pd.DataFrame, caption: str, styles: dict[str, str] | None = None) -> Table:
    """Return what a page shows of a table; a half width is joined to what it belongs to.

    Parameters
    ----------
    styles
        For a column, the class of its cells; ``verdict`` takes that of the verdict that the cell holds.
    """
    shown = [c for c in map(str, data) if not (c.endswith(HALF) and c.removesuffix(HALF) in data)]
    numeric = {c for c in shown if pd.api.types.is_numeric_dtype(data[c])}
    columns = []
    for c in shown:
        halves = data[c + HALF] if c + HALF in data else [None] * len(data)
        style = (styles or {}).get(c, "")
        columns.append([_cell(v, half, c in numeric, style) for v, half in zip(data[c], halves, strict=True)])
    heads = [Cell(c.replace("_", " "), "number" if c in numeric else "") for c in shown]
    return folded(Table(caption, heads, list(zip(*columns, strict=True))))


def _cell(value: Any, half: float | None, numeric: bool, style: str) -> Cell:
    absent = pd.isna(value)
    if numeric:
        text = "" if absent else number(value) if half is None else plus_minus(value, half)
        return Cell(text, "number", "" if absent else repr(float(value)))
    text = "" if absent else str(value)
    if style == "verdict":
        return Cell(text, text.replace(" ", "-"), verdict=text)
    return Cell(text, style or _breaks(text))


def _breaks(text: str) -> str:
    return "" if len(text) <= LONG else "long" if len(text) <= LONGEST else "long longest"


def folded(shown: Table) -> Table:
    """Return a table that fits the page: columns and rows beyond it are there on demand."""
    widths = [_width(shown, i) for i in range(len(shown.heads))]
    order = [i for name in MINOR for i, head in enumerate(shown.heads) if re.fullmatch(name, head.text)]
    order += [i for i in range(len(widths) - 1, 0, -1) if i not in order and shown.heads[i].text != "reason"]
    away: set[int] = set()
    for i in order:
        if sum(w for j, w in enumerate(widths) if j not in away) <= WIDTH:
            break
        away.add(i)

    def marked(cells: Sequence[Cell]) -> tuple[Cell, ...]:
        return tuple(c._replace(style=f"{c.style} more".strip()) if i in away else c for i, c in enumerate(cells))

    rows = [marked(row) for row in shown.rows]
    return replace(shown, heads=marked(shown.heads), rows=rows, folded_columns=len(away), folded_rows=len(rows) > ROWS)


def _width(shown: Table, column: int) -> float:
    """Return about how many pixels a column needs: its longest word where texts break, else its longest text."""
    least = max(map(len, shown.heads[column].text.split()), default=0) + 1  # the arrow of what is sorted
    return LETTER * max([least, *(_letters(row[column]) for row in shown.rows)]) + PADDING


def _letters(cell: Cell) -> int:
    broken = {"long": 20, "long longest": 38}  # as wide as style.css makes them at least
    return broken.get(cell.style, len(cell.text))
