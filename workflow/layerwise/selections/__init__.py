"""Which training samples a segment is fitted on, one file a way to choose them.

A selection's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and

    def select(candidates: Candidates, options: Options, *, seed: int, device: torch.device) -> Tensor

which returns the rows to keep, ``(n,)`` int64. A segment names it under ``selects``; the fit then sees those rows of
what goes into the segment, in their order, at whatever depth. Scores, the segments after it and validation are of all.
As for methods, ``Options`` must stand on the standard library, `layerwise.errors` and `layerwise.options` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from layerwise.contract import Features, Split


@dataclass(frozen=True)
class Candidates:
    """What a selection chooses from.

    Parameters
    ----------
    features
        What the segment would be fitted on.
    samples
        The same training samples as the data set has them, which networks take in.
    networks
        Fitted networks that the segment looks at (study key ``uses``) and that end in scores, samples in and scores
        out, by their path.
    follow
        Fits the last segment of one of them again, by its path, under an eye: it is called with the whole network and
        the number of steps done, before the first and after each.
    """

    features: Features
    samples: Split
    networks: Mapping[str, nn.Module]
    follow: Callable[[str, Callable[[nn.Module, int], None]], None]
