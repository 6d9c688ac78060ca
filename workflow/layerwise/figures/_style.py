"""How all figures look: sizes, the palette, and one look a network that is the same in every figure of a study.

A colour is a method, in every figure of every study; markers and dashes tell networks apart without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from layerwise.results.study_results import StudyResults

PIXELS_PER_INCH = 150

STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures are the same everywhere
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.5,
    "errorbar.capsize": 2.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
}

# One colour a method: Okabe and Ito's palette, which the colour-blind can tell apart, and spare ones for other methods.
COLOURS = {
    "sgd": "#0072B2",
    "random": "#7F7F7F",
    "pca": "#E69F00",
    "dmn": "#D55E00",
    "platonic": "#009E73",
    "ridge": "#222222",
    "dgl": "#CC79A7",
    "local": "#56B4E9",
    "patches": "#8C6D00",
}
SPARE = ("#6A3D9A", "#B2182B", "#4B5320", "#01665E")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))
SHADES = (0.0, 0.4, -0.4)  # towards white, towards black: of what markers and dashes no longer tell apart


@dataclass(frozen=True)
class Look:
    """Colour of the method; marker and dashes of the network within it, and a shade from the eleventh network on."""

    colour: tuple[float, float, float]
    marker: str
    dashes: Any


def looks(results: StudyResults, dataset: str, paths: Iterable[str]) -> dict[str, Look]:
    """Return the look of each network, which depends on the whole study and not on what else a figure shows."""
    seen: dict[str, int] = {}
    colour = method_colours(results)
    found: dict[str, Look] = {}
    for path in [*results.study.networks[dataset], *paths]:
        if path not in found:
            method = results.method(path)
            i = seen[method] = seen.get(method, -1) + 1
            k = list(colour).index(method)
            marker = MARKERS[(i + 3 * k) % len(MARKERS)]  # with the dashes, another pair for each i below 10, k below 5
            shade = SHADES[i // len(MARKERS) % len(SHADES)]
            found[path] = Look(shaded(colour[method], shade), marker, DASHES[(i + k) % len(DASHES)])
    return found


def method_colours(results: StudyResults) -> dict[str, str]:
    """Return the colour of each method of the study; spare ones go by the order in which the study names them."""
    methods = dict.fromkeys(segment.method for segment in results.study.segments.values())
    spare = [method for method in methods if method not in COLOURS]
    return COLOURS | {method: SPARE[i % len(SPARE)] for i, method in enumerate(spare)}


def shaded(colour: str, shade: float) -> tuple[float, float, float]:
    """Return a colour moved towards white (shade above 0) or black (below)."""
    rgb = np.array(to_rgb(colour))
    r, g, b = rgb + (1 - rgb) * shade if shade > 0 else rgb * (1 + shade)
    return float(r), float(g), float(b)


def new(width: float, height: float, pad: float = 0.08, space: float = 0.02) -> Figure:
    """Return an empty figure, in inches, that belongs to no global state.

    Parameters
    ----------
    pad, space
        Room around each panel, in inches, and between panels, as a share of them.
    """
    layout = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=space, hspace=space)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def grid(panels: int, columns: int, side: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels in rows; places that are left over stay empty."""
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = new(columns * side, rows * height)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    return figure, axes


def bar(mean: float, half_width: float, logarithmic: bool = True) -> list[list[float]]:
    """Return the lengths of an error bar, ``[[below], [above]]``; a logarithmic axis cannot show what is below 0."""
    half = half_width if half_width > 0 else 0.0  # unknown (nan) is drawn as none
    return [[min(half, 0.9 * abs(mean)) if logarithmic else half], [half]]


def decimal_ticks(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as plain numbers where it spans three decades or fewer."""
    low, high = axis.get_view_interval()
    if 0 < low < high < 1000 * low and high < 1e5 and low > 1e-4:
        subs = (1.0, 2.0, 5.0) if high > 8 * low else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
        axis.set_minor_formatter(NullFormatter())


def said(items: Sequence[object]) -> str:
    """Return items as a list in words."""
    return ", ".join(map(str, items))


def provenance(results: StudyResults, *files: str) -> str:
    """Return the end of a caption: the machine and the files that the numbers came from."""
    home = f"results/{results.study.name}"
    return f"Measured on {said(results.machines)}. Source: {said([f'{home}/{f}' for f in files])}."


def over_seeds(results: StudyResults, *datasets: str) -> str:
    """Return the words for the mean and interval over the seeds of some data sets, or of all that the study runs."""
    study = results.study
    counts = sorted({len(study.seeds_of(d)) for d in datasets or study.networks})
    if counts[-1] == 1:
        return "one seed, so no interval"
    told = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    return f"mean and 95 % Student-t interval over {told} seeds"
