"""What a segment is fitted on: a stored checkpoint, or the data pushed through the frozen segments before it.

Thesis chapter 6 calls the two the feature checkpoint and the feednet. Both give the same numbers: the frozen segments
run over the same batches, in the same order, whichever way.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from layerwise import store
from layerwise.closed import shards
from layerwise.contract import Dataset, Source, Split
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers import runs
from layerwise.run import loading, records
from layerwise.study.model import Study
from layerwise.study.trie import Node

# Numbers of features that a fit may hold at once; beyond, they stream. 2 GiB in float32, 16 GiB on a GPU.
HELD = {"cpu": 2**29, "cuda": 2**32}
ROWS = 4096  # samples read from a checkpoint at once


class Stored:
    """The `Source` whose samples lie in a file, the checkpoint of a node's features."""

    def __init__(self, path: Path, y: Tensor) -> None:
        self.path, self.y = path, y
        samples, self.shape, self.dtype = store.describe(path, "x")
        if samples != len(y):
            raise LayerwiseError(f"{path}: {samples} samples where the data set has {len(y)}; delete it and run again")
        self.streams = len(y) * prod(self.shape) > HELD["cpu"]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def x(self) -> Tensor:
        return store.read_tensors(self.path)["x"]

    def batches(self) -> Iterator[Tensor]:
        yield from store.read_rows(self.path, "x", ROWS)

    def to(self, device: torch.device) -> Stored:
        return self  # batches go where they are needed, one by one


class Through:
    """The `Source` of what a frozen module makes of another source, batch by batch, anew in each pass."""

    def __init__(self, base: Source, module: nn.Module, device: torch.device) -> None:
        self.base, self.device = base, device
        self.module = layers.for_images(module.to(device).eval())
        self._dtype = layers.dtype_of(self.module, base.dtype if base.dtype.is_floating_point else torch.float32)
        sample = torch.zeros((1, *base.shape), dtype=self._dtype, device=device)
        with torch.no_grad():
            self._batch = layers.batch_of(self.module, sample)
        out = self._run(sample)
        self.shape, self.dtype = tuple(out.shape[1:]), out.dtype
        self.y = base.y.to(device)
        self.streams = len(base) * prod(self.shape) > HELD[device.type]

    def __len__(self) -> int:
        return len(self.base)

    @torch.no_grad()
    def _run(self, batch: Tensor) -> Tensor:
        return self.module(batch.to(self.device, self._dtype)).contiguous()

    @functools.cached_property
    def x(self) -> Tensor:
        if not len(self):
            return torch.empty((0, *self.shape), dtype=self.dtype, device=self.device)
        return layers.gather(self._pass(), len(self), self.device)

    def batches(self) -> Iterator[Tensor]:
        if "x" in self.__dict__:
            yield self.x
        else:
            yield from self._pass()

    def _pass(self) -> Iterator[Tensor]:
        return (self._run(batch) for batch in layers.rebatched(self.base.batches(), self._batch))

    def runs(self, features: int) -> Iterator[tuple[Tensor, Source]] | None:
        """Cut the source into those of runs of filters, of at most so many features; see `layers.runs`."""
        found = runs.runs(self.module, self.base.shape, features)
        if found is None:
            return None
        return ((index, Through(self.base, module, self.device)) for index, module in found)

    def to(self, device: torch.device) -> Source:
        return self if device == self.device else Split(self.x.to(device), self.y.to(device))


def inputs(study: Study, node: Node, split: str, data: Dataset, on: torch.device, *, part: bool = False) -> Source:
    """Return what a node's segment takes in: the data set itself, or what the segment before it gives.

    Parameters
    ----------
    part
        Take the samples of this process alone, where several share a fit.
    """
    if node.parent is None:
        samples: Split = getattr(data, split)
        return (shards.part(samples) if part else samples).to(on)
    return outputs(study, node.parent, split, data, on, part=part)


def outputs(study: Study, node: Node, split: str, data: Dataset, on: torch.device, *, part: bool = False) -> Source:
    """Return what a fitted node gives: its checkpoint where there is one, or its segment run over its inputs."""
    fit = records.read_fit(study, node, data.record["digest"])
    path = checkpoint(node, split)
    right = study.kept(node.path) and path.is_file()
    if right and _told(path)[0] == records.score_digest(study, fit):
        if not _as_written(path):
            records.owe(node)
            raise store.Damaged(f"{path}: changed since it was written; run the study again")
        stored = Stored(path, getattr(data, split).y)
        return stored if stored.streams and not part else shards.part(Split(stored.x, stored.y)).to(on)
    return Through(inputs(study, node, split, data, on, part=part), loading.read_module(node, fit), on)


def checkpoint(node: Node, split: str) -> Path:
    """Return the file of a node's features on a split."""
    return node.folder / f"{split}.safetensors"


def keep(path: Path, x: Tensor, digest: str) -> None:
    """Write a checkpoint, with the digest of what it is for and that of what is in it."""
    # One note: several stand in the file in an order that changes from process to process.
    store.write_tensors(path, {"x": x}, {"digest": f"{digest} {store.content({'x': x})}"})


def _told(path: Path) -> tuple[str, str]:
    """Return the two digests that a checkpoint notes."""
    digest, _, content = store.read_notes(path).get("digest", "").partition(" ")
    return digest, content


def is_whole(path: Path, digest: str) -> bool:
    """Tell whether a checkpoint is for a digest, and as it was written."""
    try:
        return _told(path)[0] == digest and _as_written(path)
    except store.Damaged:
        return False


def _as_written(path: Path) -> bool:
    told = path.stat()
    return _has_its_content(path.resolve(), told.st_ino, told.st_size, told.st_mtime_ns)


@functools.cache  # a file of gigabytes is gone through once a process
def _has_its_content(path: Path, *version: int) -> bool:
    return _told(path)[1] == store.content(store.read_tensors(path))


def held(source: Source) -> Source:
    """Return a source as tensors in memory, where it does not stream."""
    return source if source.streams or isinstance(source, Split) else Split(source.x, source.y)
