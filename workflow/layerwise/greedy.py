"""The one driver of the closed-form methods: a segment's layers from the first to the last, each fitted on its inputs.

A method brings a `Solve`: weights for one layer from its `Inputs`. The driver builds the modules, pushes the
training samples through the fitted layers in batches (only when somebody looks at them), sets batch
normalisation to the statistics of its inputs, and ends a segment in the linear read-out where its last word is
``dense outputs``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from layerwise import layers, shards
from layerwise.data import Features, Split, Stream
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.linalg import STRENGTHS, Gram, ridge
from layerwise.methods import Segment
from layerwise.words import Layer, out_shape, parse

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

    def __init__(
        self,
        segment: Segment,
        features: Features,
        device: torch.device,
        dtype: torch.dtype,
        stream: Stream | None = None,
    ) -> None:
        self.task, self.device, self.dtype, self._stream = features.task, device, dtype, stream
        self.shape, self.layer, self.number, self.depth = segment.shape, Layer("dense"), 0, 0
        self.y = (stream or features.train).y.to(device)
        self.modules: list[nn.Module] = []
        self.words: list[str] = []
        self.following: list[Layer] = []
        self._raw, self._valid = features.train.x, features.valid
        self._x: Tensor | None = None
        self._pushed, self._largest = 0, prod(segment.shape)
        self._widest = self._largest

    def __len__(self) -> int:
        return len(self.y)

    @property
    def streams(self) -> bool:
        """Whether the samples come in batches, and are not there all at once."""
        return self._stream is not None

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
        """The training samples at the input of the layer, ``(N, *shape)``."""
        if self._stream is not None:
            raise LayerwiseError(f"{self.name}: its fit looks at all samples at once, and these come in batches")
        if self._x is None:
            self._x = self._raw.to(self.device, self.dtype)
            if not self._x.sum().isfinite():
                raise LayerwiseError("the training features hold NaN or infinity: remove or fill those values first")
        if self._pushed < len(self.modules):
            self._x = _push(self.modules[self._pushed :], self._x, self._largest)
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
        return Split(_push(self.modules, x, self._widest), self._valid.y.to(self.device))

    def rows(self, index: Tensor | None = None, dtype: torch.dtype = torch.float64) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples (those of `index`) in batches of bounded memory.

        Yields
        ------
        rows, samples
            What the layer's weights are multiplied with, ``(n, P, fan_in)``, for P patches a sample (one for a
            dense layer), and the numbers ``(n,)`` of those samples.
        """
        x = self.x
        samples = torch.arange(len(x), device=self.device) if index is None else index
        if not len(samples):
            return
        # 512 rows at least: sums of their products are then limited by arithmetic, not by memory.
        for batch in samples.split(max(_batch(self.device, self.places * self.fan_in), 512 // self.places)):
            yield patches(x[batch].to(dtype), self.layer), batch

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the samples as ``(n, features)`` of the type of the inputs, with their numbers ``(n,)``."""
        done = 0
        for batch in self.x.split(ROWS) if self._stream is None else self._streamed():
            yield batch.flatten(1), torch.arange(done, done + len(batch), device=self.device)
            done += len(batch)
        if done != len(self):
            raise LayerwiseError(
                f"{self.name}: {done} samples came in this pass, and {len(self)} before: give the same"
            )

    def _streamed(self) -> Iterator[Tensor]:
        assert self._stream is not None
        for x in self._stream.batches():
            batch = _push(self.modules, x.to(self.device, self.dtype), self._widest)
            if not batch.sum().isfinite():
                raise LayerwiseError(f"{self.name}: its inputs hold NaN or infinity: mend the samples, or use float64")
            yield batch

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
            yield _push(parts, batch, max(prod(self.shape), prod(largest))).flatten(1), samples

    def place(self, solution: Solution) -> nn.Module:
        """Return the layer's module with the weights of a solution."""
        width = len(solution.weight)
        module = layers.make(self.layer.with_width(width), self.shape)
        weight = solution.weight.to(self.device, self.dtype).reshape(module.weight.shape)  # type: ignore[arg-type]
        bias = torch.zeros(width) if solution.bias is None else solution.bias
        if not bool(torch.isfinite(weight).all()):
            raise LayerwiseError(
                f"{self.name}: the weights are not finite: scale the inputs of the layer, or use float64"
            )
        module.weight = nn.Parameter(weight.contiguous())
        module.bias = nn.Parameter(bias.to(self.device, self.dtype))
        return module.eval()

    def append(self, layer: Layer, module: nn.Module | None = None) -> None:
        """Go past a layer."""
        after = out_shape(layer, self.shape)
        self.modules.append(layers.make(layer, self.shape).to(self.device).eval() if module is None else module)
        self.words.append(str(layer))
        self._largest = max(self._largest, prod(after))
        self._widest = max(self._widest, self._largest)
        self.shape = after


Solve = Callable[[Inputs], Solution]


def fit(
    segment: Segment,
    features: Features,
    solve: Solve,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    readout: Solve | None = None,
    stream: Stream | None = None,
) -> tuple[nn.Sequential, tuple[str, ...], list[dict]]:
    """Fit the layers of a segment one after the other.

    Parameters
    ----------
    solve
        Gives the weights of a hidden layer.
    dtype
        Floating type of inputs and weights; that of the features by default.
    readout
        Gives the weights of a last ``dense outputs``; `ridge_readout` by default.
    stream
        Takes the place of the training split, for a `solve` that asks for no more than `Inputs.batches`.

    Returns
    -------
    module, words, records
        The first two as `layers.build` gives them, and one record a weighted layer.
    """
    if not len(stream or features.train):
        raise LayerwiseError("the training split is empty: there is nothing to fit on")
    inputs = Inputs(segment, features, device, dtype or features.train.x.dtype, stream)
    parsed = [parse(word) for word in segment.layers]
    records = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # modules draw weights, only to be overwritten
        for position, layer in enumerate(parsed):
            last = layer.width == "outputs" and position == len(parsed) - 1
            if layer.width == "outputs":
                layer = layer.with_width(segment.outputs)
            if layer.kind == "dense" and len(inputs.shape) > 1:
                inputs.append(parse("flatten"))
            out_shape(layer, inputs.shape)  # says what does not fit before anything is computed
            if layer.weighted:
                inputs.layer, inputs.number, inputs.following = layer, position + 1, _following(parsed, position)
                solution = ((readout or ridge_readout()) if last else solve)(inputs)
                inputs.append(layer.with_width(len(solution.weight)), inputs.place(solution))
                records.append({"layer": inputs.words[-1], **solution.record})
                inputs.depth += 1
            elif layer.kind == "batchnorm":
                inputs.append(layer, _normalise(inputs, layer))
            else:
                inputs.append(layer)
    return nn.Sequential(*inputs.modules).eval(), tuple(inputs.words), records


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


def ridge_readout(strengths: Sequence[float] = STRENGTHS) -> Solve:
    """Return the linear read-out by ridge, its strength by generalised cross-validation, from one streamed Gram."""

    def solve(inputs: Inputs) -> Solution:
        outputs = inputs.task.outputs
        demand_room(4 * inputs.fan_in**2, inputs.device, inputs.name)  # sums, a copy, vectors, work space
        gram = Gram(inputs.fan_in, outputs, inputs.device)
        for rows, samples in inputs.rows():
            gram.add(rows, inputs.task.targets(inputs.y[samples], torch.float64))
        found = ridge(shards.gathered(gram), strengths)
        warn_of_constants(inputs, found.constant)
        record = {key: getattr(found, key) for key in ("strength", "gcv", "error", "lsd")}
        return Solution(found.weight, found.bias, {**record, "constant_features": found.constant})

    return solve


def warn_of_constants(inputs: Inputs, constant: int) -> None:
    """Say that most features are constant; a few, such as a picture's corners, are nothing to speak of."""
    if 2 * constant > inputs.fan_in:
        text = f"{inputs.name}: {constant} of {inputs.fan_in} features are constant and get no weight"
        warnings.warn(LayerwiseWarning(text), stacklevel=3)


def demand_room(numbers: int, device: torch.device, name: str) -> None:
    """Refuse, with the sizes, a step that holds so many float64 numbers where memory cannot."""
    if device.type == "cuda":
        room = torch.cuda.mem_get_info(device)[1]
    else:
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 8 * numbers > room:
        raise LayerwiseError(
            f"{name}: its fit needs {8 * numbers / 2**30:.0f} GiB and the {device.type} has {room / 2**30:.0f} GiB: "
            "pool the features, use fewer filters, or fewer samples"
        )


def _following(parsed: Sequence[Layer], position: int) -> list[Layer]:
    """Return the layers behind a position up to the next one that is fitted."""
    found: list[Layer] = []
    for behind in range(position + 1, len(parsed)):
        if parsed[behind].weighted or parsed[behind].kind == "batchnorm":
            break
        found.append(parsed[behind])
    return found


def _batch(device: torch.device, numbers: int) -> int:
    """Return the samples in a batch, for so many numbers a sample."""
    return max(1, BUDGET[device.type] // max(numbers, 1))


def _push(modules: Sequence[nn.Module], x: Tensor, largest: int) -> Tensor:
    """Run modules over samples in batches, for `largest` numbers a sample at the widest place."""
    if all(isinstance(module, nn.Flatten) for module in modules):
        return x.flatten(1) if modules else x  # no copy of what may be gigabytes

    def through(batch: Tensor) -> Tensor:
        for module in modules:
            batch = module(batch)
        return batch

    return layers.gather((through(batch) for batch in x.split(_batch(x.device, largest))), len(x), x.device)


def _normalise(inputs: Inputs, layer: Layer) -> nn.Module:
    """Return batch normalisation with the exact statistics of its inputs."""
    norm = layers.make(layer, inputs.shape).to(inputs.device, inputs.dtype)
    assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
    total = square = torch.zeros(norm.num_features, dtype=torch.float64, device=inputs.device)
    count = 0
    for batch in inputs.x.split(_batch(inputs.device, prod(inputs.shape))):
        values = batch.double().transpose(0, 1).flatten(1)  # (features, rows)
        total, square, count = total + values.sum(1), square + values.square().sum(1), count + values.shape[1]
    shards.add(total, square)
    count = shards.total(count, inputs.device)
    mean = total / count
    norm.running_mean = mean.to(inputs.dtype)
    norm.running_var = (square / count - mean.square()).clamp(min=0).to(inputs.dtype)
    return norm.eval()
