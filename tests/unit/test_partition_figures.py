"""The figures of partitions on several devices, on a tiny study: timelines, and the curve of devices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import fitted
from matplotlib.patches import Rectangle

from layerwise import figures
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.figures import _stages, devices_curve, timeline
from layerwise.maths.pipelines import busy, period
from layerwise.methods import _cut, local
from layerwise.results.study_results import StudyResults
from layerwise.study import file as study_file

LAYERS = ["conv 3 4 pad 1", "relu", "conv 3 8 pad 1", "relu", "maxpool 2", "dense 16", "relu", "dense outputs"]
TINY = {
    "name": "tinydevices",
    "title": "Tiny devices",
    "seeds": 2,
    "readouts": False,
    "leave_out": {"away": "an hour"},
    "datasets": {
        "digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "away": {"source": "torchvision", "name": "MNIST"},
    },
    "segments": {
        "c": {"method": "local", "layers": LAYERS, "schedule": "concurrent", "epochs": [1], "batch": 20, "crop": False},
        "l": {"method": "local", "layers": LAYERS, "epochs": [1], "batch": 20},
    },
    "networks": {"digits": {"c": "at once", "l": "one by one"}, "away": {"c": "at once", "l": "one by one"}},
    "figures": {
        "timeline": {},
        "mine": {"figure": "timeline", "network": "digits/c", "schedules": ["gpipe", "1f1b", "zero_bubble"]},
        "curve": {"figure": "devices_curve", "network": "digits/c"},
        "gone": {"figure": "timeline", "network": "away/l"},
        "far": {"figure": "devices_curve", "network": "away/l"},
        "counted": {"figure": "devices_curve", "network": "away/c", "operations": 1e9, "bandwidth": 1e7},
    },
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = fitted(tmp_path_factory.mktemp("tinydevices"), "tinydevices", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield StudyResults(study_file.load("tinydevices.json"))


def opened(tiny, name):
    return figures.opened(tiny.study.figures[name])


def boxes(ax):
    """What is drawn of each device, as (start, length), by its row."""
    found: dict[int, list[tuple[float, float]]] = {}
    for box in (patch for patch in ax.patches if isinstance(patch, Rectangle)):
        found.setdefault(round(box.get_y() + box.get_height() / 2), []).append((box.get_x(), box.get_width()))
    return {row: sorted(each) for row, each in found.items()}


def test_partitions_at_once_are_never_idle_behind_the_start_and_others_are(tiny):
    module, options = opened(tiny, "timeline")
    naive, gpipe, ours = module.draw(tiny, options).axes
    for device, each in boxes(ours).items():
        assert each[0][0] == pytest.approx(device / 3)  # a third of a step is forward
        ends = [start + length for start, length in each]
        assert [start for start, _ in each[1:]] == pytest.approx(ends[:-1])
    # 1 of 4 devices at a time, and M / (M + P - 1) of it.
    assert naive.get_title(loc="left").endswith("25 % of the time")
    assert gpipe.get_title(loc="left").endswith("57 % of the time")
    assert ours.get_title(loc="left").endswith("100 % of the time")
    assert len({ax.get_xlim() for ax in (naive, gpipe, ours)}) == 1
    assert [text.get_text() for text in ours.texts[:2]] == ["F0", "B0"]


def test_the_stages_of_a_network_are_those_that_it_was_cut_into(tiny):
    record = _stages.record_of(tiny, "digits/c", "timeline")
    plan = record["partitions"]
    assert len(plan["block_costs"]) == len(plan["exit_costs"]) == len(plan["block_bytes"]) == 3
    ours = _stages.stages(plan, plan["cut"], True)
    assert [stage.forward + stage.backward + stage.exit for stage in ours] == pytest.approx(plan["costs"])
    assert max(busy(ours, True)) == pytest.approx(max(plan["costs"]))
    module, options = opened(tiny, "mine")
    drawn = module.draw(tiny, options)
    assert [len(boxes(ax)) for ax in drawn.axes] == [2, 2, 2]
    assert {text.get_text() for text in drawn.legends[0].get_texts()} == {label for label, _ in timeline.KINDS.values()}
    assert "digits/c" in module.caption(tiny, options)


def test_a_curve_is_what_the_simulation_says_of_each_cut(tiny):
    module, options = opened(tiny, "curve")
    record = _stages.record_of(tiny, "digits/c", "devices_curve")
    plan = record["partitions"]
    ours = module.speedups(record, "concurrent", [2, 3, 4], options)
    assert list(ours) == [2, 3]  # there are three blocks
    for count, found in ours.items():
        cut = _cut.balanced(plan["block_costs"], plan["exit_costs"], count)
        costs = _cut.stages(plan["block_costs"], plan["exit_costs"], cut)
        bound = sum(plan["block_costs"]) / max(costs)
        assert found == pytest.approx(bound)
        even = _cut.stages(plan["block_costs"], [0.0] * 3, _cut.balanced(plan["block_costs"], [0.0] * 3, count))
        for name in ("naive", "gpipe", "1f1b", "zero_bubble"):
            assert module.speedups(record, name, [count], options)[count] <= sum(even) / max(even) * (1 + 1e-9)
        assert module.speedups(record, "naive", [count], options)[count] < 1
    slow, fast = (module.speedups(record, "ddp", [64], replace(options, bandwidth=rate))[64] for rate in (1e3, 1e15))
    assert fast == pytest.approx(64)
    assert slow < 1
    lines = {line.get_label(): line for line in module.draw(tiny, options).axes[0].get_lines()}
    assert list(lines["partitions at once"].get_ydata()) == pytest.approx(list(ours.values()))
    assert set(lines) == {"no time lost", *_stages.NAMES.values()}


def test_seconds_are_those_of_the_fit(tiny):
    record = _stages.record_of(tiny, "digits/c", "devices_curve")
    steps = [row["seconds"] / row["steps"] for row in record["blocks"]]
    assert devices_curve.second(record) * sum(record["partitions"]["costs"]) == pytest.approx(sum(steps))
    plan = record["partitions"]
    parts = _stages.stages(plan, plan["cut"], True, devices_curve.second(record))
    assert period("concurrent", parts) <= sum(steps)


@pytest.mark.parametrize("name", ["timeline", "mine", "curve", "gone", "far", "counted"])
def test_a_figure_is_made(tiny, name):
    figures.make(tiny, tiny.study.figures[name])
    module, options = opened(tiny, name)
    assert "\n" not in module.caption(tiny, options)


def test_what_is_left_out_is_not_run(tiny):
    for name in ("gone", "far"):
        module, options = opened(tiny, name)
        texts = [text.get_text() for ax in module.draw(tiny, options).axes for text in ax.texts]
        assert set(texts) == {"not run"}
        assert "Not run: away" in module.caption(tiny, options)


def test_what_a_network_that_is_left_out_costs_is_counted(tiny):
    """As the record of a fit on such images has it."""
    module, options = opened(tiny, "counted")
    found, plan = _stages.record_of(tiny, "away/c", "devices_curve"), {}
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(20, 1, 28, 28, generator=generator), torch.arange(20) % 10
    features = Features(Split(x, y), Split(x[:0], y[:0]), Task("onehot", 10, tuple("0123456789")))
    segment, device = tiny.study.segment("c"), torch.device("cpu")
    given = Segment(segment.layers, (1, 28, 28), 10)
    plan = local.fit(given, features, local.Options(**vars(segment.options)), seed=0, device=device).record[
        "partitions"
    ]
    assert {name: plan[name] for name in found["partitions"]} == found["partitions"]
    ours = module.speedups(found, "concurrent", [2, 3], options)
    assert 1 < ours[2] < ours[3] < 3
    assert "1e+09 operations a second" in module.caption(tiny, options)
    assert "nothing was run" in module.caption(tiny, options)


@pytest.mark.parametrize("name", ["mine", "curve"])
def test_a_network_without_partitions_is_one_line(tiny, name):
    module, options = opened(tiny, name)
    with pytest.raises(LayerwiseError, match="digits/l has no costs of blocks: name a network") as caught:
        module.draw(tiny, replace(options, network="digits/l"))
    assert "\n" not in str(caught.value)
