"""What the works publish, and the networks of a study that measure it: one mapping for tables, figures and verdicts.

``results/published.csv`` holds the facts: source, item, row, metric, value, and whether the value is a *result* (which
a study answers for) or a *setting* (which a study takes over). Neither torch nor pandas is needed: a study is checked
with this module.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from layerwise.errors import LayerwiseError, nearest
from layerwise.study.families import PLACEHOLDER, fill

if TYPE_CHECKING:
    from layerwise.study.model import Study

FILE = Path(__file__).parents[1] / "results" / "published.csv"
NAMES = ("source", "item", "row", "metric")
SHARED = "network"  # in a row, the network of all that has none of its own
SPLIT = re.compile("(train|valid|test)_")


@dataclass(frozen=True)
class Value:
    """One published value."""

    source: str
    item: str
    row: str
    metric: str
    value: float
    kind: Literal["result", "setting"]


@functools.cache
def values() -> tuple[Value, ...]:
    """Return every published value that is known, in the order of the works."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [(*row[:4], float(row[4]), row[5]) for row in list(csv.reader(file))[1:]]
    return tuple(Value(*row) for row in rows)  # type: ignore[arg-type]


def answered(published: dict[str, Any]) -> list[Value]:
    """Return the published results that a study answers for; LayerwiseError for an item that no work holds.

    Parameters
    ----------
    published
        Items by work, as `Study.published` has them.
    """
    items: dict[str, set[str]] = {}
    for v in values():
        items.setdefault(v.source, set()).add(v.item)
    for source, wanted in published.items():
        if source not in items:
            raise LayerwiseError(f"published: no work {source!r}{nearest(source, items)}")
        for item in wanted:
            if item not in items[source]:
                raise LayerwiseError(f"published: {source} has no item {item!r}{nearest(item, items[source])}")
    return [v for v in values() if v.kind == "result" and v.item in published.get(v.source, ())]


def measure_of(metric: str) -> str:
    """Return the column of fits.csv that a published metric is compared with where nothing else is said."""
    stem = re.sub(r"_(mean|std|low|high)$", "", metric)
    return "test_accuracy" if "accuracy" in stem and not SPLIT.match(stem) else stem


# ---------------------------------------------------------------- rows and patterns


@functools.cache
def _compiled(pattern: str, words: tuple[tuple[str, tuple[str, ...]], ...]) -> re.Pattern[str]:
    known, seen, text = dict(words), set(), ""
    for i, part in enumerate(PLACEHOLDER.split(pattern)):
        if i % 2 == 0:
            text += ".*".join(map(re.escape, part.split("*")))
        elif part in seen:
            text += f"(?P={part})"
        else:
            longest_first = sorted(known.get(part, ()), key=len, reverse=True)
            text += f"(?P<{part}>{'|'.join(map(re.escape, longest_first)) or '[A-Za-z0-9]+'})"
            seen.add(part)
    return re.compile(text, re.DOTALL)


def fits(pattern: str, text: str, words: dict[str, dict[str, str]] | None = None) -> dict[str, str] | None:
    """Return what the placeholders stand for if the text fits the pattern, None if it does not.

    ``*`` stands for any text, ``<name>`` for letters and digits, or for what `words` has of that name, which also says
    how it is written in networks. Nothing else is special.
    """
    words = words or {}
    found = _compiled(pattern, tuple((n, tuple(w)) for n, w in words.items())).fullmatch(text)
    return {n: words[n][t] if n in words else t for n, t in found.groupdict().items()} if found else None


def matched(entry: dict[str, Any], value: Value) -> dict[str, str] | None:
    """Return what the placeholders of a verdict stand for at a value, None if the verdict is not on it."""
    filled: dict[str, str] = {}
    for name in NAMES:
        found = fits(entry.get(name, "*"), getattr(value, name))
        if found is None:
            return None
        filled |= found
    return filled


def entry_on(verdicts: Iterable[dict[str, Any]], value: Value) -> dict[str, Any]:
    """Return the entry that applies to a value, the first that is on it; an empty one where none is."""
    return next((entry for entry in verdicts if matched(entry, value) is not None), {})


def measured_by(entry: dict[str, Any]) -> list[str]:
    """Return the networks, as dataset/path, that a verdict names of its own."""
    if "networks" in entry:
        return list(entry["networks"].values())
    return [entry["network"]] if entry.get("network") else []


def place(entry: dict[str, Any], value: Value) -> dict[str, Any]:
    """Return where in a probe's table a verdict looks, with the placeholders of the value filled in."""
    filled: dict[str, Any] = fill(entry.get("where", {}), matched(entry, value) or {})
    return filled


def written(entry: dict[str, Any], rows: list[Value]) -> list[dict[str, Any]]:
    """Return a verdict, or value by value if its network has placeholders; nothing where it is on no value."""
    on = [(v, filled) for v in rows if (filled := matched(entry, v)) is not None]
    if not PLACEHOLDER.search(entry.get("network") or ""):
        return [entry] if on else []
    return [{**entry, **{n: getattr(v, n) for n in NAMES}, "network": fill(entry["network"], f)} for v, f in on]


