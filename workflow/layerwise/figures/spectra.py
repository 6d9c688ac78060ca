"""How many directions each network uses at each depth: singular spectra, as the probe ``spectrum`` took them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import entry, legend
from layerwise.figures._style import grid, looks, provenance
from layerwise.results.study_results import StudyResults

FLOOR = 1e-6  # below is what float32 leaves of a zero


@dataclass(frozen=True)
class Options:
    dataset: str
    """Data set whose networks are shown."""
    probe: str = "spectrum"
    """The probe of the study that took the spectra."""
    measure: Literal["value", "share"] = "value"
    """Singular values over the largest, or shares of the variance."""
    networks: tuple[str, ...] = ()
    """Paths of the networks; all of the data set where absent."""
    depths: tuple[int, ...] = ()
    """Depths to show; the first three between input and output where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = results.networks(options.dataset, options.networks)
    table = results.probe(options.probe)
    table = table[(table["dataset"] == options.dataset) & table["path"].isin(list(networks))]
    table = table[~table["stage"].str.endswith("(output)")]  # as many directions as targets, and no more
    depths = options.depths or tuple(d for d in sorted(table["depth"].unique()) if d > 0)[:3]
    if table.empty or not depths:
        raise LayerwiseError(f"figure spectra: probe {options.probe!r} saw no network of {options.dataset!r}")
    look = looks(results, options.dataset, networks)
    figure, axes = grid(len(depths), 3, 2.5, 3.3)
    figure.set_figwidth(2.5 * len(axes) + 2.4)
    first = table[table["depth"] == 0]
    for ax, depth in zip(axes, depths, strict=True):
        _line(
            ax,
            first[first["path"] == first["path"].iloc[0]],
            options.measure,
            "input",
            color="#999999",
            lw=3,
            alpha=0.5,
        )
        for path, label in networks.items():
            mine = table[(table["path"] == path) & (table["depth"] == depth)]
            if len(mine):
                style = {"color": look[path].colour, "linestyle": look[path].dashes}
                _line(ax, mine, options.measure, label, **style)
        ax.set_yscale("log")
        least = min(line.get_ydata().min() for line in ax.get_lines())  # type: ignore[union-attr]
        ax.set_ylim(max(FLOOR, least / 3), 1.5 * max(line.get_ydata().max() for line in ax.get_lines()))  # type: ignore[union-attr]
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_title(f"depth {depth}", loc="left")
        ax.set_xlabel("rank of the singular value")
    axes[0].set_ylabel("singular value over the largest" if options.measure == "value" else "share of the variance")
    legend(axes, handlelength=3.2)
    return figure


def _line(ax: Axes, table: pd.DataFrame, measure: str, label: str, **style) -> None:
    """Draw the median over the seeds at every rank, with a band from the least to the largest of them."""
    told = table.groupby("rank")[measure].agg(["median", "min", "max"]).clip(lower=FLOOR)
    told = told[told["median"] > FLOOR]
    ax.plot(told.index, told["median"], label=entry(label), **style)
    ax.fill_between(told.index, told["min"], told["max"], color=style["color"], alpha=0.15, lw=0)


def caption(results: StudyResults, options: Options) -> str:
    what = "Singular values, over the largest," if options.measure == "value" else "Shares of the variance"
    return (
        f"{what} of the centred training representation on {options.dataset} at several depths before the "
        f"output: median and range over {len(results.study.seeds_of(options.dataset))} seeds, down to {FLOOR:g}. "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
