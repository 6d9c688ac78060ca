"""How near a measured value must come to the published one: a rule for each metric, and the judge of one value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import student95

VERDICTS = ("worse", "inconclusive", "reproduced", "better", "not run")  # as pages and tables order them
OTHER_HARDWARE = "absolute speed on other hardware is not compared; the benchmarks give ratios to a peer on one machine"


@dataclass(frozen=True)
class Rule:
    """How a metric is compared.

    Parameters
    ----------
    good
        +1 where higher is better, -1 where lower is, 0 where nearer is.
    absolute, relative
        Tolerance: the larger of `absolute`, in the metric's unit, and `relative` times the published value.
    never
        Why the metric is not compared at all; empty where it is.
    """

    good: Literal[-1, 0, 1]
    absolute: float = 0.0
    relative: float = 0.0
    never: str = ""

    def tolerance(self, *published: float) -> float:
        """Return the tolerance at a published value, or the larger one at the two ends of a published range."""
        return max(self.absolute, *(self.relative * abs(value) for value in published))


# The first pattern that matches a metric's whole name has the say.
RULES: dict[str, Rule] = {
    r".*seconds.*|hours|.*images_per_s": Rule(-1, never=OTHER_HARDWARE),
    r".*accuracy_std": Rule(-1, absolute=0.5),  # points; a steadier fit is a better one
    r".*accuracy.*|miou|iou_.*": Rule(+1, absolute=0.5),  # points
    r".*_error": Rule(-1, absolute=0.5),  # points
    r".*entropy_epoch0": Rule(0, relative=0.1),  # of first weights, which nothing has learnt
    r".*mse.*|.*entropy(_epoch\d+)?": Rule(-1, relative=0.1),  # losses span many decades
    r"speedup_percent|compression_.*|effective_reduction|fewer_iterations_percent": Rule(+1, relative=0.1),
    r".*kept_percent": Rule(0, absolute=0.5),  # points, as rounded
    r"bits_.*|epochs_to_converge|relative_memory_percent": Rule(-1, relative=0.1),
    r"gradient_entropy_correlation_min": Rule(+1, absolute=0.05),
    r"best_.*_threshold|sufficient_fraction_.*": Rule(0, absolute=0.05),  # half a step of the papers' grids
    r"peak_layer": Rule(0, absolute=0.0),  # a layer's number: it is that layer or another
    r"parameters_million": Rule(0, absolute=0.005),  # as the thesis rounds it
    r"softmax_normaliser_at_start": Rule(0, relative=0.1),
}


def rule(metric: str) -> Rule:
    """Return how a metric is compared; LayerwiseError for one that `RULES` does not know."""
    for pattern, found in RULES.items():
        if re.fullmatch(pattern, metric):
            return found
    raise LayerwiseError(f"published metric {metric!r}: no rule says what is near; add one to RULES in rules.py")


def judge(measured: float, half_width: float, low: float, high: float, how: Rule) -> str:
    """Return the verdict on a measured value against a published range (or a point, low = high).

    *Better*: the whole interval is beyond the range on the good side. *Reproduced*: the value is within the tolerance
    of it. *Inconclusive*: the value is not, but the interval reaches the range: more seeds could still decide either
    way. *Worse* otherwise. An unknown half width (one seed) is taken as the tolerance: a single fit must be that much
    better to be called so.
    """
    tolerance = how.tolerance(low, high)
    width = tolerance if math.isnan(half_width) else half_width
    ahead = {+1: measured - width - high, -1: low - (measured + width), 0: -math.inf}[how.good]
    rounding = 1e-9 * max(abs(low), abs(high))
    if ahead > rounding:
        return "better"
    distance = max(low - measured, measured - high, 0.0)
    if distance <= tolerance + rounding:
        return "reproduced"
    return "inconclusive" if distance <= width + rounding else "worse"


# How a measure of one network is set against that of another, seed by seed.
COMPARED: dict[str, Callable[[pd.Series, pd.Series], pd.Series]] = {
    "fewer_percent": lambda own, other: 100 * (1 - own / other),
    "times_fewer": lambda own, other: other / own,
}

# The half width of n seeds, over s, for a mean and for a standard deviation (`maths.intervals`); t is of n - 1 degrees.
WIDTHS: dict[str, tuple[str, Callable[[int], float]]] = {
    "mean": ("t s / sqrt(n)", lambda n: student95(n - 1) / math.sqrt(n)),
    "std": ("t s / sqrt(2 (n - 1))", lambda n: student95(n - 1) / math.sqrt(2 * (n - 1))),
}


def seeds_to_settle(half_width: float, n: int, tolerance: float, statistic: str = "mean") -> int | None:
    """Return the number of seeds whose interval is as narrow as the tolerance, so that no verdict is inconclusive.

    It is the least m >= n whose half width by `WIDTHS` is at most the tolerance, with the spread s that the n seeds
    have; None where the tolerance is 0.
    """
    if tolerance <= 0:
        return None
    width = WIDTHS[statistic][1]
    s = half_width / width(n)
    few, enough = n - 1, n
    while s * width(enough) > tolerance:  # it falls with the number of seeds
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if s * width(middle) > tolerance else (few, middle)
    return enough
