"""Accuracy against bits a parameter, of trained networks whose weights are sent once by each coder."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from layerwise.figures._panels import entry, ladder, legend, looked_at, probed, ran
from layerwise.figures._style import MARKERS, decimal_ticks, new, over_seeds, provenance
from layerwise.options import Bounded
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    probe: str = "coding"
    """The probe of the study."""
    measure: str = "test_accuracy"
    """Column of the probe."""


def draw(results: StudyResults, options: Options) -> Figure:
    table = probed(results, options.probe, ("coder", "bits_sent", options.measure), "rates")
    figure = new(6.8, 3.8)
    ax = figure.add_subplot()
    ax.set(xlabel="bits a parameter, sent (log scale)", ylabel=options.measure.replace("_", " "))
    if len(table):
        means = table.groupby("coder", sort=False)[["bits_sent", options.measure]].mean()
        kinds = list(dict.fromkeys(words.split()[0] for words in means.index))
        for i, (kind, colour) in enumerate(zip(kinds, ladder(len(kinds)), strict=True)):
            own = means[[words.split()[0] == kind for words in means.index]].sort_values("bits_sent")
            ax.plot(*own.to_numpy().T, color=colour, marker=MARKERS[i % len(MARKERS)], label=entry(kind))
        ax.set_xscale("log")
        decimal_ticks(ax.xaxis)
    legend([ax])
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, ()))
    return (
        f"{options.measure.replace('_', ' ').capitalize()} of trained networks whose weights are sent once, against "
        f"the bits a parameter of the bytes sent; means of {over_seeds(results, *there)}.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
