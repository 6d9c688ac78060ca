"""Class-blind PCA filters: the path of `dmn` with all samples as one class (dmn, section "Simple PCA layers").

The control beside every class PCA, and the first form of density matrix networks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import torch

from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment
from layerwise.methods import dmn
from layerwise.options import Bounded, Ge, Gt, Le

SHARED = True


@dataclass(frozen=True)
class Options(Bounded):
    variance: Annotated[float, Gt(0), Le(1)] = 0.95
    """T_v, the share of the variance that the components may explain, in (0, 1]. Not used where a number of filters
    is given."""
    fraction: Annotated[float, Gt(0), Le(1)] = 1.0
    """T_frac, the fraction of the training samples that the components are found on, drawn by seed, in (0, 1]."""
    count: Annotated[int, Ge(1), Le(1_000_000_000)] | None = None
    """Number of filters of each layer whose word gives no width."""
    centre: bool = False
    """Subtract the mean, which makes the second moment a covariance."""
    reach: bool = False
    """Also take the component with which the variance passes T_v. Without, the first component is always taken."""
    sign: Literal["loading", "sum"] = "loading"
    """What is made positive: the ``loading`` of largest magnitude, or the ``sum`` of a filter's weights."""
    whiten: Annotated[float, Gt(0)] | None = None
    """Bring every response to zero mean and unit variance: w becomes w / sqrt(variance of w . x + this number). null
    leaves unit lengths and zero biases."""


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Fit the layers of a segment by PCA of all samples; a last ``dense outputs`` is read out by ridge."""
    groups = {"all": dmn.draw(len(features.train), options.fraction, seed, device).to(device)}
    return dmn.fit_groups(segment, features, dmn.Options(**asdict(options), correlation=1.0), groups, device)
