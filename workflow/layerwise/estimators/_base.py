"""What all estimators share: from arrays to a method's `fit`, and from its fitted module back to arrays."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Sequence
from math import prod
from types import ModuleType
from typing import Any, Self, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from layerwise import plugins
from layerwise.closed import shards
from layerwise.contract import Features, Segment, Source, Split, Task
from layerwise.errors import LayerwiseError, nearest
from layerwise.layers import build as layer_tools
from layerwise.options import hints, spelled, typed
from layerwise.run import machine

FLOATS = (np.float64, np.float32)

C = TypeVar("C", bound="Network")

COMMON = """image_shape : tuple of int, default=None
        ``(channels, height, width)``, where a row of ``X`` is an image.
    random_state : int, RandomState instance or None, default=None
        Seed of everything that is drawn; pass an int for the same fit again."""
DEVICE = """device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute; ``auto`` is a GPU where there is one. The fitted module lies on the CPU."""
ATTRIBUTES = """Attributes
    ----------
    module_ : torch.nn.Sequential
        The fitted layers, scores or features out.
    layers_ : tuple of str
        The layer words with all widths filled in.
    record_ : dict
        What the method says of its fit.
    n_features_in_ : int
        Number of columns of ``X``."""


def parameters(method: ModuleType, **own: Any) -> Callable[..., None]:
    """Make the ``__init__`` of an estimator: keyword parameters, stored as they come, which scikit-learn can list.

    Parameters
    ----------
    own
        Defaults: of parameters that the method's Options do not have, and where an Options' own default does not suit
        the data of a notebook.
    """
    wanted = hints(method.Options)
    options = {f.name: own.pop(f.name, f.default) for f in dataclasses.fields(method.Options)}
    defaults = {name: own.pop(name) for name in ("layers",) if name in own} | options | own

    def __init__(self: Any, **given: Any) -> None:
        for name in given:
            if name not in defaults:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}{nearest(name, defaults)}")
        for name, value in {**defaults, **given}.items():
            setattr(self, name, value)

    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=wanted.get(name, Any))
        for name, default in defaults.items()
    ]
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([first, *keywords])  # type: ignore[attr-defined]
    return __init__


def documented(cls: type[C]) -> type[C]:
    """Fill in a class's docstring: ``{parameters}`` from its method's Options, which document themselves."""
    defaults = {name: each.default for name, each in inspect.signature(cls).parameters.items()}
    parts = []
    for name, text in plugins.documentation("methods", cls._method.__name__.rpartition(".")[2]).items():
        kind = spelled(hints(cls._method.Options)[name])
        parts.append(f"{name} : {kind}, default={defaults[name]!r}\n        {text}")
    if "layers" in defaults:
        words = 'Layer words, such as ``("conv 3 6", "relu", "maxpool 2")``.'
        parts.insert(0, f"layers : sequence of str, default={defaults['layers']!r}\n        {words}{cls._ending}")
        parts.append(COMMON)
    text = (cls.__doc__ or "").replace("{parameters}", "\n    ".join([*parts, DEVICE]))
    cls.__doc__ = text.replace("{attributes}", ATTRIBUTES)
    return cls


class Network(BaseEstimator):
    """A segment that a method fits, in scikit-learn's conventions."""

    _method: ModuleType
    _ending: str = ""
    layers: Sequence[str] = ()
    image_shape: tuple[int, ...] | None = None
    device: str = "auto"
    random_state: Any = None
    validation_fraction: float = 0.1

    def _fit_segment(self, words: tuple[str, ...], train: Source, task: Task) -> Self:
        """Fit the segment of the words; a mistake of the user's is a ValueError, as scikit-learn has it."""
        method, name = self._method, type(self).__name__
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(method.Options)}
        try:
            options = typed(method.Options, given, name, method.__name__)
            device = machine.device(self.device)
            train, valid = self._hold_out(train, task, seed)
            segment = Segment(words, train.shape, task.outputs)
            features = Features(train, valid, task).to(device)
            with shards.alone():
                fitted = method.fit(segment, features, options, seed=seed, device=device)
        except LayerwiseError as error:
            raise ValueError(str(error)) from None
        self.module_, self.layers_, self.record_ = fitted.module.cpu(), fitted.layers, fitted.record
        return self

    def _words(self) -> tuple[str, ...]:
        if isinstance(self.layers, str):
            raise ValueError(
                f"layers is the text {self.layers!r}: give a sequence of words, such as ('dense 64', 'relu')"
            )
        return tuple(self.layers)

    def _validates(self) -> bool:
        """Tell whether the fit looks at a validation split."""
        return False

    def _hold_out(self, train: Source, task: Task, seed: int) -> tuple[Source, Split]:
        """Return a training and a validation split, which is empty where nobody looks at it."""
        if not self._validates() or not isinstance(train, Split):
            return train, Split(torch.empty((0, *train.shape), dtype=train.dtype), train.y[:0])
        index = train_test_split(
            np.arange(len(train)),
            test_size=self.validation_fraction,
            random_state=seed,
            stratify=train.y.numpy() if task.classifies else None,
        )
        fitted, held = (train.rows(torch.from_numpy(i)) for i in index)
        return fitted, held

    def _split(self, x: np.ndarray, y: np.ndarray) -> Split:
        """Return rows ``(N, d)`` and their labels or values as a split."""
        return Split(self._tensor(x), torch.from_numpy(y))

    def _tensor(self, x: np.ndarray) -> Tensor:
        """Return the rows ``(N, d)`` as samples ``(N, *image_shape)``."""
        shape = x.shape[1:] if self.image_shape is None else tuple(self.image_shape)
        if prod(shape) != x.shape[1] or len(shape) not in (1, 3):
            raise ValueError(
                f"image_shape {shape} is not that of {x.shape[1]} features: give (channels, height, width)"
            )
        return torch.from_numpy(np.require(x, requirements=["C", "W"])).reshape(-1, *shape)

    def _apply(self, X: Any) -> Tensor:
        """Return what the fitted module gives for the rows of X, on the CPU."""
        check_is_fitted(self)
        x = self._tensor(validate_data(self, X, dtype=FLOATS, reset=False))
        device = machine.device(self.device)
        module = self.module_ if device.type == "cpu" else copy.deepcopy(self.module_).to(device)
        return layer_tools.apply(module, x, device=device)
