"""How redundant samples are at each depth: the share whose k nearest neighbours are all of their class.

The k-redundancy of thesis definition 8 (figure 5.14). Table 5.1 follows from mini-batches of 5,000 in the order of
the file that count a sample as the first of its own neighbours; by itself a probe does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal

import pandas as pd
import torch
from torch import nn

from layerwise.contract import Dataset
from layerwise.maths.neighbours import pure_runs
from layerwise.options import Bounded, Ge, MinLen
from layerwise.probes._stages import classified, representations


@dataclass(frozen=True)
class Options(Bounded):
    k: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (5, 10, 20)
    """Numbers of neighbours."""
    split: Literal["train", "valid", "test"] = "train"
    """Split that is looked at."""
    samples: Annotated[int, Ge(2)] = 5000
    """Samples that are looked at, at most; drawn by the seed, and left in their order."""
    batch: Annotated[int, Ge(0)] = 5000
    """Samples of a mini-batch among which neighbours are sought; 0 is all."""
    itself: bool = True
    """A sample is the first of its own neighbours, as in thesis table 5.1."""
    depth: Annotated[int, Ge(0)] | None = None
    """Deepest place that is looked at, 0 for the input; all where absent."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Count the redundant samples at every depth.

    Returns
    -------
    One row a depth and k: depth (0 is the input), stage, features, samples, k, redundancy and kept_percent (% of the
    samples, together 100).
    """
    split = classified(data, options.split, options.samples, seed, "redundancy")
    rows, labels = [], split.y.to(device)
    stages = representations(network, {"z": split.x}, device)
    for depth, stage, z in islice(stages, None if options.depth is None else options.depth + 1):
        runs = pure_runs(z["z"], labels, batch=options.batch) + options.itself
        place = {"depth": depth, "stage": stage, "features": z["z"].shape[1], "samples": len(labels)}
        for k in options.k:
            share = 100 * float((runs >= k).double().mean())
            rows.append({**place, "k": k, "redundancy": share, "kept_percent": 100 - share})
    return pd.DataFrame(rows)
