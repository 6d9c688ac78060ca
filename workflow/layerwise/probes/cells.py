"""Into how few pure cells each representation bins the samples: a Voronoi map whose cells hold one class each.

The pure entropy of thesis definitions 5 to 7 should fall from depth to depth (eq. 5.4). Any pure map bounds the
smallest one, H*, from above, and grows with the number of samples: compare equal numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import torch
from torch import nn

from layerwise.contract import Dataset
from layerwise.maths.neighbours import conflicts, pure_map
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import classified, representations


@dataclass(frozen=True)
class Options(Bounded):
    split: Literal["train", "valid", "test"] = "train"
    """Split that is looked at."""
    samples: Annotated[int, Ge(2)] = 5000
    """Samples that are looked at, at most; drawn by the seed."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Find a pure map at every depth.

    Returns
    -------
    One row a depth: depth (0 is the input), stage, features, samples, conflicts (samples that equal one of another
    class, which no map makes pure), cells, entropy (bits, of the cells' shares of the samples) and rounds.
    """
    split = classified(data, options.split, options.samples, seed, "cells")
    rows, labels = [], split.y.to(device)
    for depth, stage, z in representations(network, {"z": split.x}, device):
        found = pure_map(z["z"], labels)
        place = {"depth": depth, "stage": stage, "features": z["z"].shape[1], "samples": len(labels)}
        known = {"conflicts": conflicts(z["z"], labels), "cells": len(found.centres)}
        rows.append({**place, **known, "entropy": found.entropy, "rounds": found.rounds})
    return pd.DataFrame(rows)
