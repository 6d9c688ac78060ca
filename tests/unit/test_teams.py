"""Several processes for one partition: which rows each takes, what they send one another, and the step of them all."""

from __future__ import annotations

import copy
import itertools
import threading
from types import SimpleNamespace

import pytest
import torch
from test_concurrent import training
from test_local import data, fitted, same
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.gradient import folder, teams
from layerwise.gradient.allocation import Allocation, Share
from layerwise.gradient.channels import InTurn, Message
from layerwise.gradient.partners import Group
from layerwise.gradient.teams import Team, Ways
from layerwise.methods import _cut, local
from layerwise.methods._partition import Partition

HOW = {"schedule": "concurrent", "partitions": 3, "crop": False}
SIZES = list(itertools.product(range(1, 6), repeat=2))


def shares(size):
    return [Share(index, size) for index in range(size)]


# ------------------------------------------------------------ which rows a process takes


@pytest.mark.parametrize("size", range(1, 6))
def test_shares_are_all_rows_once_and_in_order(size):
    for rows in range(40):
        taken = [list(range(rows))[share.of(rows)] for share in shares(size)]
        assert list(itertools.chain(*taken)) == list(range(rows))
        assert max(map(len, taken)) - min(map(len, taken)) <= 1


@pytest.mark.parametrize(("size", "other"), SIZES)
def test_who_meets_has_rows_in_common_for_some_batch_and_nobody_else_has(size, other):
    for mine, theirs in itertools.product(shares(size), shares(other)):
        found = [len(range(100)[mine.of(n)][mine.common(theirs, n)]) for n in range(60)]
        both = [len({*range(100)[mine.of(n)]} & {*range(100)[theirs.of(n)]}) for n in range(60)]
        assert found == both
        assert mine.meets(theirs) == any(both)


def test_processes_are_counted_partition_by_partition():
    allocation = Allocation((3, 2, 2, 1))
    assert [allocation.partition_of(rank) for rank in range(8)] == [0, 0, 0, 1, 1, 2, 2, 3]
    assert [list(allocation.ranks(n)) for n in range(4)] == [[0, 1, 2], [3, 4], [5, 6], [7]]
    assert allocation.named(7) == "7 (partition 4)"


@pytest.mark.parametrize(("size", "other"), SIZES)
def test_rows_arrive_where_they_are_taken(size, other):
    between = {
        (a, b): InTurn() for a, b in itertools.product(shares(size), shares(other)) if a.meets(b)
    }  # by what its ends take
    below = [SimpleNamespace(share=a, several=size > 1, rows=0) for a in shares(size)]
    above = [SimpleNamespace(share=b, several=other > 1, rows=0) for b in shares(other)]
    for rows in (2 * max(size, other), 16, 17, 1):
        z, t = torch.randn(rows, 3), torch.arange(rows)
        for team in below:
            team.rows, mine = rows, team.share.of(rows)
            ways = Ways(team, {b: way for (a, b), way in between.items() if a == team.share})
            ways.put(Message(z[mine], t[mine]))
            ways.put(Message(saves=True))
        for team in above:
            ways = Ways(team, {a: way for (a, b), way in between.items() if b == team.share})
            got, mine = ways.get(), team.share.of(rows)
            assert torch.equal(got.z, z[mine])
            assert torch.equal(got.t, t[mine])
            assert got.rows == team.rows == rows
            assert ways.get() == Message(saves=True)
    assert not any(between.values())


def test_a_share_of_no_rows_goes_through_a_folder(tmp_path):
    sent = Message(torch.zeros(0, 4, 3), torch.zeros(0, dtype=torch.int64), rows=7)
    folder.Folder(tmp_path, 0).send(1, "batches 1", 0, sent, 2)
    got = folder.Folder(tmp_path, 1).receive(0, "batches 1", 0)
    assert (got.z.shape, got.t.dtype, got.rows, got.saves) == ((0, 4, 3), torch.int64, 7, False)


# ------------------------------------------------------------ the step of the whole batch


def together(tmp_path, size, body):
    """Run a body in each of so many teams of one partition, as threads that meet in a folder."""
    found, allocation = {}, Allocation((size,))

    def work(rank):
        group = Group(rank, allocation, folder.FolderStore(tmp_path), folder.Folder(tmp_path, rank))
        team = Team(group, 5)
        found[rank] = body(team)
        team.close()
        group.ask(lambda: None)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [found[rank] for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_total_is_the_sum_and_the_same_bytes_for_all(tmp_path, size):
    vectors = torch.randn(size, 1000)
    totals = together(tmp_path, size, lambda team: team.total(vectors[team.share.index]))
    assert all(torch.equal(total, totals[0]) for total in totals)
    torch.testing.assert_close(totals[0], vectors.sum(dim=0))
    assert together(tmp_path, size, lambda team: len(team.total(torch.ones(1)))) == [1] * size  # fewer than pieces


def test_processes_take_the_steps_of_the_whole_batch(tmp_path):
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    batches = [(torch.randn(n, 6), torch.randint(3, (n,))) for n in (9, 16, 7)]

    def trained(module, batches, team=None):
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.05)
        if team is not None:
            team.step_together(optimizer)
            batches = teams.Shares(Listed(batches), team)
        for x, t in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x), t).backward()
            optimizer.step()
        return torch.cat([weight.detach().flatten() for weight in module.parameters()])

    expected = trained(copy.deepcopy(module), batches)
    found = together(tmp_path, 3, lambda team: trained(copy.deepcopy(module), batches, team))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)


