"""PyramidNets: their widths, what a unit adds to its shortcut, and the size that is published."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.layers.pyramidnet import Unit, pyramidnet, pyramidnet56, pyramidnet110


def test_the_size_is_the_published_one():
    assert (
        sum(w.numel() for w in pyramidnet110(10).parameters()) == 1_772_706
    )  # 1.7 million; counted by other libraries


@pytest.mark.parametrize(
    ("model", "depth"), [(pyramidnet56(10), 56), (pyramidnet110(10), 110), (pyramidnet(8, 6, 3), 8)]
)
def test_depth_is_that_of_layers_with_weights(model, depth):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth


def test_channels_grow_in_equal_steps_and_sides_halve_twice():
    units = [m for m in pyramidnet(14, 10, 3) if isinstance(m, Unit)]  # 10 / 6 a unit, rounded
    assert [u.new for u in units] == [2, 1, 2, 2, 1, 2]
    x, seen = torch.zeros(1, 16, 28, 28), []
    for unit in units:
        x = unit(x)
        seen.append(tuple(x.shape[1:]))
    assert seen == [(18, 28, 28), (19, 28, 28), (21, 14, 14), (23, 14, 14), (24, 7, 7), (26, 7, 7)]


@pytest.mark.parametrize("stride", [1, 2])
def test_without_its_residual_a_unit_gives_its_input_averaged_down_and_zeros(stride):
    unit = Unit(3, 5, stride)
    nn.init.zeros_(unit.residual[-1].weight)
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    y = unit(x)
    if stride == 2:  # the last row has nothing below it
        x = torch.stack([x[:, :, [0, 2]], x[:, :, [1, 3]]]).mean(0), x[:, :, 4:]
        x = torch.cat(x, dim=2)
        x = (x[..., ::2] + x[..., 1::2]) / 2
    torch.testing.assert_close(y[:, :3], x)
    assert not y[:, 3:].any()


@pytest.mark.parametrize("depth", [55, 2, 0, -4])
def test_a_depth_that_there_is_not(depth):
    with pytest.raises(LayerwiseError, match=rf"6 n \+ 2, not {depth}"):
        pyramidnet(depth, 48, 10)
