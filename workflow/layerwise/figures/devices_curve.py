"""How much faster a network trains on more devices, by schedule, as a simulation foresees from what its blocks cost.

The network is cut for each number of devices so that the slowest is as fast as can be, as a fit in partitions is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, legend, title
from layerwise.figures._stages import NAMES, counted, origin, record_of, stages
from layerwise.figures._style import DASHES, MARKERS, decimal_ticks, new
from layerwise.maths.pipelines import period
from layerwise.methods import _cut
from layerwise.options import Bounded, Ge, Gt, Le, MinLen
from layerwise.results.study_results import StudyResults

COUNTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
COLOURS = ("#7F7F7F", "#E69F00", "#CC79A7", "#009E73", "#222222", "#0072B2")


@dataclass(frozen=True)
class Options(Bounded):
    network: str
    """Network as dataset/path, fitted with schedule concurrent: its record has what its blocks cost. Of one that is
    left out, this is counted."""
    most: Annotated[int, Ge(2), Le(64)] = 64
    """Devices at most; a network is cut into no more than it has blocks."""
    micro: Annotated[int, Ge(1), Le(8)] = 2
    """Micro-batches of a pipeline for each of its devices."""
    bandwidth: Annotated[float, Gt(0)] = 1e9
    """Bytes a second between two devices."""
    operations: Annotated[float, Gt(0)] = 1e13
    """Floating-point operations a second of a device, for a network that is left out; else its seconds count."""
    schedules: Annotated[
        tuple[Literal["naive", "gpipe", "1f1b", "zero_bubble", "ddp", "concurrent"], ...], MinLen(1)
    ] = ("naive", "gpipe", "1f1b", "zero_bubble", "ddp", "concurrent")
    """Schedules, a line each."""


def draw(results: StudyResults, options: Options) -> Figure:
    figure = new(6.6, 3.9)
    ax = figure.add_subplot()
    ax.set_title(title(results, options.network), loc="left")
    ax.set_xlabel("devices (log scale)")
    ax.set_ylabel("times as fast as one device (log scale)")
    record = record_of(results, options.network, "devices_curve")
    if record is None:
        empty(ax)
        return figure
    counts = [count for count in COUNTS if count <= options.most]
    ax.plot(counts, counts, color="#bbbbbb", lw=1, label="no time lost")
    for name in options.schedules:
        curve, i = speedups(record, name, counts, options), list(NAMES).index(name)
        style: dict[str, Any] = {"color": COLOURS[i], "marker": MARKERS[i], "ls": DASHES[i % len(DASHES)], "ms": 4}
        ax.plot(list(curve), list(curve.values()), label=NAMES[name], **style)
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set(major_locator=FixedLocator(counts), minor_locator=NullLocator(), minor_formatter=NullFormatter())
    ax.set_xticklabels([str(count) for count in counts])
    decimal_ticks(ax.yaxis)
    legend([ax])
    return figure


def speedups(record: dict[str, Any], schedule: str, counts: list[int], options: Options) -> dict[int, float]:
    """Return how many times as fast as one device numbers of devices are, of those that the network can be cut into."""
    plan, unit = record["partitions"], second(record) if "blocks" in record else 1 / options.operations
    blocks, whole = len(plan["block_costs"]), unit * sum(plan["block_costs"])
    found = {}
    for count in counts:
        if schedule == "ddp":
            parts = stages(plan, plan["cut"], False, unit)
            sizes = _cut.stages(plan["block_parameters"], [0.0] * blocks, plan["cut"])
            parts = [replace(p, reduce=4 * n / options.bandwidth) for p, n in zip(parts, sizes, strict=True)]
        elif count > blocks:
            continue
        else:
            exits = schedule == "concurrent"
            behind = plan["exit_costs"] if exits else [0.0] * blocks
            cut = _cut.balanced(plan["block_costs"], behind, count)
            parts = stages(plan, cut, exits, unit, options.bandwidth)
        found[count] = whole / period(schedule, parts, micro=options.micro * count, devices=count)
    return found


def second(record: dict[str, Any]) -> float:
    """Return the seconds of a cost of 1, from the seconds in which the partitions of a fit were at work."""
    taken = sum(row["seconds"] / row["steps"] for row in record["blocks"] if row["steps"])
    if not taken:
        raise LayerwiseError("figure devices_curve: the fit has no seconds; fit it again")
    return float(taken / sum(record["partitions"]["costs"]))


def caption(results: StudyResults, options: Options) -> str:
    pace = "the seconds of its fit"
    if counted(results, options.network):
        pace = f"{options.operations:.3g} operations a second of a device"
    return (
        f"Images a second of {options.network} on so many devices over those of one, simulated from what its blocks "
        f"and decision blocks cost and from {pace}. For each number of devices the network is cut so "
        "that the slowest is as fast as can be; lines end where there are no more blocks. Pipelines have "
        f"{options.micro} micro-batches a device; data parallelism adds gradients up while it goes on backward. "
        f"{options.bandwidth:.3g} bytes a second between devices, updates left out. "
        f"{origin(results, options.network)}"
    )
