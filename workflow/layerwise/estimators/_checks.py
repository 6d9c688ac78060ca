"""What estimators refuse before they compute, each in one line: arrays, scales, parameters, sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod, sqrt
from typing import Annotated, Any

import numpy as np
import torch

from layerwise.closed.inputs import demand_room
from layerwise.errors import LayerwiseError
from layerwise.layers.words import out_shape, parse
from layerwise.options import Ge, Gt, Lt

FLOATS = (np.float64, np.float32)
LARGEST = 2**31 - 1  # of a whole number: more steps or units than that nobody means


@contextmanager
def one_line() -> Iterator[None]:
    """Bring the errors of scikit-learn and numpy for a user's arrays to one line; numbers beyond floats are another."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        first, *_ = lines = str(error).splitlines() or [""]
        text = f"{first} Fill or drop those rows." if "contains NaN" in first else " ".join(" ".join(lines).split())
        raise (TypeError if isinstance(error, TypeError) else ValueError)(text) from None


def as_array(values: Any) -> Any:
    """Return a tensor of any device and type as a numpy array; everything else as it comes."""
    if not isinstance(values, torch.Tensor):
        return values
    if values.layout != torch.strided or values.device.type == "meta":
        raise ValueError(
            f"a tensor of layout {values.layout} on {values.device} has no dense numbers: give a dense one"
        )
    values = values.detach().cpu().resolve_conj().resolve_neg()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def demand_scale(values: np.ndarray, dtype: Any, name: str) -> None:
    """Refuse numbers whose squares the type of the computation does not hold."""
    bounds = np.finfo(dtype)
    columns = values.reshape(len(values), -1)
    largest, spread = float(np.abs(columns).max()), float(np.ptp(columns / 2, axis=0).max())
    if not largest <= sqrt(float(bounds.max) / values.size):
        raise ValueError(f"{name} holds values of up to {largest:.1e}, whose squares overflow: scale {name}")
    if 0 < spread < sqrt(float(bounds.tiny)):
        raise ValueError(f"{name} varies by {2 * spread:.1e} alone, whose square is zero to a computer: scale {name}")


@dataclass(frozen=True)
class Common:
    """The parameters that are not a method's own."""

    layers: tuple[str, ...]
    image_shape: tuple[Annotated[int, Ge(1)], ...] | None
    validation_fraction: Annotated[float, Gt(0), Lt(1)]


def demand_small(options: Any, name: str) -> None:
    """Refuse whole numbers among options that no fit comes to the end of."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number > LARGEST:
                raise LayerwiseError(f"{name}: option {field.name!r} is {number}: it must be at most {LARGEST}")


def demand_layers(words: Sequence[str], shape: tuple[int, ...], outputs: int) -> None:
    """Refuse layers that do not fit the samples, or whose weights do not fit into memory."""
    for word in words:
        if any(part.isdecimal() and (len(part) > 10 or int(part) > LARGEST) for part in word.split()):
            raise LayerwiseError(f"layer {word!r} holds a number above {LARGEST}: use a smaller one")
        layer = parse(word)
        if layer.width == "outputs":
            layer = layer.with_width(outputs)
        if layer.kind == "dense" and len(shape) > 1:
            shape = (prod(shape),)
        after = out_shape(layer, shape)
        if layer.weighted:
            if layer.width is None:  # the method finds it, and with it the shapes behind
                return
            fan_in = shape[0] * layer.size**2 if layer.kind == "conv" else prod(shape)
            demand_room(fan_in * int(layer.width), torch.device("cpu"), f"layer '{layer}'")
        demand_room(prod(after), torch.device("cpu"), f"layer '{layer}'")
        shape = after
