"""The memory that a training step takes, counted exactly on fake tensors: nothing is computed, and no GPU is needed.

Every storage counts once, however many views it has, from the operation that makes it to its last reference, rounded up
to the 512 bytes that CUDA's allocator rounds to. What kernels use inside, as cuDNN's workspaces, is not seen.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
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
        Most that is alive beside parameters and states while the frozen layers run; 0 without them.
    peak
        Most that is alive at once during the step, gradients and temporaries among it.
    """

    parameters: int
    optimiser: int
    saved: int
    feed: int
    peak: int


@dataclass(frozen=True)
class Feed:
    """What frozen layers before the trained ones take: bytes of their parameters, and most while they run."""

    parameters: int = 0
    peak: int = 0


NONE = Feed()


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

    def forget(self, module: nn.Module) -> None:
        """Count the weights of a module no more. One that torch.fx made holds itself, and goes at any time later."""
        for weight in (*module.parameters(), *module.buffers()):
            self._free(weight.untyped_storage()._cdata)

    def _free(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


def feeds(layers: Sequence[nn.Module], shape: tuple[int, ...], batch: int, chunk: int) -> list[Feed]:
    """Count the frozen layers before each place in a sequence, in one pass: before the first, the second, ..., the end.

    Parameters
    ----------
    shape, batch
        Shape of one sample, and their number.
    chunk
        Samples that run at once; what comes of them is put together for the layers that are trained.
    """
    chunks, result, parameters, most = -(-batch // chunk), [NONE], 0, 0
    samples = min(chunk, batch)
    with FakeTensorMode(), _Live() as live, torch.no_grad():
        z = torch.empty(samples, *shape, dtype=_dtype(layers))
        images = live.now * batch // samples
        for layer in layers:
            start = live.now
            twin = _twin(layer)
            parameters += live.now - start
            # The chunk of images is a part of the batch, and the parameters are counted apart.
            apart = live.now - (_bytes(z) if len(result) > 1 else 0)
            live.most = live.now
            z = twin.eval()(z)
            most = max(most, live.most - apart)
            live.forget(twin)
            del twin
            whole = _bytes(z) * batch // samples
            together = whole - _bytes(z) + most if chunks > 1 else most
            result.append(Feed(parameters, images + max(together, 2 * whole if chunks > 1 else 0)))
    return result


def _dtype(layers: Sequence[nn.Module]) -> torch.dtype:
    """Return the floating type of the layers' weights."""
    return next((w.dtype for layer in layers for w in layer.parameters()), torch.float32)


def _bytes(z: Tensor) -> int:
    return -(-z.untyped_storage().nbytes() // ROUNDED) * ROUNDED


def step(
    trained: nn.Module,
    shape: tuple[int, ...],
    batch: int,
    *,
    feed: Feed = NONE,
    images: int = 0,
    optimiser: str = "adamw",
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
) -> Memory:
    """Count the memory of a training step, of the second one: optimisers make their states in the first.

    Parameters
    ----------
    trained
        What the step trains; ends in scores ``(N, outputs)``. Parameters that require no gradient are held fixed.
    shape, batch
        Shape of one sample at its input, and their number.
    feed, images
        The frozen layers before it, and the numbers of one sample at their input: the batch stays alive.
    """
    if optimiser not in STATES:
        raise LayerwiseError(f"memory: optimiser {optimiser!r} is none of {', '.join(STATES)}")
    with FakeTensorMode(), _Live() as live:
        net = _twin(trained)
        parameters = live.now
        weights = [w for w in net.parameters() if w.requires_grad]
        states = [torch.empty_like(w) for w in weights for _ in range(STATES[optimiser])]
        held = live.now
        live.most = live.now
        dtype = _dtype([trained])
        x = torch.empty(batch, images, dtype=dtype) if images else None
        z = torch.empty(batch, *shape, dtype=dtype)
        value = loss(net.train()(z), torch.zeros(batch, dtype=torch.long))
        saved = live.now - held
        value.backward()
        most = max(live.most - held, feed.peak)
        del x, z, value, states
        parameters, held = parameters + feed.parameters, held + feed.parameters
        return Memory(parameters, held - parameters, saved, feed.peak, held + most)


def _twin(module: nn.Module) -> nn.Module:
    """Return a copy of a module with weights and buffers made anew, each once."""
    memo: dict[int, Any] = {}
    for weight in module.parameters():
        memo[id(weight)] = nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype), weight.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return copy.deepcopy(module, memo)
