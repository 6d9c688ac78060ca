"""How linear the problem has become at each depth of each network, as the probe ``lsd`` measured it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerwise.errors import LayerwiseError, nearest
from layerwise.figures._panels import entry, legend
from layerwise.figures._style import decimal_ticks, looks, new, over_seeds, provenance
from layerwise.maths.intervals import interval
from layerwise.results.study_results import StudyResults

NAMES = {
    "train_lsd": "least squares distance to the targets (train)",
    "accuracy": "accuracy of a ridge read-out, %",
    "mse": "mean squared error of a ridge read-out",
}


@dataclass(frozen=True)
class Options:
    dataset: str
    """Data set whose networks are shown."""
    probe: str = "lsd"
    """The probe of the study that measured them."""
    measure: str = "train_lsd"
    """Its column, such as train_lsd, test_accuracy or test_mse."""
    networks: tuple[str, ...] = ()
    """Paths of the networks; all of the data set where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    table = results.probe(options.probe)
    if options.measure not in table:
        hint = nearest(options.measure, map(str, table))
        raise LayerwiseError(f"figure readout_depth: probe {options.probe} has no column {options.measure!r}{hint}")
    networks = results.networks(options.dataset, options.networks)
    look = looks(results, options.dataset, networks)
    figure = new(7.4, 4.2)
    ax = figure.add_subplot()
    table = table[table["dataset"] == options.dataset]
    logarithmic = "accuracy" not in options.measure
    ends: list[tuple[float, str]] = []
    for i, (path, label) in enumerate(networks.items()):
        mine = table[table["path"] == path].groupby("depth")[options.measure]
        told = [(cast(int, depth), *_interval(values, logarithmic)) for depth, values in mine]
        told = [t for t in told if t[1] > 0]  # an exact zero has no place on a logarithmic axis
        if not told:
            continue
        aside = 0.24 * (i / max(1, len(networks) - 1) - 0.5)  # so that error bars stand side by side
        x, y = [t[0] + (aside if t[0] else 0) for t in told], [t[1] for t in told]
        bars = [[t[2] for t in told], [t[3] for t in told]]
        style = {"color": look[path].colour, "marker": look[path].marker, "linestyle": look[path].dashes}
        ax.errorbar(x, y, yerr=bars, label=entry(label), elinewidth=0.9, **style)
        ax.plot(x[-1:], y[-1:], look[path].marker, color=look[path].colour, mfc="white", zorder=4)  # the output
        ends.append((y[-1], label))
    if logarithmic:
        ax.set_yscale("log")
        decimal_ticks(ax.yaxis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("depth: 0 is the input, each next weighted layer adds one, the last (hollow) is the output")
    split, _, kind = options.measure.partition("_")
    ax.set_ylabel(NAMES.get(options.measure) or f"{split} {NAMES.get(kind, options.measure)}")
    ax.set_title(f"{options.dataset}: read-out at every depth", loc="left")
    order = [label for _, label in sorted(ends, reverse=True)]
    legend([ax], order, handlelength=3.6)
    return figure


def _interval(values: pd.Series, logarithmic: bool) -> tuple[float, float, float]:
    """Return the mean, and how far the interval reaches below and above it; of the logarithms on such an axis."""
    if not logarithmic:
        mean, half = interval(values)
        return mean, max(0.0, half), max(0.0, half)  # max gives 0.0 for the nan of a single seed
    mean, half = interval(np.log10(values[values > 0]))
    low, middle, high = (10 ** (mean + end * max(0.0, half)) for end in (-1, 0, 1))
    return middle, middle - low, high - middle


def caption(results: StudyResults, options: Options) -> str:
    what = {
        "train_lsd": "Least squares distance ||Y - Z Z+ Y||^2 / N from the training representation Z to the targets Y "
        "(thesis eq. 5.3)"
    }.get(options.measure, f"{options.measure.replace('_', ' ').capitalize()} of a ridge read-out")
    geometric = "" if "accuracy" in options.measure else "geometric "
    return (
        f"{what} at every depth of the networks on {options.dataset}: {geometric}"
        f"{over_seeds(results, options.dataset)}. Hollow marks are the outputs: a linear last layer keeps of the "
        f"features below it as many directions as there are outputs, so that a linear read-out of the output fits the "
        f"training samples no better than one of those features, and mostly worse. Networks stand in the legend from "
        f"the highest end to the lowest. "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
