"""What networks reach against a number that was varied: filters, a threshold, training images.

For dmn supplement figure 6 and dmn-icassp figure 3 (bottom).
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from math import log
from typing import Annotated

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError, nearest
from layerwise.figures._panels import Colour, colours, empty, entry, legend, measured, ran
from layerwise.figures._style import DASHES, MARKERS, bar, grid, over_seeds, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults

SCALES = {"accuracy", "seconds", "parameters"}  # what else is measured, errors and losses, spans decades
LINE = 36  # letters of an axis label that fit under a panel


@dataclass(frozen=True)
class Options(Bounded):
    panels: Annotated[dict[str, Annotated[dict[str, Annotated[dict[float, str], MinLen(1)]], MinLen(1)]], MinLen(1)]
    """The lines of each panel: {title: {line: {number: dataset/path}}}."""
    x: dict[str, str] = field(default_factory=dict)
    """What the number of a panel is: {title: label of the axis}."""
    logarithmic: tuple[str, ...] = ()
    """Panels with a logarithmic axis of numbers."""
    marks: dict[str, float | tuple[float, ...]] = field(default_factory=dict)
    """Where the work has the optimum, dotted lines: {title: number}, or {title: [low, high]} for a range."""
    baseline: dict[str, str] = field(default_factory=dict)
    """The network without a layer below its head, a dashed line: {title: dataset/path}."""
    measure: str = "test_accuracy"
    """Column of fits.csv."""

    def __post_init__(self) -> None:
        for name in ("x", "logarithmic", "marks", "baseline"):
            for title in getattr(self, name):
                if title not in self.panels:
                    raise LayerwiseError(f"option {name!r}: no panel {title!r}{nearest(title, self.panels)}")
        for title in self.logarithmic:
            if any(x <= 0 for line in self.panels[title].values() for x in line):
                raise LayerwiseError(f"option 'logarithmic': panel {title!r} has a number that is not above 0")


def draw(results: StudyResults, options: Options) -> Figure:
    every = [line for lines in options.panels.values() for line in lines.items()]
    colour = colours(results, [(name, network) for name, points in every for network in points.values()])
    marker = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(colour)}
    figure, axes = grid(len(options.panels), 3, 2.7, 2.9)
    figure.set_figwidth(figure.get_figwidth() + 1.7)
    for ax, (title, lines) in zip(axes, options.panels.items(), strict=True):
        _panel(ax, results, options, title, lines, colour, marker)
    if not SCALES & set(options.measure.split("_")):
        for ax in axes:
            ax.set_yscale("log")
    unit = ", %" if "accuracy" in options.measure else ", s" if "seconds" in options.measure else ""
    for ax in axes[::3]:
        ax.set_ylabel(f"{options.measure.replace('_', ' ')}{unit}")
    legend(axes, handlelength=3.0)
    return figure


def _panel(
    ax: Axes,
    results: StudyResults,
    options: Options,
    title: str,
    lines: dict[str, dict[float, str]],
    colour: dict[str, Colour],
    marker: dict[str, str],
) -> None:
    if title in options.logarithmic:
        ax.set_xscale("log")
    drawn: set[float] = set()
    for i, (name, points) in enumerate(lines.items()):
        found = [(x, measured(results, network, options.measure)) for x, network in sorted(points.items())]
        told = [(x, *value) for x, value in found if value]
        if not told:
            continue
        bars = [bar(mean, half, logarithmic=False) for _, mean, half in told]
        style = {"color": colour[name], "marker": marker[name], "ls": DASHES[i % len(DASHES)], "elinewidth": 0.9}
        x, y = [t[0] for t in told], [t[1] for t in told]
        ax.errorbar(x, y, yerr=[[b[0][0] for b in bars], [b[1][0] for b in bars]], label=entry(name), **style)
        drawn.update(x)
    if title in options.baseline:
        base = measured(results, options.baseline[title], options.measure)
        if base:
            ax.axhline(base[0], color="#555555", lw=1, ls=(0, (4, 2)), label="no layer below the head")
    mark = options.marks.get(title, ())
    for place in (mark if isinstance(mark, tuple) else (mark,)) if drawn else ():
        ax.axvline(place, color="black", lw=1, ls=":", label="published optimum")
    if drawn and title in options.logarithmic:
        _ticks(ax, sorted(drawn))
    if not drawn:
        empty(ax)
    ax.set_title(title, loc="left")
    label = options.x.get(title, title) + (" (log scale)" if title in options.logarithmic else "")
    ax.set_xlabel(textwrap.fill(label, LINE))


def _ticks(ax: Axes, numbers: list[float]) -> None:
    """Write the numbers themselves on a logarithmic axis, those that find room."""
    kept = numbers[:1]
    for x in numbers[1:]:
        if log(x / kept[-1]) >= 0.12 * log(numbers[-1] / numbers[0]):
            kept.append(x)
    ax.set_xticks(kept, [f"{x:,.10g}" for x in kept])
    ax.minorticks_off()


def caption(results: StudyResults, options: Options) -> str:
    named = [n for lines in options.panels.values() for points in lines.values() for n in points.values()]
    there, out = ran(results, [*named, *options.baseline.values()], of_fits=True)
    mark = " Dotted: the optimum that the work gives." if options.marks else ""
    dashed = " Dashed: the network without a layer below its head." if options.baseline else ""
    against = ", ".join(dict.fromkeys(options.x.get(title, title) for title in options.panels))
    return (
        f"{options.measure.replace('_', ' ').capitalize()} against {against}: "
        f"{over_seeds(results, *there)}.{mark}{dashed}{out} "
        f"{provenance(results, 'fits.csv')}"
    )
