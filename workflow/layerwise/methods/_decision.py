"""The decision block that is put on what is trained locally: given in words, or as large as a memory target allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.gradient import memory
from layerwise.layers import build as layers

WIDTHS = 8  # channels come in multiples of
SLACK = 0.005  # of the target, thesis section 6.7: 30 +- 0.5 %


def words(shape: tuple[int, ...], convolutions: int, width: int) -> tuple[str, ...]:
    """Return a decision block of down-convolutions, a global average, and an affine layer, as layer words.

    The convolutions are 3x3 with batch normalisation, and halve the sides while these are above 2.
    """
    result: list[str] = []
    side = min(shape[1:]) if len(shape) == 3 else 0
    for _ in range(convolutions if side else 0):
        stride = 2 if side > 2 else 1
        result += [f"conv 3 {width} stride {stride} pad 1", "batchnorm", "relu"]
        side = (side - 1) // stride + 1
    return (*result, *([f"avgpool {side}"] if side > 1 else []), "dense outputs")


def search(
    trained: Sequence[nn.Module],
    shape: tuple[int, ...],
    outputs: int,
    target: float,
    most_width: int,
    most_convolutions: int,
    count: Callable[[nn.Sequential], memory.Memory],
) -> tuple[tuple[str, ...], int]:
    """Return the decision block with the most convolutions, and among those the widest, within a number of bytes.

    Parameters
    ----------
    trained
        The layers that it is put on.
    shape
        Of one sample where the trained layers end.
    target
        Bytes of a step to come to.
    most_width, most_convolutions
        Channels of the widest convolution, and the number of convolutions, at most.
    count
        Counts the memory of a step that trains a module.

    Returns
    -------
    words, bytes
        The block, and what a step with it takes. Where none fits, the smallest one.
    """

    def peak(convolutions: int, width: int) -> int:
        with torch.device("meta"):  # what is counted needs no numbers
            module, _ = layers.build(words(shape, convolutions, width), shape, outputs)
        return count(nn.Sequential(*trained, *module)).peak

    for convolutions in range(most_convolutions if len(shape) == 3 else 0, 0, -1):
        low, high = 0, most_width // WIDTHS
        if high and peak(convolutions, WIDTHS) > target:
            continue
        while low < high:  # the peak grows with the width
            middle = (low + high + 1) // 2
            low, high = (middle, high) if peak(convolutions, WIDTHS * middle) <= target else (low, middle - 1)
        if low:
            return words(shape, convolutions, WIDTHS * low), peak(convolutions, WIDTHS * low)
    return words(shape, 0, 0), peak(0, 0)


def demand(found: int, whole: int, target: float, where: str) -> None:
    """Refuse a target that not even an affine decision layer meets; LayerwiseError names the share that it takes."""
    if found > (target + SLACK) * whole:
        raise LayerwiseError(
            f"{where}: memory: {target:g} of the whole model's step cannot be met: with an affine decision layer alone "
            f"a step takes {found / whole:.3f}; say memory: {-(-1000 * found // whole) / 1000:.3f} or more"
        )
