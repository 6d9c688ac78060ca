"""What every fit by gradient shares: losses, first weights, schedules, optimisers with their state, mini-batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from math import cos, pi

import torch
import torch._dynamo  # the first optimiser loads it, for seconds: here, before any fit is timed
from torch import Tensor, nn
from torch.nn import functional

from layerwise.contract import Split, Task

BLOCK = 2**23  # numbers gathered at once while batching: 32 MB of float32


def objective(
    name: str, task: Task, dtype: torch.dtype = torch.float32
) -> tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return a loss of scores and targets, a mean over the batch, and what makes those targets of the labels.

    ``mse`` is the mean over samples and columns; ``cross_entropy`` that of the softmax, or of the logistic function
    where the task has one column for two classes; ``auto`` is ``mse`` for values and ``cross_entropy`` for classes.
    """
    if name == "mse" or not task.classifies:
        return functional.mse_loss, lambda y: task.targets(y, dtype)
    if task.kind == "signs":
        return functional.binary_cross_entropy_with_logits, lambda y: y.to(dtype)[:, None]
    return functional.cross_entropy, lambda y: y


def glorot_(module: nn.Module) -> None:
    """Give a dense or convolutional layer Glorot's uniform weights and zero biases (for `nn.Module.apply`)."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def normalises(module: nn.Module) -> bool:
    """Tell whether the module takes statistics over a batch, which one sample does not have."""
    return any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in module.modules())


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
        `milestones`; ``cosine``: half a cosine from `lr` to 0 over `epochs`. As torch's schedulers of these names.
    """
    if schedule == "step":
        return lr * gamma ** (epoch // step)
    if schedule == "multistep":
        return lr * gamma ** bisect_right(sorted(milestones), epoch)
    if schedule == "cosine":
        return lr * (1 + cos(pi * epoch / epochs)) / 2
    return lr


def optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    lr: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Return torch's ``sgd``, ``adam`` or ``adamw``.

    `momentum` and `nesterov` are for ``sgd``. The weight decay acts on all parameters: through the gradient
    (``sgd``, ``adam``) or apart from it (``adamw``).
    """
    # Fused is one kernel a step for all parameters: on a CPU too, where a small net's step costs half or a third.
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
        )
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(parameters, lr, weight_decay=weight_decay, fused=True)


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what the next steps depend on, beside the weights, as tensors named ``<parameter>.<quantity>``."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, kept in state.items() for name, value in kept.items()}


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give the optimiser the state that `state_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, _, name = key.partition(".")
        state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def batch_sizes(count: int, batch: int, least: int = 1) -> list[int]:
    """Split `count` samples into batches; a rest of fewer than `least` joins the batch before it."""
    sizes = [batch] * (count // batch)
    rest = count % batch
    if rest >= least or not sizes:
        return [*sizes, rest] if rest else sizes
    return [*sizes[:-1], batch + rest]


def batches(split: Split, sizes: list[int], generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield an epoch of ``(x, y)`` batches in an order drawn from the generator.

    The rows are gathered on the device of the data in blocks of many batches, which are then views: on a tiny
    network the gathering would else take as long as a step.
    """
    order = torch.randperm(sum(sizes), generator=generator).to(split.x.device)
    width = max(1, split.x[:1].numel())
    together = max(1, BLOCK // (width * max(sizes)))
    at = 0
    for first in range(0, len(sizes), together):
        some = sizes[first : first + together]
        rows = split.rows(order[at : at + sum(some)])
        yield from zip(rows.x.split(some), rows.y.split(some), strict=True)
        at += sum(some)
