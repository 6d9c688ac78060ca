"""The entropy of each layer's weights while they are trained, by bins and by samples (thesis figure 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from torch import nn

from layerwise.coding import bins
from layerwise.contract import Features
from layerwise.options import Bounded, Ge, Gt, Le


@dataclass(frozen=True)
class Options(Bounded):
    every: Annotated[int, Ge(1)] = 100
    """Steps between two records."""
    bits: tuple[Annotated[int, Ge(1), Le(16)], ...] = (4, 6, 8, 10)
    """Bins of a histogram, 2 to this power."""
    percents: tuple[Annotated[float, Gt(0), Le(100)], ...] = (3.0, 30.0)
    """Samples of the weights, in %, from which the entropy is estimated as well; at least 256 weights."""


def follow(fitted: nn.Sequential, features: Features, options: Options, *, seed: int, device: torch.device) -> Recorder:
    """Record the entropies of a training.

    Returns
    -------
    Its table has one row a step and layer: step, layer (1 is the lowest), and in bits ``entropy_<bits>`` of all
    weights and ``entropy_<bits>_of_<percent>`` of a sample.
    """
    return Recorder(options, seed)


class Recorder:
    def __init__(self, options: Options, seed: int) -> None:
        self.options, self.generator = options, torch.Generator().manual_seed(seed)
        self.rows: list[dict[str, float]] = []

    def __call__(self, module: nn.Module, step: int) -> None:
        if step % self.options.every == 0:
            weights = [p for p in module.parameters() if p.dim() > 1]
            for layer, w in enumerate(weights, 1):
                row: dict[str, float] = {"step": step, "layer": layer}
                for bits in self.options.bits:
                    row[f"entropy_{bits}"] = bins.entropy(w, bits, 1.0, self.generator)
                    for percent in self.options.percents:
                        name = f"entropy_{bits}_of_{percent:g}"
                        row[name] = bins.entropy(w, bits, percent / 100, self.generator)
                self.rows.append(row)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)
