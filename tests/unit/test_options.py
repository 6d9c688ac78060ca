"""Bounds of options: declared in annotations, and checked wherever options are made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from math import inf, nan
from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
import pytest

from layerwise import options, plugins
from layerwise.errors import LayerwiseError
from layerwise.options import Bounded, Ge, Gt, Le, Lt, MinLen, spelled, typed


@dataclass(frozen=True)
class Plain:
    """As a method's author may write it."""

    count: Annotated[int, Ge(1)] = 1
    share: Annotated[float, Gt(0), Le(1)] = 0.5
    rate: Annotated[float, Gt(0)] | None = None
    noise: Literal["evidence"] | Annotated[float, Ge(0), Lt(2)] = "evidence"
    size: Annotated[int | float, Ge(0)] = 0
    steps: tuple[Annotated[int, Ge(1)], ...] = ()
    rates: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] | Annotated[float, Gt(0)] = 0.1
    names: Annotated[tuple[str, ...], MinLen(2)] = ("a", "b")
    lines: Annotated[dict[str, Annotated[dict[str, Annotated[int, Ge(0)]], MinLen(1)]], MinLen(1)] = field(
        default_factory=lambda: {"a": {"b": 1}}
    )
    any: float = 0.0
    endless: Annotated[float, Le(inf)] = 0.0


@dataclass(frozen=True)
class Checked(Plain, Bounded):
    """The same, checked however it is made, with a word on two options together."""

    def __post_init__(self) -> None:
        if self.count > 1 and self.any:
            raise LayerwiseError("count: one where there is any")


REFUSED = [
    ("count", 0, "option 'count' is 0: it must be at least 1"),
    ("count", 1.0, "option 'count' is 1.0, which is not int"),
    ("count", True, "option 'count' is True, which is not int"),
    ("share", 1.5, "option 'share' is 1.5: it must be above 0 and at most 1"),
    ("share", 0, "option 'share' is 0: it must be above 0 and at most 1"),
    ("share", "2e0", "option 'share' is '2e0': it must be above 0 and at most 1"),
    ("share", nan, "option 'share' is nan: it must be a finite number above 0 and at most 1"),
    ("rate", -1, "option 'rate' is -1: it must be above 0"),
    ("rate", inf, "option 'rate' is inf: it must be a finite number above 0"),
    ("rate", "fast", "option 'rate' is 'fast', which is not float | None"),
    ("noise", 2.0, "option 'noise' is 2.0: it must be at least 0 and below 2"),
    ("noise", "evidenc", "option 'noise' is 'evidenc', which is not Literal['evidence'] | float"),
    ("size", -1, "option 'size' is -1: it must be at least 0"),
    ("size", -0.5, "option 'size' is -0.5: it must be at least 0"),
    ("steps", [3, 0], "option 'steps' has 0: each must be at least 1"),
    ("steps", 3, "option 'steps' is 3, which is not tuple[int, ...]"),
    ("rates", [], "option 'rates' is []: it must have 1 or more items"),
    ("rates", [1, -1], "option 'rates' has -1: each must be above 0"),
    ("rates", 0, "option 'rates' is 0: it must be above 0"),
    ("names", ["a"], "option 'names' is ['a']: it must have 2 or more items"),
    ("lines", {}, "option 'lines' is {}: it must have 1 or more items"),
    ("lines", {"a": {}}, "option 'lines/a' is {}: it must have 1 or more items"),
    ("lines", {"a": {"b": -1}}, "option 'lines/a/b' is -1: it must be at least 0"),
    ("any", nan, "option 'any' is nan: it must be a finite number"),
    ("any", "-inf", "option 'any' is '-inf': it must be a finite number"),
    ("any", 10**400, "which is not float"),
    ("count", 2**63, "option 'count' has a whole number of 64 bits: it must have 63 or fewer"),  # torch takes no other
    ("count", 10**400, "option 'count' has a whole number of 1329 bits"),
    ("endless", nan, "option 'endless' is nan: it must be a finite number"),
]


