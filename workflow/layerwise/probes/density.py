"""How the density matrix of image patches settles as samples are added: its eigenvalues at each number of samples.

The class-blind second moment of patches (dmn eq. 15 without the class). With samples added in equal steps the
fluctuations of the eigenvalues can be compared with dmn eq. 18 (dmn figure 3); at powers of ten they show how few
samples are enough (dmn supplement figure 7). The network is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from torch import nn

from layerwise.closed.inputs import patches
from layerwise.contract import Dataset
from layerwise.errors import LayerwiseError
from layerwise.layers.words import parse
from layerwise.maths.linalg import Gram, eigh
from layerwise.options import Bounded, Ge


@dataclass(frozen=True)
class Options(Bounded):
    size: Annotated[int, Ge(1)] = 5
    """Side of the patches."""
    at: tuple[Annotated[int, Ge(1)], ...] = ()
    """Numbers of samples, ascending, at which the eigenvalues are taken; empty for `every` up to `until`."""
    every: Annotated[int, Ge(1)] = 10
    """Samples between two records, where `at` is empty."""
    until: Annotated[int, Ge(1)] = 5000
    """Samples in all, where `at` is empty."""

    def __post_init__(self) -> None:
        if list(self.at) != sorted(set(self.at)):
            raise LayerwiseError(f"option 'at' is {list(self.at)}: give numbers of samples in ascending order")
        if not self.at and self.every > self.until:
            raise LayerwiseError(f"option 'every' is {self.every}: it must be at most 'until', which is {self.until}")


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Sum the second moments of the patches of training samples, in an order drawn by the seed.

    Returns
    -------
    One row an eigenvalue: samples, rank (1 is the largest), value.
    """
    x = data.train.x
    places = list(options.at) or list(range(options.every, options.until + 1, options.every))
    if places[-1] > len(x):
        raise LayerwiseError(f"probe density: {places[-1]} samples are asked for, and the training split has {len(x)}")
    if x.ndim != 4 or options.size > min(x.shape[2:]):
        shape = "x".join(map(str, x.shape[1:]))
        raise LayerwiseError(f"probe density: a sample of {shape} has no patch of {options.size}x{options.size}")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    layer = parse(f"conv {options.size}")
    gram = Gram(x.shape[1] * options.size**2, device=device)
    tables, done = [], 0
    for place in places:
        for batch in order[done:place].split(500):
            gram.add(patches(x[batch].to(device), layer))
        done = place
        values = eigh(gram.moment())[0].tolist()
        tables.append(pd.DataFrame({"samples": place, "rank": range(1, len(values) + 1), "value": values}))
    return pd.concat(tables, ignore_index=True)
