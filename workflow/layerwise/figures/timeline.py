"""Which device does what when, as a simulation foresees: a panel a schedule, a row a device.

Thesis figure 6.7 (partitions at once), beside what figure 6.6 has of one stage after the other and of micro-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from layerwise.figures._panels import empty
from layerwise.figures._stages import NAMES, origin, record_of, stages
from layerwise.figures._style import new, shaded
from layerwise.maths.pipelines import Stage, busy, period, simulate
from layerwise.options import Bounded, Ge, Le, MinLen
from layerwise.results.study_results import StudyResults

KINDS = {
    "F": ("forward", "#0072B2"),
    "B": ("backward", "#E69F00"),
    "I": ("backward, for the inputs", "#D55E00"),
    "W": ("backward, for the weights", "#009E73"),
}
WIDTH, ROW, HEAD = 8.0, 0.26, 0.42  # inches of a figure, of a device in it, and of what is above a panel
LETTER = 0.009  # width of a letter, as a share of the figure's


@dataclass(frozen=True)
class Options(Bounded):
    network: str = ""
    """Network as dataset/path, fitted with schedule concurrent: the costs of its partitions are the lengths; equal ones
    where absent."""
    stages: Annotated[int, Ge(2), Le(16)] = 4
    """Devices where no network is named."""
    steps: Annotated[int, Ge(1), Le(32)] = 4
    """Batches that partitions at once are shown for; the other schedules are shown for as long."""
    micro: Annotated[int, Ge(1), Le(64)] = 4
    """Micro-batches that pipelines cut a batch into."""
    schedules: Annotated[tuple[Literal["naive", "gpipe", "1f1b", "zero_bubble", "concurrent"], ...], MinLen(1)] = (
        "naive",
        "gpipe",
        "concurrent",
    )
    """Schedules, a panel each."""


def draw(results: StudyResults, options: Options) -> Figure:
    record = record_of(results, options.network, "timeline") if options.network else {}
    parts = {name: _stages(record, name, options) for name in options.schedules} if record is not None else {}
    devices = max((len(each) for each in parts.values()), default=1)
    figure = new(WIDTH, len(options.schedules) * (HEAD + ROW * devices) + 0.7)
    axes = list(figure.subplots(len(options.schedules), 1, sharex=True, squeeze=False)[:, 0])
    if not parts:
        for ax in axes:
            empty(ax)
        return figure
    ours = _stages(record or {}, "concurrent", options)
    until = max(end for _, end in simulate("concurrent", ours, options.steps).values())
    unit = max(busy(ours, True))
    drawn: set[str] = set()
    for ax, (name, each) in zip(axes, parts.items(), strict=True):
        pace = period(name, each, micro=options.micro)
        used = sum(stage.forward + stage.backward + stage.exit for stage in each) / len(each) / pace
        ax.set_title(f"{NAMES[name]}: devices at work {100 * used:.0f} % of the time", loc="left")
        drawn |= _panel(ax, name, each, until / unit, unit, options.micro)
    axes[-1].set_xlabel("time, in steps of the slowest partition at once")
    handles = [
        Patch(color=shaded(colour, 0.2), label=label) for kind, (label, colour) in KINDS.items() if kind in drawn
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _stages(record: dict | None, schedule: str, options: Options) -> list[Stage]:
    """Return the stages of a schedule; those of a network as it was cut, with decision blocks or without."""
    if not record:
        return [Stage(1.0, 1.0, 1.0)] * options.stages
    plan = record["partitions"]
    return stages(plan, plan["cut"], schedule == "concurrent")


def _panel(ax: Axes, name: str, each: list[Stage], until: float, unit: float, micro: int) -> set[str]:
    """Draw what devices do up to a time, and return the kinds of work that are seen."""
    ahead = 3 * len(each)  # a fast device goes ahead of the pace as far as queues let it
    steps = 1 + int(until * unit / period(name, each, micro=micro)) + ahead
    drawn = set()
    for work, (start, end) in simulate(name, each, steps, micro=micro).items():
        start, end = start / unit, min(end / unit, until)
        if work.kind not in KINDS or start >= end:
            continue
        drawn.add(work.kind)
        face = shaded(KINDS[work.kind][1], 0.55 if work.step % 2 else 0.2)
        ax.add_patch(Rectangle((start, work.device - 0.45), end - start, 0.9, fc=face, ec="white", lw=0.5))
        number = work.step if name in ("naive", "concurrent") else work.micro
        if (end - start) / until > LETTER * (len(str(number)) + 2):
            middle = (start + end) / 2
            ax.text(middle, work.device, f"{work.kind}{number}", ha="center", va="center", fontsize=6.5, clip_on=True)
    ax.set(xlim=(0, until), ylim=(-0.6, len(each) - 0.4), yticks=range(len(each)))
    ax.set_yticklabels([f"device {d}" for d in range(len(each))])
    ax.grid(False)
    return drawn


def caption(results: StudyResults, options: Options) -> str:
    lengths, source = "Stages take equally long", f"Source: simulated for results/{results.study.name}/."
    if options.network:
        lengths = f"Stages are the partitions of {options.network}, by what their blocks cost"
        source = origin(results, options.network)
    pipes = set(options.schedules) - {"naive", "concurrent"}
    cut = f" Pipelines cut a batch into {options.micro}." if pipes else ""
    return (
        f"What each device does when, simulated without transfers and updates. {lengths}, a third of it forward. The "
        f"number is that of the batch, of pipelines that of the micro-batch, and batches differ in shade.{cut} All "
        f"panels are as long; the share of the time is that behind the start-up. {source}"
    )
