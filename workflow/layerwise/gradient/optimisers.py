"""Torch's optimisers by name, and their state as tensors that a file can keep."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch._dynamo  # the first optimiser loads it, for seconds: here, before any fit is timed
from torch import Tensor, nn


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
    """Give the optimiser the state that `state_tensors` took.

    A file keeps no strides, and a fused optimiser walks through memory: a momentum that did not lie as its parameter
    does, such as the weight of a convolution with the channels last, would go to other weights.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
