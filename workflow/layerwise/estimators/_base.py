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
from torch import Tensor, nn

from layerwise import plugins
from layerwise.closed import shards
from layerwise.contract import Features, Segment, Source, Split, Task
from layerwise.errors import LayerwiseError, nearest
from layerwise.estimators._batches import HEAD, BatchSource
from layerwise.estimators._checks import (
    FLOATS,
    Common,
    as_array,
    as_rows,
    demand_layers,
    demand_scale,
    demand_small,
    needs_double,
    one_line,
    warn_of_offset,
)
from layerwise.estimators._scaling import WORD
from layerwise.layers import build as layer_tools
from layerwise.layers.settings import PLAIN
from layerwise.options import hints, spelled, typed
from layerwise.run import machine

C = TypeVar("C", bound="Network")

STANDARDISE = """standardise : bool, default=True
        Bring each column of ``X``, or each channel of images, to mean 0 and spread 1 before the first layer, by a
        frozen batch normalisation in front of it. Blocks of a model take ``X`` as it comes.
    """
COMMON = """image_shape : tuple of int, default=None
        ``(channels, height, width)``, where a row of ``X`` is an image. By itself the shape of an ``X`` of four
        dimensions, ``(N, channels, height, width)``, or three, ``(N, height, width)``.
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
        What the method says of its fit; errors of a regressor are in units of the targets' spread.
    n_features_in_ : int
        Number of columns of ``X``."""


def parameters(method: ModuleType, without: tuple[str, ...] = (), **own: Any) -> Callable[..., None]:
    """Make the ``__init__`` of an estimator: keyword parameters, stored as they come, which scikit-learn can list.

    Parameters
    ----------
    without
        Options that make no sense for the estimator.
    own
        Defaults: of parameters that the method's Options do not have, and where an Options' own default does not suit
        the data of a notebook.
    """
    wanted = hints(method.Options)
    options = {f.name: own.pop(f.name, f.default) for f in dataclasses.fields(method.Options)}
    options = {name: default for name, default in options.items() if name not in without}
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
        if name not in defaults:
            continue
        kind = spelled(hints(cls._method.Options)[name])
        parts.append(f"{name} : {kind}, default={defaults[name]!r}\n        {text}")
    if "layers" in defaults:
        words = 'Layer words, such as ``("conv 3 6", "relu", "maxpool 2")``.'
        parts.insert(0, f"layers : sequence of str, default={defaults['layers']!r}\n        {words}{cls._ending}")
        parts.append((STANDARDISE if "standardise" in defaults else "") + COMMON)
    text = (cls.__doc__ or "").replace("{parameters}", "\n    ".join([*parts, DEVICE]))
    cls.__doc__ = text.replace("{attributes}", ATTRIBUTES)
    return cls


