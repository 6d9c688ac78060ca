"""Which classes networks take for which: the share of each class that is given to each class."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from layerwise.figures._panels import empty, looked_at, probed, ran, seen, title
from layerwise.figures._style import grid, provenance
from layerwise.options import Bounded
from layerwise.results.study_results import StudyResults

WRITTEN = 12  # classes up to which each share is written into its cell
NAMED = 30  # and up to which each has its name


@dataclass(frozen=True)
class Options(Bounded):
    probe: str = "confusion"
    """The probe of the study, of kind confusion."""
    networks: tuple[str, ...] = ()
    """Networks as dataset/path, a panel each; all that the probe looks at where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    table = probed(results, options.probe, ("true", "predicted", "samples"), "confusion")
    figure, axes = grid(len(networks), 3, 4.2, 4.0)
    for ax, network in zip(axes, networks, strict=True):
        ax.set_title(textwrap.fill(title(results, network), 44), loc="left")
        mine = seen(results, table, network, "confusion")
        if mine is None:
            empty(ax)
            continue
        shares = percent(mine)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        ax.grid(False)
        ax.set(xlabel="predicted", ylabel="true class")
        places = range(len(shares)) if len(shares) <= NAMED else []
        names = [textwrap.shorten(str(name), 14, placeholder="…") for name in shares.index] if places else []
        ax.set_xticks(places, names, rotation=90)
        ax.set_yticks(places, names)
        if len(shares) <= WRITTEN:
            for (i, j), value in np.ndenumerate(shares.to_numpy()):
                colour = "white" if value > 55 else "black"
                ax.text(j, i, f"{value:.0f}" if value else "", ha="center", va="center", fontsize=7, color=colour)
    return figure


def percent(mine: pd.DataFrame) -> pd.DataFrame:
    """Return % of each class (rows) that is given to each class, of all seeds together; nan for no samples."""
    if "step" in mine:
        mine = mine[mine["step"] == mine["step"].max()]
    names = list(mine.loc[mine["true"] == mine["predicted"], "true"].unique())
    pairs = mine.pivot_table(index="true", columns="predicted", values="samples", aggfunc="sum", fill_value=0)
    cells = pairs.reindex(index=names, columns=names, fill_value=0)
    return 100 * cells.div(cells.sum(axis=1).replace(0, np.nan), axis=0)


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, options.networks))
    split = getattr(results.study.probes[options.probe].options, "split", "test")
    counts = sorted({len(results.study.seeds_of(dataset)) for dataset in there})
    over = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "0"
    return (
        f"% of each class (rows) of the {split} split that a network gives to each class, samples of {over} seeds "
        f"together.{out} {provenance(results, f'networks/*/{options.probe}.csv')}"
    )
