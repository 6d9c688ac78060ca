"""Mean, spread and constancy of features, in double precision and a few rows at a time.

NumPy adds the rows one after another, whatever the number of threads: the same samples give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

VALUES = 2**22  # at a time: 32 MB in double precision


@dataclass(frozen=True)
class Statistics:
    """Statistics of samples of one shape.

    Parameters
    ----------
    mean, variance
        Of each feature, ``(*shape)`` float64; the variance is over N.
    constant
        Whether a feature has one value in all samples, ``(*shape)`` bool.
    """

    mean: np.ndarray
    variance: np.ndarray
    constant: np.ndarray

    def standardisation(self, kind: str, full: float) -> tuple[Tensor, Tensor]:
        """Return shift and scale, float32, broadcasting to ``(N, *shape)``; `full` is the scale of kind ``none``."""
        if kind == "feature":
            shift, scale = self.mean, np.where(self.constant, 1.0, np.sqrt(self.variance))
        else:
            # All values together: their variance is that within the features and that between them.
            middle = self.mean.mean()
            spread = np.sqrt(self.variance.mean() + np.square(self.mean - middle).mean())
            pair = {"global": (middle, spread), "raw": (0.0, 1.0)}.get(kind, (0.0, full))
            shift, scale = (np.full([1] * self.mean.ndim, value) for value in pair)
        return torch.from_numpy(shift).float(), torch.from_numpy(scale).float()


def measure(x: Tensor) -> Statistics:
    """Measure the features of samples x, ``(N, *shape)`` with N >= 1."""
    pieces = [rows.numpy() for rows in x.split(max(1, VALUES // x[0].numel()))]
    total = np.zeros(x.shape[1:])
    for rows in pieces:
        total += rows.sum(0, dtype=np.float64)
    mean = total / len(x)
    squares = np.zeros_like(mean)
    for rows in pieces:  # a second pass, since the mean of squares minus the squared mean loses digits
        squares += np.square(rows - mean).sum(0)
    return Statistics(mean, squares / len(x), (x.amax(0) == x.amin(0)).numpy())
