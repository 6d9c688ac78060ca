"""Columns of the histories of trainings by epoch, such as bits, entropies and gradients: thesis figures 3.2 and 3.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from matplotlib.figure import Figure

from layerwise.figures._panels import empty, ladder, legend, line, over, parted, ran, title
from layerwise.figures._style import grid, over_seeds, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults

LOGARITHMIC = ("gradient", "train", "lr")  # what spans decades


@dataclass(frozen=True)
class Options(Bounded):
    networks: Annotated[tuple[str, ...], MinLen(1)]
    """Networks as dataset/path; each is a row of panels."""
    columns: Annotated[tuple[tuple[str, ...], ...], MinLen(1)]
    """The lines of each panel of a row: columns of the history."""


def draw(results: StudyResults, options: Options) -> Figure:
    figure, axes = grid(len(options.networks) * len(options.columns), len(options.columns), 3.6, 2.7)
    figure.set_figwidth(figure.get_figwidth() + 1.4)
    places = [(network, columns) for network in options.networks for columns in options.columns]
    for ax, (network, columns) in zip(axes, places, strict=True):
        found = parted(results, network)
        logarithmic = columns[0].split("_")[0] in LOGARITHMIC
        if found is None:
            empty(ax)
        else:
            for column, colour in zip(columns, ladder(len(columns)), strict=True):
                told = over(results.history(*found, column), "epoch", column, logarithmic)
                line(ax, told, column.replace("_", " "), colour)
        if logarithmic and found:
            ax.set_yscale("log")
        ax.set_title(title(results, network), loc="left")
        ax.set_xlabel("epoch")
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, options.networks)
    names = ", ".join(column.replace("_", " ") for columns in options.columns for column in columns)
    return (
        f"By epoch: {names}; a number is that of the layer, 1 the lowest. Lines and bands: "
        f"{over_seeds(results, *there)}.{out} {provenance(results, 'networks/*/fit.json')}"
    )