# ---------------------------------------------------------------- the mapping


@dataclass(frozen=True)
class Column:
    """A column of a published item: the metric that it is held against, if any, and the column of fits.csv it shows."""

    published: str
    measure: str


@dataclass(frozen=True)
class Item:
    """A published item as a study measures it.

    Parameters
    ----------
    rows
        For each published row, in the order of the study, the network, as dataset/path, of each column.
    shared
        The network that measures what has no column of its own.
    """

    columns: dict[str, Column]
    rows: dict[str, dict[str, str]]
    shared: dict[str, str]

    def written(self) -> dict[str, dict[str, str | None]]:
        """Return the rows as a study would write them one by one."""
        absent = {column: None for column, how in self.columns.items() if how.published}
        shared = {row: {**absent, SHARED: network} for row, network in self.shared.items()}
        return {row: {**shared.get(row, {}), **cells} for row, cells in self.rows.items()}

    def column(self, name: str) -> Column:
        return self.columns.get(name, Column("", "test_accuracy"))

    def measures(self, row: str, metric: str) -> tuple[str, str] | None:
        """Return the network of a published value and its measure; None where the study has none."""
        for name, column in self.columns.items():
            if column.published == metric and name in self.rows.get(row, {}):
                return self.rows[row][name], column.measure
        return (self.shared[row], measure_of(metric)) if row in self.shared else None


def mapped(study: Study, source: str, name: str) -> Item:
    """Return a published item as a study measures it; LayerwiseError where it says nothing of it."""
    there = {s: [i for i, m in items.items() if m.get("rows")] for s, items in study.published.items()}
    if source not in there:
        raise LayerwiseError(f"published: the study measures no row of a work {source!r}{nearest(source, there)}")
    if name not in there[source]:
        hint = nearest(name, there[source])
        raise LayerwiseError(f"published: the study measures no row of {source} {name!r}{hint}")
    return resolved(study.published[source][name], source, name)


def resolved(given: dict[str, Any], source: str, name: str) -> Item:
    """Return the mapping of an item with its patterns written out; LayerwiseError for a name that the work lacks.

    A row that is named exactly completes the pattern that fits it, cell by cell; null takes a cell away. Rows come in
    the order of the work, or with ``order: rows`` in that of the keys.
    """
    where = f"published {source} {name}"
    mine = [v for v in values() if (v.source, v.item) == (source, name)]
    known, words = dict.fromkeys(v.row for v in mine), given.get("words", {})
    columns = {c: _column(c, how, {v.metric for v in mine}, where) for c, how in given.get("columns", {}).items()}
    keys = {key: {SHARED: cells} if isinstance(cells, str) else cells for key, cells in given["rows"].items()}
    fitting: dict[str, dict[str, dict[str, str]]] = {}  # for each row, the keys that fit it, with what fills them
    for key, cells in keys.items():
        held = PLACEHOLDER.findall(key)
        for text in filter(None, cells.values()):
            if extra := [p for p in PLACEHOLDER.findall(text) if p not in held]:
                raise LayerwiseError(f"{where}: <{extra[0]}> of {text!r} does not stand in its row {key!r}")
        found = {row: filled for row in known if (filled := fits(key, row, words)) is not None}
        if not found:
            raise LayerwiseError(f"{where}: no row {'fits ' if held else ''}{key!r}{nearest(key, known)}")
        for row, filled in found.items():
            fitting.setdefault(row, {})[key] = filled
    rows: dict[str, dict[str, str]] = {}
    shared: dict[str, str] = {}
    for row in fitting if given.get("order") == "rows" else [row for row in known if row in fitting]:
        found = fitting[row]
        patterns = [key for key in found if key != row]
        if len(patterns) > 1:
            raise LayerwiseError(f"{where}: {patterns[0]!r} and {patterns[1]!r} both fit {row!r}; make them apart")
        cells = {c: n for key in patterns for c, n in fill(keys[key], found[key]).items()} | keys.get(row, {})
        if cells.get(SHARED):
            shared[row] = cells[SHARED]
            cells = {c: shared[row] for c, how in columns.items() if how.published} | cells
        rows[row] = {c: network for c, network in cells.items() if network and c != SHARED}
    _in_use("column", columns, {c for cells in rows.values() for c in cells}, where)
    _in_use("words of", words, {name for key in keys for name in PLACEHOLDER.findall(key)}, where)
    return Item(columns, rows, shared)


def _in_use(what: str, names: Iterable[str], used: set[str], where: str) -> None:
    """Refuse a name that no row has: a slip there would leave values without a verdict, in silence."""
    for name in names:
        if name not in used:
            raise LayerwiseError(f"{where}: {what} {name!r}: no row has it{nearest(name, used)}")


def _column(name: str, given: str | dict[str, str], metrics: set[str], where: str) -> Column:
    how = {"published": given} if isinstance(given, str) else given
    metric = how.get("published", "")
    if metric and metric not in metrics:
        raise LayerwiseError(f"{where}: column {name!r}: no metric {metric!r}{nearest(metric, metrics)}")
    return Column(metric, how.get("measure") or (measure_of(metric) if metric else "test_accuracy"))


