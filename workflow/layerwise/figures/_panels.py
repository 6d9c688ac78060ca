"""What figures over several data sets and probes share: which networks are there, and how their seeds are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from layerwise.errors import LayerwiseError, nearest
from layerwise.figures._style import DASHES, SHADES, bar, method_colours, shaded
from layerwise.maths.intervals import interval
from layerwise.results.study_results import StudyResults

Colour = tuple[float, float, float]
SEVERAL = "#5B6C8F"  # the colour of what is of several methods


def runs(results: StudyResults, dataset: str) -> bool:
    """Tell whether a data set runs, or is left out; LayerwiseError where the study does not know it."""
    if dataset in results.study.networks:
        return True
    if dataset in results.study.left_out:
        return False
    known = [*results.study.networks, *results.study.left_out]
    raise LayerwiseError(f"{dataset!r} is no data set of the study {results.study.name}{nearest(dataset, known)}")


def ran(results: StudyResults, networks: Iterable[str], of_fits: bool = False) -> tuple[list[str], str]:
    """Return, of networks as ``dataset/path``, the data sets that run, and the words of a caption for the others.

    Parameters
    ----------
    of_fits
        The figure needs no more than a table of fits: what was fitted elsewhere is in it too (`measured`).
    """
    parts = [n.partition("/")[::2] for n in networks]
    datasets = list(dict.fromkeys(dataset for dataset, _ in parts))
    there = [d for d in datasets if runs(results, d)]
    away = [d for d in datasets if d not in there and of_fits and any(results.runs(*p) for p in parts if p[0] == d)]
    left = [d for d in datasets if d not in there + away]
    machines = sorted(set(results.elsewhere.loc[results.elsewhere["dataset"].isin(away), "machine"]))
    told = f" {', '.join(away)}: fitted elsewhere, on {'; '.join(machines)}." if away else ""
    return there, told + (f" Not run: {', '.join(left)}." if left else "")


def parted(results: StudyResults, network: str) -> tuple[str, str] | None:
    """Return the data set and the path of ``dataset/path``; None where that data set is left out."""
    dataset, _, path = network.partition("/")
    if not path:
        raise LayerwiseError(f"{network!r}: write a network as dataset/path")
    if not runs(results, dataset):
        return None
    results.networks(dataset, (path,))  # says what is wrong with the path
    return dataset, path


def shown_seed(results: StudyResults, shown: str, seed: int | None) -> int:
    """Return the seed to show of a data set or ``dataset/path``: the one that is given, or the first of the study."""
    seeds: tuple[int, ...] = results.study.seeds_of(shown.partition("/")[0])
    if seed is not None and seed not in seeds:
        raise LayerwiseError(f"option 'seed' is {seed}: the study fits {shown} with {', '.join(map(str, seeds))}")
    return seeds[0] if seed is None else seed


def title(results: StudyResults, network: str) -> str:
    """Return what to call ``dataset/path`` over a panel."""
    dataset, _, path = network.partition("/")
    return f"{dataset}: {results.study.networks.get(dataset, {}).get(path, path)}"


def empty(ax: Axes) -> None:
    """Say in a panel that its data set is left out of the study; ticks would mean nothing."""
    ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center", color="#777777")
    ax.set(xticks=[], yticks=[])


def measured(results: StudyResults, network: str, measure: str) -> tuple[float, float] | None:
    """Return the mean and half width of ``dataset/path``; None where it is left out, and was not fitted elsewhere."""
    dataset, _, path = network.partition("/")
    if parted(results, network) is None and not results.runs(dataset, path):
        return None
    mean, half = results.interval(dataset, path, measure)
    if np.isnan(mean):
        raise LayerwiseError(f"network {network!r} has no {measure}: name another measure, or data with that split")
    return mean, half


def colours(results: StudyResults, networks: Iterable[tuple[str, str]]) -> dict[str, Colour]:
    """Return a colour for each name by the method of its networks; names of one method get shades of its colour.

    Parameters
    ----------
    networks
        Pairs of a name and ``dataset/path``.
    """
    methods: dict[str, str] = {}
    for name, network in networks:
        parted(results, network)  # says what is wrong with it
        method = results.method(network.partition("/")[2])
        methods[name] = method if methods.get(name, method) == method else "several"
    told, colour = list(methods.values()), method_colours(results)
    found = {}
    for i, (name, method) in enumerate(methods.items()):
        shade = SHADES[told[:i].count(method) % len(SHADES)]
        found[name] = shaded(SEVERAL if method == "several" else colour[method], shade)
    return found


def ladder(steps: int) -> list[Colour]:
    """Return colours from dark to light for things that have an order."""
    r = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, steps))
    return [(float(c[0]), float(c[1]), float(c[2])) for c in r]


def probed(results: StudyResults, probe: str, columns: Iterable[str], module: str) -> pd.DataFrame:
    """Return what a probe saw; LayerwiseError where it has no such column, or is the probe of another kind."""
    table = results.probe(probe)
    if table.empty:  # all that it looks at is left out
        return table
    for column in columns:
        if column not in table:
            hint = nearest(column, map(str, table))
            raise LayerwiseError(f"figure {module}: probe {probe} has no column {column!r}{hint}")
    return table


def seen(results: StudyResults, table: pd.DataFrame, network: str, module: str) -> pd.DataFrame | None:
    """Return the rows of ``dataset/path`` in what a probe saw; None where that data set is left out."""
    found = parted(results, network)
    if found is None:
        return None
    mine = table[(table["dataset"] == found[0]) & (table["path"] == found[1])] if len(table) else table
    if mine.empty:
        raise LayerwiseError(f"figure {module}: the probe did not look at {network!r}; name it under the probe")
    return mine


def looked_at(results: StudyResults, probe: str, networks: Sequence[str]) -> tuple[str, ...]:
    """Return the networks to show as ``dataset/path``: those named, or all that the probe looks at."""
    if networks:
        return tuple(networks)
    if probe not in results.study.probes:
        raise LayerwiseError(f"{probe!r} is no probe of the study{nearest(probe, results.study.probes)}")
    named = results.study.probes[probe].networks
    return named or tuple(f"{d}/{p}" for n, d, p in results.study.looks() if n == probe)


def over(table: pd.DataFrame, by: str, column: str, logarithmic: bool = False) -> pd.DataFrame:
    """Return ``mean``, ``low`` and ``high`` over the seeds at each value of a column, in its order."""
    rows = {}
    for value, group in table.groupby(by)[column]:
        mean, half = interval(group)
        (below,), (above,) = bar(mean, half, logarithmic)
        rows[value] = {"mean": mean, "low": mean - below, "high": mean + above}
    told = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"]).dropna()
    return told[told["mean"] > 0] if logarithmic else told  # an exact zero has no place on a logarithmic axis


def line(ax: Axes, told: pd.DataFrame, label: str, colour: Colour, **style) -> None:
    """Draw a mean with the band around it; without a line style it has that of its place among the figure's names."""
    if not style.keys() & {"linestyle", "ls"}:
        style["linestyle"] = DASHES[_place(ax, entry(label)) % len(DASHES)]
    ax.plot(told.index, told["mean"], label=entry(label), color=colour, **style)
    ax.fill_between(told.index, told["low"], told["high"], color=colour, alpha=0.18, lw=0)


