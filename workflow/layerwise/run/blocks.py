"""The blocks of the models that a study names, each with its shape and parameters, as the networks meet them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers import zoo
from layerwise.layers.words import Blocks, parse
from layerwise.run import records
from layerwise.study.model import Study
from layerwise.study.trie import prefixes

Shape = tuple[int, ...]
ROW = "  {:>5}  {:40} {:>14} {:>12}"
CUT = 40  # letters of what a block is made of


def report(study: Study) -> Iterator[str]:
    """Give the lines of a table for each model and each data set that it is used on.

    Shapes and classes are those of the prepared data set. Where there is none yet, or a method is yet to find the width
    of a layer before the model, a line says so instead.
    """
    told: set[tuple[str, Shape, int]] = set()
    for dataset, networks in study.networks.items():
        known = _task(study, dataset)
        for path in networks:
            words = [word for part in prefixes(path) for word in study.segment(part).layers]
            if not any(isinstance(parse(word), Blocks) for word in words):
                continue
            if isinstance(known, str):
                yield f"\nmodels on {dataset}: blocks and shapes are shown once it is prepared ({known})"
                break
            try:
                yield from _of_network(words, dataset, *known, told)
            except LayerwiseError as error:
                yield f"\nmodels of {path} on {dataset}: not shown ({error})"


def _task(study: Study, dataset: str) -> tuple[Shape, int] | str:
    """Return the shape of a sample and the number of outputs; what is wrong where the record does not tell."""
    try:
        record = records.dataset_record(study, dataset)
    except LayerwiseError as error:
        return str(error)
    return tuple(record["shape"]), record["task"]["outputs"]


def _of_network(
    words: list[str], dataset: str, shape: Shape, outputs: int, told: set[tuple[str, Shape, int]]
) -> Iterator[str]:
    """Go through the layers of a network from the data on; what was told of a model already is not told again."""
    for word in words:
        layer = parse(word)
        with torch.random.fork_rng(devices=[]):
            if not isinstance(layer, Blocks):
                layers.foresee([word], shape, outputs)
                if layer.weighted and layer.width is None:
                    raise LayerwiseError(f"the width of '{word}' is known once it is fitted")
                module, _ = layers.build([word], shape, outputs)
                shape = zoo.out_shape(module, shape)
                continue
            blocks = zoo.run(layer, shape, outputs)
        if (word, shape, outputs) not in told:
            told.add((word, shape, outputs))
            yield from _table(word, blocks, f"{dataset}: {times(shape)}, {outputs} outputs")
        shape = blocks[-1].out_shape


def _table(word: str, blocks: list[zoo.Block], where: str) -> Iterator[str]:
    parameters = sum(block.parameters for block in blocks)
    yield f"\n{word} on {where}, {len(blocks)} blocks, {parameters:,} parameters"
    yield ROW.format("block", "made of", "output", "parameters")
    for number, block in enumerate(blocks, blocks[0].word.first):
        yield ROW.format(number, shortened(block.made_of, CUT), times(block.out_shape), f"{block.parameters:,}")


def times(shape: Shape) -> str:
    """Return a shape as text, such as 3x32x32."""
    return "x".join(map(str, shape)) or "1"


def shortened(made_of: str, letters: int) -> str:
    """Return what a block is made of, in so many letters at most."""
    return made_of if len(made_of) <= letters else f"{made_of[: letters - 1]}…"
