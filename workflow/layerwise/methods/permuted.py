"""The weights of another network, permuted within each layer: the control that keeps their distribution alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from layerwise.closed import driver
from layerwise.closed.inputs import Inputs, Solution
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment
from layerwise.errors import LayerwiseError


@dataclass(frozen=True)
class Options:
    """There is nothing to say: the network under the segment's ``uses`` has the weights."""


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Take the weights of the used network's first layers, each weight and each bias from a random other place."""
    if len(segment.uses) != 1:
        raise LayerwiseError(f"method 'permuted' needs one network under uses, and there are {len(segment.uses)}")
    path, network = next(iter(segment.uses.items()))
    known = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    draw = torch.Generator().manual_seed(seed)

    def solve(inputs: Inputs) -> Solution:
        theirs = known[inputs.depth].weight.detach().flatten(1).cpu() if inputs.depth < len(known) else None
        if theirs is None or theirs.shape != (inputs.width, inputs.fan_in):
            raise LayerwiseError(f"{inputs.name}: {path!r} has no such layer there: use a network of the same layers")
        bias = known[inputs.depth].bias
        order = torch.randperm(theirs.numel(), generator=draw, device="cpu")
        mixed = theirs.flatten()[order].reshape(theirs.shape)
        if bias is None:
            return Solution(mixed)
        return Solution(mixed, bias.detach().cpu()[torch.randperm(len(bias), generator=draw, device="cpu")])

    module, words, records = driver.fit(segment, features, solve, device=device)
    return Fitted(module, words, {"layers": records})
