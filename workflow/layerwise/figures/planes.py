"""Classes along two principal components at each depth: thesis figure 5.9."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, legend, probed, ran, seen, shown_seed, title
from layerwise.figures._style import grid, provenance
from layerwise.figures.toy_regions import DOTS
from layerwise.options import Bounded
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    network: str
    """The network, as dataset/path."""
    probe: str = "components"
    """The probe of the study."""
    depths: tuple[int, ...] = ()
    """Depths to show, 0 for the input; all where absent."""
    seed: int | None = None
    """The seed to show; the first of the study where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    table = probed(results, options.probe, ("depth", "class", "first", "second"), "planes")
    mine = seen(results, table, options.network, "planes")
    if mine is None:
        figure, axes = grid(1, 1, 3.0, 2.4)
        empty(axes[0])
        return figure
    mine = mine[mine["seed"] == shown_seed(results, options.network, options.seed)]
    depths = options.depths or tuple(sorted(mine["depth"].unique()))
    figure, axes = grid(len(depths), 4, 2.2, 2.4)
    figure.set_figwidth(figure.get_figwidth() + 0.9)
    for ax, depth in zip(axes, depths, strict=True):
        here = mine[mine["depth"] == depth]
        if here.empty:
            raise LayerwiseError(f"figure planes: probe {options.probe} saw no depth {depth} of {options.network}")
        for i, (name, group) in enumerate(here.groupby("class", sort=True)):
            ax.scatter(group["first"], group["second"], s=5, color=DOTS(i % DOTS.N), linewidths=0, label=str(name))
        stage = textwrap.fill(f"{depth}: {here['stage'].iloc[0]}", 26)
        ax.set_title(f"{stage}\n{100 * here['share'].iloc[0]:.0f} % of the variance", fontsize=8)
        ax.set(xticks=[], yticks=[])
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, [options.network])
    which = f"seed {shown_seed(results, options.network, options.seed)} alone" if there else "not run"
    return (
        f"Samples along the first two principal components of what {title(results, options.network)} makes of them at "
        f"each depth, by class: {which}.{out} {provenance(results, f'networks/*/{options.probe}.csv')}"
    )
