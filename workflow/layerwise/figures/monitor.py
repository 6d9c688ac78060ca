"""The layer-wise losses of hidden layers while networks are trained, as the probe ``dgl`` saw them (DGL figure 2)."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure

from layerwise.figures._panels import empty, ladder, legend, line, looked_at, over, probed, ran, seen, title
from layerwise.figures._style import decimal_ticks, grid, over_seeds, provenance
from layerwise.results.study_results import StudyResults

BLACK = (0.0, 0.0, 0.0)
OWN = {"mse": "mean squared error", "cross_entropy": "cross-entropy"}


@dataclass(frozen=True)
class Options:
    probe: str = "dgl"
    """The probe of the study that monitored the trainings."""
    networks: tuple[str, ...] = ()
    """Networks as dataset/path; all that the probe follows where absent."""
    own: dict[str, Literal["mse", "cross_entropy"]] = field(default_factory=dict)
    """What a network itself is shown by, where that is not mse: {dataset/path: cross_entropy}."""
    bottleneck: bool = False
    """Show, in place of the layers' losses, that of the information bottleneck before the read-out."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    table = probed(results, options.probe, ("step", "layer", "loss", "bottleneck", *OWN), "monitor")
    figure, axes = grid(len(networks), 3, 3.2, 2.9)
    figure.set_figwidth(figure.get_figwidth() + 1.6)
    for ax, network in zip(axes, networks, strict=True):
        mine = seen(results, table, network, "monitor")
        ax.set_title(textwrap.fill(title(results, network), 24), loc="left")
        ax.set_xlabel("step")
        ax.locator_params(axis="x", nbins=3)  # the steps have five figures, and the panels are narrow
        if mine is None:
            empty(ax)
            continue
        own = options.own.get(network, "mse")
        if options.bottleneck:
            shown = mine.dropna(subset=["bottleneck"])
            shown = shown[shown["step"] > 0]  # before training it is a hundred times what comes after
            line(ax, over(shown, "step", "bottleneck"), "information bottleneck", BLACK)
            ax.set_yscale("symlog", linthresh=100)  # it starts in the thousands and ends below zero
            ax.set_ylabel("loss of the information bottleneck\n(log scale beyond 100 either way)")
            continue
        ax.set_yscale("log")
        layers = sorted(mine["layer"].unique())
        for layer, colour in zip(layers, ladder(len(layers)), strict=True):
            line(ax, over(mine[mine["layer"] == layer], "step", "loss", True), f"DGL of layer {layer}", colour)
        line(
            ax,
            over(mine[mine["layer"] == layers[0]], "step", own, True),
            f"the network's own {OWN[own]}",
            BLACK,
            linestyle="-" if own == "mse" else "--",
        )
        decimal_ticks(ax.yaxis)
        ax.set_ylabel("loss on training samples\n(log scale)")
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    networks = looked_at(results, options.probe, options.networks)
    there, out = ran(results, networks)
    what = (
        "The loss of the information bottleneck before the read-out"
        if options.bottleneck
        else (
            "DGL of every hidden layer, the layers above it taken as infinitely wide with the variances of the trained "
            "network, and the network's own error on the same samples"
        )
    )
    return (
        f"{what}, while networks are trained end to end: {over_seeds(results, *there)} (bands).{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
