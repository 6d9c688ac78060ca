"""What the networks made of a regression on one coordinate: the fitted curves over the data, and what they miss."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import entry, legend, shown_seed
from layerwise.figures._style import looks, new, provenance
from layerwise.layers import build as layers
from layerwise.results.study_results import StudyResults

SHOWN = 80  # data points that are drawn as dots


@dataclass(frozen=True)
class Options:
    dataset: str
    """Data set with one coordinate and one value."""
    networks: tuple[str, ...] = ()
    """Paths of the networks; all of the data set where absent."""
    seed: int | None = None
    """The seed to show; the first of the study where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    data = results.data(options.dataset)
    if tuple(data.test.x.shape[1:]) != (1,) or data.task.classifies or data.task.outputs != 1:
        raise LayerwiseError(f"figure toy_curve: {options.dataset!r} is not one value of one coordinate")
    networks = results.networks(options.dataset, options.networks)
    seed = shown_seed(results, options.dataset, options.seed)
    look = looks(results, options.dataset, networks)
    order = data.test.x[:, 0].argsort()
    x, y = data.test.x[order], data.test.y[order].double()
    figure = new(7.4, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.1])
    step = max(1, len(x) // SHOWN)
    above.plot(x[::step, 0], y[::step, 0], "o", color="#b0b0b0", markersize=4, label="test points", zorder=1)
    for path, label in networks.items():
        fitted = layers.apply(results.network(options.dataset, path, seed), x).double()
        mse = float((fitted - y).square().mean())
        style = {"color": look[path].colour, "linestyle": look[path].dashes}
        above.plot(x[:, 0], fitted[:, 0], label=entry(f"{label}: mse {mse:.1e}"), **style)
        below.plot(x[:, 0], (fitted - y).abs()[:, 0].clamp(min=1e-12), **{**style, "linewidth": 0.9})
    below.set_yscale("log")
    below.set_xlabel("x")
    above.set_ylabel("y and the fitted value")
    below.set_ylabel("|fitted value - y| (log scale)")
    above.set_title(f"{options.dataset}: fitted curves", loc="left")
    legend([above], handlelength=3.2)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    seed = shown_seed(results, options.dataset, options.seed)
    return (
        f"The networks' curves on {options.dataset} over every so many test points (above), and their absolute "
        f"residuals at all test points (below; with the mean squared error in the legend): seed {seed} alone. "
        f"{provenance(results, f'networks/{options.dataset}/seed{seed}')}"
    )
