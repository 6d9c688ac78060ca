"""How well a linear read-out does before every layer, as a method in closed form recorded it while it went up.

For thesis figures 7.5, 7.7 and 7.10: the least squares distance (eq. 5.3) against the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, ladder, legend, line, over, parted, ran
from layerwise.figures._style import grid, over_seeds, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults
from layerwise.study.trie import Node

POINTS = 250  # at most, of a curve over thousands of layers


@dataclass(frozen=True)
class Options(Bounded):
    panels: Annotated[dict[str, Annotated[dict[str, str], MinLen(1)]], MinLen(1)]
    """The lines of each panel: {title: {line: dataset/path}}."""


def draw(results: StudyResults, options: Options) -> Figure:
    names = list(dict.fromkeys(name for lines in options.panels.values() for name in lines))
    colour = dict(zip(names, ladder(len(names)), strict=True))
    figure, axes = grid(len(options.panels), 2, 3.2, 2.7)
    figure.set_figwidth(figure.get_figwidth() + 1.7)
    for i, (ax, (title, lines)) in enumerate(zip(axes, options.panels.items(), strict=True)):
        for name, network in lines.items():
            told = errors(results, network)
            if told is None:
                empty(ax)
                continue
            curve = over(told, "layer", "error", logarithmic=True)
            line(ax, curve.iloc[:: -(-len(curve) // POINTS)], name, colour[name], lw=1)
            ax.set_yscale("log")
        ax.set_title(title, loc="left")
        ax.set_xlabel("layer")
        if i % 2 == 0:
            ax.set_ylabel("squared error of a linear\nread-out before it (log scale)")
    legend(axes)
    return figure


def errors(results: StudyResults, network: str) -> pd.DataFrame | None:
    """Return seed, layer (from 1) and error of ``dataset/path``; None where that data set is left out."""
    found = parted(results, network)
    if found is None:
        return None
    rows = []
    for seed in results.study.seeds_of(found[0]):
        record = results.records[Node(results.study.name, found[0], seed, found[1])]["record"]
        told = record.get("input_error", [])
        rows += [{"seed": seed, "layer": i, "error": e} for i, e in enumerate(told, 1) if e is not None]
    if not rows:
        raise LayerwiseError(f"figure layer_errors: {network} records no errors: name networks of the method platonic")
    return pd.DataFrame(rows)


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, [network for lines in options.panels.values() for network in lines.values()])
    return (
        "Squared error, mean over the training samples, of a linear read-out of what goes into each layer (thesis eq. "
        f"5.3): {over_seeds(results, *there)}.{out} {provenance(results, 'networks/*/fit.json')}"
    )
