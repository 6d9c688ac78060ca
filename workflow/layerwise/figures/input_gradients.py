"""Where the error would move points of the plane: gradients of the loss in input space (thesis figures 5.15, 5.16).

One row a network: the training points that its fit kept, and the gradient of the loss at them.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Annotated

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from layerwise.contract import Task
from layerwise.errors import LayerwiseError
from layerwise.figures._panels import shown_seed
from layerwise.figures._style import grid, provenance
from layerwise.figures.toy_regions import DOTS
from layerwise.gradient.losses import loss_of
from layerwise.options import Bounded, Ge
from layerwise.results.study_results import StudyResults
from layerwise.run import node as nodes
from layerwise.study.trie import Node


@dataclass(frozen=True)
class Options(Bounded):
    dataset: str
    """Data set of points with two coordinates."""
    networks: tuple[str, ...] = ()
    """Paths of networks of one segment; all of the data set where absent."""
    seed: int | None = None
    """The seed to show; the first of the study where absent."""
    arrows: Annotated[int, Ge(1)] = 1500
    """Points whose gradient is drawn, the first ones."""


def draw(results: StudyResults, options: Options) -> Figure:
    data = results.data(options.dataset)
    if tuple(data.train.x.shape[1:]) != (2,) or not data.task.classifies:
        raise LayerwiseError(f"figure input_gradients: {options.dataset!r} is not points in the plane with classes")
    networks = results.networks(options.dataset, options.networks)
    seed = shown_seed(results, options.dataset, options.seed)
    figure, axes = grid(2 * len(networks), 4 if len(networks) > 1 else 2, 2.5, 2.9)
    for i, (path, label) in enumerate(networks.items()):
        node = Node(results.study.name, options.dataset, seed, path)
        if node.parent is not None:
            raise LayerwiseError(f"figure input_gradients: {path!r} has several segments; name networks of one")
        kept = nodes.prepared(results.study, node, data, torch.device("cpu"))[1].train
        x, y = kept.x[: options.arrows], kept.y[: options.arrows]
        slope = gradients(results.network(options.dataset, path, seed), x, y, data.task)
        points, arrows = axes[2 * i : 2 * i + 2]
        points.scatter(kept.x[:, 0], kept.x[:, 1], c=DOTS(kept.y.numpy() % DOTS.N), s=2, linewidths=0, rasterized=True)
        points.set_title(f"{textwrap.fill(label, 30)}\n{len(kept.x):,} points", fontsize=8)
        size = slope.norm(dim=1)
        arrows.set(xlim=points.get_xlim(), ylim=points.get_ylim())
        if size.any():
            arrows.quiver(x[:, 0], x[:, 1], -slope[:, 0], -slope[:, 1], size, cmap="viridis", width=0.004)
        else:
            arrows.text(0.5, 0.5, "0 everywhere", transform=arrows.transAxes, ha="center", va="center")
        arrows.set_title(f"downhill in input space\nmean size {size.mean():.3g}", fontsize=8)
        for ax in (points, arrows):
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.grid(False)
    return figure


def gradients(network: nn.Module, x: Tensor, y: Tensor, task: Task) -> Tensor:
    """Return the gradient of each sample's loss, the one of `auto`, at the sample ``(N, d)``."""
    loss, targets = loss_of("auto", task, x.dtype)
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        total = loss(network.eval()(x), targets(y)) * len(x)  # a mean over samples
        (slope,) = torch.autograd.grad(total, x)
    return slope.detach()


def caption(results: StudyResults, options: Options) -> str:
    seed = shown_seed(results, options.dataset, options.seed)
    return (
        f"The points of {options.dataset} on which each network was trained, by their class, and beside them minus the "
        f"gradient of the trained network's loss at the first {options.arrows:,} of them, coloured by its size: seed "
        f"{seed} alone. {provenance(results, f'networks/{options.dataset}')}"
    )
