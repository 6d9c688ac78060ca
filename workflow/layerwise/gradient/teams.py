"""The processes of one partition: each takes its share of every batch, and all take the step of the whole batch.

The gradients of a step are summed once, put together in one tensor, by whatever carries batches: so a folder does where
there is no network, who ends or hangs is seen as in any other wait, and the sum is the same bytes by every way. Hooks
that send some gradients while others are computed, as of torch's DistributedDataParallel, would hide a part of that
time; they need torch.distributed, and a second way to see who is lost.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator

import torch
from torch import Tensor

from layerwise.gradient import channels
from layerwise.gradient.allocation import Share
from layerwise.gradient.batches import MiniBatches
from layerwise.gradient.channels import Between, Message
from layerwise.gradient.exchange import seed_of
from layerwise.gradient.partners import Group


class Team:
    """The processes of a partition, as one of them sees them.

    Parameters
    ----------
    group
        All processes of the fit.
    seed
        Of what the partition draws at random.

    Attributes
    ----------
    rows
        Of the batch in training, of which each process has its share.
    """

    def __init__(self, group: Group, seed: int) -> None:
        self.group, self.seed, self.rows = group, seed, 0
        ranks = group.allocation.ranks(group.partition)
        self.share = Share(group.rank - ranks.start, len(ranks))
        self._totals: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
        total, name = group.transport.total, f"sums {group.fits}"
        self._way = Between(group, lambda number, mine: self._totals.put(total(ranks, name, number, mine)), 1)

    @property
    def first(self) -> bool:
        """Whether this process saves and sends weights for all."""
        return not self.share.index

    @property
    def several(self) -> bool:
        return self.share.size > 1

    def begin(self, epoch: int) -> None:
        """Let layers draw otherwise than in the first process: anew in every epoch, so that nothing of it is saved."""
        if not self.first:
            torch.manual_seed(seed_of(self.seed, self.group.partition, self.share.index, epoch))

    def total(self, mine: Tensor) -> Tensor:
        """Return the sum over the processes of a vector ``(n,)``, to all the same bytes."""
        self._way.put(mine)
        self._way.settle()
        return self._totals.get()

    def step_together(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every step of an optimiser be by the gradient of the whole batch, whose loss is a mean over its rows."""
        optimizer.register_step_pre_hook(lambda *_: self._average(optimizer))

    @torch.no_grad()
    def _average(self, optimizer: torch.optim.Optimizer) -> None:
        weights = [weight for some in optimizer.param_groups for weight in some["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        rows = self.share.of(self.rows)
        mine = torch.cat([gradient.reshape(-1) for gradient in gradients]) * ((rows.stop - rows.start) / self.rows)
        summed = self.total(mine).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, summed, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def close(self) -> None:
        self._way.close()


class Shares:
    """The `MiniBatches` of a process that sees the samples: its rows of each batch, drawn as one process draws it."""

    def __init__(self, whole: MiniBatches, team: Team) -> None:
        self.whole, self.team, self.generator = whole, team, whole.generator

    @property
    def samples(self) -> int:
        return self.whole.samples

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, t in self.whole:
            self.team.rows = len(x)
            rows = self.team.share.of(len(x))
            yield x[rows], t[rows]

    def counts(self) -> dict[str, int]:
        return self.whole.counts()

    def finite(self) -> bool:
        return self.whole.finite()


class Ways:
    """The `channels.Way` of a process to those of the partition above or below that have rows of its batches.

    Parameters
    ----------
    ways
        By what the process at the other end takes of a batch, in the order of its rows.
    """

    def __init__(self, team: Team, ways: dict[Share, Between]) -> None:
        self.team, self.ways = team, ways

    @property
    def waited(self) -> float:
        return sum(way.waited for way in self.ways.values())

    def put(self, item: Message) -> None:
        """Send each its rows of what this process has of a batch."""
        team = self.team
        for share, way in self.ways.items():
            if item.z is None or item.t is None:
                way.put(item)
                continue
            # One process alone may have put its batches together anew, by a filter: they are not those in training.
            rows = team.rows if team.several else len(item.z)
            part = team.share.common(share, rows)
            way.put(Message(item.z[part], item.t[part], rows=rows))

    def get(self) -> Message:
        """Return the rows of a batch that this process takes."""
        items = [way.get() for way in self.ways.values()]
        self.team.rows = rows = items[0].rows
        if len(items) == 1 or items[0].z is None:
            return items[0]
        z, t = ([part for item in items if (part := getattr(item, name)) is not None] for name in "zt")
        return Message(torch.cat(z), torch.cat(t), rows=rows)

    def close(self) -> None:
        for way in self.ways.values():
            way.close()


def above(team: Team, name: str, most: int) -> Ways:
    """Return the ways to the processes of the partition above."""
    group = team.group
    return Ways(team, {s: channels.to(group, other, name, most) for s, other in _beside(team, group.partition + 1)})


def below(team: Team, name: str, most: int, ends: int) -> Ways:
    """Return the ways from the processes of the partition below, up to so many ends of epochs."""
    group = team.group
    found = _beside(team, group.partition - 1)
    return Ways(team, {s: channels.of(group, other, name, most, ends) for s, other in found})


def _beside(team: Team, partition: int) -> list[tuple[Share, int]]:
    """Return the processes of another partition that have rows in common with this one, and what they take."""
    ranks = team.group.allocation.ranks(partition)
    shares = [(Share(i, len(ranks)), rank) for i, rank in enumerate(ranks)]
    return [(share, rank) for share, rank in shares if share.meets(team.share)]
