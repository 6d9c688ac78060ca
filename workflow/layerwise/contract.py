"""What the rooms of the package speak in: samples, tasks, segments and what fits them. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Parameters
    ----------
    kind
        ``onehot``: one target column a class. ``signs``: two classes as -1 and +1 in one column.
        ``values``: regression on real numbers.
    outputs
        Number of target columns.
    classes
        Names of the classes; empty for ``values``.
    """

    kind: Literal["onehot", "signs", "values"]
    outputs: int
    classes: tuple[str, ...] = ()

    @property
    def classifies(self) -> bool:
        return self.kind != "values"

    def targets(self, y: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the target matrix Y, ``(N, outputs)``, of the labels ``(N,)`` or values ``(N, outputs)``."""
        if self.kind == "onehot":
            return torch.nn.functional.one_hot(y, self.outputs).to(dtype)
        if self.kind == "signs":
            return (2 * y - 1).to(dtype)[:, None]
        return y.to(dtype)

    def labels(self, scores: Tensor) -> Tensor:
        """Return the class, ``(N,)`` int64, that each row of the scores ``(N, outputs)`` stands for."""
        if self.kind == "onehot":
            return scores.argmax(dim=1)
        if self.kind == "signs":
            return (scores[:, 0] > 0).long()
        raise ValueError("a regression task has no labels: use the scores themselves")


class Source(Protocol):
    """Samples of one split, to be had as a whole or in batches: what a fit takes in.

    Attributes
    ----------
    y
        Labels ``(N,)`` int64, or values ``(N, outputs)`` for a regression.
    streams
        True where the samples are not held all at once: each pass over `batches` makes them anew, and `x` costs the
        memory of all.
    """

    @property
    def y(self) -> Tensor: ...

    @property
    def streams(self) -> bool: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def x(self) -> Tensor:
        """All samples, ``(N, *shape)``."""

    def batches(self) -> Iterator[Tensor]:
        """Start a pass: the samples ``(n, *shape)`` of one batch after the other, in the order of `y`."""

    def to(self, device: torch.device) -> Source: ...

    def __len__(self) -> int: ...


@runtime_checkable
class Cuttable(Protocol):
    """A `Source` that can make some of its features without the others."""

    def runs(self, features: int) -> Iterator[tuple[Tensor, Source]] | None:
        """Cut it into sources of at most so many flat features each, with the numbers of these; None if it cannot."""


@dataclass(frozen=True)
class Split:
    """The `Source` whose samples are tensors in memory.

    Parameters
    ----------
    x
        Features ``(N, *shape)``, float32 or float64.
    y
        Labels ``(N,)`` int64, or values ``(N, outputs)`` float32 for a regression.
    """

    x: Tensor
    y: Tensor
    streams = False

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        return self.x.dtype

    def batches(self) -> Iterator[Tensor]:
        yield self.x

    def to(self, device: torch.device) -> Split:
        return Split(self.x.to(device), self.y.to(device))

    def rows(self, index: Tensor) -> Split:
        return Split(self.x[index], self.y[index])


@dataclass(frozen=True)
class Pixels:
    """How samples came of 8-bit images: a pixel of 0 to 255 became ``(pixel - shift) / scale``.

    Parameters
    ----------
    shift, scale
        Tensors that broadcast to the samples ``(N, C, H, W)``.
    """

    shift: Tensor
    scale: Tensor

    def to(self, device: torch.device) -> Pixels:
        return Pixels(self.shift.to(device), self.scale.to(device))


@dataclass(frozen=True)
class Features:
    """The input of a fit: the training and the validation split (which may be empty), and the task.

    The test split is not here: no fit sees it. `pixels` is None where the samples are not 8-bit images.
    """

    train: Source
    valid: Source
    task: Task
    record: dict = field(default_factory=dict)
    pixels: Pixels | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.train.shape

    def to(self, device: torch.device) -> Features:
        pixels = self.pixels and self.pixels.to(device)
        return Features(self.train.to(device), self.valid.to(device), self.task, self.record, pixels)


@dataclass(frozen=True)
class Dataset:
    """A prepared data set: standardised float32 values, N = 0 where a split does not exist.

    `pixels` is None where the samples are not 8-bit images.
    """

    train: Split
    valid: Split
    test: Split
    task: Task
    record: dict[str, Any]
    pixels: Pixels | None = None

    @property
    def features(self) -> Features:
        """What a fit may see: all but the test split."""
        return Features(self.train, self.valid, self.task, self.record, self.pixels)


@dataclass(frozen=True)
class Raw:
    """What a source gives, before the preparation.

    Parameters
    ----------
    train, test
        Samples and labels ``(x, y)`` of each split: x ``(N, *shape)`` uint8 or float32, images as ``(C, H, W)``;
        y ``(N,)`` integer labels 0..k-1, or ``(N, outputs)`` real values for a regression.
    task
        What is to be learned, with the names of the k classes.
    valid
        A validation split of the source's own, or None: then the preparation takes one from train.
    scale
        What an x of full strength is, such as 255: without standardisation the value is x / scale.
    notes
        What the source has to say for the record, as JSON.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    task: Task
    valid: tuple[Tensor, Tensor] | None = None
    scale: float = 1.0
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Segment:
    """Layers that one method fits together.

    Parameters
    ----------
    layers
        Layer words, such as ``("conv 3 6", "relu", "maxpool 2", "dense outputs")``.
    shape
        Shape of one input sample.
    outputs
        What the width ``outputs`` stands for: the number of target columns.
    uses
        Fitted networks that this fit was told to look at, by their path (study key ``uses``).
    """

    layers: tuple[str, ...]
    shape: tuple[int, ...]
    outputs: int
    uses: Mapping[str, nn.Module] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """A fitted segment.

    Parameters
    ----------
    module
        The layers with their weights, as `layers.build` makes them from `layers`.
    layers
        The layer words with every width filled in.
    record
        What the method has to say of its fit, as JSON: history, counts, chosen strengths.
    """

    module: nn.Sequential
    layers: tuple[str, ...]
    record: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Hooks:
    """What a caller may hang into a long fit. A method that fits in one step ignores them.

    Parameters
    ----------
    load
        Returns the tensors and the notes that an interrupted run of this very fit saved, or None.
    save
        Keeps the tensors and the notes (JSON) from which the fit can go on.
    watch
        Called with the module and the number of steps done, before the first and after every step: a probe's eye.
    named
        Returns hooks that load and save a part of the fit by itself, by its name.
    """

    load: Callable[[], tuple[dict[str, Tensor], dict] | None] = lambda: None
    save: Callable[[dict[str, Tensor], dict], None] = lambda tensors, notes: None
    watch: Callable[[nn.Module, int], None] | None = None
    named: Callable[[str], Hooks] = lambda name: Hooks()


NO_HOOKS = Hooks()
