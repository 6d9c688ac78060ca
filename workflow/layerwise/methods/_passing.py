"""What a partition passes on: every batch as it comes, or what a filter leaves of many of them (thesis section 6.8).

Data become redundant in the upper layers. From an epoch on, one partition looks at large mini-batches of what it would
send and leaves samples out, anew in every epoch: those whose neighbours are all of their class (k-filtering, section
5.4), or those with the lowest loss. What is left is put together to batches of the usual size, and goes up one a step.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from layerwise.gradient import channels
from layerwise.gradient.channels import Message
from layerwise.gradient.losses import Loss
from layerwise.maths.neighbours import pure_runs


class Passing:
    """Passes on every batch.

    Parameters
    ----------
    way
        To the partition above.
    """

    def __init__(self, way: channels.Way) -> None:
        self.way = way

    def forward(
        self, body: Callable[[Tensor], Tensor], exit: Callable[[Tensor], Tensor], x: Tensor, t: Tensor, epoch: int
    ) -> Tensor:
        """Return the scores of a batch in an epoch, counted from 0; what the blocks give is on its way before."""
        z = body(x)
        self.way.put(channels.message(z, t))
        return exit(z)

    def end(self, saves: bool, last: bool) -> None:
        """End an epoch, which may be the last."""
        self.way.put(Message(saves=saves))

    def close(self) -> None:
        self.way.close()


class Filtered(Passing):
    """Passes on what a filter leaves; `options` are those of ``local``.

    Parameters
    ----------
    loss
        Of scores and targets.
    least
        Samples that a batch must have.
    """

    def __init__(self, way: channels.Way, options: Any, loss: Loss, least: int) -> None:
        super().__init__(way)
        self.options, self.loss, self.least = options, loss, least
        self.looked: list[tuple[Tensor, Tensor, Tensor]] = []  # batches of the large mini-batch, with their losses
        self.kept: list[Rows] = []  # of which the next batch is made
        self.ready: deque[Message] = deque()

    def forward(
        self, body: Callable[[Tensor], Tensor], exit: Callable[[Tensor], Tensor], x: Tensor, t: Tensor, epoch: int
    ) -> Tensor:
        z = body(x)
        arrived = channels.message(z, t)
        scores = exit(z)
        if epoch + 1 < self.options.filter_from:
            self.ready.append(arrived)
        else:
            assert arrived.z is not None
            assert arrived.t is not None
            losses = torch.vmap(lambda s, t: self.loss(s[None], t[None]))(scores.detach(), t)
            self.looked.append((arrived.z, arrived.t, losses))
            if sum(len(t) for _, t, _ in self.looked) >= self.options.filter_samples:
                self._look()
        self._pass_on(1)
        return scores

    def end(self, saves: bool, last: bool) -> None:
        if self.looked:
            self._look()
        if self.kept and len(self.kept[0][1]) >= self.least:
            self.ready.append(Message(*self.kept[0]))
        self.kept = []
        self.ready.append(Message(saves=saves))
        self._pass_on(len(self.ready) if saves or last else 1)  # what is saved holds none of it

    def _pass_on(self, count: int) -> None:
        for _ in range(min(count, len(self.ready))):
            self.way.put(self.ready.popleft())

    def _look(self) -> None:
        """Filter the large mini-batch, and make batches of what is left."""
        z, t, losses = (torch.cat(parts) for parts in zip(*self.looked, strict=True))
        self.looked = []
        o = self.options
        out = lowest(losses, o.filter_share or 0.25) if o.filter == "loss" else kfiltered(z, t, o)
        batches, self.kept = whole([*self.kept, (z[~out], t[~out])], o.batch)
        self.ready.extend(itertools.starmap(Message, batches))


Rows = tuple[Tensor, Tensor]  # samples with their targets


def whole(parts: Sequence[Rows], batch: int) -> tuple[list[Rows], list[Rows]]:
    """Return whole batches of samples that come in parts, in their order, and the one rest, which may be empty."""
    z, t = joined(parts)
    end = len(t) // batch * batch
    batches = list(zip(z[:end].split(batch), t[:end].split(batch), strict=True)) if end else []
    return batches, [(z[end:], t[end:])]


def joined(parts: Sequence[Rows]) -> Rows:
    z, t = (torch.cat(each) for each in zip(*parts, strict=True))
    return z, t


def kfiltered(z: Tensor, t: Tensor, options: Any) -> Tensor:
    """Tell which samples a k-filter leaves out; `z` and `t` are those of `redundant`, `options` those of ``local``."""
    return capped(redundant(z, t, options.filter_k), options.filter_share or 0.6)


def redundant(z: Tensor, t: Tensor, k: int) -> Tensor:
    """Tell which samples have k nearest neighbours, themselves the first, that are all of their class.

    Parameters
    ----------
    z
        Features ``(n, ...)``, images with the channels last: of these the mean over the image counts, since distances
        over whole maps cost as much as training.
    t
        Targets of a loss: classes ``(n,)``, or columns.
    """
    x = z.flatten(1, 2).mean(dim=1) if z.dim() == 4 else z.flatten(1)
    if t.dim() > 1:
        t = t.argmax(dim=1) if t.shape[1] > 1 else (t[:, 0] > 0).long()
    return pure_runs(x, t) + 1 >= k


def capped(out: Tensor, share: float) -> Tensor:
    """Return which samples go, no more than a share of all: where there are more, some that are drawn stay."""
    most = int(share * len(out))
    rows = out.nonzero()[:, 0]
    if len(rows) <= most:
        return out
    result = torch.zeros_like(out)
    result[rows[torch.randperm(len(rows), device="cpu")[:most].to(rows.device)]] = True
    return result


def lowest(losses: Tensor, share: float) -> Tensor:
    """Tell which samples are the share with the lowest losses; of equal ones the first."""
    out = torch.zeros(len(losses), dtype=torch.bool, device=losses.device)
    out[losses.argsort(stable=True)[: int(share * len(losses))]] = True
    return out
