"""Options of a plugin: bounds stand in the annotation; types and bounds are checked here alone.

    @dataclass(frozen=True)
    class Options(Bounded):
        epochs: Annotated[int, Ge(1)] = 20
        variance: Annotated[float, Gt(0), Le(1)] = 0.95
        milestones: tuple[Annotated[int, Ge(1)], ...] = ()

Bounds are spelled as in the package annotated_types, whose objects do as well: only their attributes ``gt``, ``ge``,
``lt``, ``le``, ``min_length`` and ``max_length`` are read. A float is finite, unless a bound is infinite itself, as in
``Le(inf)``. Standard library alone: studies are checked without torch.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite, isinf
from typing import Annotated, Any, Literal

from layerwise.errors import LayerwiseError, nearest

WIDEST = 2**63  # a whole number lies below it, for torch takes no larger one

__all__ = ["Bounded", "File", "Ge", "Gt", "Le", "Lt", "MinLen", "typed"]


@dataclass(frozen=True)
class Gt:
    """Above a number."""

    gt: float


@dataclass(frozen=True)
class Ge:
    """At least a number."""

    ge: float


@dataclass(frozen=True)
class Lt:
    """Below a number."""

    lt: float


@dataclass(frozen=True)
class Le:
    """At most a number."""

    le: float


@dataclass(frozen=True)
class MinLen:
    """At least so many items, of a tuple or a dict."""

    min_length: int


@dataclass(frozen=True)
class File:
    """The path of a file, whose content counts in a digest, and not where it lies."""


@dataclass(frozen=True)
class _Kind:
    """A kind of bound: its words, and what a value must be."""

    words: str
    holds: Callable[[Any, Any], bool]


ON_NUMBERS = {
    "gt": _Kind("above {}", lambda value, bound: value > bound),
    "ge": _Kind("at least {}", lambda value, bound: value >= bound),
    "lt": _Kind("below {}", lambda value, bound: value < bound),
    "le": _Kind("at most {}", lambda value, bound: value <= bound),
}
ON_LENGTHS = {
    "min_length": _Kind("{} or more", lambda value, bound: len(value) >= bound),
    "max_length": _Kind("{} or fewer", lambda value, bound: len(value) <= bound),
}


class Bounded:
    """A base of Options that are checked and typed however they are made; ``__post_init__`` then sees values in bounds.

    A study's options are checked without it. A program that calls ``Options(...)`` by itself is refused where a study
    would be.
    """

    def __init_subclass__(cls) -> None:
        own = getattr(cls, "__post_init__", None)

        def post_init(self: Any) -> None:
            wanted = hints(self.__class__)
            for field in dataclasses.fields(self):
                value = _typed(getattr(self, field.name), wanted[field.name], field.name)
                object.__setattr__(self, field.name, value)
            if own:
                own(self)

        cls.__post_init__ = post_init  # type: ignore[attr-defined]


def typed(cls: type, given: dict[str, Any], where: str, what: str) -> Any:
    """Make a dataclass of what a study gives, each value as its field's annotation wants it.

    Parameters
    ----------
    where, what
        The place and the thing in an error, such as ``segment 'd6'`` and ``method 'dmn'``.
    """
    fields, wanted = {f.name: f for f in dataclasses.fields(cls)}, hints(cls)
    for key in given:
        if key not in fields:
            raise LayerwiseError(f"{where}: {what} has no option {key!r}{nearest(str(key), fields)}")
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise LayerwiseError(f"{where}: {what} needs the option {name!r}")
    try:
        return cls(**{key: _typed(value, wanted[key], key) for key, value in given.items()})
    except (LayerwiseError, ValueError) as error:
        raise LayerwiseError(f"{where}: {error}") from None


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Return the annotation of each field, with its bounds."""
    return typing.get_type_hints(cls, include_extras=True)


def bounds_of(metadata: tuple[Any, ...], kinds: dict[str, _Kind] = ON_NUMBERS) -> Iterator[tuple[str, Any]]:
    """Give the bounds in what an ``Annotated`` holds beside its type, as (kind, bound)."""
    for each in metadata:
        for kind in kinds:
            if (bound := getattr(each, kind, None)) is not None:
                yield kind, bound


def in_words(metadata: tuple[Any, ...], kinds: dict[str, _Kind] = ON_NUMBERS) -> str:
    """Return bounds as text, such as ``above 0 and at most 1``."""
    shown = [
        (kind, bound if isinstance(bound, int) else f"{float(bound):g}") for kind, bound in bounds_of(metadata, kinds)
    ]
    return " and ".join(kinds[kind].words.format(bound) for kind, bound in shown)


