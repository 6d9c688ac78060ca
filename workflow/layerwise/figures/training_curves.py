"""What happens to each layer's weights while a network is trained, as the probe ``training`` saw it.

For dmn figure 2, dmn supplement figures 2 and 5, and dmn-icassp figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerwise.figures._panels import Colour, empty, ladder, legend, line, looked_at, over, probed, ran, seen, title
from layerwise.figures._style import decimal_ticks, grid, over_seeds, provenance
from layerwise.options import Bounded, Ge, MinLen
from layerwise.results.study_results import StudyResults

NAMES = {
    "change": "change in one step, over the norm",
    "distance": "distance to the trained weights",
    "norm": "norm of the weights",
    "largest": "largest singular value",
    "mean": "mean singular value",
    "product": "largest singular value of the\nproduct with all layers above",
    "mean_squared": "squared sum over the inputs,\nover their number",
    "variance": "variance over the inputs",
    **{f"entropy_{m}": f"entropy in {2**m:,} bins, bits" for m in (4, 6, 8, 10)},
    **{f"entropy_4_of_{p}": f"entropy in 16 bins, bits,\nof {p} % of the weights" for p in (3, 30)},
}
POINTS = 200  # at most, of a smoothed curve
DECADES = ("change", "distance", "product", "mean_squared")  # what spans them has a logarithmic axis


@dataclass(frozen=True)
class Options(Bounded):
    columns: Annotated[tuple[str, ...], MinLen(1)]
    """What to show: columns of the probe, such as largest, product, change or distance."""
    probe: str = "training"
    """The probe of the study that followed the trainings."""
    networks: tuple[str, ...] = ()
    """Networks as dataset/path; all that the probe follows where absent."""
    hidden: bool = False
    """Leave out the last layer, which classifies."""
    detrend: bool = False
    """Show each value over the mean of all layers at that step, minus 1."""
    smooth: Annotated[int, Ge(0)] = 0
    """Steps of a moving average; the curve itself then stands fainter behind it."""
    log_steps: bool = False
    """A logarithmic axis of steps."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    table = probed(results, options.probe, ("step", "layer", *options.columns), "training_curves")
    whole = len(options.columns) > 1  # networks are rows, and columns columns
    across = len(options.columns) if whole and len(networks) > 1 else 2 if len(networks) == 4 else 3
    figure, axes = grid(len(networks) * len(options.columns), across, 3.0, 2.7)
    figure.set_figwidth(figure.get_figwidth() + 1.4)
    places = ((network, column) for network in networks for column in options.columns)
    for i, (ax, (network, column)) in enumerate(zip(axes, places, strict=True)):
        mine = seen(results, table, network, "training_curves")
        if mine is None:
            empty(ax)
        else:
            _panel(ax, mine, options, column)
        ax.set_title(title(results, network), loc="left")
        ax.set_xlabel("step" + (" (log scale)" if options.log_steps else ""))
        if whole or i % across == 0:
            name = NAMES.get(column, column)
            ax.set_ylabel(f"{column}, over the mean of\nall layers, minus 1" if options.detrend else name)
    legend(axes)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, options: Options, column: str) -> None:
    last = table["layer"].max()
    shown = [cast(int, n) for n in sorted(table["layer"].unique()) if not (options.hidden and n == last)]
    values = table[["seed", "step", "layer"]].assign(value=table[column])
    if options.detrend:
        values["value"] /= values.groupby(["seed", "step"])["value"].transform("mean")
        values["value"] -= 1
    values = values.dropna()
    logarithmic = column in DECADES and not options.detrend
    if logarithmic:
        ax.set_yscale("log")
    for layer, colour in zip(shown, ladder(len(shown)), strict=True):
        mine = values[values["layer"] == layer].sort_values("step")
        if mine.empty:  # a product that does not chain
            continue
        _curve(ax, mine, options, f"layer {layer}", colour, logarithmic)
    if logarithmic:
        decimal_ticks(ax.yaxis)
    if options.log_steps:
        ax.set_xscale("symlog", linthresh=float(values.loc[values["step"] > 0, "step"].min()), linscale=0.5)
    else:
        ax.set_xlim(0)


def _curve(ax: Axes, table: pd.DataFrame, options: Options, label: str, colour: Colour, logarithmic: bool) -> None:
    """Draw the mean over the seeds with its band, of smoothed curves where that is asked for."""
    if options.smooth > 1:
        raw = over(table, "step", "value", logarithmic)
        # As one picture inside the SVG, behind all else: a point a step would be a megabyte.
        ax.plot(raw.index, raw["mean"], color=colour, lw=0.8, alpha=0.25, rasterized=True, zorder=0.9)
        parts = [
            mine.assign(value=smoothed(mine["step"].to_numpy(), mine["value"].to_numpy(), options.smooth))
            for _, mine in table.groupby("seed")
        ]
        table = pd.concat(parts)
    told = over(table, "step", "value", logarithmic)
    line(ax, told.iloc[:: -(-len(told) // POINTS)] if options.smooth > 1 else told, label, colour)


def smoothed(steps: np.ndarray, values: np.ndarray, width: int) -> np.ndarray:
    """Return the mean of the values within half of `width` steps of each step, which ascend."""
    first = np.searchsorted(steps, steps - width / 2, "left")
    end = np.searchsorted(steps, steps + width / 2, "right")
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[end] - sums[first]) / (end - first)


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, options.networks))
    what = "; ".join(NAMES.get(c, c).replace("\n", " ") for c in options.columns)
    text = f"Of each layer's weights, against the step of the training: {what}. Layer 1 is the lowest"
    if options.hidden:
        text += ", and the last, which classifies, is left out"
    if options.detrend:
        text += "; each value is over the mean of all layers at that step, minus 1"
    text += f". Lines and bands: {over_seeds(results, *there)}"
    if options.smooth > 1:
        text += f", of moving averages over {options.smooth} steps; fainter, the mean itself"
    return f"{text}.{out} {provenance(results, f'networks/*/{options.probe}.csv')}"
