"""A training by workers that exchange their weights after every epoch, as few bytes (thesis chapter 3).

Each worker trains from the same weights on its own part of the samples, with a momentum of its own, which is never
sent. Then each sends its weights, and all go on from the mean of what they receive: of what a receiver decodes, not of
what the workers had. The workers take turns in one process, or are shared out among the processes of a fit; the bytes
are the same.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerwise.closed import shards
from layerwise.coding import bins
from layerwise.coding.coders import SHARE, Coder, Float32
from layerwise.contract import NO_HOOKS, Hooks
from layerwise.gradient.batches import MiniBatches
from layerwise.gradient.loop import (
    Clock,
    Training,
    prefixed,
    random_state,
    set_random_state,
    under,
)
from layerwise.gradient.optimisers import load_state_tensors, state_tensors

FULL = 32  # bits of a parameter that is sent as it is


@dataclass
class Worker:
    """What a worker keeps for itself.

    Parameters
    ----------
    memory
        State of the optimiser, such as momentum.
    random
        States of the global generators, from which dropout draws.
    unsent
        Of exchanged changes, what the coder has lost so far: it is sent with the next ones.
    """

    number: int
    batches: MiniBatches
    random: dict[str, Tensor]
    memory: dict[Any, Any] = field(default_factory=lambda: defaultdict(dict))
    unsent: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Exchange(Training):
    """A `Training` by workers; its `batches` are those of the worker whose turn it is.

    The history also has ``bits_raw`` and ``bits_sent`` a parameter, without and with an entropy code, biases and
    codebooks counted, and of each tensor of weights, by its number from 1: ``bits_1`` a weight without an entropy
    code, ``entropy_1`` (the estimate, in bits) and ``gradient_1`` (the root of the mean square over the epoch's steps);
    each a mean over the workers.

    Parameters
    ----------
    coder
        How a tensor of weights is sent; biases and running statistics are sent as they are.
    changes
        Send the changes of the weights since the last exchange, and what the coder lost of earlier ones, rather than
        the weights.
    seed
        Of the samples from which the entropy is estimated.
    workers
        Those of this process.
    """

    coder: Coder = field(default_factory=Float32)
    changes: bool = False
    seed: int = 0
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batches = self.workers[0].batches
        self.names = [name for name, p in self.module.named_parameters() if p.dim() > 1]
        self.squares = torch.zeros(len(self.names), dtype=torch.float64, device=self.device)
        self.optimizer.register_step_post_hook(lambda *_: self._add_gradients())

    def run(self, hooks: Hooks = NO_HOOKS, clock: Clock | None = None) -> None:
        if shards.rank():  # the first process saves for all
            hooks = Hooks(hooks.load, watch=hooks.watch)
        super().run(hooks, _FirstClock())

    def record(self) -> dict[str, Any]:
        return {**super().record(), "measures": measures(self.history, self.best_epoch, len(self.names))}

    def _pass(self, lr: float, hooks: Hooks) -> Generator[None, None, dict[str, float]]:
        shared = {name: t.clone() for name, t in self.module.state_dict().items()}
        told = []
        for worker in self.workers:
            self.module.load_state_dict(shared)
            self._begin(worker)
            passed = yield from super()._pass(lr, Hooks(watch=hooks.watch if worker.number == 0 else None))
            worker.random = random_state(self.device)
            told.append((worker.number, passed["train_loss"], *self._sent(worker, shared)))
        self.batches = self.workers[0].batches
        _, losses, messages, rows = zip(*sorted(itertools.chain(*shards.told(told))), strict=True)
        self.module.load_state_dict(self._received(shared, messages))
        return {"train_loss": float(np.mean(losses)), **{k: float(np.mean([r[k] for r in rows])) for k in rows[0]}}

    def _begin(self, worker: Worker) -> None:
        self.batches, self.optimizer.state = worker.batches, worker.memory  # type: ignore[assignment]
        set_random_state(worker.random, self.device)
        self.squares.zero_()

    def _add_gradients(self) -> None:
        parameters = dict(self.module.named_parameters())
        for i, name in enumerate(self.names):
            gradient = parameters[name].grad
            if gradient is not None:
                self.squares[i] += torch.linalg.vector_norm(gradient).double().square() / gradient.numel()

    def _sent(self, worker: Worker, shared: dict[str, Tensor]) -> tuple[dict[str, bytes], dict[str, float]]:
        """Return the message of a worker after its epoch, a coded tensor by name, and what the history says of it."""
        state, epoch = self.module.state_dict(), len(self.history) + 1
        if not all(t.isfinite().all() for t in state.values()):
            raise self._diverged(epoch)
        gradients = (self.squares / len(worker.batches)).sqrt().tolist()
        generator = torch.Generator().manual_seed(seed_of(self.seed, worker.number, epoch))
        message, row, raw = {}, dict[str, float](), 0.0
        for name, value in state.items():
            coder: Coder = self.coder if name in self.names else Float32()
            w = value
            if self.changes:
                w = value - shared[name] + worker.unsent.get(name, 0)
            entropy = bins.entropy(w, coder.estimate, SHARE, generator) if name in self.names else 0.0
            coded = coder.encode(w, entropy)
            if self.changes and name in self.names:
                worker.unsent[name] = w - coder.decode(coded.data, w.shape).to(w)
            message[name], raw = coded.data, raw + coded.raw
            if name in self.names:
                i = self.names.index(name)
                row |= {f"bits_{i + 1}": coded.raw / w.numel(), f"entropy_{i + 1}": entropy}
                row[f"gradient_{i + 1}"] = gradients[i]
        count = sum(p.numel() for p in self.module.parameters())
        sent = 8 * sum(map(len, message.values()))
        return message, {"bits_raw": raw / count, "bits_sent": sent / count, **row}

    def _received(self, shared: dict[str, Tensor], messages: tuple[dict[str, bytes], ...]) -> dict[str, Tensor]:
        """Return the mean of what a receiver decodes of the messages, in the order of the workers."""
        state = {}
        for name, value in shared.items():
            coder: Coder = self.coder if name in self.names else Float32()
            total = torch.zeros(value.shape, dtype=torch.float64)
            for message in messages:
                total += coder.decode(message[name], value.shape)
            mean = total / len(messages)
            state[name] = (value.cpu().double() + mean if self.changes else mean).to(value)
        return state

    # ------------------------------------------------------------ resumed by as many processes as there are then

    def state(self) -> dict[str, Tensor]:
        whole = {k: v for k, v in super().state().items() if k.startswith(("weights.", "best."))}
        own: dict[str, Tensor] = {}
        for worker in self.workers:
            self.optimizer.state = worker.memory  # type: ignore[assignment]
            kept = {
                **prefixed("optimizer.", state_tensors(self.optimizer)),
                **prefixed("unsent.", worker.unsent),
                **prefixed("random.", worker.random),
                "batches": worker.batches.generator.get_state(),
            }
            own |= prefixed(f"worker{worker.number}.", {k: v.detach().cpu().clone() for k, v in kept.items()})
        return {**whole, **{k: v for each in shards.told(own) for k, v in each.items()}}

    def resume(self, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        self.module.load_state_dict(under("weights.", tensors))
        self.best = {k: v.to(self.device) for k, v in under("best.", tensors).items()}
        self.history = list(notes["history"])
        for worker in self.workers:
            own = under(f"worker{worker.number}.", tensors)
            self.optimizer.state = defaultdict(dict)
            load_state_tensors(self.optimizer, under("optimizer.", own))
            worker.memory = self.optimizer.state
            worker.unsent = {k: v.to(self.device) for k, v in under("unsent.", own).items()}
            worker.random = under("random.", own)
            worker.batches.generator.set_state(own["batches"].cpu())


class _FirstClock(Clock):
    """The clock of the first process, for all of them save together."""

    def due(self) -> bool:
        return bool(shards.told(super().due())[0])


def parts(workers: int) -> list[tuple[int, slice]]:
    """Return the numbers of this process's workers, each with its rows among the samples of this process.

    Worker k has the samples k, k + K, … of K workers, whatever number of processes shares them out.
    """
    here = workers // shards.size()
    return [(shards.rank() + j * shards.size(), slice(j, None, here)) for j in range(here)]


def seed_of(seed: int, *numbers: int) -> int:
    """Return a seed drawn from another and some numbers."""
    return int.from_bytes(hashlib.sha256(repr((seed, *numbers)).encode()).digest()[:4], "big")


def measures(history: list[dict[str, float]], best: int | None, layers: int) -> dict[str, float]:
    """Return what a whole training says, as numbers for the table of fits.

    Means over the epochs of the bits a parameter, and how many times fewer than 32 they are; with a validation split
    the first epoch of the best validation, and the bits sent up to there; the least correlation over the layers between
    log(1 + gradient) and entropy (thesis section 3.5).
    """
    if not history:
        return {}
    raw, sent = (float(np.mean([row[k] for row in history])) for k in ("bits_raw", "bits_sent"))
    found = {"bits_raw": raw, "bits_sent": sent, "compression_raw": FULL / raw, "compression_sent": FULL / sent}
    if best is not None:
        found["epochs_to_best"] = float(best)
        found["bits_sent_to_best"] = sum(row["bits_sent"] for row in history[:best])
    correlations = []
    for i in range(1, layers + 1):
        gradient = np.log1p([row[f"gradient_{i}"] for row in history])
        entropy = np.array([row[f"entropy_{i}"] for row in history])
        if len(history) > 2 and np.ptp(gradient) > 0 and np.ptp(entropy) > 0:
            correlations.append(float(np.corrcoef(gradient, entropy)[0, 1]))
    return found | ({"gradient_entropy_correlation_min": min(correlations)} if correlations else {})
