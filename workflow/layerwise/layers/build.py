"""Layer words made into torch modules, and the few things done with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.layers import zoo
from layerwise.layers.pretrained import Weights
from layerwise.layers.room import demand_room
from layerwise.layers.words import Blocks, Layer, merged, out_shape, parse

M = TypeVar("M", bound=nn.Module)

# Numbers that a layer gives for one batch on a processor, 16 MB in float32: what its caches hold. Thousands of
# filters run three times as fast as in batches of 512, and in a hundredth of the memory.
ROOM = 2**22


class CReLU(nn.Module):
    """Concatenated ReLU: channels ``x`` become ``[relu(x), relu(-x)]``, ``(N, C, ...)`` to ``(N, 2C, ...)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, -x], dim=1).relu_()


class PatchConv2d(nn.Conv2d):
    """A convolution of patches brought to zero mean and unit contrast, each by itself, or with mirrored filters.

    With `contrast`, in squared units of the input, a patch p of ``channels * size * size`` numbers becomes
    ``(p - mean p) / sqrt(var p + contrast)`` (Coates, Ng and Lee 2011, section 3.1.2). Computed as an ordinary
    convolution whose output is corrected place by place, so no patch is ever written out. With `mirror` each filter
    gives two channels, one after the other: its own, and that of the filter mirrored left to right.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        size: int,
        stride: int,
        pad: int,
        contrast: float = 0.0,
        mirror: bool = False,
        **where: Any,
    ) -> None:
        super().__init__(inputs, width, size, stride, pad, **where)
        self.contrast, self.mirror = contrast, mirror

    def forward(self, x: Tensor) -> Tensor:
        size, stride, pad = self.kernel_size, self.stride, self.padding
        weight, bias = self.weight, self.bias
        assert bias is not None
        if self.mirror:
            weight = torch.stack([weight, weight.flip(-1)], dim=1).flatten(0, 1)
            bias = bias.repeat_interleave(2)
        if not self.contrast:
            return nn.functional.conv2d(x, weight, bias, stride, pad)

        def mean(z: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(z.mean(dim=1, keepdim=True), size, stride, pad)  # type: ignore[arg-type]

        spread = (mean(x.square()) - mean(x).square()).clamp(min=0) + self.contrast
        weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)  # blind to the mean of a patch
        return nn.functional.conv2d(x, weight, None, stride, pad) * spread.rsqrt() + bias[:, None, None]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, contrast={self.contrast:g}, mirror={self.mirror}"


class Fold(nn.Module):
    """The mean of each map and the mirrored map of its mirrored filter, ``(N, 2C, H, W)`` to ``(N, C, H, W)``.

    Behind ``conv … mirror`` an image and its mirror image then have the same maps, as far as strides allow.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, ::2] + x[:, 1::2].flip(-1)) / 2


