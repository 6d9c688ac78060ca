"""Test accuracies as grouped bars, one panel a data set, with the published value over the bar that answers for it.

For dmn figure 4, dmn-icassp figure 3 (top) and dmn supplement figure 10.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError, nearest
from layerwise.figures._panels import Colour, colours, legend, measured, ran, runs
from layerwise.figures._style import new, over_seeds, provenance
from layerwise.options import Bounded
from layerwise.results import published
from layerwise.results.study_results import StudyResults

WIDTH = 0.8  # of a group of bars, where the distance of two groups is 1
LONG = 7  # letters of a label that still stands upright


@dataclass(frozen=True)
class Options(Bounded):
    panels: dict[str, dict[str, dict[str, str]]]
    """For each data set, the rows and their bars: {dataset: {row: {kind: path}}}, a row as published without
    ``dataset|``."""
    source: str = ""
    """Work whose published values are shown, such as dmn; none where absent."""
    item: str | tuple[str, ...] = ()
    """Its table, or tables."""
    metrics: dict[str, str] = field(default_factory=dict)
    """The published metric that a kind of bar answers for: {kind: metric}."""
    baseline: dict[str, str] = field(default_factory=dict)
    """Path of the network without a layer below the head, drawn as a dashed line: {dataset: path}."""
    labels: dict[str, str] = field(default_factory=dict)
    """What to call a row on the axis; its own name where absent, without the pooling and the head that all have."""
    measure: str = "test_accuracy"
    """Column of fits.csv, an accuracy."""

    def __post_init__(self) -> None:
        for dataset in self.baseline:
            if dataset not in self.panels:
                raise LayerwiseError(f"option 'baseline': no panel {dataset!r}{nearest(dataset, self.panels)}")
        kinds = {kind for rows in self.panels.values() for bars in rows.values() for kind in bars}
        for kind in self.metrics:
            if kind not in kinds:
                raise LayerwiseError(f"option 'metrics': no bar of the kind {kind!r}{nearest(kind, kinds)}")
        rows = {row for each in self.panels.values() for row in each}
        for row in self.labels:
            if row not in rows:
                raise LayerwiseError(f"option 'labels': no row {row!r}{nearest(row, rows)}")


def draw(results: StudyResults, options: Options) -> Figure:
    told = _published(options)
    every = [(d, bars) for d, rows in options.panels.items() for bars in rows.values()]
    colour = colours(results, [(kind, f"{d}/{path}") for d, bars in every for kind, path in bars.items()])
    # Panels as wide as what is in them, with room for the title of a narrow one.
    sizes = [max(7, sum(len(bars) + 1 for bars in rows.values())) for rows in options.panels.values()]
    figure = new(1.6 + 0.13 * sum(sizes) + 0.6 * len(sizes), 3.3)
    axes = list(figure.subplots(1, len(sizes), width_ratios=sizes, squeeze=False)[0])
    for ax, (dataset, rows) in zip(axes, options.panels.items(), strict=True):
        _panel(ax, results, options, dataset, rows, colour, told)
    axes[0].set_ylabel(f"{options.measure.replace('_', ' ')}, %")
    legend(axes)
    return figure


def _panel(
    ax: Axes,
    results: StudyResults,
    options: Options,
    dataset: str,
    rows: dict[str, dict[str, str]],
    colour: dict[str, Colour],
    told: dict[tuple[str, str], float],
) -> None:
    ends: list[float] = []
    width = WIDTH / max(map(len, rows.values()))
    for i, (row, bars) in enumerate(rows.items()):
        for j, (kind, path) in enumerate(bars.items()):
            at = i + (j - (len(bars) - 1) / 2) * width
            found = measured(results, f"{dataset}/{path}", options.measure)
            mean, half = found or (nan, nan)  # a bar of no height still names its kind in the legend
            ax.bar(at, mean, 0.92 * width, color=colour[kind], label=kind)
            if found:
                half = max(0.0, half)  # 0.0 for the nan of a single seed
                ax.errorbar(at, mean, yerr=half, color="black", elinewidth=0.9, fmt="none")
                ends += [mean - half, mean + half]
            value = told.get((f"{dataset}|{row}", options.metrics.get(kind, "")))
            if value is not None:
                fill = "white" if found else colour[kind]  # without a bar, the diamond itself shows its kind
                ax.plot(at, value, "D", color=fill, mec="black", mew=0.8, ms=5, label="published", zorder=4)
                ends.append(value)
    if dataset in options.baseline:
        base = measured(results, f"{dataset}/{options.baseline[dataset]}", options.measure)
        if base:
            ax.axhline(base[0], color="#555555", lw=1, ls=(0, (4, 2)), label="no layer below the head", zorder=3)
            ends.append(base[0])
    here = runs(results, dataset)
    if not here:
        ax.text(0.5, 0.98, "not run", transform=ax.transAxes, ha="center", va="top", color="#777777")
    if ends:
        span = max(max(ends) - min(ends), 0.5)
        ax.set_ylim(max(0, min(ends) - 0.12 * span), min(100.5, max(ends) + (0.08 if here else 0.2) * span))
    names = [options.labels.get(row, re.sub(r",m\b|,de\d+$", "", row).replace(",", ", ")) for row in rows]
    slanted = max(map(len, names)) > LONG
    ax.set_xticks(range(len(rows)), names, rotation=40 if slanted else 0, ha="right" if slanted else "center")
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-0.6, len(rows) - 0.4)
    ax.grid(False, axis="x")
    ax.set_title(dataset, loc="left")


def _published(options: Options) -> dict[tuple[str, str], float]:
    """Return the published values by row and metric; LayerwiseError for a name that no work holds."""
    if not options.source:
        return {}
    items = (options.item,) if isinstance(options.item, str) else options.item
    known = {v.source: {w.item for w in published.values() if w.source == v.source} for v in published.values()}
    if options.source not in known:
        raise LayerwiseError(f"figure bars: no work {options.source!r}{nearest(options.source, known)}")
    for item in items:
        if item not in known[options.source]:
            raise LayerwiseError(f"figure bars: {options.source} has no {item!r}{nearest(item, known[options.source])}")
    mine = [v for v in published.values() if v.source == options.source and v.item in items]
    for metric in options.metrics.values():
        if metric not in {v.metric for v in mine}:
            hint = nearest(metric, {v.metric for v in mine})
            raise LayerwiseError(f"figure bars: no published metric {metric!r}{hint}")
    for dataset, rows in options.panels.items():
        for row in rows:
            if f"{dataset}|{row}" not in {v.row for v in mine}:
                hint = nearest(f"{dataset}|{row}", {v.row for v in mine})
                raise LayerwiseError(f"figure bars: no published row {dataset + '|' + row!r}{hint}")
    return {(v.row, v.metric): v.value for v in mine}


def caption(results: StudyResults, options: Options) -> str:
    dashed = ", the dashed line the network without a layer below its head" if options.baseline else ""
    items = (options.item,) if isinstance(options.item, str) else options.item
    told = f" Diamonds are the values of {options.source} {', '.join(items)}." if options.source else ""
    there, out = ran(results, options.panels)
    return (
        f"{options.measure.replace('_', ' ').capitalize()} of networks by their filters: "
        f"{over_seeds(results, *there)}{dashed}.{told}{out} The axes do not begin at 0. "
        f"{provenance(results, 'fits.csv')}"
    )
