"""What a weighted layer is fitted on, and what its fit gives: `Inputs` go up a segment with the driver in `greedy`.

The samples at the input of a layer are there as a whole, as batches of bounded memory, or as the rows (patches, for a
convolution) that its weights are multiplied with. They are pushed through the layers below only when somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from layerwise.contract import Features, Segment, Source, Split
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers.words import Layer, out_shape

ROWS = 4096  # samples in one product of many features: the fewer products, the fewer times the sums are gone through
# Numbers in one batch: as many as a processor's cache holds, or as keep a GPU busy (256 MB in float64).
BUDGET = {"cpu": 2**18, "cuda": 2**25}


@dataclass(frozen=True)
class Solution:
    """Weights of one layer, ``(width, fan_in)``, its bias, ``(width,)`` or None for zeros, and what to record of it."""

    weight: Tensor
    bias: Tensor | None = None
    record: dict = field(default_factory=dict)


class Inputs:
    """What the weighted layer at hand is fitted on. One object goes up the segment with the driver.

    Attributes
    ----------
    layer
        The layer at hand; a width of None is for the method to find.
    shape
        Shape of one sample of its input.
    y
        Labels ``(N,)`` or values ``(N, outputs)`` of the training samples.
    number
        Its place among the segment's words, from 1.
    depth
        Number of weighted layers of this segment below it.
    """

    def __init__(self, segment: Segment, features: Features, device: torch.device, dtype: torch.dtype) -> None:
        self.task, self.device, self.dtype = features.task, device, dtype
        self.shape, self.layer, self.number, self.depth = segment.shape, Layer("dense"), 0, 0
        self.y = features.train.y.to(device)
        if self.y.is_floating_point() and not bool(self.y.to(dtype).isfinite().all()):
            raise LayerwiseError("the training targets hold NaN or infinity, or overflow: mend or scale them first")
        self.modules: list[nn.Module] = []
        self.words: list[str] = []
        self.following: list[Layer] = []
        self._train, self._valid = features.train, features.valid
        self._x: Tensor | None = None
        self._pushed, self._largest = 0, prod(segment.shape)
        self._widest = self._largest

    def __len__(self) -> int:
        return len(self.y)

    @property
    def streams(self) -> bool:
        """Whether the samples come in batches, and are not held all at once."""
        return self._train.streams

    @property
    def name(self) -> str:
        return f"layer {self.number} ('{self.layer}')"

    @property
    def fan_in(self) -> int:
        """Number of weights of one unit or filter, without its bias."""
        return self.shape[0] * self.layer.size**2 if self.layer.kind == "conv" else prod(self.shape)

    @property
    def places(self) -> int:
        """Number of patches of one sample, one for a dense layer."""
        return prod(out_shape(self.layer, self.shape)[1:])

    @property
    def width(self) -> int:
        """The width that the layer's word gives; LayerwiseError where it gives none."""
        if not isinstance(self.layer.width, int):
            layers.make(self.layer, self.shape)  # says what is missing
        return int(self.layer.width)  # type: ignore[arg-type]

    @property
    def x(self) -> Tensor:
        """The training samples at the input of the layer, ``(N, *shape)``, held from then on."""
        if self._x is None:
            self._x = self._train.x.to(self.device, self.dtype)
            if not self._x.sum().isfinite():
                raise LayerwiseError("the training features hold NaN or infinity: remove or fill those values first")
        if self._pushed < len(self.modules):
            self._x = push(self.modules[self._pushed :], self._x, self._largest)
            self._pushed, self._largest = len(self.modules), prod(self.shape)
            if not self._x.sum().isfinite():
                raise LayerwiseError(
                    f"{self.name}: its inputs overflow: scale the weights of the layers below, or use float64"
                )
        return self._x

    @property
    def valid(self) -> Split:
        """The validation samples at the input of the layer, which may be none; they are pushed there at each look."""
        x = self._valid.x.to(self.device, self.dtype)
        return Split(push(self.modules, x, self._widest), self._valid.y.to(self.device))

    @property
    def sources(self) -> tuple[Source, Source]:
        """The training and the validation samples at the input of the segment."""
        return self._train, self._valid

    def samples(self, size: int) -> Iterator[Tensor]:
        """Start a pass: the samples at the input of the layer, ``(n, *shape)``, so many at once."""
        if not self.streams:
            yield from self.x.split(size)
            return
        done = 0
        for batch in layers.rebatched(self._pass(), size):
            done += len(batch)
            yield batch
        if done != len(self):
            raise LayerwiseError(
                f"{self.name}: {done} samples came in this pass, and {len(self)} before: give the same"
            )

    def _pass(self) -> Iterator[Tensor]:
        """Push the batches of a stream through the layers below."""
        for x in self._train.batches():
            batch = push(self.modules, x.to(self.device, self.dtype), self._widest)
            if not batch.sum().isfinite():
                raise LayerwiseError(f"{self.name}: its inputs hold NaN or infinity: mend the samples, or use float64")
            yield batch

    def take(self, index: Tensor) -> Tensor:
        """Return the samples of these numbers, in their order, ``(len(index), *shape)``."""
        if not self.streams:
            return self.x[index]
        taken = torch.empty((len(index), *self.shape), dtype=self.dtype, device=self.device)
        first = 0
        for batch in self.samples(ROWS):
            here = (index >= first) & (index < first + len(batch))
            taken[here] = batch[index[here] - first]
            first += len(batch)
        return taken

    def total(self) -> Tensor:
        """Return the sum of all samples, ``(*shape)``, of the type of the inputs."""
        if not self.streams:
            return self.x.sum(dim=0)
        parts = [x.sum(dim=0, dtype=torch.float64) for x in self.samples(ROWS)]
        return torch.stack(parts).sum(dim=0).to(self.dtype)

    def mean_square(self) -> float:
        """Return the mean over all samples and features of their squares."""
        if not self.streams:
            return float(self.x.double().square().mean())
        return sum(float(x.double().square().sum()) for x in self.samples(ROWS)) / (len(self) * prod(self.shape))

    @property
    def _rows_at_once(self) -> int:
        # 512 rows at least: sums of their products are then limited by arithmetic, not by memory.
        return max(batch_size(self.device, self.places * self.fan_in), 512 // self.places)

    def rows(self, index: Tensor | None = None, dtype: torch.dtype = torch.float64) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples (those of `index`) in batches of bounded memory.

        Yields
        ------
        rows, samples
            What the layer's weights are multiplied with, ``(n, P, fan_in)``, for P patches a sample (one for a
            dense layer), and the numbers ``(n,)`` of those samples.
        """
        size = self._rows_at_once
        if index is None:
            first = 0
            for batch in self.samples(size):
                yield patches(batch.to(dtype), self.layer), torch.arange(first, first + len(batch), device=self.device)
                first += len(batch)
            return
        whole = self.take(index) if self.streams else None
        for at in torch.arange(len(index), device=self.device).split(size) if len(index) else ():
            batch = self.x[index[at]] if whole is None else whole[at]
            yield patches(batch.to(dtype), self.layer), index[at]

    def rows_of_groups(self, groups: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Go through groups of samples, each given by ascending numbers, in one pass over a stream.

        Yields
        ------
        group, rows
            The place of the group in `groups`, and rows as `rows` gives them for the group alone.
        """
        if not self.streams:
            yield from ((i, rows) for i, index in enumerate(groups) for rows, _ in self.rows(index))
            return
        group_of = torch.full((len(self),), -1, device=self.device)
        for i, index in enumerate(groups):
            group_of[index] = i
        size, first = self._rows_at_once, 0
        kept: list[list[Tensor]] = [[] for _ in groups]
        for batch in self.samples(ROWS):
            here = group_of[first : first + len(batch)]
            first += len(batch)
            for i, parts in enumerate(kept):
                *full, rest = torch.cat([*parts, batch[here == i]]).split(size)
                if len(rest) == size:
                    full, rest = [*full, rest], rest[:0]
                for part in full:
                    yield i, patches(part.double(), self.layer)
                kept[i] = [rest.clone()]
        for i, (rest,) in enumerate(kept):
            if len(rest):
                yield i, patches(rest.double(), self.layer)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples as ``(n, features)`` of the type of the inputs, with their numbers ``(n,)``."""
        first = 0
        for batch in self.samples(ROWS):
            yield batch.flatten(1), torch.arange(first, first + len(batch), device=self.device)
            first += len(batch)

    def after(self, solution: Solution) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through what the samples become under a solution and the activations and pools behind it.

        Yields
        ------
        features, samples
            As `batches` does, ``(n, features)`` and the numbers ``(n,)``.
        """
        parts = [self.place(solution)]
        shape = largest = out_shape(self.layer.with_width(len(solution.weight)), self.shape)
        for layer in self.following:
            parts.append(layers.make(layer, shape))
            shape = out_shape(layer, shape)
        for batch, samples in self.batches():
            yield push(parts, batch, max(prod(self.shape), prod(largest))).flatten(1), samples

    @property
    def width_after(self) -> int:
        """Number of features of a sample behind the layer and the activations and pools that follow it."""
        shape = out_shape(self.layer.with_width(self.width), self.shape)
        for layer in self.following:
            shape = out_shape(layer, shape)
        return prod(shape)

    def place(self, solution: Solution) -> nn.Module:
        """Return the layer's module with the weights of a solution."""
        width = len(solution.weight)
        module = layers.make(self.layer.with_width(width), self.shape)
        weight = solution.weight.to(self.device, self.dtype).reshape(module.weight.shape)  # type: ignore[arg-type]
        bias = solution.weight.new_zeros(width) if solution.bias is None else solution.bias
        bias = bias.to(self.device, self.dtype)
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise LayerwiseError(
                f"{self.name}: the weights are not finite: scale the inputs of the layer, or use float64"
            )
        module.weight = nn.Parameter(weight.contiguous())
        module.bias = nn.Parameter(bias)
        return module.eval()

    def append(self, layer: Layer, module: nn.Module | None = None, after: tuple[int, ...] | None = None) -> None:
        """Go past a layer; `after` is the shape of a sample behind it, where its word does not tell."""
        after = after or out_shape(layer, self.shape)
        self.modules.append(layers.make(layer, self.shape).to(self.device).eval() if module is None else module)
        self.words.append(str(layer))
        self._largest = max(self._largest, prod(after))
        self._widest = max(self._widest, self._largest)
        self.shape = after


