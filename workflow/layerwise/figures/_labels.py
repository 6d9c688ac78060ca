"""Labels set beside the points of a plot, moved until none covers a point, an error bar or another label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
DISTANCES = (6, 12, 20, 30, 42, 56, 72, 90)  # points of 1/72 inch
ALIGNED = {1: "left", 0: "center", -1: "right"}, {1: "bottom", 0: "center", -1: "top"}
FONT_SIZE = 7.5

Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


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
    at = [tuple(map(float, ax.transData.transform(p))) for p in points]
    window = ax.get_window_extent(renderer)
    room = window.x0, window.y0, window.x1, window.y1
    taken = [(x - 4 * unit, y - 4 * unit, x + 4 * unit, y + 4 * unit) for x, y in at]
    for left, bottom, right, top in bars:
        (x0, y0), (x1, y1) = ax.transData.transform([(left, bottom), (right, top)])
        taken.append((x0 - unit, y0 - unit, x1 + unit, y1 + unit))
    for i in sorted(range(len(points)), key=lambda i: (-points[i][1], points[i][0])):
        width, height = _size(ax, texts[i], renderer)
        costs = {}
        for distance in DISTANCES:
            for dx, dy in DIRECTIONS:
                length = distance / (2**0.5 if dx and dy else 1)
                x, y = at[i][0] + dx * length * unit, at[i][1] + dy * length * unit
                left, bottom = (
                    x + {1: 0.0, 0: -width / 2, -1: -width}[dx],
                    y + {1: 0.0, 0: -height / 2, -1: -height}[dy],
                )
                box = left, bottom, left + width, bottom + height
                lost = width * height - _shared(box, room)  # the part that falls out of the plot
                cost = sum(_shared(box, other) for other in taken) + 20 * lost + 3 * distance * unit
                costs[dx, dy, length] = cost, box
        (dx, dy, length), (_, box) = min(costs.items(), key=lambda item: item[1][0])
        line = {"arrowstyle": "-", "lw": 0.5, "color": colours[i], "shrinkA": 0, "shrinkB": 3}
        text = ax.annotate(
            texts[i],
            points[i],
            xytext=(dx * length, dy * length),
            textcoords="offset points",
            ha=ALIGNED[0][dx],
            va=ALIGNED[1][dy],
            fontsize=FONT_SIZE,
            color=colours[i],
            arrowprops=line if length > DISTANCES[1] else None,
            zorder=5,
        )
        text.set_in_layout(False)
        taken.append(box)


def _size(ax: Axes, text: str, renderer: Any) -> tuple[float, float]:
    """Return the width and height of a text in pixels."""
    trial = ax.text(0, 0, text, fontsize=FONT_SIZE, transform=None)
    extent = trial.get_window_extent(renderer)
    trial.remove()
    return extent.width, extent.height


def _shared(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
