"""What happens to the weights of each layer while they are trained: how fast they move, how large they grow.

The rate of convergence of dmn-icassp figure 1, the distance to the trained weights of dmn supplement figure 5, the
singular values of dmn figure 2, and the moments over the input of dmn supplement figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Features
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import NAMES, WEIGHTED


@dataclass(frozen=True)
class Options(Bounded):
    every: Annotated[int, Ge(1)] = 50
    """Steps between two records."""
    first: Annotated[int, Ge(0)] = 0
    """Every step up to this one is recorded as well."""


def follow(fitted: nn.Sequential, features: Features, options: Options, *, seed: int, device: torch.device) -> Recorder:
    """Record the weighted layers of a training.

    Returns
    -------
    Its table has one row a step and layer: step, layer (1 is the lowest), stage (such as ``dense``), inputs and units
    (of its weights ``(units, inputs)``), change (``||w(t) - w(t - 1)|| / ||w(t - 1)||``, Frobenius), distance (to the
    trained weights), norm, largest and mean singular value, product (the largest singular value of the product of this
    layer's weights and those of all above it; nan below a convolution), and, as means over the units, mean_squared
    (the squared sum over the inputs, over their number) and variance over the inputs.
    """
    return Recorder(_weights(fitted), options)


class Recorder:
    def __init__(self, trained: list[Tensor], options: Options) -> None:
        self.trained, self.options = [w.clone() for w in trained], options
        self.before: list[Tensor] | None = None
        self.rows: list[dict[str, object]] = []

    def __call__(self, module: nn.Module, step: int) -> None:
        now = _weights(module)
        if self._records(step):
            self._record([w.detach() for w in now], [_name(m) for m in _layers(module)], step)
        self.before = [w.detach().clone() for w in now] if self._records(step + 1) else None

    def _records(self, step: int) -> bool:
        return step <= self.options.first or step % self.options.every == 0

    def _record(self, weights: list[Tensor], names: list[str], step: int) -> None:
        products = _products(weights)
        for i, w in enumerate(weights):
            before = self.before[i] if self.before is not None else None
            values = torch.linalg.svdvals(w)
            self.rows.append(
                {
                    "step": step,
                    "layer": i + 1,
                    "stage": names[i],
                    "inputs": w.shape[1],
                    "units": w.shape[0],
                    "change": float("nan") if before is None else float((w - before).norm() / before.norm()),
                    "distance": float((w - self.trained[i].to(w)).norm()),
                    "norm": float(w.norm()),
                    "largest": float(values[0]),
                    "mean": float(values.mean()),
                    "product": products[i],
                    "mean_squared": float(w.sum(dim=1).square().mean() / w.shape[1]),
                    "variance": float(w.var(dim=1, correction=0).mean()),
                }
            )

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


def _layers(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, WEIGHTED)]


def _name(module: nn.Module) -> str:
    kind = type(module).__name__
    return NAMES.get(kind, kind.lower())


def _weights(module: nn.Module) -> list[Tensor]:
    """Return the weights of each layer as a matrix ``(units, inputs)``."""
    return [m.weight.detach().flatten(1) for m in _layers(module)]  # type: ignore[operator]


def _products(weights: list[Tensor]) -> list[float]:
    """Return the largest singular value of ``W_n ... W_k`` for each layer k; nan where the shapes do not chain."""
    found: list[float] = []
    product: Tensor | None = None
    for k in range(len(weights) - 1, -1, -1):
        w = weights[k]
        if product is None and found:
            pass  # below a break
        elif product is None:
            product = w
        else:
            product = product @ w if product.shape[1] == w.shape[0] else None
        found.append(float("nan") if product is None else float(torch.linalg.matrix_norm(product, 2)))
    return found[::-1]
