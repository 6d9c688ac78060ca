"""Lenses on fitted networks and on their training, one file each.

A probe's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and one of

    def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int,
             device: torch.device) -> pandas.DataFrame

which takes a whole fitted network, data in and scores out, and

    def follow(fitted: nn.Sequential, features: Features, options: Options, *, seed: int,
               device: torch.device) -> Eye

which gets the layers that the network's last segment became, and what they were trained on: the fit is then done
again, from the same seed, under the `Eye`. Either way the workflow writes the table beside the network as
``<probe>.csv``. As for methods, ``Options`` must stand on the standard library,
`layerwise.errors` and `layerwise.options` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


class Eye(Protocol):
    """What watches a training: called before the first step (0) and after each, then asked for what it saw."""

    def __call__(self, module: nn.Module, step: int) -> None: ...

    def table(self) -> pd.DataFrame: ...
