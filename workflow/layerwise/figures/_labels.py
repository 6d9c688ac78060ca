"""Labels set beside the points of a plot, moved until none covers a point, an error bar or another label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
DISTANCES = (6, 12, 20, 30, 42, 56, 72, 90)  # points of 1/72 inch
ALIGNED = {1: "left", 0: "center", -1: "right"}, {1: "bottom", 0: "center", -1: "top"}
FONT_SIZE = 7.5
TRIALS = 20  # orders in which the labels are placed; the best one is taken

Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


class Choice(NamedTuple):
    """A place for a label: its offset in points, its direction, what it takes up, and what speaks against it."""

    offset: tuple[float, float]
    direction: tuple[int, int]
    boxes: list[Box]
    cost: float


def place(
    ax: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[Any],
    bars: Sequence[Box] = (),
) -> None:
    """Write each text near its point, with a thin line to it where it had to move away.

    Parameters
    ----------
    points
        In data coordinates.
    bars
        What else not to cover, such as error bars, as boxes in data coordinates.
    """
    canvas = ax.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # fixes the layout, from which the places follow
    renderer = canvas.get_renderer()
    unit = ax.figure.get_dpi() / 72
    window = ax.get_window_extent(renderer)
    room = window.x0, window.y0, window.x1, window.y1
    at = [tuple(map(float, ax.transData.transform(p))) for p in points]
    taken = [(x - 4 * unit, y - 4 * unit, x + 4 * unit, y + 4 * unit) for x, y in at]
    for left, bottom, right, top in bars:
        (x0, y0), (x1, y1) = ax.transData.transform([(left, bottom), (right, top)])
        taken.append((x0 - unit, y0 - unit, x1 + unit, y1 + unit))
    choices = [
        _choices(x, y, *_size(ax, text, renderer), room, taken, unit) for (x, y), text in zip(at, texts, strict=True)
    ]
    for i, choice in enumerate(_arrange(choices)):
        corner = tuple((1 - d) / 2 for d in choice.direction)  # of the text, where its line ends
        leader = {"arrowstyle": "-", "lw": 0.5, "color": colours[i], "shrinkA": 0, "shrinkB": 3, "relpos": corner}
        text = ax.annotate(
            texts[i],
            points[i],
            xytext=choice.offset,
            textcoords="offset points",
            ha=ALIGNED[0][choice.direction[0]],
            va=ALIGNED[1][choice.direction[1]],
            fontsize=FONT_SIZE,
            color=colours[i],
            arrowprops=leader if max(map(abs, choice.offset)) > DISTANCES[1] else None,
            zorder=5,
        )
        text.set_in_layout(False)


def _arrange(choices: list[list[Choice]]) -> list[Choice]:
    """Choose a place for every label, one label after the other in several orders; return what costs least in all."""
    order = list(range(len(choices)))
    shuffle = random.Random(0).shuffle
    best: tuple[float, dict[int, Choice]] | None = None
    for _ in range(TRIALS):
        chosen: dict[int, Choice] = {}
        total = 0.0
        for i in order:
            others = [box for choice in chosen.values() for box in choice.boxes]
            costs = [c.cost + 6 * sum(_shared(a, b) for a in c.boxes for b in others) for c in choices[i]]
            least = min(range(len(costs)), key=costs.__getitem__)
            chosen[i] = choices[i][least]
            total += costs[least]
        if best is None or total < best[0]:
            best = total, chosen
        shuffle(order)
    return [best[1][i] for i in range(len(choices))] if best else []


def _choices(x: float, y: float, width: float, height: float, room: Box, taken: list[Box], unit: float) -> list[Choice]:
    """Return the places for one label of a point at (x, y), with what each covers or leaves the room by."""
    found = []
    for distance in DISTANCES:
        for dx, dy in DIRECTIONS:
            length = distance / (2**0.5 if dx and dy else 1)
            end = x + dx * length * unit, y + dy * length * unit
            left = end[0] + {1: 0.0, 0: -width / 2, -1: -width}[dx]
            bottom = end[1] + {1: 0.0, 0: -height / 2, -1: -height}[dy]
            box = left - 4 * unit, bottom, left + width + 4 * unit, bottom + height
            outside = (box[2] - box[0]) * height - _shared(box, room)
            boxes = [box, *_leader((x, y), end, unit)]
            covered = sum(_shared(a, b) for a in boxes for b in taken)
            cost = 6 * covered + 20 * outside + 3 * distance * unit
            found.append(Choice((dx * length, dy * length), (dx, dy), boxes, cost))
    return found


def _leader(start: tuple[float, float], end: tuple[float, float], unit: float) -> list[Box]:
    """Return small boxes along the line that leads from a point, beyond its marker, to its label."""
    steps = int(max(abs(end[0] - start[0]), abs(end[1] - start[1])) / (4 * unit))
    places = [[a + (b - a) * i / steps for a, b in zip(start, end, strict=True)] for i in range(2, steps)]
    return [(x - unit, y - unit, x + unit, y + unit) for x, y in places]


def _size(ax: Axes, text: str, renderer: Any) -> tuple[float, float]:
    """Return the width and height of a text in pixels."""
    trial = ax.text(0, 0, text, fontsize=FONT_SIZE, transform=None)
    extent = trial.get_window_extent(renderer)
    trial.remove()
    return extent.width, extent.height


def _shared(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    across, up = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return across * up if across > 0 and up > 0 else 0.0
