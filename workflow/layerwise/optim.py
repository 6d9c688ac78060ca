"""What every fit by gradient shares: losses, first weights, schedules, optimisers with their state, mini-batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from math import cos, pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from layerwise.data import Split, Task

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


class Optimizer:
    """``sgd`` with momentum, ``adam`` or ``adamw``, on one flat vector that holds all parameters of a module.

    The numbers are those of torch.optim. That is not used because its first optimiser in a process loads torch's
    compiler, seconds with which a short fit would be charged, and because on a tiny network its bookkeeping takes a
    quarter of a step.

    Parameters
    ----------
    module
        Its parameters become views of the vector, until `release`.
    momentum, nesterov
        For ``sgd``.
    weight_decay
        Of all parameters: through the gradient (``sgd``, ``adam``) or apart from it (``adamw``).
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.name, self.momentum, self.nesterov, self.weight_decay = name, momentum, nesterov, weight_decay
        self.parameters = list(module.parameters())
        self.sizes = [p.numel() for p in self.parameters]
        self.weights = torch.cat([p.detach().flatten() for p in self.parameters])
        self.gradient = torch.zeros_like(self.weights)
        self.moment = torch.zeros_like(self.weights)
        self.square = torch.zeros_like(self.weights[: 0 if name == "sgd" else None])
        self.steps = 0
        for parameter, part in zip(self.parameters, self.weights.split(self.sizes), strict=True):
            parameter.data = part.view_as(parameter)
        self.link()

    def link(self) -> None:
        """Let the gradients of the parameters gather in one vector (again, where someone has taken them away)."""
        for parameter, part in zip(self.parameters, self.gradient.split(self.sizes), strict=True):
            parameter.grad = part.view_as(parameter)

    def release(self) -> None:
        """Give each parameter storage of its own."""
        for parameter in self.parameters:
            parameter.data, parameter.grad = parameter.data.clone(), None

    def step(self, lr: float) -> None:
        """Go one step along the gradient."""
        weights, gradient, moment, square = self.weights, self.gradient, self.moment, self.square
        self.steps += 1
        if self.weight_decay and self.name == "adamw":
            weights.mul_(1 - lr * self.weight_decay)  # Loshchilov and Hutter 2019, algorithm 2
        elif self.weight_decay:
            gradient = gradient.add(weights, alpha=self.weight_decay)
        if self.name == "sgd":
            moment.mul_(self.momentum).add_(gradient)
            weights.add_(gradient.add(moment, alpha=self.momentum) if self.nesterov else moment, alpha=-lr)
            return
        moment.lerp_(gradient, 0.1)  # Kingma and Ba 2015, algorithm 1, with its beta_1 = .9, beta_2 = .999
        square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        root = square.sqrt().mul_((1 - 0.999**self.steps) ** -0.5).add_(1e-8)
        weights.addcdiv_(moment, root, value=-lr / (1 - 0.9**self.steps))

    def state(self) -> dict[str, Tensor]:
        """Return what the next steps depend on, beside the weights."""
        return {"moment": self.moment, "square": self.square, "steps": torch.tensor(self.steps)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go back to a `state`."""
        self.moment.copy_(state["moment"])
        self.square.copy_(state["square"])
        self.steps = int(state["steps"])


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
