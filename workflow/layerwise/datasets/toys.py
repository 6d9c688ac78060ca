"""The toy problems on which the thesis tries and shows its closed forms: a sinusoid, and classes in the plane.

sinusoid
    y = sin(2 pi x) on an even grid over [-1, 1], that is two periods, a regression (thesis section 7.5). The test
    points lie half-way between neighbours of the grid.
spirals
    Two interleaved spirals, targets -1 and +1. The thesis (section 7.6) shows them without a definition; here
    a point is drawn as t uniform on [0, 1), u = sqrt(t), at radius u and angle 2 pi turns u, with 1.75 turns and no
    noise, and the second spiral is the first one turned by half a circle. The square root spreads the points evenly
    along the outer arms. How hard the problem is depends mostly on ``turns``; what float32 costs, on ``radius``.
checkerboard
    Points uniform on a square of side ``side`` around 0, labelled by the colour of their square on a board of 8 x 8,
    targets -1 and +1, no noise (thesis section 5.4.2 and 7.7, which do not give the side). How well Platonic
    projections do depends on the side, since the layers' bias column stays 1.

halves, wave
    Points uniform on the square from -1 to 1, targets -1 and +1 by the side of the line x_1 = x_2, or of the curve
    x_2 = sin(pi x_1) / 2, on which they lie; those within a twentieth of it are drawn again. What thesis figures 7.12
    and 7.13 show without a definition.

Test points of all but the sinusoid are fresh draws of the same distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from layerwise.contract import Raw, Task
from layerwise.errors import LayerwiseError
from layerwise.options import Bounded, Ge, Gt, Le, Lt

SQUARES = 8  # thesis section 5.4.2
SIGNS = Task("signs", 1, ("-1", "+1"))


@dataclass(frozen=True)
class Options(Bounded):
    problem: Literal["sinusoid", "spirals", "checkerboard", "halves", "wave"]
    """Which toy."""
    samples: Annotated[int, Ge(4), Le(10**9)] = 5000
    """Number of training points."""
    test_samples: Annotated[int, Ge(2), Le(10**9)] = 1000
    """Number of test points; for the sinusoid less than `samples`, since one lies between two of those."""
    turns: Annotated[float, Gt(0)] = 1.75
    """Turns of each spiral (spirals only)."""
    noise: Annotated[float, Ge(0)] = 0.0
    """Standard deviation of the normal noise on each coordinate (spirals only)."""
    radius: Annotated[float, Gt(0)] = 1.0
    """Radius at which the spirals end (spirals only)."""
    start: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of radius and turns at which they start, 0 at the centre (spirals only)."""
    even: Literal["arms", "turns"] = "arms"
    """Points are spread evenly along the arms, nearly, or over the turns, denser inside (spirals only)."""
    side: Annotated[float, Gt(0)] = 1.0
    """Side of the board (checkerboard only)."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the points of all but the sinusoid."""

    def __post_init__(self) -> None:
        if self.problem == "sinusoid" and self.test_samples >= self.samples:
            raise LayerwiseError(
                f"option 'test_samples' is {self.test_samples}: the sinusoid needs fewer than 'samples'"
            )
        of_spirals = (self.turns, self.noise, self.radius, self.start, self.even)
        if self.problem != "spirals" and of_spirals != (1.75, 0.0, 1.0, 0.0, "arms"):
            raise LayerwiseError(
                "options 'turns', 'noise', 'radius', 'start' and 'even' are of the spirals alone, "
                f"not of {self.problem}"
            )
        if self.problem != "checkerboard" and self.side != 1:
            raise LayerwiseError(f"option 'side' is of the checkerboard alone, not of {self.problem}")


def load(options: Options, *, root: Path) -> Raw:
    """Make the points x, ``(N, 1)`` or ``(N, 2)`` float32, and y, ``(N, 1)`` values or ``(N,)`` labels."""
    if options.problem == "sinusoid":
        train, test = sinusoid(options.samples, options.test_samples)
        return Raw(train, test, Task("values", 1))
    train, test = (
        _points(options, n, np.random.default_rng([options.seed, split]))
        for split, n in enumerate((options.samples, options.test_samples))
    )
    return Raw(train, test, SIGNS)


def _points(options: Options, n: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    if options.problem == "spirals":
        return spirals(n, options, generator)
    if options.problem == "checkerboard":
        return checkerboard(n, options.side, generator)
    return sides(n, options.problem == "wave", generator)


def sinusoid(samples: int, test_samples: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the grid with its values, and points half-way between neighbours of the grid with theirs."""
    gaps = np.floor((np.arange(test_samples) + 0.5) * (samples - 1) / test_samples)
    train, test = np.linspace(-1, 1, samples), -1 + 2 * (gaps + 0.5) / (samples - 1)
    made = [(_float(x[:, None]), _float(np.sin(2 * pi * x)[:, None])) for x in (train, test)]  # thesis section 7.5
    return made[0], made[1]


def spirals(n: int, options: Options, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw n points, the classes in turn."""
    labels = np.arange(n) % 2
    t = generator.random(n)
    u = options.start + (1 - options.start) * (np.sqrt(t) if options.even == "arms" else t)
    angle = 2 * pi * options.turns * u + pi * labels
    noise = options.noise * generator.standard_normal((n, 2))
    x = options.radius * u[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + noise
    return _float(x), torch.from_numpy(labels)


def checkerboard(n: int, side: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw n points."""
    x = _float(side * (generator.random((n, 2)) - 0.5))
    # Of the rounded points, so that none is mislabelled.
    squares = ((x / side + 0.5) * SQUARES).long().clamp(max=SQUARES - 1)
    return x, squares.sum(1) % 2


def sides(n: int, waves: bool, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw n points on both sides of the line x_1 = x_2, or of a wave, and none near it."""
    x = np.empty((0, 2))
    while len(x) < n:
        drawn = generator.uniform(-1, 1, (2 * n, 2))
        height = drawn[:, 1] - (np.sin(pi * drawn[:, 0]) / 2 if waves else drawn[:, 0])
        x = np.concatenate([x, drawn[np.abs(height) > 0.05]])
    x = x[:n]
    return _float(x), torch.from_numpy((x[:, 1] > (np.sin(pi * x[:, 0]) / 2 if waves else x[:, 0])).astype(np.int64))


def _float(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x).float()
