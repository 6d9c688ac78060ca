"""The memory that a training step takes, counted exactly on fake tensors: nothing is computed, and no GPU is needed.

Every storage counts once, however many views it has, from the operation that makes it to its last reference, rounded up
to the 512 bytes that CUDA's allocator rounds to. What kernels use inside, as cuDNN's workspaces, is not seen.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerwise.errors import LayerwiseError

ROUNDED = 512  # bytes
STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers that an optimiser keeps a parameter; of sgd its momentum


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step.

    Parameters
    ----------
    parameters
        Weights and buffers of what is trained and of the frozen layers before it.
    optimiser
        State of the optimiser.
    saved
        What is alive after the forward pass beside these: the batch, and the tensors that the backward pass needs.
    feed
        Most that the frozen layers before it have alive beside parameters and states, the batch among it; 0 without.
    peak
        Most that is alive at once during the step, gradients and temporaries among it.
    """

    parameters: int
    optimiser: int
    saved: int
    feed: int
    peak: int


class _Live(TorchDispatchMode):
    """Adds up the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self._add(each.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = -(-storage.nbytes() // ROUNDED) * ROUNDED
            self.now += self.sizes[key]
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


def step(
    trained: nn.Module,
    feed: Sequence[nn.Module],
    shape: tuple[int, ...],
    batch: int,
    *,
    optimiser: str = "adamw",
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    chunk: int = 0,
) -> Memory:
    """Count the memory of a training step, of the second one: optimisers make their states in the first.

    Parameters
    ----------
    trained
        What the step trains; ends in scores ``(N, outputs)``.
    feed
        The frozen layers before it, one after the other; none where it takes the samples themselves.
    shape, batch
        Shape of one sample, and their number.
    chunk
        Samples that the frozen layers take at once; 0 for all.
    """
    if optimiser not in STATES:
        raise LayerwiseError(f"memory: optimiser {optimiser!r} is none of {', '.join(STATES)}")
    with FakeTensorMode() as mode, _Live() as live:
        net, *frozen = _twins([trained, *feed], mode)
        parameters = live.now
        weights = [w for w in net.parameters() if w.requires_grad]
        states = [torch.empty_like(w) for w in weights for _ in range(STATES[optimiser])]
        held = live.now
        live.most = live.now
        z = _fed(frozen, torch.empty(batch, *shape), chunk or batch)
        fed = live.most - held if frozen else 0
        value = loss(net.train()(z), torch.zeros(batch, dtype=torch.long))
        saved = live.now - held
        value.backward()
        del z, value, states
        return Memory(parameters, held - parameters, saved, fed, live.most)


def _fed(frozen: Sequence[nn.Module], x: Tensor, chunk: int) -> Tensor:
    """Push samples through frozen layers, a chunk at a time; each layer's input is let go once it is used."""
    if not frozen:
        return x
    with torch.no_grad():
        parts = []
        for z in x.split(chunk):
            for layer in frozen:
                z = layer(z)
            parts.append(z)
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def _twins(modules: Iterable[nn.Module], mode: FakeTensorMode) -> list[nn.Module]:
    """Return copies of modules whose weights and buffers are fake, each once; those after the first are frozen."""
    memo: dict[int, Any] = {}
    modules = list(modules)
    for module in modules:
        for weight in module.parameters():
            if id(weight) not in memo:
                new = torch.empty(weight.shape, dtype=weight.dtype)
                memo[id(weight)] = nn.Parameter(new, requires_grad=weight.requires_grad)
        for buffer in module.buffers():
            if id(buffer) not in memo:
                memo[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype)
    first, *rest = [copy.deepcopy(module, memo) for module in modules]
    for frozen in rest:
        frozen.eval().requires_grad_(False)
    return [first, *rest]
