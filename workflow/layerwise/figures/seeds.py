"""What networks reach, a dot a seed, with the median and the mean: thesis figures 3.1 and 3.4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from matplotlib.figure import Figure

from layerwise.figures._panels import empty, legend, parted, ran
from layerwise.figures._style import COLOURS, grid, provenance
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    panels: Annotated[dict[str, Annotated[dict[str, str], MinLen(1)]], MinLen(1)]
    """The networks of each panel, from left to right: {title: {name: dataset/path}}."""
    measures: Annotated[tuple[str, ...], MinLen(1)] = ("test_accuracy",)
    """Columns of fits.csv; each is a row of panels."""


def draw(results: StudyResults, options: Options) -> Figure:
    figure, axes = grid(len(options.panels) * len(options.measures), len(options.panels), 3.6, 2.7)
    figure.set_figwidth(figure.get_figwidth() + 1.2)
    places = [(measure, title) for measure in options.measures for title in options.panels]
    for ax, (measure, title) in zip(axes, places, strict=True):
        networks = options.panels[title]
        found = {name: parted(results, network) for name, network in networks.items()}
        values = {name: results.values(*there, measure) for name, there in found.items() if there}
        if not values:
            empty(ax)
        else:
            at = {name: i for i, name in enumerate(networks)}
            for name, own in values.items():
                ax.plot([at[name]] * len(own), own, "o", color="#777777", ms=3, alpha=0.6, label="a seed")
            places_ = [at[name] for name in values]
            ax.plot(places_, [v.mean() for v in values.values()], color=COLOURS["sgd"], label="mean")
            medians = [v.median() for v in values.values()]
            ax.plot(places_, medians, "_", color=COLOURS["dmn"], ms=11, mew=2, label="median")
            ax.set_xticks(range(len(networks)), list(networks), rotation=45 if max(map(len, networks)) > 3 else 0)
        ax.set_title(title, loc="left")
        ax.set_ylabel(f"{measure.replace('_', ' ')}{', %' if 'accuracy' in measure else ''}")
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, [network for panel in options.panels.values() for network in panel.values()])
    counts = sorted({len(results.study.seeds_of(d)) for d in there})
    seeds = f"{' or '.join(map(str, counts))} seeds" if counts else "no seeds"
    what = ", ".join(measure.replace("_", " ") for measure in options.measures)
    return (
        f"{what.capitalize()} of networks, a dot a seed ({seeds}), with mean and median.{out} The axes do not begin "
        f"at 0. {provenance(results, 'fits.csv')}"
    )
