"""A column of what a probe saw against depth or step, one line a step, a depth or a number of neighbours.

For thesis figures 5.6, 5.14 and 5.21, and for the pure entropy of eq. 5.4 by depth.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, ladder, legend, line, looked_at, over, probed, ran, seen, title
from layerwise.figures._style import grid, over_seeds, provenance
from layerwise.options import Bounded
from layerwise.results.study_results import StudyResults, numbers

NAMES = {
    "redundancy": "k-redundancy, %",
    "entropy": "entropy, bits",
    "cells": "cells of a pure Voronoi map",
    "train_lsd": "least squares distance to the targets",
    "stable_rank": "stable rank",
}


@dataclass(frozen=True)
class Options(Bounded):
    probe: str
    """The probe of the study."""
    column: str
    """What to show: a column of the probe, a mean over the rows that are left at each place."""
    x: Literal["depth", "step", "layer"] = "depth"
    """Along the axis: a column of the probe."""
    lines: str = ""
    """A column of the probe, a line for each of its values, such as step, depth or k; one line where absent."""
    where: dict[str, float] = field(default_factory=dict)
    """Which rows are shown: {column: value}."""
    networks: tuple[str, ...] = ()
    """Networks as dataset/path, a panel each; all that the probe looks at where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    named = [options.column, options.x, *([options.lines] if options.lines else []), *options.where]
    table = probed(results, options.probe, named, "lens")
    if len(table):
        numbers(table, options.column, "figure lens")
    figure, axes = grid(len(networks), 3, 3.0, 2.8)
    figure.set_figwidth(figure.get_figwidth() + 1.4)
    for ax, network in zip(axes, networks, strict=True):
        ax.set_title(textwrap.fill(title(results, network), 38), loc="left")
        ax.set_xlabel(options.x)
        mine = seen(results, table, network, "lens")
        if mine is None:
            empty(ax)
            continue
        for column, wanted in options.where.items():
            mine = mine[mine[column] == wanted]
            if mine.empty:
                raise LayerwiseError(f"figure lens: probe {options.probe} saw nothing where {column} is {wanted:g}")
        groups = list(mine.groupby(options.lines)) if options.lines else [(options.column, mine)]
        for (value, group), colour in zip(groups, ladder(len(groups)), strict=True):
            means = group.groupby(["seed", options.x])[options.column].mean().reset_index()
            label = f"{options.lines} {value!s}" if options.lines else NAMES.get(options.column, options.column)
            line(ax, over(means, options.x, options.column), label, colour, marker="o", ms=3)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for ax in axes[::3]:
        ax.set_ylabel(textwrap.fill(NAMES.get(options.column, options.column), 32))
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, options.networks))
    at = "".join(f", where {column} is {value:g}" for column, value in options.where.items())
    layer = {"depth": "; depth 0 is the input", "layer": "; layer 1 is the lowest"}.get(options.x, "")
    return (
        f"{NAMES.get(options.column, options.column)} against the {options.x}{at}, as the probe {options.probe} saw it"
        f"{layer}. Lines and bands: {over_seeds(results, *there)}.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
