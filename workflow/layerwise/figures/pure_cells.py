"""Pure Voronoi maps of problems in the plane, with their centres: thesis figures 5.11 and 5.12."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._style import grid, provenance
from layerwise.figures.toy_regions import DOTS
from layerwise.maths.neighbours import pure_map
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults

SIDE = 240  # places along each axis
HUES = {0: 0.57, 1: 0.07}  # of the classes' cells


@dataclass(frozen=True)
class Options(Bounded):
    datasets: Annotated[tuple[str, ...], MinLen(1)]
    """Data sets of points with two coordinates and two classes."""


def draw(results: StudyResults, options: Options) -> Figure:
    figure, axes = grid(2 * len(options.datasets), 2 * min(2, len(options.datasets)), 2.2, 2.5)
    for i, name in enumerate(options.datasets):
        x, y = results.data(name).train.x, results.data(name).train.y
        if tuple(x.shape[1:]) != (2,) or int(y.max()) > 1:
            raise LayerwiseError(f"figure pure_cells: {name!r} is not points in the plane with two classes")
        found = pure_map(x, y)
        centres = x[found.centres]
        low, high = x.min(0).values, x.max(0).values
        ticks = [torch.linspace(float(a), float(b), SIDE) for a, b in zip(low, high, strict=True)]
        places = torch.cartesian_prod(ticks[1], ticks[0]).flip(1)
        cells = torch.cdist(places, centres).argmin(1).reshape(SIDE, SIDE).numpy()
        shades = np.random.default_rng(0).uniform(0.15, 0.75, len(centres))  # to tell a cell from the next
        hues = np.array([HUES[int(label)] for label in y[found.centres]])
        colours = hsv_to_rgb(np.stack([hues, shades, np.full(len(centres), 0.95)], 1))
        extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
        axes[2 * i].scatter(x[:, 0], x[:, 1], c=DOTS(y.numpy()), s=2, linewidths=0, rasterized=True)
        axes[2 * i].set_title(f"{name}\n{len(x):,} points", fontsize=8)
        axes[2 * i + 1].imshow(colours[cells], extent=extent, origin="lower", interpolation="nearest")
        axes[2 * i + 1].scatter(centres[:, 0], centres[:, 1], c="black", s=3, linewidths=0)
        axes[2 * i + 1].set_title(f"{len(centres)} cells\nentropy {found.entropy:.2f} bits", fontsize=8)
        for ax in axes[2 * i : 2 * i + 2]:
            ax.set(xticks=[], yticks=[], aspect="equal", xlim=extent[:2], ylim=extent[2:])
            ax.grid(False)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    return (
        "Left, training points by their class; right, a Voronoi map of them whose cells hold one class each, by fast "
        "condensed nearest neighbours, with its centres, and the entropy of the cells' shares of the points: an upper "
        f"bound of that of the smallest map. {provenance(results, 'datasets')}"
    )
