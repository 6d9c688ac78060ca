"""What a method returned, checked at once: a whole `Fitted`, whose module, words and record belong together."""

from __future__ import annotations

import inspect
from typing import Any

from layerwise import plugins
from layerwise.contract import Features, Fitted
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers

PLAIN = (str, int, float, bool, type(None))  # what JSON knows beside lists and mappings
(CALL,) = plugins.FUNCTIONS["methods"]


def check(returned: Any, features: Features) -> list[list[str]]:
    """Refuse what is not a fitted segment; returns the fingerprints of its blocks of models.

    Raises
    ------
    LayerwiseError
        For anything but a `Fitted`, a module that is not what its words say, or a record that JSON cannot hold.
    """
    if not isinstance(returned, Fitted):
        raise LayerwiseError(f"{_kind(returned)} in place of a Fitted: return Fitted(module, words, record)")
    if not isinstance(returned.record, dict):
        raise LayerwiseError(f"its record is {_kind(returned.record)}: give a dict of names and values")
    _check_plain(returned.record, "record")
    return layers.check(returned.module, returned.layers, features.shape, features.task.outputs)


def check_call(fit: Any) -> None:
    """Refuse a function `fit` that cannot be called as every method is."""
    try:
        inspect.signature(fit).bind("segment", "features", "options", seed=0, device="cpu", hooks=None)
    except TypeError as error:
        raise LayerwiseError(f"its fit is called as {CALL}, and does not take that ({error})") from None


def _check_plain(value: Any, place: str) -> None:
    if isinstance(value, dict):
        kinds = {type(key) for key in value}
        if len(kinds) > 1 or not all(isinstance(key, PLAIN) for key in value):
            raise LayerwiseError(f"{place} has names of type {', '.join(sorted(k.__name__ for k in kinds))}: give text")
        for key, each in value.items():
            _check_plain(each, f"{place}/{key}")
    elif isinstance(value, (list, tuple)):
        for i, each in enumerate(value):
            _check_plain(each, f"{place}/{i}")
    elif not isinstance(value, PLAIN):
        raise LayerwiseError(
            f"{place} is {_kind(value)}: give numbers, text, lists or dicts, such as x.item(), x.tolist()"
        )


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"
