"""A fitted network with all that goes with it: what its inputs need, and what its scores are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from layerwise.contract import Task
from layerwise.layers import build as layers
from layerwise.use.inputs import Inputs


class Network(nn.Module):
    """A fitted network: raw samples in, scores out.

    Parameters
    ----------
    segments
        The layers of each segment, in order.
    shift, scale
        Of the preparation, broadcasting to samples: a number x goes in as ``(x - shift) / scale``.
    task
        What was learned.
    inputs
        What the network takes in.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, segments: Sequence[nn.Sequential], shift: Tensor, scale: Tensor, task: Task, inputs: Inputs
    ) -> None:
        super().__init__()
        self.segments = nn.Sequential(*segments)
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        self.task, self.inputs = task, inputs
        self.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the scores; empty for a regression."""
        return self.task.classes

    def read(self, *files: str | Path) -> Tensor:
        """Read files, or the images of folders, as raw samples ``(N, *shape)`` for `forward`."""
        return torch.cat([self.inputs.read(file) for file in self.inputs.files(files)])

    def prepared(self, x: Tensor) -> Tensor:
        """Return raw samples as the first segment takes them in, float32."""
        return (x.to(self.shift) - self.shift) / self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores ``(N, outputs)`` of raw samples ``(N, *shape)``, bytes or floats of the source's scale."""
        x = self.prepared(x)
        for segment in self.segments:  # each may compute in a type of its own
            x = segment(x.to(layers.dtype_of(segment, x.dtype)))
        return x

    def scores(self, x: Tensor) -> Tensor:
        """Return `forward` of any number of raw samples, in the batches in which the study scores its splits."""
        x = self.prepared(x)
        for segment in self.segments:
            x = layers.apply(segment, x)
        return x

    def labels(self, scores: Tensor) -> list[str]:
        """Return the name of the class that each row of the scores stands for."""
        return [self.classes[i] for i in self.task.labels(scores).tolist()]
