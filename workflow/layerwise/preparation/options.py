"""What a study may ask of every source, and how its keys are told from the source's own. No torch here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from layerwise import plugins
from layerwise.errors import LayerwiseError, nearest
from layerwise.options import Bounded, Ge, Le, Lt, typed


@dataclass(frozen=True)
class Preparation(Bounded):
    """The options that all sources share."""

    classes: tuple[str | int, ...] = ()
    """Classes to keep, by name (or by number, from 0 on, where no name holds a digit), relabelled 0, 1, ... in
    this order; empty keeps all. [1, 7] of MNIST is the two-digit problem."""
    subset: Annotated[int, Ge(0)] = 0
    """Number of training samples, the same number of each class, drawn by the seed; 0 keeps all."""
    valid: Annotated[int | float, Ge(0), Le(10**9)] = 0
    """Validation samples taken from the training split by the seed. A count, or a share (written with a point) of
    `subset` where that is given, else of the training split. Without `subset` the classes keep their proportions;
    with it each class gives the same number to either split, and subset: 10000 with valid: 1.0 makes the papers'
    MNIST_10k."""
    test_subset: Annotated[int, Ge(0)] = 0
    """Number of test samples, the same number of each class, drawn by the seed; 0 keeps all."""
    wrong_labels: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the training samples that get the label of another class, both drawn by the seed. Validation and test
    samples keep theirs."""
    standardise: Literal["none", "raw", "global", "feature"] = "none"
    """none: x over its full scale (255 for 8-bit images). raw: x as the source has it, such as 0 to 255. global: minus
    one mean, over one standard deviation, of all features together. feature: each feature by its own. Statistics are
    of the training split alone; a constant feature is only shifted."""
    targets: Literal["auto", "onehot", "signs"] = "auto"
    """auto: as the source has them. onehot: a target column a class. signs: two classes as -1 and +1."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of every draw: subsets, validation split, and the points of a source that makes its own."""

    def __post_init__(self) -> None:
        if isinstance(self.valid, float) and not self.subset and self.valid >= 1:
            raise LayerwiseError(f"option 'valid' is {self.valid}: a share of the training split is below 1.0")
        if len(self.classes) == 1:
            raise LayerwiseError("option 'classes' names one class: name two or more")


def split_options(source: str, given: dict[str, Any], where: str) -> tuple[Any, Preparation]:
    """Make the source's Options and the Preparation of the keys that a study gives to one dataset.

    Parameters
    ----------
    given
        The dataset's keys without ``source``. A key that both have, such as ``seed``, goes to both.
    where
        What to call the place in an error, such as ``dataset 'mnist'``.

    Raises
    ------
    LayerwiseError
        For an unknown key, with the nearest key of either, or for a value of the wrong kind.
    """
    what = f"source {source!r}"
    made = []
    parts = (plugins.options_class("datasets", source), Preparation)
    names = [{f.name for f in dataclasses.fields(part)} for part in parts]
    for key in given:
        if key not in names[0] | names[1]:
            raise LayerwiseError(f"{where}: {what} has no option {key!r}{nearest(key, names[0] | names[1])}")
    for part, own in zip(parts, names, strict=True):
        made.append(typed(part, {k: v for k, v in given.items() if k in own}, where, what))
    return made[0], made[1]
