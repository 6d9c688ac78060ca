"""What a trained network reaches when its weights are sent and received once, by each coder: bits against accuracy."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from torch import nn

from layerwise.coding import bins
from layerwise.coding.coders import SHARE, coder
from layerwise.coding.words import demand_coder
from layerwise.contract import Dataset
from layerwise.layers import build as layers
from layerwise.options import Bounded, MinLen
from layerwise.run.scores import measures


@dataclass(frozen=True)
class Options(Bounded):
    coders: Annotated[tuple[str, ...], MinLen(1)] = (
        "float32",
        *(f"fixed {n}" for n in range(2, 11)),
        *(f"entropy {c}" for c in (2, 3, 4, 5, 6)),
        "groups 3 of 32",
        "groups 4 of 128",
        "groups 4 of 32",
        "groups 8 of 128",
        "float8 4",
        "float8 5",
        "top 0.1",
        "top 0.3",
        "rank 10",
        "rank 20",
        "rank 40",
    )
    """Coders, in the words of the option exchange of the method sgd, without changes."""

    def __post_init__(self) -> None:
        for words in self.coders:
            demand_coder(words, f"option 'coders' is {words!r}: ")


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Send every tensor of weights by each coder, biases and running statistics as they are.

    Returns
    -------
    One row a coder: coder, bits_raw and bits_sent a parameter (without and with an entropy code, codebooks counted),
    error (of all weights, relative, Frobenius), and of every split its accuracy (%) or mean squared error.
    """
    rows = []
    weights = {name for name, p in network.named_parameters() if p.dim() > 1}
    count = sum(p.numel() for p in network.parameters())
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    for words in options.coders:
        own, received = coder(words), copy.deepcopy(network)
        generator = torch.Generator().manual_seed(seed)
        raw = sent = 8.0 * sum(p.element_size() * p.numel() for n, p in network.named_parameters() if n not in weights)
        lost = whole = 0.0
        with torch.no_grad():
            for name, p in received.named_parameters():
                if name in weights:
                    coded = own.encode(p, bins.entropy(p, own.estimate, SHARE, generator))
                    back = own.decode(coded.data, p.shape).to(p)
                    raw, sent = raw + coded.raw, sent + 8 * len(coded.data)
                    lost += float((back - p).double().square().sum())
                    whole += float(p.double().square().sum())
                    p.copy_(back)
        row = {"coder": words, "bits_raw": raw / count, "bits_sent": sent / count}
        row["error"] = (lost / whole) ** 0.5 if whole else 0.0
        for split, samples in splits.items():
            if len(samples):
                found = measures(layers.apply(received, samples.x.to(device)), samples.y.to(device), data.task)
                row |= {f"{split}_{k}": found[k] for k in ("accuracy", "mse") if k in found}
        rows.append(row)
    return pd.DataFrame(rows)
