"""What trained networks reach epoch by epoch on the validation split, against epochs or against seconds.

At which budget does a trained ConvNet pass filters in closed form under a trained head?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from matplotlib.figure import Figure

from layerwise.figures._panels import empty, entry, legend, over, ran, runs
from layerwise.figures._style import decimal_ticks, looks, new, over_seeds, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    dataset: str
    """Data set whose networks are shown."""
    networks: Annotated[tuple[str, ...], MinLen(1)]
    """Paths of networks whose last segment is trained by gradient."""
    x: Literal["epochs", "seconds"] = "epochs"
    """Against epochs of the last segment, or against the seconds of all fits up to there."""
    measure: Literal["valid", "train_loss"] = "valid"
    """What the validation split says, or the loss while training."""


def draw(results: StudyResults, options: Options) -> Figure:
    figure = new(6.8, 3.8)
    ax = figure.add_subplot()
    ax.set_title(
        f"{options.dataset}: {'validation' if options.measure == 'valid' else 'loss'} while training", loc="left"
    )
    ax.set_xlabel("epoch of the last segment" if options.x == "epochs" else "seconds of all fits so far (log scale)")
    if not runs(results, options.dataset):
        ax.set_ylabel("validation accuracy, %")
        empty(ax)
        return figure
    networks = results.networks(options.dataset, options.networks)
    look = looks(results, options.dataset, networks)
    values = results.measure(options.dataset) == "mse"
    measure = options.measure if options.measure != "valid" else "valid_mse" if values else "valid_accuracy"
    least = np.inf
    for path, label in networks.items():
        table = results.history(options.dataset, path, measure)
        told = over(table, "epoch", measure)
        least = min(least, told["mean"].min())
        x = told.index if options.x == "epochs" else table.groupby("epoch")["seconds"].mean()[told.index]
        style = {"color": look[path].colour, "marker": look[path].marker, "linestyle": look[path].dashes, "ms": 3.5}
        ax.plot(x, told["mean"], label=entry(label), **style)
        ax.fill_between(x, told["low"], told["high"], color=look[path].colour, alpha=0.18, lw=0)
    if options.x == "seconds":
        ax.set_xscale("log")
        decimal_ticks(ax.xaxis)
    names = {"valid_mse": "validation mean squared error", "train_loss": "training loss"}
    name = names.get(measure, "validation accuracy, %")
    if measure != "valid_accuracy" and least > 0:  # losses with amplified gradients fall below 0
        ax.set_yscale("log")
        name += " (log scale)"
    ax.set_ylabel(name)
    legend([ax], handlelength=3.4)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    against = "epochs of the last segment's training"
    if options.x == "seconds":
        against = "the wall-clock seconds of all fits so far, those of the last spread evenly over its epochs"
    there, out = ran(results, [options.dataset])
    kind = "mean squared error" if there and results.measure(options.dataset) == "mse" else "accuracy"
    what = f"Validation {kind}" if options.measure == "valid" else "Loss, as it was while training,"
    return (
        f"{what} on {options.dataset} against {against}: {over_seeds(results, options.dataset)} (bands). "
        f"A colour is a method.{out} {provenance(results, 'networks/*/fit.json')}"
    )
