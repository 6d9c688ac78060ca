"""From what a source gives to the splits that every fit sees: checked, drawn, measured."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerwise import plugins
from layerwise.contract import Raw, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning, nearest
from layerwise.preparation.check import check, check_raw, check_scaling
from layerwise.preparation.disk import content
from layerwise.preparation.draw import deal, equal, mislabelled, proportional
from layerwise.preparation.measure import Statistics, measure
from layerwise.preparation.options import Preparation

Samples = tuple[Tensor, Tensor]


def prepare(
    source: str, options: Any, preparation: Preparation, root: Path
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Load a source and prepare its splits.

    Parameters
    ----------
    source, options
        Name and ``Options`` of the source.
    preparation
        What is common to all sources.
    root
        Folder in which downloaded data sets are kept.

    Returns
    -------
    tensors
        For ``train``, ``valid`` and ``test``: x ``(N, *shape)`` uint8 or float32, y ``(N,)`` int64 or
        ``(N, outputs)`` float32, and the shift and scale (they broadcast to x) of the value (x - shift) / scale.
        A split that does not exist has N = 0.
    record
        ``task``, ``shape``, ``counts`` (samples a split), ``class_counts`` (samples a class), ``constant_features``,
        ``content`` (sha256 of the tensors), ``full`` (an x of full strength, such as 255), ``source``, the source's
        ``notes``, and ``warnings``: what was said on the way, as text.

    Raises
    ------
    LayerwiseError
        For data that cannot be had, that is damaged, or that is not enough for what the preparation asks.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", LayerwiseWarning)
        tensors, record = _prepare(source, options, preparation, root)
    for warning in told:
        warnings.warn(warning.message, stacklevel=2)
    record["warnings"] = [str(each.message) for each in told if issubclass(each.category, LayerwiseWarning)]
    return tensors, record


def _prepare(
    source: str, options: Any, preparation: Preparation, root: Path
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    where = f"source {source!r}"
    load = getattr(plugins.load("datasets", source), "load", None)
    if not callable(load):
        raise LayerwiseError(f"{where}: its file has no function load(options, *, root)")
    raw: Raw = load(options, root=root)
    given = check_raw(raw, where)
    splits = {"train": raw.train, "valid": raw.valid or _none_of(raw.train), "test": raw.test}
    check(splits, given, where)
    if preparation.classes:
        splits, task = _keep_classes(splits, given, preparation.classes, where)
    else:
        task = given
    task = _targets(task, preparation.targets, where)
    splits = _draw(splits, task, preparation, where)
    statistics = _measured(splits["train"][0], preparation.standardise, where)
    shift, scale = statistics.standardisation(preparation.standardise, raw.scale)
    check_scaling(shift, scale, tuple(raw.train[0].shape[1:]), where)
    _warn_of_test(splits, task, where)
    tensors = {name: {"x": x, "y": y, "shift": shift, "scale": scale} for name, (x, y) in splits.items()}
    record: dict[str, Any] = {
        "source": source,
        "task": asdict(task),
        "shape": list(raw.train[0].shape[1:]),
        "counts": {name: len(x) for name, (x, _) in splits.items()},
        "class_counts": {name: _counts(y, task) for name, (_, y) in splits.items()} if task.classifies else {},
        "constant_features": int(statistics.constant.sum()),
        "content": content(tensors),
        "full": float(raw.scale),
        "notes": raw.notes,
    }
    return tensors, record


def _none_of(samples: Samples) -> Samples:
    return samples[0][:0], samples[1][:0]


def _keep_classes(
    splits: dict[str, Samples], task: Task, wanted: Sequence[str | int], where: str
) -> tuple[dict[str, Samples], Task]:
    """Keep the samples of the classes, relabelled in the order given."""
    if not task.classifies:
        raise LayerwiseError(f"{where} has no classes (it is a regression): leave the option 'classes' out")
    chosen = [_class(each, task.classes, where) for each in wanted]
    for place, each in enumerate(chosen):
        if each in chosen[:place]:
            raise LayerwiseError(f"{where}: option 'classes' names class {task.classes[each]!r} twice")
    relabel = torch.full((len(task.classes),), -1, dtype=torch.int64)
    relabel[torch.tensor(chosen)] = torch.arange(len(chosen))
    kept = {}
    for name, (x, y) in splits.items():
        y = relabel[y]
        kept[name] = (x[y >= 0], y[y >= 0])
        if len(x) and not len(kept[name][0]):
            raise LayerwiseError(f"{where}: the {name} split has no sample of the classes {list(wanted)}")
    kind = task.kind if len(chosen) == 2 else "onehot"
    names = tuple(task.classes[c] for c in chosen)
    return kept, Task(kind, 1 if kind == "signs" else len(names), names)


def _class(name: str | int, classes: tuple[str, ...], where: str) -> int:
    """Return the number of a class that is given by name, or by number where no name could be meant by that."""
    if str(name) in classes:
        return classes.index(str(name))
    if isinstance(name, int) and any(re.search(r"\d", known) for known in classes):  # 01 is read as 1, c1 comes at 0
        some = ", ".join(map(repr, classes[:4])) + ", …" * (len(classes) > 4)
        raise LayerwiseError(f"{where}: no class {name}; class names hold numbers, so write them in full: {some}")
    if isinstance(name, int) and 0 <= name < len(classes):
        return name
    raise LayerwiseError(f"{where}: no class {name!r}{nearest(str(name), classes)}")


def _targets(task: Task, wanted: str, where: str) -> Task:
    """Return the task with the targets that were asked for."""
    if wanted in ("auto", task.kind):
        return task
    if not task.classifies:
        raise LayerwiseError(f"{where} is a regression: leave the option 'targets' out")
    if wanted == "onehot":
        return Task("onehot", len(task.classes), task.classes)
    if len(task.classes) != 2:
        raise LayerwiseError(
            f"{where} has {len(task.classes)} classes, and targets: signs needs two; name two in 'classes'"
        )
    return Task("signs", 1, task.classes)


def _counts(y: Tensor, task: Task) -> list[int]:
    """Return the number of samples of each class; a regression counts as one class."""
    return torch.bincount(y, minlength=len(task.classes)).tolist() if task.classifies else [len(y)]


def _draw(splits: dict[str, Samples], task: Task, preparation: Preparation, where: str) -> dict[str, Samples]:
    """Draw the training, validation and test samples that were asked for."""
    train, valid = _shares(_counts(splits["train"][1], task), len(splits["valid"][0]), task, preparation, where)
    rows = _deal(splits["train"], task, [train, valid], [preparation.seed, 0])
    drawn = {"train": rows[0], "valid": splits["valid"] if len(splits["valid"][0]) else rows[1], "test": splits["test"]}
    if preparation.test_subset:
        counts = _counts(splits["test"][1], task)
        wanted = equal(preparation.test_subset, len(counts))
        _enough(counts, wanted, task, f"{where}: test_subset: {preparation.test_subset}")
        drawn["test"] = _deal(splits["test"], task, [wanted], [preparation.seed, 1])[0]
    if preparation.wrong_labels:
        if not task.classifies:
            raise LayerwiseError(f"{where} is a regression: leave the option 'wrong_labels' out")
        x, y = drawn["train"]
        y = mislabelled(y, preparation.wrong_labels, len(task.classes), [preparation.seed, 2])
        if gone := [task.classes[c] for c, count in enumerate(_counts(y, task)) if not count]:
            raise LayerwiseError(
                f"{where}: wrong_labels: {preparation.wrong_labels:g} leaves no training sample of class {gone[0]!r}; "
                "give less"
            )
        drawn["train"] = x, y
    return drawn


def _shares(
    counts: list[int], given: int, task: Task, preparation: Preparation, where: str
) -> tuple[list[int], list[int]]:
    """Return how many samples of each class go to the training and to the validation split."""
    subset, valid = preparation.subset, preparation.valid
    if valid and given:
        raise LayerwiseError(f"{where} has a validation split of its own: leave the option 'valid' out")
    of = subset or sum(counts)
    moved = valid if isinstance(valid, int) else round(valid * of)
    if valid and moved < len(counts):
        raise LayerwiseError(
            f"{where}: valid: {valid} is {moved} of {of} samples, too few for {len(counts)} classes; give more"
        )
    if subset:
        wanted, held = equal(subset, len(counts)), equal(moved, len(counts))
        if subset < len(counts):
            raise LayerwiseError(f"{where}: subset: {subset} is too small for {len(counts)} classes; give more")
        both = [t + v for t, v in zip(wanted, held, strict=True)]
        _enough(counts, both, task, f"{where}: subset: {subset}" + (f" with valid: {valid}" if valid else ""))
        return wanted, held
    if not valid:
        return counts, [0] * len(counts)
    lone = [c for c, count in enumerate(counts) if count < 2]
    if lone and task.classifies:
        raise LayerwiseError(
            f"{where}: class {task.classes[lone[0]]!r} has one training sample, and a validation split needs a second; "
            "add samples, name the other classes in 'classes', or set valid: 0"
        )
    if moved > of - len(counts):
        raise LayerwiseError(f"{where}: valid: {valid} leaves too few of {of} training samples; give less")
    held = proportional(moved, counts)
    return [count - v for count, v in zip(counts, held, strict=True)], held


def _enough(counts: list[int], wanted: list[int], task: Task, where: str) -> None:
    """Demand that every class has the samples that are wanted of it."""
    for c, (count, want) in enumerate(zip(counts, wanted, strict=True)):
        if want > count:
            which = f"of class {task.classes[c]!r}" if task.classifies else "in all"
            raise LayerwiseError(f"{where} asks for {want} samples {which}, which has {count}; ask for fewer")


def _deal(samples: Samples, task: Task, hands: list[list[int]], seed: list[int]) -> list[Samples]:
    x, y = samples
    labels = y if task.classifies else torch.zeros(len(y), dtype=torch.int64)
    return [(x[rows], y[rows]) for rows in deal(labels, hands, seed)]


def _measured(x: Tensor, standardise: str, where: str) -> Statistics:
    """Measure the training samples, and say what is constant in them."""
    statistics = measure(x)
    constant, features = int(statistics.constant.sum()), statistics.constant.size
    if constant == features:
        raise LayerwiseError(f"{where}: all {features} features are constant in the training split: check the data")
    if constant and standardise == "feature":
        text = f"{where}: {constant} of {features} features are constant in the training split: their scale is set to 1"
        warnings.warn(text, LayerwiseWarning, stacklevel=3)
    return statistics


def _warn_of_test(splits: dict[str, Samples], task: Task, where: str) -> None:
    """Say where scores would tell little: of samples that are trained on, and of classes without a sample."""
    known = set(_rows(splits["train"][0]))
    for name in ("valid", "test"):
        x, y = splits[name]
        shared = sum(row in known for row in _rows(x))
        if shared:
            text = f"{where}: {shared} of {len(x)} {name} samples are training samples too, to the byte"
            warnings.warn(f"{text}: their scores say little", LayerwiseWarning, stacklevel=4)
        lacking = [task.classes[c] for c, count in enumerate(_counts(y, task)) if task.classifies and not count]
        if lacking and len(x):
            some = ", ".join(map(repr, lacking[:6])) + ", …" * (len(lacking) > 6)
            text = f"{where}: the {name} split has no sample of {len(lacking)} of {len(task.classes)} classes ({some})"
            warnings.warn(text, LayerwiseWarning, stacklevel=4)


def _rows(x: Tensor) -> list[int]:
    """Return a number for each sample, the same for the same bytes."""
    return [hash(row.tobytes()) for row in x.contiguous().numpy()]
