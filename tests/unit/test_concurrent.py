"""Partitions that train at once, in turn in one process: cut evenly, apart from each other, resumed to the byte."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from test_local import CPU, WORDS, _Stop, data, fitted, same, untimed
from torch import nn

from layerwise.contract import Features, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import channels, loop
from layerwise.layers import build as layers
from layerwise.methods import _cut, _passing, local
from layerwise.methods._partition import Partition
from layerwise.methods._passing import Passing

HOW = {"schedule": "concurrent", "partitions": 3, "crop": False}
DROPS = (*WORDS[:7], "relu", "dropout 0.3", "dense outputs")


# ------------------------------------------------------------ where the network is cut


@pytest.mark.parametrize("seed", range(40))
def test_the_cut_is_the_best_of_all(seed):
    generator = torch.Generator().manual_seed(seed)
    blocks = int(torch.randint(1, 9, (), generator=generator))
    partitions = int(torch.randint(1, blocks + 1, (), generator=generator))
    costs = torch.randint(0, 20, (blocks,), generator=generator).double().tolist()
    exits = torch.randint(0, 5, (blocks,), generator=generator).double().tolist()
    found = _cut.balanced(costs, exits, partitions)
    every = itertools.combinations(range(1, blocks), partitions - 1)
    assert max(_cut.stages(costs, exits, found)) == min(max(_cut.stages(costs, exits, cut)) for cut in every)
    assert len(found) == partitions - 1
    assert list(found) == sorted(set(found) - {0, blocks})


def test_operations_are_those_of_forward_and_backward():
    """Of an affine layer of m x n weights: 2 b m n forward, and as many for the weights and for the input."""
    module, z = nn.Linear(5, 7), torch.zeros(3, 5)
    assert _cut.counted(module, z)[0] == 2 * 2 * 3 * 5 * 7  # the lowest block has no gradient of its input
    assert _cut.counted(module, z.requires_grad_())[0] == 3 * 2 * 3 * 5 * 7


def test_stages_and_their_imbalance():
    assert _cut.stages([1, 2, 3, 4], [10, 20, 30, 40], [1, 3]) == [11, 35, 4]
    assert _cut.imbalance([2, 2, 2]) == 0
    assert _cut.imbalance([1, 3]) == 0.5


def test_a_cut_that_is_given_is_taken_and_one_that_is_counted_recorded():
    record = fitted(**{**HOW, "partitions": 2, "cut": (2,)}).record
    assert record["partitions"]["cut_by"] == "given"
    assert [(row["first"], row["last"]) for row in record["blocks"]] == [(1, 2), (3, 3)]
    record = fitted(**{**HOW, "partitions": 2}).record
    found = record["partitions"]
    every = [fitted(**{**HOW, "partitions": 2, "cut": (c,)}).record["partitions"]["costs"] for c in (1, 2)]
    assert found["costs"] == min(every, key=max)
    assert found["imbalance_forecast"] == round(max(found["costs"]) * 2 / sum(found["costs"]) - 1, 4)


def test_a_cut_that_is_measured_is_kept_for_the_rerun(monkeypatch):
    kept = {}

    def named(name):
        return Hooks(lambda: kept.get(name), lambda tensors, notes: kept.__setitem__(name, (tensors, notes)))

    first = fitted(hooks=Hooks(named=named), **{**HOW, "partitions": 2, "cut": "measured"})
    monkeypatch.setattr(_cut, "measured", lambda *_: pytest.fail("measured again"))
    again = fitted(hooks=Hooks(named=named), **{**HOW, "partitions": 2, "cut": "measured"})
    assert again.record["partitions"]["cut"] == first.record["partitions"]["cut"]
    assert first.record["partitions"]["cut_by"] == "measured"


# ------------------------------------------------------------ what partitions see of each other


def training(options: local.Options, features: Features, words=WORDS):
    parts, _ = layers.assemble(words, features.shape, 3)
    return local.training_of(nn.Sequential(*parts), local._samples(features, options), options, 5)


def test_one_partition_is_backpropagation():
    assert same(fitted(DROPS, **{**HOW, "partitions": 1}), fitted(DROPS, window=3))


def test_the_lowest_partition_is_trained_as_a_window_alone():
    """What is above changes nothing below: the first block is the one of the other schedule, to the bit."""
    alone, beside = fitted(crop=False, epochs=(2,)), fitted(**HOW)
    for name in ("0.weight", "0.bias", "1.running_mean"):
        assert torch.equal(alone.module.state_dict()[name], beside.module.state_dict()[name])
    assert not torch.equal(alone.module[4].weight, beside.module[4].weight)


def test_no_gradient_crosses_a_boundary():
    features, options = data(), local.Options(epochs=(1,), batch=16, **HOW)
    with loop.kept_generators(CPU):
        found = training(options, features)
        sent = [channels.InTurn(), channels.InTurn()]
        like = features.train.x[:1]
        ends = zip([None, *sent], [*map(Passing, sent), None], strict=True)
        partitions = [Partition(n, window) for n, window in enumerate(found.windows)]
        for each, end in zip(partitions, ends, strict=True):
            each.connect(*end, like)
        x, t = next(iter(partitions[0].training.batches))
        for n, each in enumerate(partitions):
            found.module.zero_grad()
            loss = each.training.loss(x, t)
            assert not x.requires_grad
            others = [p for other in partitions if other is not each for p in other.training.module.parameters()]
            own = list(each.training.module.parameters())
            assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True, retain_graph=True))
            assert any(g.abs().sum() > 0 for g in torch.autograd.grad(loss, own))
            if n < 2:
                x, t = channels.given(sent[n].get(), like)


def test_a_batch_arrives_as_it_was_sent_with_the_same_strides():
    z = torch.randn(3, 4, 5, 5, requires_grad=True)
    for laid in (z, z.to(memory_format=torch.channels_last)):
        arrived, _ = channels.given(channels.message(laid, torch.zeros(3)), z)
        assert torch.equal(arrived, z)
        assert arrived.stride() == (100, 1, 20, 4)
        assert not arrived.requires_grad
    sent = channels.message(z, torch.zeros(3))
    with torch.no_grad():
        z.zero_()  # as a layer above does in place
    assert sent.z is not None
    assert sent.z.abs().sum() > 0


def test_the_queue_changes_no_byte_and_factors_go_by_partition():
    given = {**HOW, "lr": 0.1, "lr_by_block": 0.5, "weight_decay": 0.01, "weight_decay_by_block": 0.5}
    one = fitted(DROPS, queue=1, **given)
    assert same(one, fitted(DROPS, queue=7, **given))
    assert [row["lr"] for row in one.record["blocks"]] == [0.1, 0.05, 0.025]
    assert [row["weight_decay"] for row in one.record["blocks"]] == [0.01, 0.005, 0.0025]
    assert [row["steps"] for row in one.record["blocks"]] == [6, 6, 6]
    assert [row["images"] for row in one.record["blocks"]] == [80, 80, 80]
    assert one.record["measures"]["imbalance"] >= 0


def test_the_best_partition_is_kept_by_validation():
    record = fitted(**{**HOW, "crop": True}).record
    best = max(record["blocks"], key=lambda row: row["valid_accuracy"])
    assert record["chosen"] == best["last"]


def test_a_rest_of_one_sample_goes_where_a_partition_above_normalises():
    words = ("conv 3 4 pad 1", "relu", "conv 3 4 pad 1", "batchnorm", "relu", "dense outputs")
    generator = torch.Generator().manual_seed(3)
    features = Features(
        Split(torch.randn(33, 1, 8, 8, generator=generator), torch.arange(33) % 3),
        Split(torch.empty(0, 1, 8, 8), torch.empty(0, dtype=torch.long)),
        Task("onehot", 3, ("a", "b", "c")),
    )
    record = fitted(words, on=features, **{**HOW, "partitions": 2}).record
    assert [row["steps"] for row in record["blocks"]] == [4, 4]  # of 16 and 17


# ------------------------------------------------------------ what a filter leaves

FILTERED = {**HOW, "epochs": (3,), "filter_from": 2, "filter_samples": 32}


def test_a_filter_by_loss_leaves_out_the_lowest_quarter():
    record = fitted(**FILTERED, filter="loss").record
    images = [row["images"] for row in record["blocks"]]
    # 40 samples an epoch: all of the first, and then of 32 and of 8 three quarters.
    assert images == [120, 40 + 2 * 30, 40 + 2 * 30]
    assert [row["steps"] for row in record["blocks"]] == [9, 3 + 2 * 2, 3 + 2 * 2]  # batches are whole but the last
    losses = torch.tensor([3.0, 1.0, 2.0, 1.0, 5.0, 4.0, 7.0, 6.0])
    assert _passing.lowest(losses, 0.25).nonzero()[:, 0].tolist() == [1, 3]
    assert _passing.lowest(losses, 0.2).nonzero()[:, 0].tolist() == [1]


def test_the_losses_of_a_filter_are_those_of_each_sample():
    sent = channels.InTurn()
    options = local.Options(**{**FILTERED, "filter": "loss", "filter_samples": 1000})
    passing = _passing.Filtered(sent, options, nn.functional.cross_entropy, 1)
    module, x, t = nn.Linear(4, 3), torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    scores = passing.forward(nn.Identity(), module, x, t, 2)
    assert torch.equal(scores, module(x))
    torch.testing.assert_close(passing.looked[0][2], nn.functional.cross_entropy(scores, t, reduction="none"))
    assert not sent
    passing.end(True, False)
    expected = nn.functional.cross_entropy(scores, t, reduction="none").argsort()[1:].sort().values  # one of 6
    assert torch.equal(sent.get().z, x[expected])
    assert sent.get() == channels.Message(saves=True)


@pytest.mark.parametrize("seed", range(5))
def test_a_kfilter_leaves_out_what_has_its_own_class_about_it(seed):
    generator = torch.Generator().manual_seed(seed)
    x, t = torch.randn(50, 3, generator=generator), torch.randint(2, (50,), generator=generator)
    nearest = torch.cdist(x.double(), x.double()).argsort(dim=1)[:, :3]
    brute = (t[nearest] == t[:, None]).all(dim=1)
    assert torch.equal(_passing.redundant(x, t, 3), brute)
    assert torch.equal(_passing.redundant(x, nn.functional.one_hot(t).double(), 3), brute)
    images = x[:, None, None, :].expand(50, 4, 5, 3)
    assert torch.equal(_passing.redundant(images, t, 3), brute)


def test_a_cap_keeps_some_that_are_drawn():
    out = torch.arange(100) % 10 < 8
    torch.manual_seed(1)
    one = _passing.capped(out, 0.6)
    other = _passing.capped(out, 0.6)
    assert one.sum() == other.sum() == 60
    assert not (one & ~out).any()
    assert not torch.equal(one, other)
    assert torch.equal(_passing.capped(out, 0.8), out)


def test_a_kfilter_begins_at_its_epoch_and_its_partition():
    record = fitted(**FILTERED, filter="kfilter", filter_k=1, filter_share=0.5, filter_after=2).record
    # With k 1 all are redundant, and the cap counts: half of 32 and of 8 go.
    assert [row["images"] for row in record["blocks"]] == [120, 120, 40 + 2 * 20]
    whole = fitted(**{**HOW, "epochs": (3,)})
    assert same(whole, fitted(**{**FILTERED, "filter_from": 4}, filter="kfilter"))


# ------------------------------------------------------------ an interrupted run


def test_the_history_has_the_seconds_and_samples_of_a_partition_by_epoch():
    record = fitted(**FILTERED, filter="loss").record
    for number, block in enumerate(record["blocks"], 1):
        rows = [row for row in record["history"] if row["window"] == number]
        assert sum(row["seconds"] for row in rows) == pytest.approx(block["seconds"], rel=0.2, abs=0.01)
        assert all(row["seconds"] > 0 for row in rows)
        if number > 1:
            assert [row["samples"] for row in rows] == [40, 30, 30]
            assert sum(row["steps"] for row in rows) == block["steps"]


@pytest.mark.parametrize(
    "how",
    [{"augment": ("flip",)}, {"filter": "kfilter", "filter_from": 2, "filter_k": 1, "filter_samples": 30}],
    ids=str,
)
def test_a_rerun_goes_on_to_the_byte_from_the_last_epoch_that_all_saved(monkeypatch, how):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    given = {**HOW, "epochs": (4,), "optimizer": "adamw", **how}
    whole = fitted(DROPS, **given)
    saves = 0
    for stop in range(1, 12):
        kept: dict = {}

        def named(name, kept=kept, stop=stop):
            def save(tensors, notes):
                nonlocal saves
                saves += 1
                if saves == stop:
                    raise _Stop
                kept[name] = ({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(notes)))

            return Hooks(lambda: kept.get(name), save)

        saves = 0
        with pytest.raises(_Stop):
            fitted(DROPS, hooks=Hooks(named=named), **given)
        saves = -100
        again = fitted(DROPS, hooks=Hooks(named=named), **given)
        assert same(whole, again)
        assert untimed(again) == untimed(whole)
        assert [row["steps"] for row in again.record["blocks"]] == [row["steps"] for row in whole.record["blocks"]]


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"partitions": 4}, "4 partitions, and 3 blocks lie below the head"),
        ({"cut": (1, 3)}, "the blocks below the head end at 3"),
        ({"cut": (2, 1)}, "give the last blocks of partitions, upwards"),
        ({"cut": (1,)}, "[1] makes 2 partitions: say partitions: 2"),
        ({"window": 2}, "option 'window' is not for a schedule concurrent"),
        ({"epochs": (1, 2)}, "option 'epochs': a schedule concurrent"),
        ({"features": "stored"}, "option 'features': a schedule concurrent"),
        ({"input_dropout": 0.5}, "option 'input_dropout' is not for"),
        ({"decision_by": "ridge"}, "option 'decision_by' is not for"),
        ({"rounds": 2}, "option 'rounds' is for"),
        ({"schedule": "bottom_up"}, "option 'partitions' is for a schedule concurrent"),
        ({"filter": "loss", "filter_after": 3}, "partition 3 passes nothing on"),
        ({"head": 4}, "4 blocks, and the last 4 of them are the head"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(given, says):
    with pytest.raises(LayerwiseError) as caught:
        fitted(**{**HOW, **given})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_of_each_partition_is_counted_without_data():
    options = local.Options(**{**HOW, "epochs": (1,), "batch": 16})
    rows = local.count(Segment(WORDS, (1, 8, 8), 3), Task("onehot", 3, ("a", "b", "c")), options)
    found = fitted(**HOW).record["blocks"]
    assert [row["memory_bytes"] for row in rows] == [row["memory_bytes"] for row in found]


def test_a_plan_needs_no_training():
    features = data()
    options = local.Options(**{**HOW, "partitions": 2})
    module = nn.Sequential(*layers.assemble(WORDS, features.shape, 3)[0])
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.get_rng_state()
    found = _cut.plan(module, local._samples(features, options), options, 5)
    assert found["cut"] in ([1], [2])
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(w, before[k]) for k, w in module.state_dict().items())
