"""What differs by a number is said once: names with placeholders, such as ``d<n>``.

A *segment* whose name holds placeholders stands for all segments that a network uses and that fit it:
``d<n>: {layers: [conv 3 <n>]}`` gives d9. An *entry* of networks, of a figure or a table that lists its numbers stands
for several: ``d<n>/head: {d<n>: [4, 6]}`` gives ``d4/head: d4`` and ``d6/head: d6``. Entries and segments below
``<n>=4`` are taken with that number, ``<n>=4: {d<n>/head: d<n>, p<n>/head: p<n>}``, and with another by a YAML alias.
A segment's *variants* are segments that differ from it in what they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from layerwise.errors import LayerwiseError
from layerwise.study.text import LONGEST, short

PLACEHOLDER = re.compile(r"<([a-z]+)>")
SETTING = re.compile(r"<[a-z]+>=\S*( <[a-z]+>=\S*)*")
INTEGER, NUMBER = re.compile(r"[-+]?[0-9]+"), re.compile(r"[-+]?[0-9]+\.[0-9]*([eE][-+][0-9]+)?")


def written(given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the segments, those below ``<n>=4`` with that number, and after each its variants."""
    whole: dict[str, dict[str, Any]] = {}
    for key, value in given.items():
        if SETTING.fullmatch(key):
            numbers = _numbers(key)
            entries = [(fill(name, numbers), _filled(segment, numbers)) for name, segment in written(value).items()]
        else:
            plain = {k: v for k, v in value.items() if k != "variants"}
            entries = [(key, plain)]
            entries += [(f"{key}_{end}", {**plain, **changes}) for end, changes in value.get("variants", {}).items()]
        for name, segment in entries:
            if name in whole:
                raise LayerwiseError(
                    f"segment {name!r}: it is given twice, once as a variant or below <n>=4; delete one"
                )
            uses = segment.get("uses", [])  # which a variant may have made anything of
            if not isinstance(uses, list) or not all(isinstance(path, str) for path in uses):
                raise LayerwiseError(f"segment {name!r}: uses: {short(uses)} is no list of paths")
            whole[name] = segment
    return whole


def concrete(given: dict[str, dict[str, Any]], paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the explicit segments, and of each family, in its place, the members that the paths use.

    A name that neither is explicit nor fits a family is left for the caller to refuse.
    """
    families = {name: _pattern(name) for name in given if PLACEHOLDER.search(name)}
    for name, content in given.items():
        if extra := sorted(_placeholders(content) - _placeholders(name)):
            raise LayerwiseError(f"segment {name!r}: <{extra[0]}> stands in it and not in its name; write a number")
    members: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in families}
    todo = list(paths)
    seen: set[str] = set()
    for path in todo:  # grows while it is walked: a segment may use another network
        for name in re.split("[/+]", path):
            if name in seen:
                continue
            seen.add(name)
            segment = given.get(name)
            fitting = [(f, found) for f, pattern in families.items() if (found := pattern.fullmatch(name))]
            if segment is None and len(fitting) > 1:
                raise LayerwiseError(f"segment {name!r}: {fitting[0][0]} and {fitting[1][0]} both fit it; rename one")
            if segment is None and fitting:
                if len(name) > LONGEST:
                    raise LayerwiseError(f"segment {fitting[0][0]!r}: what it uses is of its own family, without end")
                family, found = fitting[0]
                segment = _filled(given[family], found.groupdict())
                members[family][name] = segment
            todo += segment.get("uses", ()) if segment else ()
    return {n: s for name in given for n, s in members.get(name, {name: given[name]}).items()}


def fill(value: Any, numbers: dict[str, str], read: bool = False) -> Any:
    """Return text, or what holds it, with its placeholders filled in.

    Parameters
    ----------
    read
        Text that is a number once it is filled becomes one, as in YAML: ``0.<n>`` becomes 0.3.
    """
    if isinstance(value, dict):
        return {fill(k, numbers): fill(v, numbers, read) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(v, numbers, read) for v in value]
    if not isinstance(value, str) or not PLACEHOLDER.search(value):
        return value
    text = PLACEHOLDER.sub(lambda found: numbers.get(found[1], found[0]), value)
    if read and INTEGER.fullmatch(text):
        return int(text)
    return float(text) if read and NUMBER.fullmatch(text) else text


def listed(given: Any, where: str) -> Any:
    """Return a mapping, and those in it, with the entries written out that stand for several.

    With several placeholders each number is a list of them, in the order in which the key and then the text have them.
    """
    if isinstance(given, list):
        return [listed(each, where) for each in given]
    if not isinstance(given, dict):
        return given
    whole: dict[Any, Any] = {}
    for key, value in given.items():
        if SETTING.fullmatch(str(key)) and isinstance(value, dict):
            numbers = _numbers(key)
            entries = list(listed({fill(k, numbers): fill(v, numbers) for k, v in value.items()}, where).items())
        else:
            entries = _entries(key, value, where) or [(key, listed(value, where))]
        for name, each in entries:
            if name in whole:
                raise LayerwiseError(f"{where}: {name!r} is given twice, by lists of numbers; delete one")
            whole[name] = each
    return whole


def _entries(key: Any, value: Any, where: str) -> list[tuple[Any, Any]]:
    """Return the entries that one entry lists; none where it is no list of entries."""
    if not PLACEHOLDER.search(str(key)) or not isinstance(value, dict) or len(value) != 1:
        return []
    ((text, numbers),) = value.items()
    if not isinstance(text, str) or not isinstance(numbers, list):
        return []
    names = list(dict.fromkeys(PLACEHOLDER.findall(f"{key} {text}")))
    rows = [[str(n) for n in (row if isinstance(row, list) else [row])] for row in numbers]
    if wrong := next((row for row in rows if len(row) != len(names)), None):
        raise LayerwiseError(
            f"{where}: {key!r}: {text!r} has {len(names)} placeholders, and {', '.join(wrong)} does not fill them"
        )
    filled = [dict(zip(names, row, strict=True)) for row in rows]
    return [(fill(key, each), fill(text, each)) for each in filled]


def _numbers(setting: str) -> dict[str, str]:
    return dict(part[1:].split(">=", 1) for part in setting.split(" "))


def _filled(segment: dict[str, Any], numbers: dict[str, str]) -> dict[str, Any]:
    return {k: fill(v, numbers, read=k != "uses") for k, v in segment.items()}


def _pattern(name: str) -> re.Pattern[str]:
    """Return what the members of a family are called: each placeholder stands for digits, the same ones each time."""
    if re.search("><", name):
        raise LayerwiseError(f"segment {name!r}: two placeholders stand side by side; put something between them")
    seen: set[str] = set()
    pattern = ""
    for i, part in enumerate(PLACEHOLDER.split(name)):
        if i % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>[0-9]+)"
            seen.add(part)
    return re.compile(pattern)


def _placeholders(value: Any) -> set[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return {name for each in value for name in _placeholders(each)}
    return set(PLACEHOLDER.findall(value)) if isinstance(value, str) else set()
