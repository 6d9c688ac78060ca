"""How many directions the weights of each layer use: the stable rank ||W||_F^2 / ||W||_2^2 (thesis figure 6.3).

A convolution counts as its matrix ``(out, in * k * k)``. Every weight of a module counts, so that models of a library
can be looked at as well as layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Dataset
from layerwise.options import Bounded


@dataclass(frozen=True)
class Options(Bounded):
    pass


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Take the stable rank of every weight of two or more dimensions, in the order of the modules.

    Returns
    -------
    One row a weight: layer (1 is the lowest), name (of the parameter in the network), outputs, inputs (of the matrix),
    frobenius and largest (its norm, its largest singular value), stable_rank (0 where all weights are).
    """
    rows: list[dict[str, object]] = []
    for name, weight in network.named_parameters():
        if name.rpartition(".")[2].endswith("weight") and weight.ndim > 1:
            row = {"layer": len(rows) + 1, "name": name, "outputs": len(weight), "inputs": weight[0].numel()}
            rows.append({**row, **norms(weight.detach().flatten(1))})
    return pd.DataFrame(rows)


def norms(weight: Tensor) -> dict[str, float]:
    """Return the Frobenius norm, the largest singular value and the stable rank of a matrix, in float64."""
    w = weight.double()
    gram = w @ w.T if len(w) <= w.shape[1] else w.T @ w
    frobenius, largest = float(gram.trace()), float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0))
    ratio = frobenius / largest if largest > 0 else 0.0
    return {"frobenius": frobenius**0.5, "largest": largest**0.5, "stable_rank": ratio}
