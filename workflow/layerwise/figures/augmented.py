"""Points in the plane beside their augmented representation [X | Y], with what PCA finds in it.

For thesis figures 7.2, 7.12 and 7.13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.svm import LinearSVC

from layerwise.errors import LayerwiseError
from layerwise.figures._style import new, provenance
from layerwise.figures.toy_regions import DOTS
from layerwise.maths.linalg import Gram, correlation_axes
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults

GREYS = ("#000000", "#666666", "#aaaaaa")
OPTIMUM = "#009E73"
POINTS = 400  # drawn


@dataclass(frozen=True)
class Options(Bounded):
    datasets: Annotated[tuple[str, ...], MinLen(1)]
    """Data sets of points with two coordinates and two classes."""
    components: bool = False
    """Also show the principal components of [X | Y], and the direction that a linear support vector machine finds."""


def draw(results: StudyResults, options: Options) -> Figure:
    views = ((20, -60), (20, 30), (88, -90)) if options.components else ((20, -60),)
    figure = new(3.2 * (1 + len(views)), 3.1 * len(options.datasets) + 0.3)
    for row, dataset in enumerate(options.datasets):
        data = results.data(dataset)
        if tuple(data.train.x.shape[1:]) != (2,) or data.task.kind != "signs":
            raise LayerwiseError(f"figure augmented: {dataset!r} is not points in the plane with two classes")
        x, labels = data.train.x, data.train.y.numpy()
        signs = data.task.targets(data.train.y).double()
        found = directions(x.numpy(), labels, signs) if options.components else {}
        colours = DOTS(labels[:POINTS])
        for column in range(1 + len(views)):
            place = (len(options.datasets), 1 + len(views), row * (1 + len(views)) + column + 1)
            ax: Any = figure.add_subplot(*place, projection="3d" if column else None)
            shown = [*x[:POINTS].numpy().T, *([signs[:POINTS, 0].numpy()] if column else [])]
            ax.scatter(
                *shown, c=colours, s=5, linewidths=0, rasterized=True
            )  # 400 dots a panel would weigh half a megabyte
            ax.set(xlabel="x_1, a_1" if column else "x_1", ylabel="x_2, a_2" if column else "x_2")
            if column:
                above = views[column - 1][0] > 80  # the third axis is a point: no room for numbers
                ax.set_zlabel("" if above else "y, a_3")
                ax.set_zticks([] if above else [-1, 0, 1])
                ax.xaxis.set_major_locator(MaxNLocator(4))
                ax.yaxis.set_major_locator(MaxNLocator(4))
                ax.view_init(*views[column - 1])
                ax.set_box_aspect(None, zoom=0.8)  # leaves room for the labels, which no layout counts in
                ax.tick_params(labelsize="small", pad=0)
                for name, (vector, colour) in found.items():
                    ax.plot(*np.stack([-vector, vector], 1), color=colour, lw=1.8, label=name)
            else:
                ax.set_aspect("equal")
                ax.set_title(dataset, loc="left")
                for vector, colour in found.values():
                    ax.plot(*np.stack([-vector[:2], vector[:2]], 1), color=colour, lw=1.8)
    if options.components:
        named = {**{f"component {i + 1}": c for i, c in enumerate(GREYS)}, "w* of a support vector machine": OPTIMUM}
        handles = [Line2D([], [], color=colour, label=name) for name, colour in named.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def directions(x: np.ndarray, labels: np.ndarray, signs: Any) -> dict[str, tuple[np.ndarray, str]]:
    """Return the principal components of ``[X | Y]``, its columns standardised, and w*, each of unit length."""
    points = signs.new_tensor(x)
    gram = Gram(2, 1).add(points, signs)
    axes = correlation_axes(gram).numpy()
    normal = LinearSVC(C=100.0, dual=False).fit(x, labels).coef_[0]
    found = {f"component {i + 1}": (axes[:, i], colour) for i, colour in enumerate(GREYS)}
    return {**found, "w*": (np.append(normal / np.linalg.norm(normal), 0.0), OPTIMUM)}


def caption(results: StudyResults, options: Options) -> str:
    text = "Left: points of two classes (colours). Beside: the same with their label, -1 or +1, as a third coordinate"
    if options.components:
        text += (
            ", from three sides; the principal components of this augmented representation, its columns standardised, "
            "and the normal of the line that a linear support vector machine finds in the plane"
        )
    files = [f"datasets/{name}" for name in options.datasets]
    return f"{text}. The first {POINTS} training points. {provenance(results, *files)}"
