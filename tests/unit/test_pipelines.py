"""The simulation of devices that train a network together: closed forms, bounds, and what more of a thing can do."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.maths import pipelines
from layerwise.maths.pipelines import Stage, Work, busy, period, simulate

PIPELINES = ("naive", "gpipe", "1f1b", "zero_bubble")
seconds = st.floats(0.01, 10.0)
stage = st.builds(Stage, seconds, seconds, seconds, st.floats(0, 1), st.floats(0, 1), st.floats(0, 3))
stages = st.lists(stage, min_size=1, max_size=6)


def total(times):
    return max(end for _, end in times.values())


def equal(count, **more):
    return [Stage(1.0, 1.0, 1.0, **more)] * count


# ------------------------------------------------------------ closed forms


@pytest.mark.parametrize(("devices", "micro"), [*itertools.product((1, 2, 4, 7), (1, 2, 4, 16))])
def test_the_bubble_of_gpipe_and_1f1b_is_that_of_their_papers(devices, micro):
    """(P - 1) / (M + P - 1) of the time of equal stages (Huang et al. 2019; Narayanan et al. 2021)."""
    for schedule in ("gpipe", "1f1b"):
        idle = 1 - 3.0 / period(schedule, equal(devices), micro=micro)
        assert idle == pytest.approx((devices - 1) / (micro + devices - 1))
        assert total(simulate(schedule, equal(devices), micro=micro)) == pytest.approx(3 * (1 + (devices - 1) / micro))


@pytest.mark.parametrize(("devices", "micro"), [(2, 4), (4, 8), (4, 12), (8, 16)])
def test_the_bubble_of_zero_bubble_is_that_of_its_paper(devices, micro):
    """(P - 1) (F + I - W) of a micro-batch in place of (P - 1) (F + I + W) (ZB-H1: Qi et al. 2023, table 2)."""
    parts = [Stage(1.0, 0.9, 0.8)] * devices
    found = total(simulate("zero_bubble", parts, micro=micro))
    assert found == pytest.approx(2.7 + (devices - 1) * (1.0 + 0.9 - 0.8) / micro)
    assert total(simulate("1f1b", parts, micro=micro)) == pytest.approx(2.7 + (devices - 1) * 2.7 / micro)


@given(stages)
def test_one_stage_after_the_other_takes_the_sum(parts):
    sends = sum(2 * part.send for part in parts[:-1])
    expected = sum(part.forward + part.backward for part in parts) + sends + parts[0].update
    assert period("naive", parts) >= expected * (1 - 1e-9)
    assert period("naive", [replace(p, update=0.0) for p in parts]) == pytest.approx(expected - parts[0].update)


@given(stages, st.integers(1, 4))
def test_partitions_at_once_go_at_the_pace_of_the_slowest(parts, queue):
    """Whatever the queue: only the slowest stage, or the slowest transfer, counts; the rest is start-up."""
    work = busy(parts[:-1], True) + busy(parts[-1:], False)
    slowest = max(*work, *(part.send for part in parts[:-1]), 0.0)
    assert period("concurrent", parts, queue=queue) == pytest.approx(slowest)
    steps = 7
    start = sum(part.forward + part.send for part in parts[:-1]) + work[-1]
    if slowest == work[-1]:  # the last one is waited for by none
        times = simulate("concurrent", parts, steps, queue=queue)
        assert total(times) == pytest.approx(start + (steps - 1) * slowest)


def test_no_device_is_idle_behind_the_start_up():
    """Thesis figure 6.7, where stages are equal."""
    times = simulate("concurrent", equal(4), 6, queue=1)
    for d in range(4):
        mine = sorted(span for work, span in times.items() if work.device == d and work.kind in "FB")
        assert mine[0][0] == d
        assert all(before[1] == after[0] for before, after in itertools.pairwise(mine))


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_data_parallelism_waits_for_what_transfers_last(devices):
    parts = [Stage(1.0, 1.0, 1.0, update=0.5), Stage(2.0, 2.0, 2.0, update=0.25)]
    assert period("ddp", parts, devices=devices) == pytest.approx(9 / devices + 0.75)
    slow = [replace(part, reduce=100.0) for part in parts]
    around = 2 * (devices - 1) / devices
    # The upper stage's gradients are there first; those of the lower follow them on the same link.
    expected = 9 / devices + 0.75 if devices == 1 else 7 / devices + 200 * around + 0.75
    assert period("ddp", slow, devices=devices) == pytest.approx(expected)


# ------------------------------------------------------------ bounds, and what more of a thing does


@settings(max_examples=60, deadline=None)
@given(stages, st.integers(1, 6), st.integers(1, 3))
def test_nothing_is_faster_than_its_slowest_device(parts, micro, queue):
    for schedule in pipelines.SCHEDULES:
        found = period(schedule, parts, micro=micro, queue=queue)
        if schedule == "ddp":
            bound = sum(p.forward + p.backward for p in parts) / len(parts) + sum(p.update for p in parts)
        else:
            bound = max(busy(parts, False))
        assert found >= bound * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(stages, st.integers(1, 8), st.integers(1, 3))
def test_zero_bubble_takes_no_longer_than_1f1b(parts, micro, steps):
    one = total(simulate("1f1b", parts, steps, micro=micro))
    assert total(simulate("zero_bubble", parts, steps, micro=micro)) <= one * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(stages, st.integers(1, 8), st.integers(1, 5))
def test_more_micro_batches_and_longer_queues_take_no_longer(parts, micro, queue):
    """Twice the micro-batches, as each is cut in two: a halved one starts no later than the whole."""
    for schedule in PIPELINES[1:3]:
        parts = [replace(part, send=0.0) for part in parts]
        few, many = (total(simulate(schedule, parts, micro=m)) for m in (micro, 2 * micro))
        assert many <= few * (1 + 1e-9), schedule
    short, long = (total(simulate("concurrent", parts, 5, queue=q)) for q in (queue, queue + 1))
    assert long <= short * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(stages, st.integers(1, 6))
def test_a_device_does_one_thing_at_once_and_all_of_it(parts, micro):
    for schedule in pipelines.SCHEDULES:
        times = simulate(schedule, parts, 2, micro=micro)
        for d in range(len(parts)):
            mine = sorted((span, work) for work, span in times.items() if work.device == d and work.kind in "FBIWU")
            ends = -inf
            for (start, end), _ in mine:
                assert start >= ends - 1e-9
                ends = end
            worked = sum(end - start for (start, end), _ in mine)
            whole = busy(parts, schedule == "concurrent" and d < len(parts) - 1)[d]
            if schedule == "ddp":
                whole = sum(p.forward + p.backward for p in parts) / len(parts) + sum(p.update for p in parts)
            assert worked == pytest.approx(2 * whole)


@settings(max_examples=40, deadline=None)
@given(stages, st.integers(1, 6))
def test_a_pass_waits_for_what_it_needs(parts, micro):
    top = len(parts) - 1
    for schedule in PIPELINES:
        count, back = (1 if schedule == "naive" else micro), "I" if schedule == "zero_bubble" else "B"
        times = simulate(schedule, parts, 2, micro=micro)
        for step, m, d in itertools.product(range(2), range(count), range(top)):
            hop = parts[d].send / count
            up, above = times[Work(d, "F", step, m)], times[Work(d + 1, "F", step, m)]
            down, below = times[Work(d + 1, back, step, m)], times[Work(d, back, step, m)]
            assert above[0] >= up[1] + hop - 1e-9
            assert below[0] >= down[1] + hop - 1e-9
        for step, m in itertools.product(range(2), range(count)):
            assert times[Work(top, back, step, m)][0] >= times[Work(top, "F", step, m)][1] - 1e-9


def test_1f1b_holds_fewer_micro_batches_than_gpipe():
    """As many forward passes wait for their backward pass as there are devices from here up (Narayanan et al.)."""

    def most(schedule, d):
        times = simulate(schedule, equal(4), micro=8)
        moves = sorted(
            (end, -1 if work.kind in "BI" else 1)
            for work, (_, end) in times.items()
            if work.device == d and work.kind in "FBI"
        )
        held = list(itertools.accumulate(move for _, move in moves))
        return max(held)

    assert [most("gpipe", d) for d in range(4)] == [8, 8, 8, 8]
    assert [most("1f1b", d) for d in range(4)] == [4, 3, 2, 1]
