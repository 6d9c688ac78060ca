"""What estimators refuse before they compute, each in one line: arrays, scales, parameters, sizes."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, prod, sqrt
from typing import Annotated, Any

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets

from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers.room import demand_room
from layerwise.layers.words import Blocks, out_shape, parse
from layerwise.options import Ge, Gt, Lt

FLOATS = (np.float64, np.float32)
DIGITS = 500 * float(np.finfo(np.float32).eps)  # share of a distance from zero below which float32 has few digits left
AWAY = 100  # half ranges from zero, of which gradient descent and fixed weights make little
# More steps or units than that nobody means, and squares of larger floats overflow.
LARGEST = {int: 2**31 - 1, float: 1e150}


@contextmanager
def one_line() -> Iterator[None]:
    """Bring the errors of scikit-learn and numpy for a user's arrays to one line; numbers beyond floats are another."""
    try:
        with np.errstate(all="ignore"):  # what overflows in a cast is refused
            yield
    except (ValueError, TypeError, OverflowError) as error:
        text = str(error)
        if "\n" in text:
            text = re.sub(r"(array=)?\[.*\]\.?", "", text, flags=re.DOTALL)  # the data itself
            text = text.splitlines()[0] + " Fill or drop those rows." if "contains NaN" in text else text
        raise (TypeError if isinstance(error, TypeError) else ValueError)(" ".join(text.split())) from None


def as_array(values: Any) -> Any:
    """Return a tensor of any device and type, or a list of them, as numpy arrays; everything else as it comes."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError("a masked array hides values that numpy would take for real: fill or drop them")
    if isinstance(values, (list, tuple)) and values and isinstance(values[0], torch.Tensor):
        return [as_array(each) for each in values]
    if not isinstance(values, torch.Tensor):
        return values
    if values.layout != torch.strided or values.device.type == "meta":
        raise ValueError(
            f"a tensor of layout {values.layout} on {values.device} has no dense numbers: give a dense one"
        )
    values = values.detach().cpu().resolve_conj().resolve_neg()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def as_rows(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Return images ``(N, height, width)`` or ``(N, channels, height, width)`` as rows, and the shape of one.

    Everything else stays as it comes.
    """
    if not isinstance(X, np.ndarray):
        if not (isinstance(X, list) and X and isinstance(X[0], np.ndarray) and X[0].ndim > 1):
            return X, None
        with one_line():
            X = np.stack(X)
    if X.ndim not in (3, 4) or 0 in X.shape:
        return X, None
    if X.ndim == 4 and X.shape[3] in (1, 3, 4) and X.shape[1] not in (1, 3, 4):
        raise ValueError(f"X is {X.shape}, with channels last: give them first, X.transpose(0, 3, 1, 2)")
    shape = (1, *X.shape[1:]) if X.ndim == 3 else X.shape[1:]
    return X.reshape(len(X), -1), shape


def weights_of(weight: Any, samples: int, name: str) -> torch.Tensor:
    """Return how often each sample counts, ``(N,)`` float64."""
    with one_line():
        counts = np.asarray(as_array(weight), dtype=np.float64)
    counts = np.full(samples, float(counts)) if counts.ndim == 0 else counts
    if counts.shape != (samples,):
        raise ValueError(f"{name}: sample_weight has shape {counts.shape}, and X {samples} samples: give one for each")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.any()):
        raise ValueError(f"{name}: sample_weight is to be finite, not negative, and not zero for all samples")
    return torch.from_numpy(counts.copy())


