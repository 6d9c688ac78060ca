"""What each unit lets through: the classes of the samples that it selects, and their entropy, at each depth.

A unit selects the samples for which it is above 0, behind a ReLU as for the scores (thesis section 5.5.4). The entropy
in bits of their classes, H(Y|Z) of figures 5.18 to 5.21, falls where a unit tells classes apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Dataset
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import classified, representations


@dataclass(frozen=True)
class Options(Bounded):
    split: Literal["train", "valid", "test"] = "train"
    """Split that is looked at."""
    samples: Annotated[int, Ge(2)] = 10_000
    """Samples that are looked at, at most; drawn by the seed."""
    units: Annotated[int, Ge(0)] = 0
    """Units of a depth that are listed, the first ones; 0 is all."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Count the classes that every unit selects; a place of a map is a unit of its own. The input is not looked at.

    Returns
    -------
    One row a unit: depth (1 is the first layer), stage, unit (from 1), selected (% of the samples), entropy (bits; nan
    for a unit that selects none), dead (1 for such a unit, else 0) and for each class ``class_<name>``, its samples.
    """
    split = classified(data, options.split, options.samples, seed, "selections")
    labels, tables = split.y.to(device), []
    for depth, stage, z in representations(network, {"z": split.x}, device):
        if depth == 0:
            continue
        counts = selected(z["z"], labels, len(data.task.classes))
        table = pd.DataFrame(counts.T.tolist(), columns=[f"class_{name}" for name in data.task.classes])
        of = counts.sum(0)
        known = {"selected": (100 * of / len(labels)).tolist(), "entropy": entropies(counts).tolist()}
        front = {
            "depth": depth,
            "stage": stage,
            "unit": range(1, len(of) + 1),
            **known,
            "dead": (of == 0).int().tolist(),
        }
        table = pd.concat([pd.DataFrame(front), table.astype(int)], axis=1)
        tables.append(table.head(options.units) if options.units else table)
    return pd.concat(tables, ignore_index=True)


def selected(z: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return how many samples of each class each unit selects, ``(classes, units)`` float64."""
    members = nn.functional.one_hot(labels, classes).T.float()
    return torch.cat([(members @ (part > 0).float()) for part in z.split(4096, dim=1)], dim=1).double()


def entropies(counts: Tensor) -> Tensor:
    """Return the entropy in bits of each column of counts; nan where it is of nothing."""
    shares = counts / counts.sum(0)
    return -torch.special.xlogy(shares, shares).sum(0) / torch.log(torch.tensor(2.0, dtype=counts.dtype))
