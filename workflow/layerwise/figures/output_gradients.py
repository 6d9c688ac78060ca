"""How the gradients at the outputs are distributed while networks are trained, as the probe ``gradients`` saw it.

For thesis figure 4.2: a column a network, a row a step.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import SEVERAL, empty, looked_at, probed, ran, seen, title
from layerwise.figures._style import grid, provenance
from layerwise.options import Bounded, Ge, MinLen
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    steps: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (1,)
    """Steps to show, those that the probe recorded: 1 is the batch that the first weights see."""
    probe: str = "gradients"
    """The probe of the study that followed the trainings, with option bins."""
    networks: tuple[str, ...] = ()
    """Networks as dataset/path; all that the probe follows where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    table = probed(results, options.probe, ("step", "layer", "least", "largest"), "output_gradients")
    figure, axes = grid(len(networks) * len(options.steps), len(networks), 2.6, 2.3)
    places = ((step, network) for step in options.steps for network in networks)
    for ax, (step, network) in zip(axes, places, strict=True):
        mine = seen(results, table, network, "output_gradients")
        ax.set_title(textwrap.fill(f"{title(results, network)}, step {step}", 30, break_on_hyphens=False), loc="left")
        if mine is None:
            empty(ax)
        else:
            _histogram(ax, _at(mine, step, options.probe))
    for ax in axes[-len(networks) :]:
        ax.set_xlabel("gradient at an output")
    for ax in axes[:: len(networks)]:
        ax.set_ylabel("share of the gradients")
    return figure


def _at(table: pd.DataFrame, step: int, probe: str) -> pd.DataFrame:
    """Return the rows of the last layer at a step."""
    own = table[table["step"] == step].dropna(subset=["least"])
    if own.empty:
        known = ", ".join(map(str, sorted(table["step"].unique())[:4]))
        raise LayerwiseError(f"figure output_gradients: probe {probe} has no step {step}; it has {known}, …")
    if "bin_1" not in own:
        raise LayerwiseError(f"figure output_gradients: probe {probe} has no bins; give it bins: 40")
    return own


def _histogram(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the first seed: bins of other seeds lie elsewhere."""
    row = rows.sort_values("seed").iloc[0]
    shares = row.filter(like="bin_").to_numpy(dtype=float)
    edges = np.linspace(row["least"], row["largest"], len(shares) + 1)
    ax.stairs(shares, edges, fill=True, color=SEVERAL)
    ax.set_yscale("log")
    ax.locator_params(axis="x", nbins=5)


def caption(results: StudyResults, options: Options) -> str:
    _, out = ran(results, looked_at(results, options.probe, options.networks))
    return (
        "Gradients of a sample's loss at the outputs, over the samples of a batch and the outputs: the batch that "
        f"makes the step named, of the first seed. The axis of shares is logarithmic.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