def _some(train: Source) -> tuple[Tensor, Tensor]:
    """Return some training samples to look at a fit with, and their labels or values."""
    if isinstance(train, BatchSource):
        return train.head, train.y[: len(train.head)]
    rows = slice(None, None, -(-len(train) // HEAD))
    return train.x[rows], train.y[rows]


def _listed(value: Any) -> Any:
    """Return an array of numbers or texts, as ``np.logspace`` makes one, as a list."""
    return value.tolist() if isinstance(value, np.ndarray) else value


class Network(BaseEstimator):
    """A segment that a method fits, in scikit-learn's conventions."""

    _method: ModuleType
    _sums: Any = np.float64  # what squares of X are summed in; None for the type of X
    _in_steps = False  # samples go through all layers in mini-batches, and are held nowhere in between
    _ending: str = ""
    layers: Sequence[str] = ()
    image_shape: tuple[int, ...] | None = None
    device: str = "auto"
    random_state: Any = None
    validation_fraction: float = 0.1
    standardise: bool = False
    _seen_shape: tuple[int, ...] | None = None  # of the images that fit was given

    def _validated(self, X: Any, y: Any = "no_validation", **how: Any) -> Any:
        """Return X, or X and y, as scikit-learn checks them, with an X that can be computed with."""
        X, y = as_array(X), as_array(y)
        X, self._seen_shape = as_rows(X)
        if isinstance(X, np.ndarray) and X.dtype.kind in "mM":
            raise ValueError("X holds dates: give numbers, such as days since a first one")
        with one_line():
            checked = validate_data(self, X, y, dtype=FLOATS, ensure_min_samples=2, **how)
        x = checked if isinstance(y, str) else checked[0]
        demand_scale(x, self._sums or x.dtype, "X")
        if "layers" in self._get_param_names() and not self.standardise:  # a read-out centres columns itself
            warn_of_offset(x, type(self).__name__)
        if needs_double(x):
            x = x.astype(np.float64, copy=False)
        return x if isinstance(y, str) else (x, checked[1])

    def _fit_segment(self, words: tuple[str, ...], train: Source, task: Task, scaling: nn.Module | None = None) -> Self:
        """Fit the segment of the words; a mistake of the user's is a ValueError, as scikit-learn has it.

        Parameters
        ----------
        scaling
            The layer that the samples came through, to be put before the fitted ones.
        """
        method, name = self._method, type(self).__name__
        try:
            options = typed(method.Options, self._given(), name, method.__name__)
            demand_small(options, name)
            at_once = min(options.batch, len(train)) if self._in_steps else 1
            held = at_once if self._in_steps or train.streams else len(train)
            demand_layers(words, train.shape, task.outputs, held, at_once)
            device = machine.device(self.device)
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            with PLAIN.applied(), shards.alone():
                held, valid = self._hold_out(train, task, seed)
                segment = Segment(words, train.shape, task.outputs)
                features = Features(held, valid, task).to(device)
                fitted = method.fit(segment, features, options, seed=seed, device=device)
                module = self._finished(fitted.module.cpu())
                self._look_back(module, *_some(train), task)
        except LayerwiseError as error:
            raise ValueError(str(error)) from None
        except torch.linalg.LinAlgError as error:
            text = str(error).splitlines()[0]
            raise ValueError(f"{name}: the fit broke down, {text}: scale X, as by a StandardScaler") from None
        except RuntimeError as error:  # torch has no type of its own for memory of the CPU
            if "allocate memory" not in str(error) and "out of memory" not in str(error):
                raise
            raise ValueError(f"{name}: the fit does not fit into memory: use smaller layers") from None
        self.module_, self.layers_, self.record_ = module, fitted.layers, fitted.record
        if scaling is not None:
            first = scaling.to(layer_tools.dtype_of(module))
            self.module_, self.layers_ = nn.Sequential(first, *module), (WORD, *fitted.layers)
        return self

    def _given(self) -> dict[str, Any]:
        """Return the parameters that are options of the method."""
        names = [f.name for f in dataclasses.fields(self._method.Options) if hasattr(self, f.name)]
        return {name: _listed(getattr(self, name)) for name in names}

    def _finished(self, module: nn.Sequential) -> nn.Sequential:
        """Return the fitted module as the estimator keeps it."""
        return module

    def _look_back(self, module: nn.Sequential, x: Tensor, y: Tensor, task: Task) -> None:
        """Refuse a fit whose weights are not finite, or what it makes of training samples, and of points between."""
        weights = all(bool(torch.isfinite(each).all()) for each in module.state_dict().values())
        outputs = layer_tools.apply(module, torch.cat([x, (x + x.roll(1, 0)) / 2]))
        if not weights or not torch.isfinite(outputs).all():
            raise LayerwiseError(
                f"{type(self).__name__}: the fit is not finite in {str(outputs.dtype)[6:]}: scale X and y, as by a "
                "StandardScaler, or give them as float64"
            )
        self._look_between(outputs)

    def _look_between(self, outputs: Tensor) -> None:
        """Warn where a fit runs away, by its outputs at training samples and at points between."""

    def _words(self) -> tuple[str, ...]:
        if isinstance(self.layers, str):
            raise ValueError(
                f"layers is the text {self.layers!r}: give a sequence of words, such as ('dense 64', 'relu')"
            )
        return self._common().layers

    def _common(self) -> Common:
        given = {f.name: _listed(getattr(self, f.name)) for f in dataclasses.fields(Common)}
        try:
            return typed(Common, given, type(self).__name__, "estimator")
        except LayerwiseError as error:
            raise ValueError(str(error)) from None

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

    def _tensor(self, x: np.ndarray) -> Tensor:
        """Return the rows ``(N, d)`` as samples ``(N, *image_shape)``."""
        given = self._seen_shape if self._common().image_shape is None else self._common().image_shape
        shape = x.shape[1:] if given is None else given
        if prod(shape) != x.shape[1] or len(shape) not in (1, 3):
            raise ValueError(
                f"image_shape {shape} is not that of {x.shape[1]} features: give (channels, height, width)"
            )
        return torch.from_numpy(np.require(x, requirements=["C", "W"])).reshape(-1, *shape)

    def _apply(self, X: Any) -> Tensor:
        """Return what the fitted module gives for the rows of X, on the CPU."""
        check_is_fitted(self)
        with one_line():
            rows = validate_data(self, as_rows(as_array(X))[0], dtype=FLOATS, reset=False)
        x, device = self._tensor(rows), machine.device(self.device)
        with PLAIN.applied():
            module = self.module_ if device.type == "cpu" else copy.deepcopy(self.module_).to(device)
            outputs = layer_tools.apply(module, x, device=device)
        if not torch.isfinite(outputs).all():
            raise ValueError(f"{type(self).__name__}: X overflows in the network: scale it as in fit")
        return outputs
