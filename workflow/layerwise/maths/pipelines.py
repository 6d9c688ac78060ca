"""When the devices of a network that is trained in parallel do what: a simulation, from the seconds of its stages.

Model parallelism one stage after the other (thesis figure 6.6 b), GPipe (Huang et al. 2019, section 2.3), 1F1B
(PipeDream-flush: Narayanan et al. 2021, section 2.2), zero bubble (Qi et al. 2023, ZB-H1 of section 2), data
parallelism, and partitions that train at once and wait for no gradient (thesis figure 6.7). A piece of work starts as
soon as the one before it on its device has ended and all that it needs is there. Transfers take no time of a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SCHEDULES = ("naive", "gpipe", "1f1b", "zero_bubble", "ddp", "concurrent")
WORK = ("F", "B", "I", "W", "U")  # forward; backward; its halves, for inputs and for weights; update of the weights
ON_LINKS = ("S", "G", "R")  # what is sent up; gradients sent down; gradients added up over devices
STEADY = (1, 2)  # the steps, from 0, after which the start-up is over, and up to which a step is timed

Order = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Stage:
    """Seconds that the part of a network on one device takes for a whole batch.

    Parameters
    ----------
    forward, inputs, weights
        The forward pass, and the two halves of the backward pass: the gradient of its inputs, and of its weights.
    update
        The optimiser's step.
    exit
        Both passes of a decision block behind it, which a partition that trains at once has.
    send
        To send what it gives to the next device; its gradient takes as long.
    reduce
        To send the gradients of its weights once, by which they are added up over devices.
    """

    forward: float
    inputs: float
    weights: float
    update: float = 0.0
    exit: float = 0.0
    send: float = 0.0
    reduce: float = 0.0

    @property
    def backward(self) -> float:
        return self.inputs + self.weights


class Work(NamedTuple):
    """What a device does, or a link from it: a letter of `WORK` or `ON_LINKS`, on a micro-batch of a step."""

    device: int
    kind: str
    step: int
    micro: int = 0
    stage: int = 0


class _Graph:
    """Pieces of work, each after the one before it at its place and after what it needs."""

    def __init__(self) -> None:
        self.seconds: dict[Work, float] = {}
        self.needs: dict[Work, list[Work]] = {}
        self.last: dict[tuple[int, str], Work] = {}

    def add(self, work: Work, seconds: float, *needs: Work | None) -> None:
        place = (work.device, work.kind if work.kind in ON_LINKS else "")
        before, self.last[place] = self.last.get(place), work
        self.seconds[work] = seconds
        self.needs[work] = [need for need in (before, *needs) if need is not None]

    def times(self) -> dict[Work, tuple[float, float]]:
        """Return when each piece starts and ends, those that take no time on a device left out."""
        times: dict[Work, tuple[float, float]] = {}
        for work in self.needs:
            stack = [work]
            while stack:
                if missing := [need for need in self.needs[stack[-1]] if need not in times]:
                    stack += missing
                    continue
                top = stack.pop()
                start = max((times[need][1] for need in self.needs[top]), default=0.0)
                times[top] = start, start + self.seconds[top]
        kinds = (*WORK, *ON_LINKS)
        return {work: span for work, span in times.items() if work.kind in kinds}


def simulate(
    schedule: str, stages: Sequence[Stage], steps: int = 1, *, micro: int = 1, queue: int = 2, devices: int = 0
) -> dict[Work, tuple[float, float]]:
    """Return when each piece of work starts and ends, in seconds.

    Parameters
    ----------
    schedule
        One of `SCHEDULES`.
    stages
        A device each, the lowest first. Of ``ddp`` each device has all of them.
    micro
        Micro-batches a batch, of pipelines.
    queue
        Batches that may be under way at each end of a way, of ``concurrent``: `layerwise.gradient.channels.Between`.
    devices
        Of ``ddp``, each of which takes its share of a batch; as many as stages if not given.
    """
    graph = _Graph()
    if schedule == "concurrent":
        _concurrent(graph, stages, steps, queue)
    elif schedule == "ddp":
        _ddp(graph, stages, steps, devices or len(stages))
    elif schedule == "zero_bubble":
        # Qi et al. search for the order too: here the better of two delays of the gradients of weights.
        found = []
        for late in (True, False):
            orders = [_split(_one_f_one_b(len(stages) - d, micro), d if late else 0) for d in range(len(stages))]
            _pipeline(graph := _Graph(), stages, steps, micro, orders)
            found.append(graph.times())
        return min(found, key=lambda times: max(end for _, end in times.values()))
    elif schedule == "1f1b":
        _pipeline(graph, stages, steps, micro, [_one_f_one_b(len(stages) - d, micro) for d in range(len(stages))])
    else:
        micro = 1 if schedule == "naive" else micro
        order = [(kind, m) for kind in "FB" for m in range(micro)]
        _pipeline(graph, stages, steps, micro, [order for _ in stages])
    return graph.times()


def period(schedule: str, stages: Sequence[Stage], *, micro: int = 1, queue: int = 2, devices: int = 0) -> float:
    """Return the seconds of a step once the start-up is over; a batch over it is the rate of images."""
    first, last = STEADY
    times = simulate(schedule, stages, last + 1, micro=micro, queue=queue, devices=devices)
    ends = [[0.0] * (1 + max(work.device for work in times)) for _ in range(last + 1)]
    for work, (_, end) in times.items():
        if work.kind in WORK:
            ends[work.step][work.device] = max(ends[work.step][work.device], end)
    return max(b - a for a, b in zip(ends[first], ends[last], strict=True)) / (last - first)


def busy(stages: Sequence[Stage], exits: bool) -> list[float]:
    """Return the seconds of a step in which each device works, with the decision blocks or without."""
    return [stage.forward + stage.backward + stage.update + exits * stage.exit for stage in stages]


def _one_f_one_b(warm: int, micro: int) -> list[tuple[str, int]]:
    """Return the order of a device: some forward passes, then one backward and one forward pass in turn."""
    warm = min(warm, micro)
    order = [("F", m) for m in range(warm)]
    for m in range(micro):
        order.append(("B", m))
        if warm + m < micro:
            order.append(("F", warm + m))
    return order


def _split(order: Order, delay: int) -> Iterator[tuple[str, int]]:
    """Give an order with backward passes in halves; that for the weights comes so many micro-batches later."""
    back = [m for kind, m in order if kind == "B"]
    for kind, m in order:
        yield ("I" if kind == "B" else kind, m)
        if kind == "B" and m >= delay:
            yield "W", m - delay
    yield from (("W", m) for m in back[max(0, len(back) - delay) :])


def _pipeline(graph: _Graph, stages: Sequence[Stage], steps: int, micro: int, orders: Sequence) -> None:
    """Add a pipeline whose devices have an order of their own for the micro-batches of a step, and then update."""
    orders, top = [list(order) for order in orders], len(stages) - 1
    for step in range(steps):
        for d, (stage, order) in enumerate(zip(stages, orders, strict=True)):
            seconds = {"F": stage.forward, "B": stage.backward, "I": stage.inputs, "W": stage.weights}
            for kind, m in order:
                need = None
                if kind == "F" and d:
                    need = Work(d - 1, "S", step, m)
                elif kind in "BI" and d < top:
                    need = Work(d + 1, "G", step, m)
                done = Work(d, kind, step, m)
                graph.add(done, seconds[kind] / micro, need)
                if kind == "F" and d < top:
                    graph.add(Work(d, "S", step, m), stage.send / micro, done)
                if kind in "BI" and d:
                    graph.add(Work(d, "G", step, m), stages[d - 1].send / micro, done)
            graph.add(Work(d, "U", step), stage.update)


def _ddp(graph: _Graph, stages: Sequence[Stage], steps: int, devices: int) -> None:
    """Add data parallelism: gradients are added up by a ring while those of the stages below are computed."""
    around, layers = 2 * (devices - 1) / devices, list(enumerate(stages))
    for step in range(steps):
        for d in range(devices):
            for i, stage in layers:
                graph.add(Work(d, "F", step, 0, i), stage.forward / devices)
            for i, stage in reversed(layers):
                graph.add(back := Work(d, "B", step, 0, i), stage.backward / devices)
                graph.add(Work(d, "R", step, 0, i), around * stage.reduce, back)
            graph.add(Work(d, "U", step), sum(stage.update for stage in stages), Work(d, "R", step, 0, 0))


def _concurrent(graph: _Graph, stages: Sequence[Stage], steps: int, queue: int) -> None:
    """Add partitions that train at once: one sends as soon as a place is free, and goes backward without waiting."""
    top = len(stages) - 1
    for step in range(steps):
        for d, stage in enumerate(stages):
            graph.add(Work(d, "got", step), 0.0, Work(d - 1, "S", step) if d else None)
            graph.add(Work(d, "F", step), stage.forward)
            if d < top:
                graph.add(Work(d, "put", step), 0.0, Work(d, "S", step - queue) if step >= queue else None)
                free = Work(d + 1, "got", step - queue) if step >= queue else None
                graph.add(Work(d, "S", step), stage.send, Work(d, "put", step), free)
            graph.add(Work(d, "B", step), stage.backward + (stage.exit if d < top else 0.0))
            graph.add(Work(d, "U", step), stage.update)
