"""What the networks made of a problem in the plane: the problem itself, then the class of every place for each."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn.neighbors import KNeighborsClassifier

from layerwise.contract import Dataset
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
    figure, (first, *axes) = grid(1 + len(networks), 4, 2.35, 2.6)
    _tint(first, nearest(data, places), extent)
    first.set_title("the data", fontsize=8)
    for ax, (path, label) in zip(axes, networks.items(), strict=True):
        scores = layers.apply(results.network(options.dataset, path, seed), places)
        _tint(ax, data.task.labels(scores).numpy(), extent)
        few = slice(0, options.points)
        colours = DOTS(y[few].numpy() % DOTS.N)
        ax.scatter(x[few, 0], x[few, 1], c=colours, s=3, linewidths=0, rasterized=True)
        fits = results.fits
        mine = fits[(fits["dataset"] == options.dataset) & (fits["path"] == path) & (fits["seed"] == seed)]
        ax.set_title(f"{textwrap.fill(label, 30)}\ntest accuracy {mine['test_accuracy'].item():.1f} %", fontsize=8)
    return figure


def nearest(data: Dataset, places: torch.Tensor) -> np.ndarray:
    """Return the class of the sample, of training or test, that is nearest to each place."""
    samples = torch.cat([data.train.x, data.test.x]).double().numpy()
    classes = torch.cat([data.train.y, data.test.y]).numpy()
    return np.asarray(KNeighborsClassifier(1).fit(samples, classes).predict(places.double().numpy()))


def _tint(ax: Axes, classes: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    """Colour every place of a panel by its class."""
    picture = classes.reshape(SIDE, SIDE) % TINTS.N
    shown = {"extent": extent, "origin": "lower", "aspect": "equal", "interpolation": "nearest"}
    ax.imshow(picture, cmap=TINTS, vmin=0, vmax=TINTS.N - 1, **shown)  # type: ignore[arg-type]
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def caption(results: StudyResults, options: Options) -> str:
    seed = shown_seed(results, options.dataset, options.seed)
    return (
        f"First the data of {options.dataset}: at every place the class of the nearest sample of training or test. "
        f"Then the decision regions (tints) of the networks over test points (dots, coloured by their true class), "
        f"with the test accuracy of this fit: seed {seed} alone. "
        f"{provenance(results, 'fits.csv', f'networks/{options.dataset}/seed{seed}')}"
    )
