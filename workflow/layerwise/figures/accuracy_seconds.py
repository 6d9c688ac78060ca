"""What a network reaches against the seconds that all its fits took: one point a network, 95 % intervals both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from layerwise.figures._panels import empty, entry, legend, ran, runs
from layerwise.figures._style import bar, decimal_ticks, looks, new, over_seeds, provenance
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options:
    dataset: str
    """Data set whose networks are shown."""
    split: Literal["train", "valid", "test"] = "test"
    """Split on which they are measured."""
    networks: tuple[str, ...] = ()
    """Paths of the networks; all of the data set where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    dataset = options.dataset
    figure = new(7.8, 4.4)
    ax = figure.add_subplot()
    ax.set_xlabel("seconds of all fits of the network (log scale)")
    if not runs(results, dataset):
        ax.set_title(f"{dataset}: {options.split} split against fit time", loc="left")
        ax.set_ylabel(f"{options.split} accuracy, %")
        empty(ax)
        return figure
    networks = results.networks(dataset, options.networks)
    measure = results.measure(dataset)
    look = looks(results, dataset, networks)
    ax.set_xscale("log")
    if measure == "mse":
        ax.set_yscale("log")
    reached = {path: results.interval(dataset, path, f"{options.split}_{measure}") for path in networks}
    # The legend names them in the order in which they stand in the panel, from top to bottom.
    for path in sorted(networks, key=lambda path: reached[path][0], reverse=True):
        x, x_half = results.interval(dataset, path, "total_seconds")
        y, y_half = reached[path]
        across, up = bar(x, x_half), bar(y, y_half, logarithmic=measure == "mse")
        ax.errorbar(x, y, xerr=across, yerr=up, fmt="none", ecolor=look[path].colour, elinewidth=0.9)
        ax.plot(x, y, look[path].marker, color=look[path].colour, label=entry(networks[path]))
    ax.margins(x=0.05, y=0.08)
    low, high = ax.get_xlim()
    if high < 1.01 * low:  # a single point, whose range can come out empty on a logarithmic axis
        ax.set_xlim(low / 2, 2 * high)
    decimal_ticks(ax.xaxis)
    unit = "mean squared error (log scale)" if measure == "mse" else "accuracy, %"
    ax.set_ylabel(f"{options.split} {unit}")
    ax.set_title(f"{dataset}: {measure} against fit time", loc="left")
    legend([ax])
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, [options.dataset])
    mse = bool(there) and results.measure(options.dataset) == "mse"
    return (
        f"{options.split.capitalize()} {'mean squared error' if mse else 'accuracy'} on {options.dataset} against the "
        f"wall-clock seconds of all fits of a network, added up (fits of a study run side by side, as cores allow): "
        f"{over_seeds(results, *there)}, both ways (on a logarithmic axis no bar goes below a tenth of the mean). A "
        f"colour is a method; the legend names the networks as they stand from top to bottom.{out} "
        f"{provenance(results, 'fits.csv')}"
    )
