"""The checkerboard through random Fourier features: the same points, told in frequencies rather than in places.

A point p of `toys.checkerboard` becomes sin(2 pi B p) and cos(2 pi B p), with B drawn from a normal distribution
(Tancik et al. 2020): a control of thesis section 5.4.2, which lifts the board's frequencies and drops no point.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from layerwise.contract import Raw
from layerwise.datasets import toys
from layerwise.options import Bounded, Ge, Gt, Le


@dataclass(frozen=True)
class Options(Bounded):
    samples: Annotated[int, Ge(4), Le(10**9)] = 5000
    """Number of training points."""
    test_samples: Annotated[int, Ge(2), Le(10**9)] = 1000
    """Number of test points."""
    side: Annotated[float, Gt(0)] = 1.0
    """Side of the board."""
    frequencies: Annotated[int, Ge(1), Le(10**6)] = 32
    """Frequencies drawn; each gives two features."""
    scale: Annotated[float, Gt(0)] = 2.0
    """Standard deviation of a frequency, in periods a unit of length; the board has 4 periods over its side."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the points and of the frequencies."""


def load(options: Options, *, root: Path) -> Raw:
    """Make the features x, ``(N, 2 frequencies)`` float32, of the points of the checkerboard, and their labels."""
    board = toys.load(
        toys.Options(
            "checkerboard",
            samples=options.samples,
            test_samples=options.test_samples,
            side=options.side,
            seed=options.seed,
        ),
        root=root,
    )
    drawn = np.random.default_rng([options.seed, 2]).standard_normal((2, options.frequencies))
    angles = [2 * pi * options.scale * x.double() @ torch.from_numpy(drawn) for x, _ in (board.train, board.test)]
    train, test = (torch.cat([a.sin(), a.cos()], dim=1).float() for a in angles)
    return Raw((train, board.train[1]), (test, board.test[1]), board.task)
