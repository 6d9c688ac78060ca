"""What networks reach against the memory that a step of their training takes: a point a network, and the front of all.

Memory is that of the largest window of a network trained locally, in % of a step that trains the whole model, which is
where its backpropagation twin stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, ran, runs
from layerwise.figures._style import bar, looks, new, over_seeds, provenance
from layerwise.options import Bounded
from layerwise.results.study_results import StudyResults
from layerwise.study.trie import Node

WIDTH, HEIGHT = 7.8, 4.8  # inches
LINE = 9.0  # points from one label to the next
LETTER = 4.2  # points that a letter of a label takes, about


@dataclass(frozen=True)
class Options(Bounded):
    dataset: str
    """Data set whose networks are shown."""
    split: Literal["train", "valid", "test"] = "test"
    """Split on which they are measured."""
    networks: tuple[str, ...] = ()
    """Paths of networks whose last segment is fitted by `local`, or whose one segment is fitted by `sgd`; all of the
    data set where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    dataset = options.dataset
    figure = new(WIDTH, HEIGHT)
    ax = figure.add_subplot()
    ax.set_xlabel("memory of the largest training step, % of the whole model's")
    ax.set_ylabel(f"{options.split} accuracy, %")
    ax.set_title(f"{dataset}: accuracy against memory", loc="left")
    if not runs(results, dataset):
        empty(ax)
        return figure
    if results.measure(dataset) != "accuracy":
        raise LayerwiseError(f"figure accuracy_memory: {dataset} has values, and no accuracy")
    networks = results.networks(dataset, options.networks)
    look = looks(results, dataset, networks)
    points: dict[str, tuple[float, float]] = {}
    for path in networks:
        x = percent(results, dataset, path)
        y, half = results.interval(dataset, path, f"{options.split}_accuracy")
        points[path] = x, y
        ax.errorbar(x, y, yerr=bar(y, half, logarithmic=False), fmt="none", ecolor=look[path].colour, elinewidth=0.9)
        ax.plot(x, y, look[path].marker, color=look[path].colour, zorder=3)
    ax.step(*zip(*front(points.values()), strict=True), where="post", color="#bbbbbb", lw=1, zorder=1)
    ax.set_xlim(0, 130)  # with room for the label of what takes all
    ax.set_xticks(range(0, 101, 20))
    ax.margins(y=0.08)
    _label(ax, {networks[path]: point for path, point in points.items()})
    return figure


def percent(results: StudyResults, dataset: str, path: str) -> float:
    """Return the memory of the largest step that trains a network, in % of a step that trains its model as a whole.

    It does not depend on the seed.
    """
    lineage = Node(results.study.name, dataset, results.study.seeds_of(dataset)[0], path).lineage
    record = results.records[lineage[-1]]
    shares = [window.get("memory_share") for window in record["record"].get("blocks", [])]
    if shares and None not in shares:
        return 100 * max(shares)
    if not shares and len(lineage) == 1 and results.method(path) == "sgd":
        return 100.0
    raise LayerwiseError(
        f"figure accuracy_memory: {dataset}/{path} has no share of memory: name networks whose last segment is fitted "
        "by local, and those that sgd trains as a whole"
    )


def front(points) -> list[tuple[float, float]]:
    """Return the points that are better than all with as little memory, by memory."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    return best


def _label(ax: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Write the name of each point to the right of it, above the names that it would else lie on."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    across, up = 72 * (WIDTH - 0.8) / (right - left), 72 * (HEIGHT - 0.9) / (high - low)  # points a unit
    placed: list[tuple[float, float, float]] = []  # where a name begins and ends, and its height
    for name, (x, y) in sorted(points.items(), key=lambda item: item[1][1]):
        start, at = across * x + 6, up * y
        end = start + LETTER * len(name)
        while clash := [h for a, b, h in placed if a < end and start < b and abs(h - at) < LINE]:
            at = max(clash) + LINE
        placed.append((start, end, at))
        arrow = {"arrowstyle": "-", "color": "#cccccc", "lw": 0.6} if at > up * y + LINE else None
        offset = (6, at - up * y)
        ax.annotate(
            name, (x, y), offset, textcoords="offset points", fontsize=7, va="center", arrowprops=arrow, zorder=4
        )


def caption(results: StudyResults, options: Options) -> str:
    _, out = ran(results, [options.dataset])
    return (
        f"{options.split.capitalize()} accuracy on {options.dataset} against the memory of the largest training step "
        "of a network, of all its windows, in % of a step that trains the whole model at the same batch and optimiser "
        f"(backpropagation: 100): {over_seeds(results, options.dataset)}. Memory is counted on fake tensors, and "
        "includes the frozen blocks below and the sums of a ridge head. The grey line is the front: no network with as "
        f"little memory lies above it. A colour is a method.{out} "
        f"{provenance(results, 'fits.csv', 'networks/*/fit.json')}"
    )
