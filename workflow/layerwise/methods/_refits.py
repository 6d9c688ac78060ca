"""What a window computes from a clean pass over its samples, without a gradient: an affine layer, and statistics.

With ``decision_by: ridge`` the affine layer that ends a decision block is no parameter of the training. Before each
epoch it is the ridge regression of the targets on the features below it as they are then, its strength by generalised
cross-validation, and it stays fixed while the epoch trains what lies below on that squared error. Neither a gradient
nor a state of the optimiser is held for that layer, and its sums do not grow with the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from layerwise.contract import Task
from layerwise.maths.linalg import Gram, ridge

Pass = Callable[[], Iterator[tuple[Tensor, Tensor]]]
COPIES = 4  # of the second moments: sums, equations, symmetrised, vectors


def matrix(task: Task, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the target matrix ``(n, outputs)`` of what a loss takes: labels, columns of 0 and 1, or that matrix."""
    if task.kind == "onehot" and targets.dim() == 1:
        return task.targets(targets, dtype)
    return torch.where(targets > 0, 1.0, -1.0).to(dtype) if task.kind == "signs" else targets


def squared_error(task: Task, scores: Tensor, targets: Tensor) -> Tensor:
    """Return half of what the regression minimises: summed over columns, a mean over rows.

    Its gradient at the scores is their error, as that of the cross-entropy is the error of the probabilities: the same
    learning rates serve.
    """
    return (scores - matrix(task, targets, scores.dtype)).square().sum(dim=1).mean() / 2


@torch.no_grad()
def refit(module: nn.Module, samples: Pass, task: Task) -> float:
    """Refit the affine layer that ends a module; returns its strength.

    Parameters
    ----------
    samples
        Starts a pass over the inputs of the module ``(n, ...)`` and the targets of its loss.
    """
    *below, head = module.eval().children()
    assert isinstance(head, nn.Linear)
    features = nn.Sequential(*below)
    gram = Gram(head.in_features, head.out_features, head.weight.device)
    for z, targets in samples():
        gram.add(features(z), matrix(task, targets, z.dtype))
    found = ridge(gram)
    head.weight.copy_(found.weight)
    assert head.bias is not None
    head.bias.copy_(found.bias)
    return found.strength


def bytes_of(head: nn.Linear) -> int:
    """Return what a refit takes beside parameters and states: its sums and their decomposition, in float64."""
    return 8 * COPIES * (head.in_features + head.out_features) ** 2


@torch.no_grad()
def normalise(module: nn.Module, samples: Pass, dropout: nn.Dropout | None) -> None:
    """Take the statistics of batch normalisation anew, a mean over all batches, without the dropout of the inputs."""
    norms = [m for m in module.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    kept = dropout.p if dropout else 0.0
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    if dropout:
        dropout.p = 0.0
    module.train()
    for z, _ in samples() if norms else ():
        if len(z) > 1:
            module(z)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    if dropout:
        dropout.p = kept
