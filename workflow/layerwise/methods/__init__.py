"""Ways to fit a segment, one file each.

A method's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a
field documents it) and

    def fit(segment: Segment, features: Features, options: Options, *, seed: int,
            device: torch.device, hooks: Hooks = NO_HOOKS) -> Fitted

It knows nothing of files, studies or Snakemake. ``Options`` must stand on the standard library and
`layerwise.errors` alone: studies are checked without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn


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
    """

    load: Callable[[], tuple[dict[str, Tensor], dict] | None] = lambda: None
    save: Callable[[dict[str, Tensor], dict], None] = lambda tensors, notes: None
    watch: Callable[[nn.Module, int], None] | None = None


NO_HOOKS = Hooks()
