"""How batches get from one partition to the next: in one process, over torch.distributed, or as files in a folder.

Whatever the way, a batch arrives as it was sent, in its order, and at most so many are under way that nobody waits for
long nor fills the memory: the weights are the same bytes. Messages say their own shapes and types.
"""

from __future__ import annotations

import queue as queues
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.gradient.partners import TICK, Group


@dataclass(frozen=True)
class Message:
    """A batch under way, or the end of an epoch.

    Parameters
    ----------
    z, t
        Features, images with the channels last, and targets; None at the end of an epoch.
    saves
        At the end of an epoch: all partitions save their state there.
    rows
        Of the batch of which these are a share; 0 where they are all of it.
    """

    z: Tensor | None = None
    t: Tensor | None = None
    saves: bool = False
    rows: int = 0


def message(z: Tensor, t: Tensor) -> Message:
    """Return a batch as it travels: copies, for layers above may overwrite what they are given."""
    laid = z.detach().permute(0, 2, 3, 1) if z.dim() == 4 else z.detach()
    return Message(laid.clone(memory_format=torch.contiguous_format), t.clone(memory_format=torch.contiguous_format))


def given(arrived: Message, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the batch of a message, on a device: the same strides by every way, on which roundings depend."""
    assert arrived.z is not None
    assert arrived.t is not None
    z, t = arrived.z.to(like.device), arrived.t.to(like.device)
    return (z.permute(0, 3, 1, 2) if z.dim() == 4 else z), t


class Way(Protocol):
    """The way between two partitions, as one of them sees it: one puts, the other gets."""

    def put(self, item: Message) -> None:
        """Send a message; waits while as many are under way as may be."""

    def get(self) -> Message:
        """Return the next message; waits for it."""

    def close(self) -> None:
        """Wait until all that was put is on its way."""


class InTurn(deque[Message]):
    """The way between two partitions of one process, which take turns."""

    def put(self, item: Message) -> None:
        self.append(item)

    def get(self) -> Message:
        return self.popleft()

    def close(self) -> None:
        """Nothing is under way."""


class Transport(Protocol):
    """Carries messages between processes. All calls wait, and are made by one thread for each neighbour."""

    def send(self, to: int, name: str, number: int, item: Message, most: int) -> None:
        """Send a message, the so manieth of a name, as soon as fewer than `most` lie unread where they can lie."""

    def receive(self, of: int, name: str, number: int) -> Message: ...

    def total(self, ranks: Sequence[int], name: str, number: int, mine: Tensor) -> Tensor:
        """Return the sum of a vector over processes, this one among them, in their order: the so manieth of a name."""

    def close(self) -> None: ...


class Between:
    """The way to or from the partition of another process. A thread carries, so that nobody waits for a transfer.

    Parameters
    ----------
    carry
        Sends the message of a number, or receives it.
    most
        Messages that are under way at once.
    gets
        How many ends of epochs are got; None for the way on which messages are put.
    """

    def __init__(self, group: Group, carry: Callable[..., Any], most: int, gets: int | None = None) -> None:
        self.group, self.carry, self.most, self.waited = group, carry, most, 0.0
        self.items: queues.SimpleQueue[Any] = queues.SimpleQueue()
        self.free = threading.Semaphore(most)
        self.error: Exception | None = None
        target = self._send if gets is None else (lambda: self._receive(gets))
        self.thread = threading.Thread(target=lambda: self._carrying(target), daemon=True)
        self.thread.start()

    def put(self, item: Any) -> None:
        self._wait(lambda: self.free.acquire(timeout=TICK))
        self.items.put(item)

    def get(self) -> Message:
        found: list[Message] = []

        def arrived() -> bool:
            try:
                found.append(self.items.get(timeout=TICK))
            except queues.Empty:
                return False
            return True

        self._wait(arrived)
        self.free.release()
        return found[0]

    def settle(self) -> None:
        """Wait until all that was put has been carried."""
        for _ in range(self.most):
            self._wait(lambda: self.free.acquire(timeout=TICK))
        self.free.release(self.most)

    def close(self) -> None:
        self.settle()
        self.items.put(None)

    def _wait(self, done: Callable[[], bool]) -> None:
        begin = time.perf_counter()
        with self.group.waiting():
            while not done():
                if self.error is not None:
                    raise self.group.broken(self.error)
                self.group.check()
        self.waited += time.perf_counter() - begin

    def _carrying(self, target: Callable[[], None]) -> None:
        try:
            target()
        except (RuntimeError, OSError, LayerwiseError, ValueError) as error:  # the neighbour, or what is between
            self.error = error

    def _send(self) -> None:
        number = 0
        while (item := self.items.get()) is not None:
            self.carry(number, item)
            self.free.release()
            number += 1

    def _receive(self, ends: int) -> None:
        number = 0
        while ends:
            self.free.acquire()
            item = self.carry(number)
            self.items.put(item)
            ends -= item.z is None
            number += 1


def to(group: Group, other: int, name: str, most: int) -> Between:
    """Return the way on which this process puts messages for another."""
    send = group.transport.send
    return Between(group, lambda number, item: send(other, name, number, item, most), most)


def of(group: Group, other: int, name: str, most: int, ends: int) -> Between:
    """Return the way on which this process gets messages of another, up to so many ends of epochs."""
    receive = group.transport.receive
    return Between(group, lambda number: receive(other, name, number), most, ends)


class Arrivals:
    """The mini-batches of a partition: those that come from the one below, up to the end of an epoch.

    `samples` are those of whole batches, also where a share of each comes.

    Attributes
    ----------
    saves
        Whether the last epoch ended with the word to save.
    """

    def __init__(self, way: Way, like: Tensor) -> None:
        self.way, self.like, self.saves = way, like, False
        self.generator = torch.Generator()  # of which nothing is drawn
        self._samples = self._steps = 0

    @property
    def samples(self) -> int:
        return self._samples

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        samples = steps = 0
        while (item := self.way.get()).z is not None:
            z, t = given(item, self.like)
            samples, steps = samples + (item.rows or len(z)), steps + 1
            yield z, t
        if not samples:
            raise LayerwiseError("no sample came from the partition below in an epoch: filter fewer")
        self.saves, self._samples, self._steps = item.saves, samples, steps

    def counts(self) -> dict[str, int]:
        return {"samples": self._samples, "steps": self._steps}

    def finite(self) -> bool:
        return True  # a loss that is not finite comes of weights: the partition below has seen the samples
