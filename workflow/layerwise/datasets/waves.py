"""Two classes on either side of a sine wave of some frequency: how hard is what a network has to bin?

Points uniform on the square from -1 to 1, targets -1 and +1 by the side of x_2 = sin(pi f x_1) / 2, on which they lie.
What thesis figures 5.11 and 5.12 show without a definition: with the frequency f the boundary grows longer, with the
number of points the data tell more of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from layerwise.contract import Raw, Task
from layerwise.options import Bounded, Ge, Gt, Le


@dataclass(frozen=True)
class Options(Bounded):
    frequency: Annotated[float, Gt(0)] = 1.0
    """Periods of the wave over the square."""
    samples: Annotated[int, Ge(4), Le(10**9)] = 1000
    """Number of training points."""
    test_samples: Annotated[int, Ge(2), Le(10**9)] = 1000
    """Number of test points."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the points."""


def load(options: Options, *, root: Path) -> Raw:
    """Make the points x, ``(N, 2)`` float32, and their labels y, ``(N,)``."""
    train, test = (
        points(n, options.frequency, np.random.default_rng([options.seed, split]))
        for split, n in enumerate((options.samples, options.test_samples))
    )
    return Raw(train, test, Task("signs", 1, ("-1", "+1")))


def points(n: int, frequency: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw n points."""
    x = torch.from_numpy(generator.uniform(-1, 1, (n, 2))).float()
    return x, (x[:, 1] > torch.sin(pi * frequency * x[:, 0]) / 2).long()