def patches(x: Tensor, layer: Layer) -> Tensor:
    """Return the rows ``(n, P, fan_in)`` that the layer's weights are multiplied with, for samples ``(n, *shape)``.

    The columns of a convolution are in the order of ``weight.reshape(channels, -1)``.
    """
    if layer.kind == "dense":
        return x.flatten(1)[:, None]
    x = nn.functional.pad(x, [layer.pad] * 4)
    windows = x.unfold(2, layer.size, layer.stride).unfold(3, layer.size, layer.stride)  # (n, C, H, W, k, k)
    # Columns lie one after the other in memory, which copies whole image rows and suits a product of columns.
    columns = windows.permute(1, 4, 5, 0, 2, 3).reshape(x.shape[1] * layer.size**2, len(x), -1)
    if layer.contrast:  # as layers.PatchConv2d has it
        columns = columns - columns.mean(dim=0)
        columns = columns * (columns.square().mean(dim=0) + layer.contrast).rsqrt()
    return columns.permute(1, 2, 0)


def batch_size(device: torch.device, numbers: int) -> int:
    """Return the samples in a batch, for so many numbers a sample."""
    return max(1, BUDGET[device.type] // max(numbers, 1))


def push(modules: Sequence[nn.Module], x: Tensor, largest: int) -> Tensor:
    """Run modules over samples in batches, for `largest` numbers a sample at the widest place."""
    if all(isinstance(module, nn.Flatten) for module in modules):
        return x.flatten(1) if modules else x  # no copy of what may be gigabytes

    def through(batch: Tensor) -> Tensor:
        for module in modules:
            batch = module(batch)
        return batch

    return layers.gather((through(batch) for batch in x.split(batch_size(x.device, largest))), len(x), x.device)
