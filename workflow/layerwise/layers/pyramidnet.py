"""PyramidNets for images of 32 x 32 (Han, Kim and Kim 2017, additive, basic blocks): torchvision and timm have none.

A layer word names one as any other constructor: ``layerwise.layers.pyramidnet.pyramidnet110``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from layerwise.errors import LayerwiseError

FIRST = 16  # channels of the first convolution


class Unit(nn.Module):
    """A residual unit with as many more channels as come in addition: ``(N, C, H, W)`` to ``(N, channels, H', W')``.

    No ReLU before the first convolution and none after the sum. The shortcut has no weights: it is averaged down where
    the unit has a stride, and the new channels are zero in it.
    """

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(before),
            _conv(before, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            _conv(channels, channels),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.new = channels - before

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + functional.pad(self.shortcut(x), (0, 0, 0, 0, 0, self.new))


def _conv(before: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with the first weights of He et al. 2015, by its outputs."""
    conv = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def pyramidnet(depth: int, widening: int, num_classes: int) -> nn.Sequential:
    """Return a PyramidNet: images ``(N, 3, H, W)`` to scores ``(N, num_classes)``.

    Parameters
    ----------
    depth
        Layers with weights, ``6 n + 2``: the first convolution, three stages of n units of two, and the dense layer.
    widening
        Channels that come in addition from the first convolution to the last unit, in equal steps (alpha of equation 2
        there); each unit rounds them, as the authors' code does.
    """
    units, rest = divmod(depth - 2, 6)
    if rest or units < 1:
        raise LayerwiseError(f"a PyramidNet has a depth of 6 n + 2, not {depth}: give 56 or 110, for example")
    layers: list[nn.Module] = [_conv(3, FIRST), nn.BatchNorm2d(FIRST)]
    before = FIRST
    for k in range(3 * units):
        channels = round(FIRST + (k + 1) * widening / (3 * units))
        layers.append(Unit(before, channels, 2 if k in (units, 2 * units) else 1))
        before = channels
    layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(before, num_classes))


def pyramidnet56(num_classes: int) -> nn.Sequential:
    """Return the PyramidNet of 56 layers, widened by 48."""
    return pyramidnet(56, 48, num_classes)


def pyramidnet110(num_classes: int) -> nn.Sequential:
    """Return the PyramidNet of 110 layers, widened by 48: 1.7 million parameters, as published."""
    return pyramidnet(110, 48, num_classes)
