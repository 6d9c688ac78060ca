"""The classes of the samples that single units select while a network is trained: thesis figures 5.18 to 5.20."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, probed, ran, seen, shown_seed
from layerwise.figures._style import grid, provenance
from layerwise.options import Bounded, Ge, MinLen
from layerwise.results.study_results import StudyResults

PREFIX = "class_"


@dataclass(frozen=True)
class Options(Bounded):
    network: str
    """The network, as dataset/path."""
    depth: Annotated[int, Ge(1)]
    """The layer whose units are shown, 1 for the lowest."""
    probe: str = "selections"
    """The probe of the study that looked at the selections during the training."""
    units: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (1, 2)
    """The units, a row each."""
    seed: int | None = None
    """The seed to show; the first of the study where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    table = probed(results, options.probe, ("step", "depth", "unit", "entropy"), "unit_classes")
    mine = seen(results, table, options.network, "unit_classes")
    if mine is None:
        figure, axes = grid(1, 1, 3.0, 2.4)
        empty(axes[0])
        return figure
    mine = mine[(mine["depth"] == options.depth) & (mine["seed"] == shown_seed(results, options.network, options.seed))]
    for unit in options.units:
        if not (mine["unit"] == unit).any():
            raise LayerwiseError(f"figure unit_classes: {options.probe} saw no unit {unit} at depth {options.depth}")
    mine = mine.dropna(axis="columns", how="all")  # classes of other data sets
    steps = sorted(mine["step"].unique())
    figure, axes = grid(len(options.units) * len(steps), max(1, len(steps)), 1.45, 1.6)
    classes = [column for column in map(str, mine) if column.startswith(PREFIX)]
    places = ((unit, step) for unit in options.units for step in steps)
    for i, (ax, (unit, step)) in enumerate(zip(axes, places, strict=True)):
        row = mine[(mine["unit"] == unit) & (mine["step"] == step)]
        ax.bar([c.removeprefix(PREFIX) for c in classes], row[classes].iloc[0], color="#0072B2")
        ax.set_title(f"step {step}\nH = {row['entropy'].item():.2f} bits", fontsize=8)
        ax.tick_params(labelsize=6)
        if i % len(steps) == 0:
            ax.set_ylabel(f"unit {unit}\nsamples")
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, [options.network])
    which = f", seed {shown_seed(results, options.network, options.seed)} alone" if there else ""
    return (
        f"Classes of the samples for which units at depth {options.depth} of {options.network} are above 0, and the "
        f"entropy H of their shares, at steps of the training{which}.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