@pytest.mark.parametrize(
    ("name", "value", "said"), REFUSED, ids=[f"{number} {name}" for number, (name, *_) in enumerate(REFUSED)]
)  # a number of 5,000 digits makes no name
def test_what_is_out_of_bounds_is_one_line(name, value, said):
    with pytest.raises(LayerwiseError) as caught:
        typed(Plain, {name: value}, "segment 's'", "method 'm'")
    assert str(caught.value).startswith("segment 's': option ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(LayerwiseError) as direct:
        Checked(**{name: value})
    assert f"segment 's': {direct.value}" == str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("count", 1, 1),
        ("count", np.int64(7), 7),
        ("count", 2**63 - 1, 2**63 - 1),
        ("share", 1, 1.0),
        ("share", "1e-3", 0.001),
        ("share", np.float32(0.5), 0.5),
        ("rate", None, None),
        ("noise", np.str_("evidence"), "evidence"),
        ("noise", 0, 0.0),
        ("size", 3, 3),
        ("size", 0.5, 0.5),
        ("steps", [1, 2], (1, 2)),
        ("rates", [1], (1.0,)),
        ("rates", 1, 1.0),
        ("endless", inf, inf),
        ("endless", -inf, -inf),
    ],
)
def test_what_is_within_bounds_is_typed(name, value, kept):
    for made in (typed(Plain, {name: value}, "here", "it"), Checked(**{name: value})):
        assert getattr(made, name) == kept
        assert type(getattr(made, name)) is type(kept)
        assert made == type(made)(**vars(made))  # as the fit makes them again


def test_two_options_are_looked_at_together_once_each_is_right():
    with pytest.raises(LayerwiseError, match=r"^here: count: one where there is any"):
        typed(Checked, {"count": 2, "any": "1e0"}, "here", "it")
    with pytest.raises(LayerwiseError, match="'any' is inf"):
        Checked(count=2, any=inf)


def test_a_subclass_keeps_what_its_parent_refuses():
    class More(Checked):
        pass

    with pytest.raises(LayerwiseError, match="one where there is any"):
        More(count=2, any=1)
    with pytest.raises(LayerwiseError, match="'count' is 0"):
        More(count=0)


def test_bounds_are_read_from_any_object_that_has_them():
    within = SimpleNamespace(gt=None, ge=2, lt=None, le=3)  # as annotated_types.Interval
    cls = dataclasses.make_dataclass("Other", [("a", Annotated[int, "said of it", within])])
    assert typed(cls, {"a": 3}, "here", "it").a == 3
    with pytest.raises(LayerwiseError, match="here: option 'a' is 4: it must be at least 2 and at most 3"):
        typed(cls, {"a": 4}, "here", "it")


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("count", "int at least 1", "int"),
        ("share", "float above 0 and at most 1", "float"),
        ("rate", "float above 0 | None", "float | None"),
        ("noise", "{'evidence'} | float at least 0 and below 2", "Literal['evidence'] | float"),
        ("size", "int | float at least 0", "int | float"),
        ("names", "tuple[str, ...] of 2 or more", "tuple[str, ...]"),
        ("steps", "tuple[int at least 1, ...]", "tuple[int, ...]"),
        ("any", "float", "float"),
    ],
)
def test_annotations_are_spelled(name, text, code):
    hint = options.hints(Plain)[name]
    assert (spelled(hint), spelled(hint, bounds=False)) == (text, code)


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_the_options_of_the_package_are_checked_however_they_are_made(kind):
    for name in plugins.known(kind):
        cls = plugins.load(kind, name).Options
        assert issubclass(cls, Bounded) or "Annotated" not in str(options.hints(cls)), f"{kind} {name}"


def test_options_of_a_file_are_those_of_its_module():
    """Made from the source alone or imported: the same types, bounds and defaults."""
    for kind in plugins.KINDS:
        for name in plugins.known(kind):
            alone, module = plugins.options_class(kind, name), plugins.load(kind, name).Options
            spelt = [{name: spelled(hint) for name, hint in options.hints(cls).items()} for cls in (alone, module)]
            assert spelt[0] == spelt[1], f"{kind} {name}"