def _place(ax: Axes, label: str) -> int:
    """Return the place of a label among those of all lines that the panels of its figure have so far."""
    lines = [line for panel in ax.figure.axes for line in panel.get_lines()]
    names = dict.fromkeys(name for line in lines if not (name := str(line.get_label())).startswith("_"))
    return [*names, label].index(label)


# matplotlib keeps a label that is empty or begins with an underscore out of legends: one with this letter, which takes
# no room, in front is in, and the legend itself is written without.
_JOINER = "\N{WORD JOINER}"


def entry(label: str) -> str:
    """Return what to give matplotlib as the ``label`` of a line or a bar, so that the legend has it whatever it is."""
    return label if label and not label.startswith("_") else _JOINER + label


def legend(axes: Sequence[Axes], order: Sequence[str] = (), **style) -> None:
    """Write one legend for all panels to the right of them: each name once, what has bars before mere lines.

    Parameters
    ----------
    order
        The names, where they stand in another order.
    """
    named: dict[str, Any] = {}
    for handle, name in (pair for ax in axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)):
        named.setdefault(name.removeprefix(_JOINER), handle)
    order = list(dict.fromkeys(order)) or sorted(named, key=lambda name: isinstance(named[name], Line2D))
    if named:
        handles, names = [named[n] for n in order], [entry(n) for n in order]
        drawn = axes[0].figure.legend(handles, names, loc="outside right upper", **style)
        for text, name in zip(drawn.get_texts(), order, strict=True):
            text.set_text(name)
