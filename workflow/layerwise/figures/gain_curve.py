"""How large the output of a convolution is beside its weights and its input, as the probe ``gain`` saw it.

For dmn supplement figure 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from layerwise.figures._panels import colours, empty, looked_at, probed, ran, seen, title
from layerwise.figures._style import grid, provenance
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options:
    probe: str = "gain"
    """The probe of the study that followed the trainings."""
    networks: tuple[str, ...] = ()
    """Networks as dataset/path, a panel each; all that the probe follows where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    table = probed(results, options.probe, ("step", "ratio", "spread"), "gain_curve")
    figure, axes = grid(len(networks), 3, 3.4, 2.8)
    for ax, network in zip(axes, networks, strict=True):
        mine = seen(results, table, network, "gain_curve")
        ax.set_title(title(results, network), loc="left")
        ax.set_xlabel("step")
        if mine is None:
            empty(ax)
            continue
        told = mine.groupby("step")[["ratio", "spread"]].mean()
        colour = colours(results, [("", network)])[""]
        ax.plot(told.index, told["ratio"], color=colour, label="mean over the filters")
        low, high = told["ratio"] - told["spread"], told["ratio"] + told["spread"]
        ax.fill_between(told.index, low, high, color=colour, alpha=0.2, lw=0, label="one sigma over the filters")
        ax.set_xlim(0)
        ax.set_ylim(min(0.0, low.min()), 1.25 * high.max())  # room for the legend
        ax.legend(loc="upper right")
    axes[0].set_ylabel("output over the norms of\nfilter and patch")
    return figure


def caption(results: StudyResults, options: Options) -> str:
    _, out = ran(results, looked_at(results, options.probe, options.networks))
    return (
        f"ReLU output of the first convolution over the norm of its filter and that of the image patch, against the "
        f"step of the training: mean over places, training images and filters, and one standard deviation over the "
        f"filters to either side, both as means over the seeds.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
