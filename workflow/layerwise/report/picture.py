"""The trie of a study as a picture: a data set at the left, its segments one after the other, networks at the ends."""

from __future__ import annotations

import html
from dataclasses import dataclass

from layerwise.study.model import Study

ROW, BOX, GAP = 46, 34, 34  # pixels: between rows, height of a box, between columns
NAME, SMALL = 7.9, 6.6  # pixels a letter, at most: a name (digits and capitals are the wide ones), the line under it


@dataclass
class Place:
    """A box of the picture: its column (the depth), its middle, and its two lines of text."""

    column: int
    middle: float
    name: str
    under: str


def drawing(study: Study, dataset: str, under: dict[str, str], ends: dict[str, str]) -> str:
    """Return the trie of one data set as an inline SVG, in the colours of the page.

    Parameters
    ----------
    under
        For each path, and for the data set as the empty path, a second line of text in its box.
    ends
        For each network, the text at its end.
    """
    order = list(study.networks[dataset])
    paths = sorted(study.paths(dataset), key=lambda p: (p.count("/"), _first(p, order)))
    children: dict[str, list[str]] = {p: [] for p in ("", *paths)}
    for path in paths:
        children[path.rpartition("/")[0]].append(path)
    places: dict[str, Place] = {}
    rows = _lay_out("", children, places, 0)
    for path, place in places.items():
        place.name = path.rpartition("/")[2] or dataset
        place.under = under.get(path, "")
    columns = range(1 + max(p.column for p in places.values()))
    widths = [_width([p for p in places.values() if p.column == c]) for c in columns]
    starts = [1 + sum(widths[:c]) + GAP * c for c in columns]
    lines = [_edge(places, starts, widths, path.rpartition("/")[0], path) for path in paths]
    for path in paths:
        lines += [_edge(places, starts, widths, used, path, "uses") for used in study.segment(path).uses]
    right = 0.0
    for path, place in places.items():
        x, y = starts[place.column], place.middle
        kind = ' class="data"' if not path else ""
        lines.append(
            f'<g><title>{html.escape(path or dataset)}</title><rect{kind} x="{x:.0f}" y="{y - BOX / 2:.0f}" '
            f'width="{widths[place.column]:.0f}" height="{BOX}" rx="5"/>'
            f'<text x="{x + 9:.0f}" y="{y - 2:.0f}">{html.escape(place.name)}</text>'
            f'<text class="minor" x="{x + 9:.0f}" y="{y + 12:.0f}">{html.escape(place.under)}</text></g>'
        )
        if path in ends:
            # A network in the middle of another one has its text below the box, where no line goes.
            inner = bool(children[path])
            at = (x + 9, y + BOX / 2 + 10) if inner else (x + widths[place.column] + 10, y + 4)
            lines.append(f'<text x="{at[0]:.0f}" y="{at[1]:.0f}">{html.escape(ends[path])}</text>')
            right = max(right, at[0] + NAME * len(ends[path]))
        right = max(right, x + widths[place.column])
    label = html.escape(f"Networks on {dataset}: " + "; ".join(ends.values()), quote=True)
    size = f'width="{right + 4:.0f}" height="{rows * ROW:.0f}" viewBox="0 0 {right + 4:.0f} {rows * ROW:.0f}"'
    return f'<svg class="trie" role="img" aria-label="{label}" {size}>\n' + "\n".join(lines) + "\n</svg>"


def _first(path: str, order: list[str]) -> int:
    """Return the place of the first network that goes through a path; the end for one that is only looked at."""
    return next((i for i, network in enumerate(order) if f"{network}/".startswith(f"{path}/")), len(order))


def _lay_out(path: str, children: dict[str, list[str]], places: dict[str, Place], row: int) -> int:
    """Place a path and all below it from a row on, the parent in the middle of its children; return the next row."""
    column = path.count("/") + 1 if path else 0
    first = row
    for child in children[path]:
        row = _lay_out(child, children, places, row)
    if not children[path]:
        row += 1
    ends = [places[c].middle for c in children[path]]
    middle = (ends[0] + ends[-1]) / 2 if ends else (first + 0.5) * ROW
    places[path] = Place(column, middle, "", "")
    return row


def _width(places: list[Place]) -> float:
    return max(max(NAME * len(p.name), SMALL * len(p.under)) for p in places) + 18


def _edge(
    places: dict[str, Place], starts: list[float], widths: list[float], source: str, target: str, kind: str = ""
) -> str:
    """Return the line from a box to the one that takes its output in, or that looks at it (``uses``)."""
    a, b = places[source], places[target]
    x0, x1 = starts[a.column] + widths[a.column], starts[b.column]
    bend = max(GAP / 2, (x1 - x0) / 2)
    named = f' class="{kind}"' if kind else ""
    curve = f"C{x0 + bend:.0f} {a.middle:.0f} {x1 - bend:.0f} {b.middle:.0f} {x1:.0f} {b.middle:.0f}"
    return f'<path{named} d="M{x0:.0f} {a.middle:.0f} {curve}"/>'
