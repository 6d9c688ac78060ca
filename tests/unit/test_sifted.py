"""A k-filter on what a window learns from: what it leaves, whole batches of it, and the same bytes however it comes."""

from __future__ import annotations

import json

import pytest
import torch
from test_local import _Stop, fitted, same

from layerwise.contract import Hooks, Split
from layerwise.errors import LayerwiseError
from layerwise.gradient.batches import Batches
from layerwise.methods import _passing, local
from layerwise.methods._sifted import Sifted

ROBIN = {"schedule": "round_robin", "rounds": 3, "epochs": (1,), "crop": False}
FILTER = {"filter": "kfilter", "filter_from": 2, "filter_k": 1, "filter_share": 0.5, "filter_samples": 32}


def sifted(samples: int, batch: int, **options):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, 4, generator=generator)
    split = Split(x, torch.randint(2, (samples,), generator=generator))
    sizes = [batch] * (samples // batch) + [samples % batch] * bool(samples % batch)
    o = local.Options(batch=batch, filter="kfilter", **options)
    return split, Sifted(Batches(split, sizes, 0), o, 1)


def test_what_is_left_of_each_large_mini_batch_is_what_the_filter_leaves_in_whole_batches():
    """By brute force: the order of the epoch, cut into large mini-batches, each without its redundant samples."""
    split, inputs = sifted(50, 7, filter_from=1, filter_k=2, filter_share=0.9, filter_samples=21)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    expected = []
    for rows in order.split(21):
        x, t = split.x[rows], split.y[rows]
        expected.append(x[~_passing.redundant(x, t, 2)])
    batches = list(inputs)
    assert torch.equal(torch.cat([z for z, _ in batches]), torch.cat(expected))
    assert all(len(z) == len(t) == 7 for z, t in batches[:-1])
    assert inputs.counts() == {"samples": sum(map(len, expected)), "steps": len(batches)}
    assert 0 < inputs.samples < 50


def test_no_filter_before_its_epoch():
    _, inputs = sifted(20, 5, filter_from=3, filter_k=1)
    inputs.epoch = 1
    assert sum(len(t) for _, t in inputs) == 20
    inputs.epoch = 2
    assert sum(len(t) for _, t in inputs) == 8  # of one neighbour, itself, all are redundant: the cap counts


def test_a_filter_that_leaves_less_than_a_batch_needs_is_refused():
    _, inputs = sifted(4, 4, filter_from=1, filter_k=1, filter_share=0.9)
    inputs.least = 2
    with pytest.raises(LayerwiseError, match="a filter left no batch in an epoch: filter fewer samples"):
        list(inputs)


@pytest.mark.parametrize("schedule", ["round_robin", "random_robin", "bottom_up"])
def test_windows_above_the_first_are_filtered_from_an_epoch_of_their_own(schedule):
    how = {**ROBIN, "schedule": schedule}
    how |= {"rounds": 1, "epochs": (3,)} if schedule == "bottom_up" else {}
    record = fitted(**how, **FILTER).record
    for number in (1, 2, 3):
        rows = [row for row in record["history"] if row["window"] == number]
        assert [row.get("samples") for row in rows] == ([None] * 3 if number == 1 else [40, 20, 20])
    assert record["steps"] == 9 + 2 * (3 + 2 * 2)
    assert same(fitted(**how), fitted(**how, **{**FILTER, "filter_from": 4}))
    assert same(fitted(**how, **FILTER, features="stored"), fitted(**how, **FILTER, features="feed"))


def test_a_rerun_goes_on_to_the_byte(monkeypatch):
    from layerwise.gradient import loop

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    whole, stops = fitted(**ROBIN, **FILTER), 0
    for stop in range(1, 9):
        kept, saves = [None], 0

        def save(tensors, notes, kept=kept, stop=stop):
            nonlocal saves
            saves += 1
            if saves == stop:
                raise _Stop
            kept[0] = ({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(notes)))

        try:
            fitted(**ROBIN, **FILTER, hooks=Hooks(lambda kept=kept: kept[0], save))
        except _Stop:
            stops += 1
        again = fitted(**ROBIN, **FILTER, hooks=Hooks(lambda kept=kept: kept[0], lambda *_: None))
        assert same(whole, again)
        assert again.record["history"] == whole.record["history"]
    assert stops == 8


def test_a_filter_by_loss_is_for_partitions():
    with pytest.raises(LayerwiseError, match="filter: loss is for a schedule concurrent, not round_robin: say kfilter"):
        local.Options(**ROBIN, filter="loss")
