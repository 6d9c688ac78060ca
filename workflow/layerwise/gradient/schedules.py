"""Learning rates over the epochs, as torch's schedulers of these names give them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import cos, pi


def scheduled(
    schedule: str,
    lr: float,
    epoch: int,
    epochs: int,
    *,
    step: int = 0,
    milestones: Iterable[int] = (),
    gamma: float = 0.1,
) -> float:
    """Return the learning rate of an epoch, counted from 0.

    Parameters
    ----------
    schedule
        ``constant``; ``step``: times `gamma` every `step` epochs; ``multistep``: times `gamma` at each of the
        `milestones`; ``cosine``: half a cosine from `lr` to 0 over `epochs`.
    """
    if schedule == "step":
        return lr * gamma ** (epoch // step)
    if schedule == "multistep":
        return lr * gamma ** bisect_right(sorted(milestones), epoch)
    if schedule == "cosine":
        return lr * (1 + cos(pi * epoch / epochs)) / 2
    return lr
