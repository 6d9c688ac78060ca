"""How good a representation is: its own class scores, or those of a linear read-out. Accuracies are in per cent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from layerwise.contract import Split, Task
from layerwise.maths import linalg
from layerwise.methods import ridge


def of_scores(splits: dict[str, Split], task: Task) -> dict[str, Any]:
    """Score splits whose features are class scores ``(N, outputs)``."""
    return {"kind": "scores", "splits": {n: measures(s.x, s.y, task) for n, s in splits.items() if len(s)}}


def of_readout(splits: dict[str, Split], task: Task) -> dict[str, Any]:
    """Score splits by a ridge read-out fitted on the training split; `lsd` is thesis eq. 5.3 on that split."""
    fitted = ridge.readout(splits["train"], task)
    result = {n: measures(fitted.module(s.x.flatten(1)), s.y, task) for n, s in splits.items() if len(s)}
    train = splits["train"]
    result["train"]["lsd"] = linalg.lsd(train.x.flatten(1), task.targets(train.y))
    return {"kind": "readout", "splits": result, "readout": fitted.record}


@torch.no_grad()
def measures(scores: Tensor, y: Tensor, task: Task) -> dict[str, float]:
    """Compare scores ``(N, outputs)`` with labels or values.

    Returns
    -------
    n, mse (mean over samples and columns), and for classes also accuracy (%) and cross_entropy (nats, of the
    softmax or logistic function of the scores).
    """
    scores = scores.double()
    targets = task.targets(y, torch.float64)
    said = {"n": len(y), "mse": float((scores - targets).square().mean())}
    if task.classifies:
        said["accuracy"] = 100 * float((task.labels(scores) == y).double().mean())
        if task.kind == "signs":
            loss = functional.binary_cross_entropy_with_logits(scores[:, 0], y.double())
        else:
            loss = functional.cross_entropy(scores, y)
        said["cross_entropy"] = float(loss)
    return said
