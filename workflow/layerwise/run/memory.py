"""What fits: the memory of a training step of a model, whole, and block by block with a decision layer on each."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.gradient import memory
from layerwise.layers import build as layers
from layerwise.layers import zoo
from layerwise.layers.words import Blocks, parse
from layerwise.methods import _decision
from layerwise.methods._inputs import CHUNK
from layerwise.run.blocks import shortened, times

MIB = 2**20
MOST = 2**33  # numbers of a batch: beyond, a size was misspelt
HEAD = "block  {:30} {:>14} {:>11} {:>9} {:>9} {:>9} {:>7}"
ROW = "{:5}  {:30} {:>14} {:>11,} {:>9.1f} {:>9.1f} {:>9.1f} {:>6.1f}%"


def report(model: str, *, batch: int, size: int, channels: int, outputs: int, optimiser: str) -> Iterator[str]:
    """Give the lines of a table: the whole model's step, and that of each block behind the frozen ones before it.

    Parameters
    ----------
    model
        A layer word, such as ``torchvision vgg13_bn`` or ``timm mobilevitv2_100``.

    Raises
    ------
    LayerwiseError
        For a word that is no whole model, one that cannot be cut, and images that it cannot take.
    """
    word = parse(model if " " in model or "." in model else f"torchvision {model}")
    if not isinstance(word, Blocks) or (word.first, word.last) != (1, None):
        raise LayerwiseError(f"memory: {model!r} is no model: name one, such as 'torchvision vgg13_bn'")
    if batch * channels * size**2 > MOST:
        raise LayerwiseError(f"memory: {batch} images of {channels}x{size}x{size} are too many: give a smaller batch")
    blocks = zoo.run(word, (channels, size, size), outputs)
    modules = [block.module for block in blocks]

    images = (channels, size, size)
    feeds = memory.feeds(modules, images, batch, CHUNK)
    whole = memory.step(nn.Sequential(*modules), images, batch, optimiser=optimiser)
    parameters = sum(block.parameters for block in blocks)
    yield f"{word}: {parameters:,} parameters, {batch} images of {channels}x{size}x{size}, {optimiser}, float32; MiB"
    yield f"whole model: {whole.peak / MIB:,.1f} a training step, {whole.saved / MIB:,.1f} of them saved for backward"
    yield HEAD.format("made of", "output", "parameters", "saved", "feed", "step", "share")
    for number, block in enumerate(blocks):
        with torch.random.fork_rng(devices=[]):
            last = number == len(blocks) - 1
            words = () if last else _decision.words(block.out_shape, 0, 0)
            decision, _ = layers.build(words, block.out_shape, outputs)
        found = memory.step(
            nn.Sequential(block.module, *decision),
            block.shape,
            batch,
            feed=feeds[number],
            images=prod(images) if number else 0,
            optimiser=optimiser,
        )
        shape, name = times(block.out_shape), shortened(block.made_of, 30)
        sizes = (found.saved / MIB, found.feed / MIB, found.peak / MIB, 100 * found.peak / whole.peak)
        yield ROW.format(number + 1, name, shape, block.parameters, *sizes)
    yield "A block's step: its own with an affine decision layer on it, behind the frozen blocks before it."
