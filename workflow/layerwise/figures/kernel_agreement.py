"""How near random networks come to the kernels of infinitely wide ones, as the probe ``kernel_agreement`` saw it."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from layerwise.figures._panels import empty, ladder, legend, line, looked_at, over, probed, ran, seen
from layerwise.figures._style import grid, over_seeds, provenance
from layerwise.results.study_results import StudyResults

NAMES = {"nngp": "NNGP: covariance of the outputs", "ntk": "NTK: kernel of the training"}


@dataclass(frozen=True)
class Options:
    probe: str = "kernel_agreement"
    """The probe of the study that drew the networks."""


def draw(results: StudyResults, options: Options) -> Figure:
    (network, *_) = looked_at(results, options.probe, ())
    table = probed(results, options.probe, ("kernel", "depth", "width", "error"), "kernel_agreement")
    mine = seen(results, table, network, "kernel_agreement")
    figure, axes = grid(2, 2, 3.2, 2.9)
    figure.set_figwidth(figure.get_figwidth() + 1.4)
    for ax, (kernel, name) in zip(axes, NAMES.items(), strict=True):
        ax.set_title(name, loc="left")
        ax.set_xlabel("width of the random networks (log scale)")
        ax.set_ylabel("relative difference (log scale)")
        if mine is None:
            empty(ax)
            continue
        ax.set_xscale("log")
        ax.set_yscale("log")
        depths = sorted(mine["depth"].unique())
        for depth, colour in zip(depths, ladder(len(depths)), strict=True):
            told = over(mine[(mine["kernel"] == kernel) & (mine["depth"] == depth)], "width", "error", True)
            line(ax, told, f"{depth} hidden layer{'s' if depth > 1 else ''}", colour, marker="o", ms=3.5)
        widths = told.index.to_numpy(float)
        start = told["mean"].iloc[0] * (widths[0] / widths) ** 0.5
        ax.plot(widths, start, color="#777777", ls=":", label="1 / root of the width")
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, ()))
    return (
        "Relative difference, by Frobenius norm, between kernels of infinitely wide ReLU networks and the mean over "
        f"random networks of some width, on training samples: {over_seeds(results, *there)} (bands). Dotted: what "
        f"independent errors would fall by.{out} {provenance(results, f'networks/*/{options.probe}.csv')}"
    )
