"""Test accuracies as grouped bars, one panel a data set, with the published value over the bar that answers for it.

For dmn figure 4, dmn-icassp figure 3 (top) and dmn supplement figure 10.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import nan
from typing import Annotated

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError, nearest
from layerwise.figures._panels import Colour, colours, entry, legend, measured, ran
from layerwise.figures._style import new, over_seeds, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults
from layerwise.study import works

WIDTH = 0.8  # of a group of bars, where the distance of two groups is 1
LONG = 7  # letters of a label that still stands upright


@dataclass(frozen=True)
class Options(Bounded):
    source: str = ""
    """Work whose rows are shown, such as dmn, each with its networks as the study has them under ``published``."""
    item: str | tuple[str, ...] = ()
    """Its table, or tables."""
    columns: tuple[str, ...] = ()
    """The columns of the item that are drawn, each a kind of bar; all where absent."""
    rows: tuple[str, ...] = ()
    """The rows that are drawn, as published; ``*`` stands for any text; all where absent."""
    but: tuple[str, ...] = ()
    """Rows that are not drawn."""
    kinds: dict[str, str] = field(default_factory=dict)
    """What to call the bars of a row in place of their column, by the first pattern that fits: {row: kind}."""
    panels: dict[str, Annotated[dict[str, Annotated[dict[str, str], MinLen(1)]], MinLen(1)]] = field(
        default_factory=dict
    )
    """Rows of no work: {dataset: {row: {kind: path}}}."""
    baseline: dict[str, str] = field(default_factory=dict)
    """Path of the network without a layer below the head, drawn as a dashed line: {dataset: path}."""
    labels: dict[str, str] = field(default_factory=dict)
    """What to call a row, without its data set, on the axis; its own name where absent, without the pooling and the
    head that all have."""
    measure: str = "test_accuracy"
    """Column of fits.csv, an accuracy."""

    def __post_init__(self) -> None:
        if bool(self.source) == bool(self.panels) or bool(self.source) != bool(self.item):
            raise LayerwiseError("name the source and the item whose rows are drawn, or give panels")
        if self.kinds and len(self.columns) != 1:
            raise LayerwiseError("option 'kinds': name the one column that it renames under columns")


@dataclass(frozen=True)
class Bar:
    """A bar: its network, as dataset/path, and the published value that it answers for, if there is one."""

    network: str
    published: float | None = None


def draw(results: StudyResults, options: Options) -> Figure:
    panels = bars(results, options)
    every = [bar for rows in panels.values() for bars_ in rows.values() for bar in bars_.items()]
    colour = colours(results, [(kind, bar.network) for kind, bar in every])
    # Panels as wide as what is in them, with room for the title of a narrow one.
    sizes = [max(7, sum(len(bars) + 1 for bars in rows.values())) for rows in panels.values()]
    figure = new(1.6 + 0.13 * sum(sizes) + 0.6 * len(sizes), 3.3)
    axes = list(figure.subplots(1, len(sizes), width_ratios=sizes, squeeze=False)[0])
    for ax, (dataset, rows) in zip(axes, panels.items(), strict=True):
        _panel(ax, results, options, dataset, rows, colour)
    axes[0].set_ylabel(f"{options.measure.replace('_', ' ')}, %")
    legend(axes)
    return figure


def _panel(
    ax: Axes,
    results: StudyResults,
    options: Options,
    dataset: str,
    rows: dict[str, dict[str, Bar]],
    colour: dict[str, Colour],
) -> None:
    ends: list[float] = []
    width = WIDTH / max(map(len, rows.values()))
    for i, each in enumerate(rows.values()):
        for j, (kind, bar) in enumerate(each.items()):
            at = i + (j - (len(each) - 1) / 2) * width
            found = measured(results, bar.network, options.measure)
            mean, half = found or (nan, nan)  # a bar of no height still names its kind in the legend
            ax.bar(at, mean, 0.92 * width, color=colour[kind], label=entry(kind))
            if found:
                half = max(0.0, half)  # 0.0 for the nan of a single seed
                ax.errorbar(at, mean, yerr=half, color="black", elinewidth=0.9, fmt="none")
                ends += [mean - half, mean + half]
            if bar.published is not None:
                fill = "white" if found else colour[kind]  # without a bar, the diamond itself shows its kind
                ax.plot(at, bar.published, "D", color=fill, mec="black", mew=0.8, ms=5, label="published", zorder=4)
                ends.append(bar.published)
    if dataset in options.baseline:
        base = measured(results, f"{dataset}/{options.baseline[dataset]}", options.measure)
        if base:
            ax.axhline(base[0], color="#555555", lw=1, ls=(0, (4, 2)), label="no layer below the head", zorder=3)
            ends.append(base[0])
    here = any(results.runs(*bar.network.split("/", 1)) for each in rows.values() for bar in each.values())
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


def bars(results: StudyResults, options: Options) -> dict[str, dict[str, dict[str, Bar]]]:
    """Return the bars, {dataset: {row: {kind: bar}}}; LayerwiseError for a name that stands for nothing."""
    panels: dict[str, dict[str, dict[str, Bar]]] = {
        dataset: {row: {kind: Bar(f"{dataset}/{path}") for kind, path in each.items()} for row, each in rows.items()}
        for dataset, rows in options.panels.items()
    }
    columns: set[str] = set()
    rows: set[str] = set()
    for name in (options.item,) if isinstance(options.item, str) else options.item:
        item = works.mapped(results.study, options.source, name)
        known = {(v.row, v.metric): v.value for v in works.values() if (v.source, v.item) == (options.source, name)}
        columns |= {column for cells in item.rows.values() for column in cells}
        rows |= set(item.rows)
        for row, cells in item.rows.items():
            if (options.rows and not _any(options.rows, row)) or _any(options.but, row):
                continue
            dataset, _, label = row.partition("|")
            kind = next((kind for pattern, kind in options.kinds.items() if works.fits(pattern, row) is not None), "")
            panels.setdefault(dataset, {})[label] = {
                kind or column: Bar(network, known.get((row, item.column(column).published)))
                for column, network in cells.items()
                if not options.columns or column in options.columns
            }
    _there("columns", options.columns, columns)
    for option in ("rows", "but", "kinds"):
        for pattern in getattr(options, option):
            if not any(works.fits(pattern, row) is not None for row in rows):
                raise LayerwiseError(f"figure bars: option {option!r}: no row fits {pattern!r}{nearest(pattern, rows)}")
    if not panels:
        raise LayerwiseError("figure bars: no row is left to draw; name more under rows, or fewer under but")
    _there("baseline", options.baseline, panels)
    _there("labels", options.labels, {row for each in panels.values() for row in each})
    return panels


def _any(patterns: Iterable[str], row: str) -> bool:
    return any(works.fits(pattern, row) is not None for pattern in patterns)


def _there(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = set(known)
    for name in names:
        if name not in known:
            raise LayerwiseError(f"figure bars: option {option!r}: no {name!r}{nearest(name, known)}")


def caption(results: StudyResults, options: Options) -> str:
    dashed = ", the dashed line the network without a layer below its head" if options.baseline else ""
    items = (options.item,) if isinstance(options.item, str) else options.item
    told = f" Diamonds are the values of {options.source} {', '.join(items)}." if options.source else ""
    panels = bars(results, options).values()
    networks = [bar.network for rows in panels for each in rows.values() for bar in each.values()]
    there, out = ran(results, networks, of_fits=True)
    return (
        f"{options.measure.replace('_', ' ').capitalize()} of networks by their filters: "
        f"{over_seeds(results, *there)}{dashed}.{told}{out} The axes do not begin at 0. "
        f"{provenance(results, 'fits.csv')}"
    )
