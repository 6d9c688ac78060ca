"""Handwritten digits of scikit-learn: 1,797 real images of 8x8 pixels with values 0 to 16, ten classes.

The set is embedded in scikit-learn (the test part of UCI's *Optical Recognition of Handwritten Digits*), so it
needs no network. It comes as one split; the test split is drawn here, with the class proportions of the whole and
by a seed of its own that no study changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from sklearn.datasets import load_digits

from layerwise.contract import Raw, Task
from layerwise.options import Bounded, Ge, Le
from layerwise.preparation.draw import deal, proportional

TEST_SEED = 0


@dataclass(frozen=True)
class Options(Bounded):
    test: Annotated[float, Ge(0.01), Le(0.9)] = 0.25
    """Share of the images that makes the test split."""


def load(options: Options, *, root: Path) -> Raw:
    """Load the digits as x ``(N, 1, 8, 8)`` uint8, 0 to 16, and y ``(N,)``; `root` is not used."""
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images).to(torch.uint8).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels).long()
    counts = torch.bincount(y).tolist()
    held = proportional(round(options.test * len(y)), counts)
    kept = [count - test for count, test in zip(counts, held, strict=True)]
    train, test = deal(y, [kept, held], [TEST_SEED])
    task = Task("onehot", 10, tuple(str(digit) for digit in range(10)))
    return Raw((x[train], y[train]), (x[test], y[test]), task, scale=16.0)
