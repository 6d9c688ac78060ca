"""What flows back through networks while they are trained, as the probe ``gradients`` saw it: a panel a layer.

For thesis figures 4.3 (the gradients) and 4.5 (the normaliser of the softmax).
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Annotated, Literal

from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, ladder, legend, line, looked_at, over, probed, ran, seen, title
from layerwise.figures._style import DASHES, decimal_ticks, grid, over_seeds, provenance
from layerwise.options import Bounded, Ge
from layerwise.results.study_results import StudyResults

NAMES = {
    "rms": "root mean square of the gradient at the layer's output",
    "weights_rms": "root mean square of the gradient of the layer's weights",
    "normaliser": "normaliser of the softmax, mean over a batch",
    "normaliser_sum": "normaliser of the softmax, sum over a batch",
}


@dataclass(frozen=True)
class Options(Bounded):
    column: Literal["rms", "weights_rms", "normaliser", "normaliser_sum"] = "rms"
    """What to show. A normaliser is that of the last layer."""
    probe: str = "gradients"
    """The probe of the study that followed the trainings."""
    networks: tuple[str, ...] = ()
    """Networks as dataset/path, a line each; all that the probe follows where absent."""
    layers: tuple[Annotated[int, Ge(1)], ...] = ()
    """The layers to show, 1 for the lowest; all where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    table = probed(results, options.probe, ("step", "layer", options.column), "gradients")
    tables = {network: seen(results, table, network, "gradients") for network in networks}
    there = {network: mine.dropna(subset=[options.column]) for network, mine in tables.items() if mine is not None}
    known = sorted({layer for mine in there.values() for layer in mine["layer"]})
    for layer in options.layers:
        if there and layer not in known:
            raise LayerwiseError(f"figure gradients: no layer {layer} with {options.column}; there are {known}")
    shown = list(options.layers) or known or [1]
    figure, axes = grid(len(shown), 3, 2.9, 2.7)
    figure.set_figwidth(figure.get_figwidth() + 2.2)
    for ax, layer in zip(axes, shown, strict=True):
        ax.set_title(f"layer {layer}", loc="left")
        ax.set_xlabel("step")
        if not there:
            empty(ax)
            continue
        for i, ((network, mine), colour) in enumerate(zip(there.items(), ladder(len(there)), strict=True)):
            told = over(mine[mine["layer"] == layer], "step", options.column, logarithmic=True)
            name = textwrap.fill(title(results, network), 28, break_on_hyphens=False)
            line(ax, told, name, colour, linestyle=DASHES[i % len(DASHES)])
        ax.set_yscale("log")
        decimal_ticks(ax.yaxis)
    for ax in axes[::3]:
        ax.set_ylabel(textwrap.fill(f"{NAMES[options.column]} (log scale)", 32))
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, options.networks))
    return (
        f"{NAMES[options.column].capitalize()}, against the step of the training; layer 1 is the lowest. Gradients are "
        f"those of a sample's loss, over the samples of a batch. Lines and bands: {over_seeds(results, *there)}.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
