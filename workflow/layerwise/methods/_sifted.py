"""The inputs of a window without those that its k-filter leaves out, anew in each epoch (thesis section 6.8.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.methods._inputs import Inputs
from layerwise.methods._passing import Rows, joined, kfiltered, whole


class Sifted:
    """`Inputs` that go through a k-filter, in large mini-batches; `options` are those of ``local``.

    Parameters
    ----------
    least
        Samples that a batch must have.

    Attributes
    ----------
    epoch
        The one that comes next, from 0.
    """

    def __init__(self, inputs: Inputs, options: Any, least: int) -> None:
        self.inputs, self.options, self.least, self.epoch = inputs, options, least, 0
        self.generator = inputs.generator
        self._samples = self._steps = 0

    @property
    def samples(self) -> int:
        return self._samples

    def __len__(self) -> int:
        return self._steps

    def counts(self) -> dict[str, int]:
        return {"samples": self._samples, "steps": self._steps}

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        samples = steps = 0
        filters = self.epoch + 1 >= self.options.filter_from
        for z, t in self._left() if filters else self.inputs:
            samples, steps = samples + len(z), steps + 1
            yield z, t
        if not samples:
            raise LayerwiseError("method 'local': a filter left no batch in an epoch: filter fewer samples")
        self._samples, self._steps = samples, steps

    def _left(self) -> Iterator[Rows]:
        """Go through what the filter leaves, in batches of the usual size."""
        kept: list[Rows] = []
        for z, t in self._large():
            out = kfiltered(z.permute(0, 2, 3, 1) if z.dim() == 4 else z, t, self.options)
            batches, kept = whole([*kept, (z[~out], t[~out])], self.options.batch)
            yield from batches
        if kept and len(kept[0][1]) >= self.least:
            yield kept[0]

    def _large(self) -> Iterator[Rows]:
        """Go through the samples in the mini-batches in which the filter looks."""
        looked: list[Rows] = []
        for batch in self.inputs:
            looked.append(batch)
            if sum(len(t) for _, t in looked) >= self.options.filter_samples:
                yield joined(looked)
                looked = []
        if looked:
            yield joined(looked)

    def finite(self) -> bool:
        return self.inputs.finite()

    def enter(self, feed: nn.Sequential) -> None:
        self.inputs.enter(feed)

    def leave(self) -> None:
        self.inputs.leave()

    def once(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.inputs.once()