# ---------------------------------------------------------------- what a study says of them


def networks(entry: dict[str, Any], value: Value, items: dict[tuple[str, str], Item]) -> tuple[list[str], str]:
    """Return the networks that measure a value, and the measure: those of its verdict, or those of the mapping.

    Parameters
    ----------
    entry
        The first verdict on the value; empty where there is none.
    """
    own = fill(measured_by(entry), matched(entry, value) or {})
    measure = entry.get("measure")
    if "networks" in entry:  # places on a curve: the test split would choose in its own favour
        return own, measure or "valid_accuracy"
    if "network" in entry:
        return own, measure or measure_of(value.metric)
    item = items.get((value.source, value.item))
    mapped = item.measures(value.row, value.metric) if item else None
    return ([mapped[0]], measure or mapped[1]) if mapped else ([], "")


def mapping(published: dict[str, Any]) -> dict[tuple[str, str], Item]:
    """Return all items that a study maps, by source and name."""
    return {(s, i): resolved(m, s, i) for s, all_ in published.items() for i, m in all_.items() if m.get("rows")}


def check(study: Study, known: Iterable[str]) -> None:
    """Check what a study says of published values: LayerwiseError for an item, a row, a verdict or a network amiss.

    Parameters
    ----------
    known
        The networks of the study, as dataset/path.
    """
    known = set(known)
    rows, items = answered(study.published), mapping(study.published)
    for (source, name), each in items.items():
        for row, cells in each.rows.items():
            for network in (*cells.values(), *([each.shared[row]] if row in each.shared else [])):
                if network not in known:
                    where = f"published {source} {name}: row {row!r}"
                    raise LayerwiseError(f"{where}: no network {network!r}{nearest(network, known)}")
    for entry in study.verdicts:
        if not any(matched(entry, v) is not None for v in rows):
            raise LayerwiseError(_unmatched(entry, rows, items))
        named = [*measured_by(entry), *entry.get("against", {}).values()]
        named = [network for network in named if not PLACEHOLDER.search(network)]
        for network in named:
            if network not in known:
                raise LayerwiseError(f"verdict on {entry['item']!r}: no network {network!r}{nearest(network, known)}")
        _check_probe(study, entry, named)
        _check_curve(entry)
    for v in rows:
        entry = next((e for e in study.verdicts if matched(e, v) is not None), {})
        for network in networks(entry, v, items)[0]:
            if network not in known:
                raise LayerwiseError(f"verdict on {v.item!r}: no network {network!r}{nearest(network, known)}")


def _check_probe(study: Study, entry: dict[str, Any], named: list[str]) -> None:
    """Refuse a verdict on a probe that is not there or looks elsewhere, or that says too little of where it looks."""
    where = f"verdict on {entry['item']!r}"
    if "probe" in entry:
        if entry["probe"] not in study.probes:
            raise LayerwiseError(f"{where}: no probe {entry['probe']!r}{nearest(entry['probe'], study.probes)}")
        if "measure" not in entry:
            raise LayerwiseError(f"{where}: name the column of the probe under measure")
        for network in named:
            dataset, _, path = network.partition("/")
            if path not in study.looked_at(entry["probe"], dataset):
                raise LayerwiseError(f"{where}: probe {entry['probe']!r} does not look at {network!r}; name it there")
    elif "where" in entry:
        raise LayerwiseError(f"{where}: where is a place in what a probe saw: name the probe")


def _check_curve(entry: dict[str, Any]) -> None:
    """Refuse what a place on a curve has no use for, and what only such a place has."""
    where = f"verdict on {entry['item']!r}"
    if "networks" in entry:
        for name in ("against", "scale"):
            if name in entry:
                raise LayerwiseError(f"{where}: {name} is for one network, and networks name a curve: leave one out")
    elif entry.get("statistic") in ("best", "enough"):
        raise LayerwiseError(f"{where}: statistic {entry['statistic']} is a place on a curve: name its networks")


def _unmatched(entry: dict[str, Any], rows: list[Value], items: dict[tuple[str, str], Item]) -> str:
    """Return what is wrong with a verdict that is on no value."""
    said = " ".join(str(entry[k]) for k in NAMES if k in entry)
    columns = {c for (_, name), each in items.items() if name == entry["item"] for c in _all_columns(each)}
    if entry.get("metric") in columns:
        return (
            f"verdict on {said!r}: {entry['metric']!r} is a column; name the published metric that it is held against"
        )
    hint = nearest(said, {" ".join(getattr(v, k) for k in NAMES if k in entry) for v in rows})
    hint = hint if len(hint) < 200 else "; the names are in published.csv"
    return f"verdict on {said!r}: the study answers for no published value of this name{hint}"


def _all_columns(item: Item) -> set[str]:
    return {*item.columns, *(column for cells in item.rows.values() for column in cells)}
