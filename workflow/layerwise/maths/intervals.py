"""What several seeds say of one number: its mean and a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def student95(degrees: int) -> float:
    """Return the two-sided 95 % point of Student's t with so many degrees of freedom (1 or more)."""
    from scipy.special import stdtrit  # comes with scikit-learn; here, since importing it takes time

    return float(stdtrit(degrees, 0.975))


def interval(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean of the values and the half width of its 95 % interval by Student's t.

    The half width of one value is unknown, nan. Values that are nan count as absent.
    """
    x = _present(values)
    if len(x) < 2:
        return (float(x[0]) if len(x) else math.nan), math.nan
    return float(x.mean()), student95(len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))


def spread(values: Iterable[float]) -> tuple[float, float]:
    """Return the sample standard deviation and the half width of its 95 % interval.

    The standard error of a standard deviation s is taken as ``s / sqrt(2 (n - 1))``, its value for normal samples
    that are not too few.
    """
    x = _present(values)
    if len(x) < 2:
        return math.nan, math.nan
    s = float(x.std(ddof=1))
    return s, student95(len(x) - 1) * s / math.sqrt(2 * (len(x) - 1))


def _present(values: Iterable[float]) -> np.ndarray:
    x = np.asarray(list(values), dtype=float)
    return x[~np.isnan(x)]
