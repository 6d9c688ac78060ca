"""What the networks made of a problem in the plane: the score at every place, over the data."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Annotated

import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import shown_seed
from layerwise.figures._style import grid, provenance
from layerwise.layers import build as layers
from layerwise.options import Bounded, Ge
from layerwise.results.study_results import StudyResults

SIDE = 240  # places along each axis
TINTS = ListedColormap(["#bcd7ec", "#f6cfae", "#bfe3d2", "#e9cfe0", "#e0e0e0", "#f4e3a8"])
DOTS = ListedColormap(["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555", "#8C6D00"])


@dataclass(frozen=True)
class Options(Bounded):
    dataset: str
    """Data set of points with two coordinates."""
    networks: tuple[str, ...] = ()
    """Paths of the networks; all of the data set where absent."""
    seed: int | None = None
    """The seed to show; the first of the study where absent."""
    points: Annotated[int, Ge(1)] = 800
    """Test points to draw."""


def draw(results: StudyResults, options: Options) -> Figure:
    data = results.data(options.dataset)
    x, y = data.test.x, data.test.y
    if tuple(x.shape[1:]) != (2,) or not data.task.classifies:
        raise LayerwiseError(f"figure toy_regions: {options.dataset!r} is not points in the plane with classes")
    networks = results.networks(options.dataset, options.networks)
    seed = shown_seed(results, options.dataset, options.seed)
    low, high = x.min(0).values, x.max(0).values
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin
    axis = [torch.linspace(float(a), float(b), SIDE) for a, b in zip(low, high, strict=True)]
    places = torch.cartesian_prod(axis[1], axis[0]).flip(1)  # rows of the picture go along the second coordinate
    extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    figure, axes = grid(len(networks), 4, 2.35, 2.6)
    for ax, (path, label) in zip(axes, networks.items(), strict=True):
        scores = layers.apply(results.network(options.dataset, path, seed), places)
        shown = {"extent": extent, "origin": "lower", "aspect": "equal", "interpolation": "nearest"}
        labels = data.task.labels(scores).reshape(SIDE, SIDE)
        ax.imshow(labels.numpy() % TINTS.N, cmap=TINTS, vmin=0, vmax=TINTS.N - 1, **shown)  # type: ignore[arg-type]
        few = slice(0, options.points)
        colours = DOTS(y[few].numpy() % DOTS.N)
        ax.scatter(x[few, 0], x[few, 1], c=colours, s=3, linewidths=0, rasterized=True)
        fits = results.fits
        mine = fits[(fits["dataset"] == options.dataset) & (fits["path"] == path) & (fits["seed"] == seed)]
        ax.set_title(f"{textwrap.fill(label, 30)}\ntest accuracy {mine['test_accuracy'].item():.1f} %", fontsize=8)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    seed = shown_seed(results, options.dataset, options.seed)
    return (
        f"Decision regions (tints) of the networks on {options.dataset} over test points (dots, coloured by their true "
        f"class), with the test accuracy of this fit: seed {seed} alone. "
        f"{provenance(results, 'fits.csv', f'networks/{options.dataset}/seed{seed}')}"
    )
