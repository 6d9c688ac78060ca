"""A frozen sequence cut into runs of filters: each a sequence of its own, that gives some of the features.

What follows the last layer with weights treats its channels one by one (or, as ``fold`` does, two by two), so that a
few filters give their features without the others: those of thousands can be made, used and forgotten in turn.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor, nn

from layerwise.layers.build import ACTIVATIONS, CReLU, Fold, PatchConv2d

BY_CHANNEL = (nn.MaxPool2d, nn.AvgPool2d, nn.Softshrink, nn.Dropout, nn.Flatten, Fold, *ACTIVATIONS.values())


def runs(module: nn.Module, shape: tuple[int, ...], features: int) -> Iterator[tuple[Tensor, nn.Sequential]] | None:
    """Cut a sequence for samples of a shape into runs of at most so many features, or those of two filters.

    Returns
    -------
    For each run which of the flat features of the whole it gives, ``(r,)`` in the order in which it gives them, and its
    layers, whose weights are those of the whole. None where the sequence cannot be cut.
    """
    parts = list(module.children())
    weighted = [at for at, part in enumerate(parts) if not isinstance(part, BY_CHANNEL)]
    if not weighted:
        return None
    at = weighted[-1]
    layer, behind = parts[at], parts[at + 1 :]
    if not isinstance(layer, (nn.Conv2d, nn.Linear)):
        return None
    flat = next((i for i, part in enumerate(behind) if isinstance(part, nn.Flatten)), len(behind))
    if isinstance(layer, nn.Conv2d) and any(isinstance(part, CReLU) for part in behind[flat:]):
        return None  # the two signs of flat maps lie apart
    weight: Tensor = layer.weight
    with torch.no_grad():
        sample = torch.zeros((1, *shape), dtype=weight.dtype, device=weight.device)
        whole = prod(module.eval()(sample).shape[1:])
    step = max(2, features * len(weight) // whole // 2 * 2)
    return (_run(parts, at, start, min(start + step, len(weight)), whole) for start in range(0, len(weight), step))


def _run(parts: list[nn.Module], at: int, start: int, stop: int, whole: int) -> tuple[Tensor, nn.Sequential]:
    layer = copy.copy(parts[at])  # settings and all, but for the weights of the others
    layer._parameters = {
        name: None if p is None else nn.Parameter(p[start:stop], requires_grad=False)
        for name, p in layer._parameters.items()
    }
    count = len(parts[at].weight)  # type: ignore[arg-type]
    setattr(layer, "out_channels" if isinstance(layer, nn.Conv2d) else "out_features", stop - start)
    channels = torch.arange(start, stop, device=layer.weight.device)  # type: ignore[arg-type]
    if isinstance(layer, PatchConv2d) and layer.mirror:
        channels, count = torch.arange(2 * start, 2 * stop, device=channels.device), 2 * count
    for part in parts[at + 1 :]:
        if isinstance(part, CReLU):
            channels, count = torch.cat([channels, channels + count]), 2 * count
        elif isinstance(part, Fold):
            channels, count = channels[::2] // 2, count // 2
    places = torch.arange(whole // count, device=channels.device)
    return (channels[:, None] * len(places) + places).flatten(), nn.Sequential(*parts[:at], layer, *parts[at + 1 :])
