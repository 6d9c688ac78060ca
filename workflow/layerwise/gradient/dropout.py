"""Dropout of gradients alone: the forward pass is left as it is (thesis section 6.6.3, backward regularization)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _DropGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.p = p
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        kept = torch.empty_like(gradient).bernoulli_(1 - ctx.p)  # drawn here, so that nothing is saved for it
        return gradient * kept.div_(1 - ctx.p), None


class GradientDropout(nn.Module):
    """Passes its input, and in training zeroes each element of the gradient with probability p, scaled by 1 / (1 - p).

    The expected gradient stays what it is. The draws come from torch's global generator.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return _DropGradient.apply(x, self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