class Erf(nn.Module):
    """The error function, elementwise."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


ACTIVATIONS = {
    "relu": nn.ReLU,
    "crelu": CReLU,
    "tanh": nn.Tanh,
    "celu": nn.CELU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "erf": Erf,
}


def make(layer: Layer, shape: tuple[int, ...], device: str = "cpu") -> nn.Module:
    """Return the module of one layer for samples of the shape; its weights are torch's default initialisation.

    They are float32, whatever a program has made torch's default.
    """
    demand_room(_numbers(layer, shape), torch.device("cpu"), f"layer '{layer}' on inputs of {_times(shape)}")
    where: Any = {"device": device, "dtype": torch.float32}
    if layer.weighted and not isinstance(layer.width, int):
        word = "dense 64" if layer.kind == "dense" else f"conv {layer.size} 16"
        raise LayerwiseError(f"layer '{layer}' has no width, which this method does not find by itself: say '{word}'")
    match layer.kind:
        case "dense":
            return nn.Linear(prod(shape), int(layer.width), **where)  # type: ignore[arg-type]
        case "conv" if layer.contrast or layer.mirror:
            size, stride, pad = layer.size, layer.stride, layer.pad
            width, contrast = int(layer.width), layer.contrast  # type: ignore[arg-type]
            return PatchConv2d(shape[0], width, size, stride, pad, contrast, layer.mirror, **where)
        case "conv":
            return nn.Conv2d(shape[0], int(layer.width), layer.size, layer.stride, layer.pad, **where)  # type: ignore[arg-type]
        case "maxpool":
            return nn.MaxPool2d(layer.size, layer.stride)
        case "avgpool":
            return nn.AvgPool2d(layer.size, layer.stride)
        case "batchnorm":
            return nn.BatchNorm2d(shape[0], **where) if len(shape) == 3 else nn.BatchNorm1d(prod(shape), **where)
        case "dropout":
            return nn.Dropout(layer.rate)
        case "softshrink":
            return nn.Softshrink(layer.rate)
        case "fold":
            return Fold()
        case "flatten":
            return nn.Flatten()
        case _:
            return ACTIVATIONS[layer.kind]()


def foresee(words: Sequence[str], shape: tuple[int, ...], outputs: int) -> None:
    """Refuse layers that do not fit their inputs, or into memory, as far as their widths are known."""
    for word in words:
        layer = parse(word)
        if isinstance(layer, Blocks):  # a model says so itself, once it is built
            return
        if layer.width == "outputs":
            layer = layer.with_width(outputs)
        if layer.kind == "dense":
            shape = (prod(shape),)
        if layer.weighted and layer.width is None:
            out_shape(layer, shape)
            return
        make(layer, shape, device="meta")
        shape = out_shape(layer, shape)


def _numbers(layer: Layer, shape: tuple[int, ...]) -> int:
    """Return the numbers of a layer's weights, or of one sample behind it where these are more."""
    inputs = prod(shape) if layer.kind == "dense" else shape[0] * layer.size**2
    weights = int(layer.width) * inputs if layer.weighted and layer.width is not None else 0
    return max(weights, prod(out_shape(layer, shape)))


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def build(
    words: Sequence[str], shape: tuple[int, ...], outputs: int, device: str = "cpu", weights: Weights | None = None
) -> tuple[nn.Sequential, tuple[str, ...]]:
    """Build the layers for samples of the shape.

    Parameters
    ----------
    weights
        What the blocks of a model start from, in place of what torch's generator draws.

    Returns
    -------
    module, words
        The modules (a dense layer after an image gets a flatten before it, and a model gives a module a block), and
        the words with widths filled in.
    """
    parts, full = assemble(words, shape, outputs, device, weights)
    return nn.Sequential(*parts), merged(full)


def assemble(
    words: Sequence[str], shape: tuple[int, ...], outputs: int, device: str = "cpu", weights: Weights | None = None
) -> tuple[list[nn.Module], list[str]]:
    """Return the modules that `build` puts in a sequence, and for each the word that stands for it alone.

    Blocks of a model lie on the CPU, whatever the device.
    """
    parts: list[nn.Module] = []
    full: list[str] = []
    if weights is not None:
        weights.demand_one_model(words)
    for word in words:
        layer = parse(word)
        if isinstance(layer, Blocks):
            blocks = zoo.run(layer, shape, outputs, weights)
            parts += [block.module for block in blocks]
            full += [str(block.word) for block in blocks]
            shape = blocks[-1].out_shape
            continue
        if layer.width == "outputs":
            layer = layer.with_width(outputs)
        if layer.kind == "dense" and len(shape) > 1:
            parts.append(nn.Flatten())
            full.append("flatten")
            shape = (prod(shape),)
        after = out_shape(layer, shape)  # says what does not fit before torch does
        parts.append(make(layer, shape, device))
        full.append(str(layer))
        shape = after
    return parts, full


def fingerprints(parts: Sequence[nn.Module], words: Sequence[str]) -> list[list[str]]:
    """Return the word and the fingerprint of each block of a model among modules, as `assemble` gives them."""
    pairs = zip(parts, words, strict=True)
    return [[word, zoo.fingerprint(part)] for part, word in pairs if isinstance(parse(word), Blocks)]


