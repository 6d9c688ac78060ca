"""How large the output of the first convolution is beside its weights and its input, while it is trained.

The ratio of dmn supplement figure 3: a filter's ReLU output at a place, over the norm of the filter and that of the
patch. It says how far biases and ReLU keep an output from growing with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Features
from layerwise.errors import LayerwiseError
from layerwise.options import Bounded, Ge


@dataclass(frozen=True)
class Options(Bounded):
    every: Annotated[int, Ge(1)] = 50
    """Steps between two records."""
    samples: Annotated[int, Ge(1)] = 200
    """Training images that are looked at, drawn by the seed."""


def follow(fitted: nn.Sequential, features: Features, options: Options, *, seed: int, device: torch.device) -> Gauge:
    """Record the ratio.

    Returns
    -------
    Its table has one row a step: step, ratio (the mean over filters, places and images), and spread (the standard
    deviation over the filters of their means). Places where the patch is zero do not count.
    """
    if not isinstance(fitted[0], nn.Conv2d):
        raise LayerwiseError("probe gain: the segment does not begin with a convolution")
    drawn = torch.randperm(len(features.train), generator=torch.Generator().manual_seed(seed))[: options.samples]
    return Gauge(features.train.x[drawn.to(device)], options.every)


class Gauge:
    def __init__(self, images: Tensor, every: int) -> None:
        self.images, self.every = images, every
        self.rows: list[dict[str, float]] = []

    @torch.no_grad()
    def __call__(self, module: nn.Module, step: int) -> None:
        if step % self.every:
            return
        layer = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
        ones = torch.ones_like(layer.weight[:1])
        squares = nn.functional.conv2d(self.images.square(), ones, None, layer.stride, layer.padding)
        sizes = squares.clamp(min=0).sqrt()  # (N, 1, H, W), the norm of every patch
        filters = layer.weight.flatten(1).norm(dim=1)[:, None, None]
        ratios = layer(self.images).relu() / (sizes * filters)
        counts = (sizes > 1e-6).expand_as(ratios)
        means = torch.where(counts, ratios, 0.0).sum(dim=(0, 2, 3)) / counts.sum(dim=(0, 2, 3))
        self.rows.append({"step": step, "ratio": float(means.mean()), "spread": float(means.std(correction=0))})

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)
