"""Columns brought to mean 0 and spread 1 before the first layer, as a frozen batch normalisation in front of it."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.layers import build as layers
from layerwise.layers.settings import PLAIN
from layerwise.layers.words import parse

WORD = "batchnorm"
ROWS = 4096  # samples that are summed at once


class Columns:
    """Sums over rows ``(n, d)`` that come in parts, about the first one, in float64."""

    def __init__(self) -> None:
        self.n = 0

    def add(self, x: np.ndarray) -> Columns:
        """Add rows; returns itself."""
        for start in range(0, len(x), ROWS):
            rows = x[start : start + ROWS].astype(np.float64)
            if not self.n:
                self.about = rows[0].copy()
                self.total = self.square = np.zeros_like(self.about)
                self.low = self.high = self.about
            self.low, self.high = np.minimum(self.low, rows.min(0)), np.maximum(self.high, rows.max(0))
            with np.errstate(over="ignore"):
                rows -= self.about
                self.total, self.square = self.total + rows.sum(0), self.square + np.square(rows).sum(0)
            self.n += len(rows)
        return self

    def standardising(self, shape: tuple[int, ...]) -> nn.Module:
        """Return the layer that standardises samples of the shape: each column, or each channel of images.

        What is constant is only shifted. The scale stands in the layer's weight, for its ``eps`` would bend a small
        variance.
        """
        if not np.isfinite(self.square).all():
            raise ValueError("X holds values whose squares overflow: scale X")
        moved = self.total / self.n
        mean, variance, low, high = self.about + moved, self.square / self.n - moved**2, self.low, self.high
        if len(shape) == 3:
            of_channel = (shape[0], prod(shape[1:]))
            means = mean.reshape(of_channel)
            mean = means.mean(1)
            variance = variance.reshape(of_channel).mean(1) + means.var(1)
            low, high = low.reshape(of_channel).min(1), high.reshape(of_channel).max(1)
        spread = np.sqrt(np.maximum(variance, 0.0))
        spread[(low == high) | (spread == 0)] = 1.0
        with PLAIN.applied(), torch.no_grad():
            norm = layers.make(parse(WORD), shape).double().eval()
            assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.weight.copy_(torch.from_numpy(1 / spread))
            norm.bias.zero_()
            norm.running_mean.copy_(torch.from_numpy(mean))
            norm.running_var.fill_(1 - norm.eps)
            return norm.requires_grad_(False)


def scaled(scaling: nn.Module, samples: Tensor) -> Tensor:
    """Return samples in their own type through a layer of float64, a few at a time."""
    with PLAIN.applied(), torch.no_grad():
        return torch.cat([scaling(some.double()).to(samples.dtype) for some in samples.split(ROWS)])
