"""Layer words made into torch modules, and the few things done with them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.words import Layer, out_shape, parse


class CReLU(nn.Module):
    """Concatenated ReLU: channels ``x`` become ``[relu(x), relu(-x)]``, ``(N, C, ...)`` to ``(N, 2C, ...)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.relu(), (-x).relu()], dim=1)


class ContrastConv2d(nn.Conv2d):
    """A convolution of patches that are first brought to zero mean and unit contrast, each by itself.

    A patch p of ``channels * size * size`` numbers becomes ``(p - mean p) / sqrt(var p + contrast)`` (Coates, Ng and
    Lee 2011, section 3.1.2); `contrast` is in squared units of the input. Computed as an ordinary convolution whose
    output is corrected place by place, so no patch is ever written out.
    """

    def __init__(self, inputs: int, width: int, size: int, stride: int, pad: int, contrast: float) -> None:
        super().__init__(inputs, width, size, stride, pad)
        self.contrast = contrast

    def forward(self, x: Tensor) -> Tensor:
        def mean(z: Tensor) -> Tensor:
            size, stride, pad = self.kernel_size, self.stride, self.padding
            return nn.functional.avg_pool2d(z.mean(dim=1, keepdim=True), size, stride, pad)  # type: ignore[arg-type]

        middle = mean(x)
        spread = (mean(x.square()) - middle.square()).clamp(min=0) + self.contrast
        raw = nn.functional.conv2d(x, self.weight, None, self.stride, self.padding)
        raw = raw - middle * self.weight.sum(dim=(1, 2, 3))[:, None, None]
        return raw * spread.rsqrt() + self.bias[:, None, None]  # type: ignore[index]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, contrast={self.contrast:g}"


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


def make(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    """Return the module of one layer for samples of the shape; its weights are torch's default initialisation."""
    if layer.weighted and not isinstance(layer.width, int):
        word = "dense 64" if layer.kind == "dense" else f"conv {layer.size} 16"
        raise LayerwiseError(f"layer '{layer}' has no width, which this method does not find by itself: say '{word}'")
    match layer.kind:
        case "dense":
            return nn.Linear(prod(shape), int(layer.width))  # type: ignore[arg-type]
        case "conv" if layer.contrast:
            return ContrastConv2d(
                shape[0],
                int(layer.width),  # type: ignore[arg-type]
                layer.size,
                layer.stride,
                layer.pad,
                layer.contrast,
            )
        case "conv":
            return nn.Conv2d(shape[0], int(layer.width), layer.size, layer.stride, layer.pad)  # type: ignore[arg-type]
        case "maxpool":
            return nn.MaxPool2d(layer.size, layer.stride)
        case "avgpool":
            return nn.AvgPool2d(layer.size, layer.stride)
        case "batchnorm":
            return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(prod(shape))
        case "dropout":
            return nn.Dropout(layer.rate)
        case "softshrink":
            return nn.Softshrink(layer.rate)
        case "flatten":
            return nn.Flatten()
        case _:
            return ACTIVATIONS[layer.kind]()


def build(words: Sequence[str], shape: tuple[int, ...], outputs: int) -> tuple[nn.Sequential, tuple[str, ...]]:
    """Build the layers for samples of the shape.

    Returns
    -------
    module, words
        The modules (a dense layer after an image gets a flatten before it), and the words with widths filled in.
    """
    parts: list[nn.Module] = []
    full: list[str] = []
    for word in words:
        layer = parse(word)
        if layer.width == "outputs":
            layer = layer.with_width(outputs)
        if layer.kind == "dense" and len(shape) > 1:
            parts.append(nn.Flatten())
            full.append("flatten")
            shape = (prod(shape),)
        after = out_shape(layer, shape)  # says what does not fit before torch does
        parts.append(make(layer, shape))
        full.append(str(layer))
        shape = after
    return nn.Sequential(*parts), tuple(full)


def ends_in_scores(words: Sequence[str]) -> bool:
    """Tell whether the layers end in one column a target (their last word is ``dense outputs``)."""
    return bool(words) and " ".join(str(words[-1]).split()) == "dense outputs"


def dtype_of(module: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """Return the floating type that the module computes in (the default where it has no weights)."""
    return next((p.dtype for p in module.parameters()), default)


def for_images(module: nn.Module) -> nn.Module:
    """Lay the weights of convolutions out with the channels last, which the processor's convolutions and pools like.

    The numbers are the same up to rounding; the networks of the DMN papers train about twice as fast on a CPU.
    """
    return module.to(memory_format=torch.channels_last)


@torch.no_grad()
def apply(module: nn.Module, x: Tensor, *, batch: int = 512, device: torch.device | None = None) -> Tensor:
    """Run the module over ``x`` (N, ...) in batches, in evaluation mode; the result stays on the device of ``x``."""
    for_images(module.eval())
    device = device or x.device
    dtype = dtype_of(module, x.dtype if x.is_floating_point() else torch.float32)
    if not len(x):  # one sample of zeros tells the shape of none
        return module(x.new_zeros((1, *x.shape[1:])).to(device, dtype))[:0].to(x.device)
    return torch.cat([module(b.to(device, dtype)).to(x.device) for b in x.split(batch)])
