"""First weights other than torch's own."""

from __future__ import annotations

from torch import nn


def glorot_(module: nn.Module) -> None:
    """Give a dense or convolutional layer Glorot's uniform weights and zero biases (for `nn.Module.apply`)."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