def classes_of(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, sorted, and the number of each label's class."""
    with one_line():
        check_classification_targets(y)
    try:
        return np.unique(y, return_inverse=True)
    except TypeError:
        raise ValueError(f"y holds {_types(y)}: give labels of one type") from None


def demand_one_type(y: Any) -> None:
    """Refuse a list of texts and numbers, which numpy would take for texts."""
    if isinstance(y, (list, tuple)) and 0 < sum(isinstance(label, str) for label in y) < len(y):
        raise ValueError(f"y holds {_types(y)}: give labels of one type")


def _types(y: Any) -> str:
    return " and ".join(sorted({type(label).__name__ for label in y}))


def demand_scale(values: np.ndarray, dtype: Any, name: str) -> None:
    """Refuse numbers whose squares the type of the computation does not hold."""
    bounds = np.finfo(dtype)
    columns = values.reshape(len(values), -1)
    high, low = columns.max(axis=0), columns.min(axis=0)  # no copy of what may be gigabytes
    if not (np.isfinite(high).all() and np.isfinite(low).all()):
        raise ValueError(f"{name} holds NaN or infinity: fill or drop those rows")
    largest, spread = float(max(high.max(), -low.min())), float((high / 2 - low / 2).max())
    if largest > sqrt(float(bounds.max) / values.size):
        raise ValueError(f"{name} holds values of up to {largest:.1e}, whose squares overflow: scale {name}")
    if 0 < spread < sqrt(float(bounds.tiny)):
        raise ValueError(f"{name} varies by {2 * spread:.1e} alone, whose square is zero to a computer: scale {name}")


def _extent(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of the columns that vary how far from zero they reach, and half of the way that they span."""
    columns = values.reshape(len(values), -1)
    high, low = columns.max(axis=0).astype(np.float64), columns.min(axis=0).astype(np.float64)
    varies = high > low
    return np.maximum(high, -low)[varies], (high / 2 - low / 2)[varies]


def needs_double(values: np.ndarray) -> bool:
    """Tell whether float32 has too few digits for columns so far from zero beside what they span."""
    reach, span = _extent(values)
    return bool((reach * DIGITS > span).any())


def warn_of_offset(x: np.ndarray, name: str) -> None:
    """Warn of columns beside whose distance from zero layers do not see what varies."""
    reach, span = _extent(x)
    if len(reach) and (ratio := float(reach.max() / np.median(span))) > AWAY:
        text = (
            f"{name}: a column of X lies {ratio:.0e} times the half range of most columns from zero, and layers may "
            "see little beside it: bring each column to mean 0 and spread 1, as by a StandardScaler"
        )
        warnings.warn(LayerwiseWarning(text), stacklevel=4)


@dataclass(frozen=True)
class Common:
    """The parameters that are not a method's own."""

    layers: tuple[str, ...]
    image_shape: tuple[Annotated[int, Ge(1)], ...] | None
    validation_fraction: Annotated[float, Gt(0), Lt(1)]
    device: str
    standardise: bool


def demand_small(options: Any, name: str) -> None:
    """Refuse numbers among options that no fit comes to the end of, or computes with."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            most = LARGEST.get(type(number))
            if most is not None and most < number < inf:
                raise LayerwiseError(f"{name}: option {field.name!r} is {number}: it must be at most {most}")


def demand_layers(words: Sequence[str], shape: tuple[int, ...], outputs: int, held: int, at_once: int) -> None:
    """Refuse layers that do not fit the samples, or into memory.

    Parameters
    ----------
    held
        Samples that are kept at the input of a layer with weights, and at the end.
    at_once
        Samples that go through the layers together.
    """
    cpu = torch.device("cpu")
    for word in words:
        layer = parse(word)
        if isinstance(layer, Blocks):  # a model says so itself, once it is built
            return
        if layer.width == "outputs":
            layer = layer.with_width(outputs)
        if layer.kind == "dense" and len(shape) > 1:
            shape = (prod(shape),)
        after = out_shape(layer, shape)
        if layer.weighted:
            if layer.width is None:  # the method finds it, and with it the shapes behind
                return
            fan_in = shape[0] * layer.size**2 if layer.kind == "conv" else prod(shape)
            demand_room(
                fan_in * int(layer.width) + held * prod(shape) // 2, cpu, f"layer '{layer}'"
            )  # float32 at least
        demand_room(at_once * prod(after) // 2, cpu, f"layer '{layer}'")
        shape = after
    if words:
        demand_room(held * prod(shape) // 2, cpu, f"layer '{layer}'")
