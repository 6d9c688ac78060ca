"""Messages between processes over torch.distributed, and sums over those that train the same partition."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from layerwise.gradient.channels import Message

TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8)
LOOK = 1e-4  # seconds between two looks at a sum on GPUs
HEADER = 17  # numbers before the tensors of a message


class Network:
    """The `channels.Transport` over torch.distributed; what lies on a GPU goes through the memory of its host.

    Parameters
    ----------
    nccl
        A group of the processes that train the same partition, in which sums stay on GPUs; None where not all processes
        have one.
    """

    def __init__(self, nccl: Any = None) -> None:
        self.nccl = nccl

    def send(self, to: int, name: str, number: int, item: Message, most: int) -> None:
        tensors = [] if item.z is None or item.t is None else [item.z.cpu(), item.t.cpu()]
        head = torch.zeros(HEADER, dtype=torch.int64)
        head[0], head[1], head[2] = len(tensors), item.saves, item.rows
        for place, tensor in enumerate(tensors):
            dims = [TYPES.index(tensor.dtype), tensor.dim(), *tensor.shape]
            head[3 + 7 * place : 3 + 7 * place + len(dims)] = torch.tensor(dims)
        for tensor in (head, *tensors):
            distributed.send(tensor, to)

    def receive(self, of: int, name: str, number: int) -> Message:
        head = torch.zeros(HEADER, dtype=torch.int64)
        distributed.recv(head, of)
        tensors = []
        for place in range(int(head[0])):
            kind, dims, *shape = head[3 + 7 * place : 10 + 7 * place].tolist()
            tensors.append(torch.empty(shape[:dims], dtype=TYPES[kind]))
            distributed.recv(tensors[-1], of)
        z, t = tensors or (None, None)
        return Message(z, t, bool(head[1]), int(head[2]))

    def total(self, ranks: Sequence[int], name: str, number: int, mine: Tensor) -> Tensor:
        """Let each process sum a piece and send it to the others, as all-reduce does in an order of its own."""
        if self.nccl is not None:
            return self._on_gpus(mine)
        at, vector = ranks.index(distributed.get_rank()), mine.cpu()
        pieces, found = vector.tensor_split(len(ranks)), torch.empty_like(vector)
        theirs = [torch.empty_like(pieces[at]) for _ in ranks]
        theirs[at] = pieces[at]
        self._swap(ranks, at, pieces, theirs)
        summed, wholes = functools.reduce(torch.add, theirs), found.tensor_split(len(ranks))
        wholes[at].copy_(summed)
        self._swap(ranks, at, [summed] * len(ranks), wholes)
        return found.to(mine.device)

    def _swap(self, ranks: Sequence[int], at: int, sent: Sequence[Tensor], got: Sequence[Tensor]) -> None:
        """Send something to each other process, and get something of each."""
        others = [(place, rank) for place, rank in enumerate(ranks) if place != at]
        works = [distributed.isend(sent[place], rank) for place, rank in others]
        for work in [*works, *(distributed.irecv(got[place], rank) for place, rank in others)]:
            assert work is not None
            work.wait()

    def _on_gpus(self, mine: Tensor) -> Tensor:
        work = distributed.all_reduce(mine, group=self.nccl, async_op=True)
        assert work is not None
        while not work.is_completed():  # the thread alone waits: NCCL does not see that a process has ended
            time.sleep(LOOK)
        return mine

    def close(self) -> None:
        """The group of torch.distributed is left by who joined it."""
