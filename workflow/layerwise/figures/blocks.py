"""What networks that are trained locally reach block by block: a line a network, at the last block of each window.

Thesis figure 6.2 is such a picture of windows of several sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, ladder, legend, line, over, ran, runs
from layerwise.figures._style import MARKERS, new, over_seeds, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults
from layerwise.study.trie import Node


@dataclass(frozen=True)
class Options(Bounded):
    dataset: str
    """Data set whose networks are shown; it has a validation split."""
    networks: Annotated[tuple[str, ...], MinLen(1)]
    """Paths of networks whose last segment is fitted by `local`, in an order that their colours follow."""
    whole: str = ""
    """Path of a network that is trained as a whole, drawn as a dashed line; none where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    dataset = options.dataset
    figure = new(6.8, 3.8)
    ax = figure.add_subplot()
    ax.set_title(f"{dataset}: what each block reaches", loc="left")
    ax.set_xlabel("last block of the window")
    ax.set_ylabel("validation accuracy, %")
    if not runs(results, dataset):
        empty(ax)
        return figure
    names = results.networks(dataset, (*options.networks, *([options.whole] if options.whole else [])))
    measure = f"valid_{results.measure(dataset)}"
    colours = ladder(len(options.networks))
    for i, path in enumerate(options.networks):
        told = over(rows(results, dataset, path, measure), "last", measure)
        line(ax, told, names[path], colours[i], marker=MARKERS[i % len(MARKERS)], ms=4)
    if options.whole:
        mean, _ = results.interval(dataset, options.whole, measure)
        ax.axhline(mean, color="#555555", lw=1, ls=(0, (4, 2)), label=names[options.whole])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if measure == "valid_mse":
        ax.set_ylabel("validation mean squared error (log scale)")
        ax.set_yscale("log")
    legend([ax])
    return figure


def rows(results: StudyResults, dataset: str, path: str, measure: str) -> pd.DataFrame:
    """Return ``last``, the last block of a window, and the measure of a network: a row a window and seed."""
    found: list[dict[str, Any]] = []
    for seed in results.study.seeds_of(dataset):
        record = results.records[Node(results.study.name, dataset, seed, path)]["record"]
        windows = record.get("blocks", [])
        if not windows or measure not in windows[0]:
            raise LayerwiseError(
                f"figure blocks: {dataset}/{path} has no {measure} by block: name networks whose last segment is "
                "fitted by local, on data with a validation split"
            )
        found += [{"last": window["last"], measure: window[measure]} for window in windows]
    return pd.DataFrame(found)


def caption(results: StudyResults, options: Options) -> str:
    _, out = ran(results, [options.dataset])
    whole = " The dashed line is a network that is trained as a whole." if options.whole else ""
    return (
        f"What the validation split of {options.dataset} says of each window of blocks with its decision, at the last "
        f"of its blocks: {over_seeds(results, options.dataset)} (bands). The last window has the model's own head."
        f"{whole}{out} {provenance(results, 'networks/*/fit.json')}"
    )
