"""What the first layers look for: their filters as pictures, one row a network."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import shown_seed
from layerwise.figures._style import new, provenance
from layerwise.options import Bounded, Ge
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    dataset: str
    """Data set of images."""
    networks: tuple[str, ...] = ()
    """Paths of the networks, a row each; one for each first segment of the data set's networks where absent."""
    seed: int | None = None
    """The seed to show; the first of the study where absent."""
    count: Annotated[int, Ge(1)] = 12
    """Filters in a row, from the first."""


def draw(results: StudyResults, options: Options) -> Figure:
    shape = tuple(results.data(options.dataset).train.x.shape[1:])
    rows: dict[str, Tensor] = {}
    for path, label in _networks(results, options).items():
        seed = shown_seed(results, options.dataset, options.seed)
        found = pictures(results.network(options.dataset, path, seed), shape)
        if found is None:
            raise LayerwiseError(f"figure filters: the first layer of {path!r} does not take images {shape} in")
        rows[label] = found
    columns = min(options.count, max(len(f) for f in rows.values()))
    side, margin = 0.52, 2.1
    figure = new(margin + side * columns, (side + 0.14) * len(rows) + 0.1, pad=0.03)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (label, filters) in zip(axes, rows.items(), strict=True):
        for i, ax in enumerate(row):
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            for spine in ax.spines.values():
                spine.set_visible(False)
            if i < len(filters):
                _show(ax, filters[i])
        told = f"{label}\n{min(columns, len(filters))} of {len(filters)}"
        row[0].set_ylabel(told, rotation=0, ha="right", va="center", labelpad=6, fontsize=8)
    return figure


def _networks(results: StudyResults, options: Options) -> dict[str, str]:
    networks = results.networks(options.dataset, options.networks)
    if options.networks:
        return networks
    firsts: dict[str, str] = {}
    for path in networks:
        firsts.setdefault(path.split("/")[0], path)
    return {path: networks[path] for path in firsts.values()}


def pictures(network: nn.Sequential, shape: tuple[int, ...]) -> Tensor | None:
    """Return the weights of a network's first weighted layer as pictures ``(filters, channels, height, width)``.

    None where that layer is neither a convolution nor a dense layer on images ``(channels, height, width)``.
    """
    first = next((m for m in network if isinstance(m, (nn.Linear, nn.Conv2d))), None)
    if isinstance(first, nn.Conv2d):
        return first.weight.detach().float()
    if isinstance(first, nn.Linear) and len(shape) == 3 and first.in_features == prod(shape):
        return first.weight.detach().float().reshape(-1, *shape)
    return None


def _show(ax: Axes, picture: Tensor) -> None:
    """Draw one filter ``(channels, height, width)``: as a colour picture for three channels, else their mean."""
    largest = picture.abs().flatten().quantile(0.98)  # one weight of a pixel that hardly varies would hide the rest
    picture = (picture / largest.clamp(min=torch.finfo(picture.dtype).tiny)).clamp(-1, 1)
    if len(picture) == 3:
        ax.imshow(((picture + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
    else:
        ax.imshow(picture.mean(0).numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")


def caption(results: StudyResults, options: Options) -> str:
    seed = shown_seed(results, options.dataset, options.seed)
    return (
        f"Filters of the first layer on {options.dataset}, a row a network, each scaled to the 98th percentile of its "
        f"own absolute weights (red above zero and blue below; of "
        f"colour images their own colours, grey at zero): seed {seed} alone. "
        f"{provenance(results, f'networks/{options.dataset}/seed{seed}')}"
    )
