"""The features of all samples at the input of a layer, a run of features at a time: what a dual form goes through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from layerwise.closed.inputs import ROWS, Inputs
from layerwise.contract import Cuttable, Source
from layerwise.errors import LayerwiseError

RUN = {"cpu": 2**24, "cuda": 2**28}  # numbers in one run, of all samples


def runs(inputs: Inputs, valid: bool = False) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Go through the flat features, a run of them at a time, which may be forgotten after it.

    Where the samples stream, only the filters of a run are applied, if they can be told apart (`layers.runs`); else
    there is a pass over all features for each run.

    Yields
    ------
    index, train, valid
        Which features, ``(r,)``, these of the training samples, ``(N, r)``, and with `valid` those of the validation
        samples, ``(M, r)``, of the type of the inputs.
    """
    train, other = inputs.sources
    width, flat = max(2, RUN[inputs.device.type] // len(inputs)), all(isinstance(m, nn.Flatten) for m in inputs.modules)
    cut = train.runs(width) if train.streams and flat and isinstance(train, Cuttable) else None
    along = None  # the same runs of the validation samples
    if valid and cut is not None and other.streams and isinstance(other, Cuttable):
        along = other.runs(width)
    whole = inputs.valid.x.flatten(1) if valid and along is None else None
    every = torch.arange(inputs.fan_in, device=inputs.device).split(width)
    parts: Iterable[tuple[Tensor, Source | None]] = ((index, None) for index in every) if cut is None else cut
    for index, part in parts:
        x = _columns(inputs, index) if part is None else _flat(inputs, part)
        if not x.sum().isfinite():
            raise LayerwiseError(f"{inputs.name}: its inputs hold NaN or infinity: mend the samples, or use float64")
        beside = x[:0] if whole is None else whole[:, index]
        yield index.to(inputs.device), x, beside if along is None else _flat(inputs, next(along)[1])


def _flat(inputs: Inputs, part: Source) -> Tensor:
    return part.x.to(inputs.device, inputs.dtype).flatten(1)


def _columns(inputs: Inputs, index: Tensor) -> Tensor:
    """Return features that follow on one another, ``(N, r)``."""
    some = slice(int(index[0]), int(index[-1]) + 1)
    if not inputs.streams:
        return inputs.x.flatten(1)[:, some]
    return torch.cat([batch.flatten(1)[:, some].clone() for batch in inputs.samples(ROWS)])
