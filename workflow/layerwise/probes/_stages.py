"""The depths of a network at which a probe looks: the input, what each next weighted layer takes in, the output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layerwise.contract import Dataset, Split
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers

WEIGHTED = (nn.Linear, nn.Conv2d)
NAMES = {"MaxPool2d": "maxpool", "AvgPool2d": "avgpool", "Conv2d": "conv", "PatchConv2d": "conv", "Linear": "dense"}
SILENT = (nn.Flatten, nn.Dropout)


@dataclass(frozen=True)
class Stage:
    """A depth: what it is called, such as ``conv relu maxpool``, and the layers from the depth before to it."""

    name: str
    layers: nn.Sequential


def stages(network: nn.Sequential) -> list[Stage]:
    """Cut a network before each of its weighted layers, or blocks of a model, but the first.

    The last stage ends in the network's output.
    """
    blocks: list[list[nn.Module]] = [[]]
    for layer in network:
        if _weighted(layer) and any(_weighted(known) for known in blocks[-1]):
            blocks.append([])
        blocks[-1].append(layer)
    return [Stage(_name(block), nn.Sequential(*block)) for block in blocks]


def _weighted(layer: nn.Module) -> bool:
    return any(isinstance(part, WEIGHTED) for part in layer.modules())


def _name(block: list[nn.Module]) -> str:
    shown = [layer for layer in block if not isinstance(layer, SILENT)]
    kinds = ["block" if _weighted(x) and not isinstance(x, WEIGHTED) else type(x).__name__ for x in shown]
    return " ".join(NAMES.get(kind, kind.lower()) for kind in kinds)


def representations(
    network: nn.Sequential, splits: dict[str, Tensor], device: torch.device
) -> Iterator[tuple[int, str, dict[str, Tensor]]]:
    """Give each depth, 0 for the input, with its name and the representations ``(N, features)`` of the splits there."""
    now = {split: x.to(device) for split, x in splits.items()}
    yield 0, "input", {split: x.flatten(1) for split, x in now.items()}
    cut = stages(network)
    for depth, stage in enumerate(cut, start=1):
        now = {split: layers.apply(stage.layers, x, device=device) for split, x in now.items()}
        name = f"{stage.name} (output)" if depth == len(cut) else stage.name
        yield depth, name, {split: x.flatten(1) for split, x in now.items()}


def sample(data: Dataset, limit: int, seed: int) -> dict[str, Split]:
    """Return the splits that have samples, each with at most `limit` of them, drawn by the seed."""
    some: dict[str, Split] = {}
    for name in ("train", "valid", "test"):
        split: Split = getattr(data, name)
        if len(split) > limit:
            drawn = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:limit]
            split = split.rows(drawn.sort().values)
        if len(split):
            some[name] = split
    return some


def classified(data: Dataset, name: str, samples: int, seed: int, probe: str) -> Split:
    """Return samples of a split that have classes; LayerwiseError where there are none."""
    if not data.task.classifies:
        raise LayerwiseError(f"probe {probe}: it looks at classes, and the data set has values; name another data set")
    splits = sample(data, samples, seed)
    if name not in splits:
        raise LayerwiseError(f"probe {probe}: the {name} split is empty; name another under split")
    return splits[name]
