"""Error against bits a parameter, of trained networks whose weights are sent once by each coder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, entry, ladder, legend, looked_at, probed, ran, seen
from layerwise.figures._style import MARKERS, bar, decimal_ticks, new, over_seeds, provenance
from layerwise.maths.intervals import interval
from layerwise.options import Bounded
from layerwise.results.study_results import StudyResults, last_looks, numbers


@dataclass(frozen=True)
class Options(Bounded):
    probe: str = "coding"
    """The probe of the study; of one that looks during the training, what it saw last."""
    network: str = ""
    """The network as dataset/path; the one that the probe looks at where absent."""
    measure: str = "test_accuracy"
    """Column of the probe; of an accuracy the error is drawn, what is missing of 100 %."""


def draw(results: StudyResults, options: Options) -> Figure:
    table = probed(results, options.probe, ("coder", "bits_sent", options.measure), "rates")
    mine = seen(results, table, _network(results, options), "rates")
    name = _name(options.measure)
    figure = new(6.8, 3.8)
    ax = figure.add_subplot()
    ax.set(xlabel="bits a parameter, sent (log scale)", ylabel=name)
    if mine is None:
        empty(ax)
    else:
        numbers(mine, options.measure, "figure rates")
        table = _of_error(last_looks(mine), options.measure)
        coders = {str(words): own for words, own in table.groupby("coder", sort=False)}
        kinds = list(dict.fromkeys(words.split()[0] for words in coders))
        for i, (kind, colour) in enumerate(zip(kinds, ladder(len(kinds)), strict=True)):
            own = [told for words, told in coders.items() if words.split()[0] == kind]
            points = sorted((told["bits_sent"].mean(), *interval(told[options.measure])) for told in own)
            bits, means, _ = zip(*points, strict=True)
            bars = np.array([bar(mean, half) for _, mean, half in points])[:, :, 0].T
            ax.errorbar(bits, means, bars, color=colour, marker=MARKERS[i % len(MARKERS)], label=entry(kind))
        ax.set_xscale("log")
        decimal_ticks(ax.xaxis)
        if table.groupby("coder")[options.measure].mean().gt(0).all():  # no error at all has no place there
            ax.set(yscale="log", ylabel=f"{name} (log scale)")
            decimal_ticks(ax.yaxis)
    legend([ax])
    return figure


def _network(results: StudyResults, options: Options) -> str:
    """Return the network to show: coders of several networks are no one curve."""
    if options.network:
        return options.network
    networks = looked_at(results, options.probe, ())
    if len(networks) != 1:
        told = ", ".join(networks[:3]) or "no network that runs here"
        raise LayerwiseError(f"figure rates: probe {options.probe} looks at {told}: name one under network")
    return networks[0]


def _of_error(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the table with the error in place of an accuracy."""
    return table.assign(**{measure: 100 - table[measure]}) if measure.endswith("_accuracy") else table


def _name(measure: str) -> str:
    """Return what the axis is called: the error of an accuracy."""
    accuracy = measure.endswith("_accuracy")
    return measure.replace("_", " ").replace("accuracy", "error") + (", %" if accuracy else "")


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, [_network(results, options)])
    name = _name(options.measure).removesuffix(", %")
    return (
        f"{name.capitalize()} of a trained network whose weights are sent once, against the bits a parameter of the "
        f"bytes sent: {over_seeds(results, *there)}.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