class Listed(list):
    generator = torch.Generator()


def test_layers_draw_otherwise_in_each_process_and_epoch(tmp_path):
    def drawn(team):
        found = []
        for epoch in (0, 1, 0):
            with lock:  # a generator of the whole program
                torch.manual_seed(1)
                team.begin(epoch)
                found.append(torch.rand(()).item())
        return found

    lock = threading.Lock()
    first, *others = together(tmp_path, 3, drawn)
    assert len(set(first)) == 1  # goes on from its own state
    for each in others:
        assert each[0] == each[2] != each[1]
    assert len({first[0], *others[0], *others[1]}) == 5


def test_processes_that_end_with_other_weights_are_told():
    options = local.Options(epochs=(1,), batch=16, **{**HOW, "partitions": 1, "allocation": (2,)})
    found = training(options, data())
    told = lambda own: [own, [own[0] | {"weights": "other"}]]  # noqa: E731
    found.group = SimpleNamespace(told=told, allocation=Allocation((2,)))
    with pytest.raises(LayerwiseError, match="partition 1: its processes ended with other weights than one another"):
        found._gather([Partition(0, found.windows[0])])


def test_who_does_not_see_what_was_saved_says_so():
    options = local.Options(epochs=(1,), batch=16, **{**HOW, "partitions": 1, "allocation": (2,)})
    found = training(options, data())
    found.group = SimpleNamespace(told=lambda own: [[[3]], own])
    each = Partition(0, found.windows[0])
    each.team = SimpleNamespace(first=False)
    each.saved = lambda hooks: {}
    with pytest.raises(LayerwiseError, match="does not see what another one of its partition has saved"):
        found._resume([each], None)


# ------------------------------------------------------------ the cut, and partitions in turn


@pytest.mark.parametrize("seed", range(20))
def test_the_cut_is_the_best_of_all_for_an_allocation(seed):
    generator = torch.Generator().manual_seed(seed)
    blocks = int(torch.randint(1, 8, (), generator=generator))
    partitions = int(torch.randint(1, blocks + 1, (), generator=generator))
    costs = torch.randint(0, 20, (blocks,), generator=generator).double().tolist()
    exits = torch.randint(0, 5, (blocks,), generator=generator).double().tolist()
    sizes = torch.randint(1, 4, (partitions,), generator=generator).tolist()
    every = itertools.combinations(range(1, blocks), partitions - 1)
    best = min(max(_cut.stages(costs, exits, cut, sizes)) for cut in every)
    assert max(_cut.stages(costs, exits, _cut.balanced(costs, exits, partitions, sizes), sizes)) == best


def test_costs_are_those_of_a_process():
    assert _cut.balanced([4, 1, 1, 1, 1], [0] * 5, 2, [1, 2]) == (1,)
    assert _cut.balanced([4, 1, 1, 1, 1], [0] * 5, 2, [3, 1]) == (3,)
    assert _cut.stages([4, 1, 1, 1, 1], [3] * 5, [3], [3, 1]) == [3, 2]


def test_one_process_each_is_what_it_is_without_an_allocation():
    one, other = fitted(**HOW), fitted(**HOW, allocation=(1, 1, 1))
    assert same(one, other)
    assert one.record["partitions"] == {k: v for k, v in other.record["partitions"].items() if k != "allocation"} | {
        "imbalance": one.record["partitions"]["imbalance"]
    }


def test_a_rest_goes_to_the_batch_before_it_where_it_is_too_small_for_all():
    """40 samples by 18: a rest of 4 does for two processes with batchnorm, and not for three."""
    how = {**HOW, "epochs": (1,), "batch": 18}
    assert [fitted(**how, allocation=(n, 1, 1)).record["blocks"][2]["steps"] for n in (1, 2, 3)] == [3, 3, 2]
    record = fitted(**how, allocation=(3, 1, 1)).record
    assert record["partitions"]["allocation"] == [3, 1, 1]
    assert [row["images"] for row in record["blocks"]] == [40] * 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"allocation": (2, 1)}, "option 'allocation' [2, 1] is for 2 partitions: say partitions: 2"),
        ({"allocation": (9, 1, 1)}, "option 'allocation' [9, 1, 1] needs two samples a process: choose batch: 18"),
        ({"allocation": (2, 1, 1), "filter": "loss"}, "partition 1 filters, which looks at whole batches"),
        ({"allocation": (1, 0, 1)}, "option 'allocation'"),
        ({"allocation": (1, 1), "schedule": "bottom_up", "partitions": 2}, "option 'allocation' is for a schedule"),
        ({"allocation": (25, 1, 1), "batch": 50}, "a step of so many processes needs 50 samples, and there are 40"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(given, says):
    with pytest.raises(LayerwiseError) as caught:
        fitted(**{**HOW, **given})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_filter_above_which_there_are_several_is_for_them():
    record = fitted(
        **HOW, epochs=(3,), filter="loss", filter_from=2, filter_samples=32, allocation=(1, 4, 2), batch=16
    ).record
    # Of 40 samples 30 are left, 16 and 14 of them; a rest below 8, two for each of four processes, would go.
    assert [row["images"] for row in record["blocks"]] == [120, 100, 100]
    assert local.Options(**HOW, allocation=(1, 4, 2)).processes == 7