def files(options: Any) -> dict[str, str]:
    """Return the paths that options give where an annotation holds `File`, by option."""
    named = {name: getattr(options, name) for name, hint in hints(options.__class__).items() if _of_file(hint)}
    return {name: path for name, path in named.items() if path is not None}


def _of_file(hint: Any) -> bool:
    args = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return any(isinstance(each, File) for each in args[1:])
    return any(_of_file(arm) for arm in args)


def spelled(hint: Any, bounds: bool = True) -> str:
    """Return an annotation as text, such as ``float above 0 and at most 1 | None``, or as code without its bounds."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        length = in_words(args[1:], ON_LENGTHS)
        words = [in_words(args[1:]), f"of {length}" if length else ""] if bounds else []
        return " ".join([spelled(args[0], bounds), *filter(None, words)])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(spelled(arm, bounds) for arm in args)
    if origin is Literal:
        values = ", ".join(map(repr, args))
        return f"{{{values}}}" if bounds else f"Literal[{values}]"
    if args:
        return f"{origin.__name__}[{', '.join('...' if a is Ellipsis else spelled(a, bounds) for a in args)}]"
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))


class _OutOfBounds(LayerwiseError):
    """A value of the right type."""


def _typed(value: Any, hint: Any, name: str, bounds: tuple[Any, ...] = (), item: bool = False) -> Any:
    """Return the value as the annotation wants it (a list becomes a tuple, an int a float), within its bounds."""
    value = _plain(value)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _typed(value, args[0], name, (*bounds, *args[1:]), item)
    if origin in (typing.Union, types.UnionType):
        beyond = None
        for arm in args:
            try:
                return _typed(value, arm, name, bounds, item)
            except _OutOfBounds as error:  # which says more than that the value is of no other arm's type
                beyond = beyond or error
            except LayerwiseError:
                continue
        if beyond:
            raise beyond
    elif origin is Literal:
        if value in args:
            return value
        if isinstance(value, str):
            raise LayerwiseError(f"option {name!r} is {value!r}{nearest(value, map(str, args))}")
    elif origin is tuple and isinstance(value, (list, tuple)):
        columns = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(columns) == len(value):
            _check_length(value, bounds, name)
            return tuple(_typed(v, column, name, item=True) for v, column in zip(value, columns, strict=True))
    elif origin is dict and isinstance(value, dict):
        _check_length(value, bounds, name)
        keys = {str(k) if args[0] is str else _typed(k, args[0], name): k for k in value}  # YAML reads 1 as a number
        return {key: _typed(value[k], args[1], f"{name}/{k}") for key, k in keys.items()}
    elif hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)  # of text too: YAML reads 1e-3 as text
        except (ValueError, OverflowError):
            pass
        else:
            return _check_number(number, bounds, name, item, value)
    elif hint is type(None) and value is None:
        return None
    elif isinstance(hint, type) and type(value) is hint:
        return _check_number(value, bounds, name, item, value) if hint is int else value
    quotes = "; put it in quotes" if hint is str and isinstance(value, (bool, int, float)) else ""
    shown = repr(value) if len(repr(value)) <= 200 else f"{repr(value)[:200]}…"
    raise LayerwiseError(f"option {name!r} is {shown}, which is not {spelled(hint, bounds=False)}{quotes}")


def _plain(value: Any) -> Any:
    """Return a number or text of numpy's, as a grid search draws it, as Python's."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


def _check_number(number: Any, bounds: tuple[Any, ...], name: str, item: bool, value: Any) -> Any:
    """Return a number that is finite and within its bounds; the error shows the value that was given for it."""
    within = [*bounds_of(bounds)]
    endless = any(isinf(bound) for _, bound in within)
    finite = isinstance(number, int) or isfinite(number) or (endless and isinf(number))
    if isinstance(number, int) and not -WIDEST <= number < WIDEST:
        raise _OutOfBounds(
            f"option {name!r} has a whole number of {number.bit_length()} bits: it must have 63 or fewer"
        )
    if finite and all(ON_NUMBERS[kind].holds(number, bound) for kind, bound in within):
        return number
    wanted = " ".join(filter(None, ["" if finite else "a finite number", in_words(bounds)]))
    are = f"has {value!r}: each" if item else f"is {value!r}: it"
    raise _OutOfBounds(f"option {name!r} {are} must be {wanted}")


def _check_length(value: Any, bounds: tuple[Any, ...], name: str) -> None:
    if not all(ON_LENGTHS[kind].holds(value, bound) for kind, bound in bounds_of(bounds, ON_LENGTHS)):
        shown = list(value) if isinstance(value, tuple) else value
        raise _OutOfBounds(f"option {name!r} is {shown!r}: it must have {in_words(bounds, ON_LENGTHS)} items")