def check(module: nn.Module, words: Sequence[str], shape: tuple[int, ...], outputs: int) -> list[list[str]]:
    """Refuse a module that is not what its words build, layer by layer: another network would be read back.

    Returns the `fingerprints` of its blocks of models.
    """
    if not isinstance(module, nn.Sequential) or isinstance(words, str):
        raise LayerwiseError("a fit gives an nn.Sequential of its layers, and a tuple with a word for each of them")
    with torch.random.fork_rng(devices=[]):
        parts, full = assemble(words, shape, outputs, device="meta")
    built = nn.Sequential(*parts)
    if tuple(words) != merged(full):
        raise LayerwiseError(
            f"the words {', '.join(map(str, words))} are not those of a network, {', '.join(merged(full))}"
        )
    for place, (has, word, says) in enumerate(zip_longest(map(_spelled, module), full, map(_spelled, built)), 1):
        if has != says:
            said = f"its word {word!r} stands for {says}" if word else "there is no word for it"
            raise LayerwiseError(
                f"layer {place} of the module is {has or 'missing'}, and {said}: give every layer its word"
            )
    shapes = [{name: tuple(t.shape) for name, t in m.state_dict().items()} for m in (module, built)]
    if shapes[0] != shapes[1]:
        raise LayerwiseError(f"the weights of the module are {shapes[0]}, and those of its words {shapes[1]}")
    kinds = {t.dtype for t in module.state_dict().values() if t.dtype != torch.int64}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.float64}:
        raise LayerwiseError(f"the weights of the module are {', '.join(map(str, kinds))}: make all float32 or float64")
    return fingerprints(parts, full)


def _spelled(layer: nn.Module) -> str:
    """Return a layer with its settings, but for whether it overwrites its input."""
    return re.sub(r"(, )?inplace=True", "", repr(layer))


def ends_in_scores(words: Sequence[str]) -> bool:
    """Tell whether the layers end in one column a target: ``dense outputs``, or a model to its end."""
    return bool(words) and parse(words[-1]).scores


def dtype_of(module: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """Return the floating type that the module computes in (the default where it has no weights)."""
    return next((p.dtype for p in module.parameters()), default)


def for_images(module: M) -> M:
    """Lay the weights of convolutions out with the channels last, which the processor's convolutions and pools like.

    The numbers are the same up to rounding; the networks of the DMN papers train about twice as fast on a CPU.
    """
    return module.to(memory_format=torch.channels_last)


@torch.no_grad()
def apply(module: nn.Module, x: Tensor, *, batch: int | None = None, device: torch.device | None = None) -> Tensor:
    """Run the module over ``x`` (N, ...) in batches, in evaluation mode; the result stays on the device of ``x``.

    By itself a batch is 512 samples, on a processor fewer where the layers are wide (see `ROOM`).
    """
    for_images(module.eval())
    device = device or x.device
    dtype = dtype_of(module, x.dtype if x.is_floating_point() else torch.float32)
    if not len(x):  # one sample of zeros tells the shape of none
        return module(x.new_zeros((1, *x.shape[1:])).to(device, dtype))[:0].to(x.device)
    if batch is None:
        batch = batch_of(module, x[:1].to(device, dtype))
    return gather((module(b.to(device, dtype)) for b in x.split(batch)), len(x), x.device)


def gather(batches: Iterable[Tensor], samples: int, device: torch.device) -> Tensor:
    """Put batches together, each as it comes: ``(samples, ...)``.

    Kept one by one until the last, small results lie scattered between the freed maps of wide layers, and the memory
    of the process grows to many times what either takes (22 GB for 2.6 GB of features).
    """
    whole, done = None, 0
    for batch in batches:
        if len(batch) == samples:
            return batch.to(device)
        if whole is None:
            whole = torch.empty((samples, *batch.shape[1:]), dtype=batch.dtype, device=device)
        whole[done : done + len(batch)] = batch
        done += len(batch)
    assert whole is not None
    return whole


def rebatched(batches: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Cut batches ``(n, ...)`` anew, into `size` samples each and a rest, as ``split`` would cut the whole."""
    kept: list[Tensor] = []
    count = 0
    for batch in batches:
        kept.append(batch)
        count += len(batch)
        if count >= size:
            whole = torch.cat(kept) if len(kept) > 1 else batch
            *full, rest = whole.split(size)
            if len(rest) == size:
                full, rest = [*full, rest], rest[:0]
            yield from full
            kept, count = [rest], len(rest)
    if count:
        yield torch.cat(kept)


def batch_of(module: nn.Module, sample: Tensor) -> int:
    """Return how many samples `apply` runs over at once, for one sample ``(1, ...)``."""
    if sample.device.type != "cpu":
        return 512
    return max(1, min(512, ROOM // _widest(module, sample)))


def _widest(module: nn.Module, sample: Tensor) -> int:
    """Return the most numbers that a sample becomes in between the layers of a sequence."""
    widest = sample.numel()
    for layer in module if isinstance(module, nn.Sequential) else ():
        sample = layer(sample)
        widest = max(widest, sample.numel())
    return max(widest, 1)
