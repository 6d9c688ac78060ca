"""What each partition of a network does by epoch, such as the seconds it takes: thesis figure 6.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from layerwise.figures._panels import empty, ladder, legend, line, over, parted, ran, title
from layerwise.figures._style import grid, over_seeds, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults

LABELS = {"seconds": "seconds at work in an epoch", "samples": "samples of an epoch", "train_loss": "training loss"}


@dataclass(frozen=True)
class Options(Bounded):
    networks: Annotated[tuple[str, ...], MinLen(1)]
    """Networks as dataset/path whose last segment is fitted by `local` with a schedule concurrent; each is a panel."""
    column: Literal["seconds", "samples", "train_loss"] = "seconds"
    """Column of the history: seconds at work, without waiting; samples, which a filter makes fewer; or the loss."""


def draw(results: StudyResults, options: Options) -> Figure:
    figure, axes = grid(len(options.networks), min(len(options.networks), 3), 3.6, 2.7)
    for ax, network in zip(axes, options.networks, strict=True):
        ax.set_title(title(results, network), loc="left")
        ax.set_xlabel("epoch")
        found = parted(results, network)
        if found is None:
            empty(ax)
            continue
        table = rows(results, *found, options.column)
        parts = sorted(table["window"].unique())
        for part, colour in zip(parts, ladder(len(parts)), strict=True):
            told = over(table[table["window"] == part], "epoch", options.column)
            line(ax, told, f"partition {part}", colour)
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel(LABELS[options.column])
    legend(axes)
    return figure


def rows(results: StudyResults, dataset: str, path: str, column: str) -> pd.DataFrame:
    """Return seed, ``window`` (the partition, from 1), epoch and the column of a network.

    The first partition sees all samples, of which its history has no number: as many as the second before a filter.
    """
    found: list[dict[str, Any]] = []
    for seed, record in results.partitioned(dataset, path, "figure partition_epochs").items():
        every = record["blocks"][0]["images"] / record["blocks"][0]["epochs"]
        found += [{"seed": seed, **row, "samples": row.get("samples", every)} for row in record["history"]]
    return pd.DataFrame(found)[["seed", "window", "epoch", column]]


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, options.networks)
    return (
        f"{LABELS[options.column].capitalize()} of each partition, the lowest dark: {over_seeds(results, *there)} "
        f"(bands).{out} {provenance(results, 'networks/*/fit.json')}"
    )
