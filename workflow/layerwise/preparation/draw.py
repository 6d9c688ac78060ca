"""Drawing samples class by class: how many of each, and which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def equal(total: int, classes: int) -> list[int]:
    """Share a total among classes so that two shares differ by one at most; the first classes get the rest."""
    return [total // classes + (c < total % classes) for c in range(classes)]


def proportional(total: int, counts: Sequence[int]) -> list[int]:
    """Share a total among classes by their counts, rounded so that every class gives one and keeps one.

    Every count is 2 or more, and ``len(counts) <= total <= sum(counts) - len(counts)``.
    """
    ideal = [total * count / sum(counts) for count in counts]
    shares = [min(max(int(want), 1), count - 1) for want, count in zip(ideal, counts, strict=True)]
    while (step := total - sum(shares)) != 0:  # the largest remainder first
        sign = 1 if step > 0 else -1
        free = [c for c, share in enumerate(shares) if 1 <= share + sign <= counts[c] - 1]
        shares[max(free, key=lambda c: sign * (ideal[c] - shares[c]))] += sign
    return shares


def deal(labels: Tensor, hands: Sequence[Sequence[int]], seed: Sequence[int]) -> list[Tensor]:
    """Draw samples without replacement.

    Parameters
    ----------
    labels
        Classes ``(N,)``, 0..k-1.
    hands
        For each hand the number of samples of each class. No two hands share a sample.
    seed
        Non-negative whole numbers that name the draw.

    Returns
    -------
    list of Tensor
        For each hand the positions of its samples, ascending: a hand of all samples is the data as it came.
    """
    generator = np.random.default_rng(list(seed))
    drawn: list[list[np.ndarray]] = [[] for _ in hands]
    for c in range(len(hands[0])):
        members = np.flatnonzero(labels.numpy() == c)
        members = members[generator.random(len(members)).argsort(kind="stable")]
        start = 0
        for hand, counts in zip(drawn, hands, strict=True):
            hand.append(members[start : start + counts[c]])
            start += counts[c]
    return [torch.from_numpy(np.sort(np.concatenate(hand))) for hand in drawn]


def mislabelled(labels: Tensor, share: float, classes: int, seed: Sequence[int]) -> Tensor:
    """Return the labels ``(N,)`` with a share of them, rounded, drawn anew among the other classes."""
    generator = np.random.default_rng(list(seed))
    rows = generator.permutation(len(labels))[: round(share * len(labels))]
    other = generator.integers(1, classes, len(rows))
    wrong = labels.clone()
    wrong[rows] = (labels[rows] + torch.from_numpy(other)) % classes
    return wrong
