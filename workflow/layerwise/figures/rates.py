"""Error against bits a parameter, of trained networks whose weights are sent once by each coder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from layerwise.figures._panels import entry, ladder, legend, looked_at, probed, ran
from layerwise.figures._style import MARKERS, bar, decimal_ticks, new, over_seeds, provenance
from layerwise.maths.intervals import interval
from layerwise.options import Bounded
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    probe: str = "coding"
    """The probe of the study."""
    measure: str = "test_accuracy"
    """Column of the probe; of an accuracy the error is drawn, what is missing of 100 %."""


def draw(results: StudyResults, options: Options) -> Figure:
    table = probed(results, options.probe, ("coder", "bits_sent", options.measure), "rates")
    table, name = _of_error(table, options.measure)
    figure = new(6.8, 3.8)
    ax = figure.add_subplot()
    ax.set(xlabel="bits a parameter, sent (log scale)", ylabel=f"{name} (log scale)")
    if len(table):
        coders = {str(words): own for words, own in table.groupby("coder", sort=False)}
        kinds = list(dict.fromkeys(words.split()[0] for words in coders))
        for i, (kind, colour) in enumerate(zip(kinds, ladder(len(kinds)), strict=True)):
            own = [told for words, told in coders.items() if words.split()[0] == kind]
            points = sorted((told["bits_sent"].mean(), *interval(told[options.measure])) for told in own)
            bits, means, _ = zip(*points, strict=True)
            bars = np.array([bar(mean, half) for _, mean, half in points])[:, :, 0].T
            ax.errorbar(bits, means, bars, color=colour, marker=MARKERS[i % len(MARKERS)], label=entry(kind))
        ax.set_xscale("log")
        ax.set_yscale("log")
        decimal_ticks(ax.xaxis)
        decimal_ticks(ax.yaxis)
    legend([ax])
    return figure


def _of_error(table: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, str]:
    """Return the table with the error in place of an accuracy, and what the measure is then called."""
    name = measure.replace("_", " ")
    if not measure.endswith("_accuracy") or not len(table):
        return table, name
    return table.assign(**{measure: 100 - table[measure]}), f"{name.replace('accuracy', 'error')}, %"


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, ()))
    name = options.measure.replace("_", " ").replace("accuracy", "error")
    return (
        f"{name.capitalize()} of trained networks whose weights are sent once, against the bits a parameter of the "
        f"bytes sent: {over_seeds(results, *there)}.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
