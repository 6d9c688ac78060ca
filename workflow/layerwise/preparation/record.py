"""What the record of a prepared data set holds, and what must hold of its task, whoever made it. No torch here."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.options import Ge, MinLen, typed

SPLITS = ("train", "valid", "test")
RECORD = "dataset.json"


def is_name(text: str) -> bool:
    """Tell whether a text can stand as a name in files, tables and figures: on one line, and of whole characters.

    None of them turns the direction of what follows.
    """
    turned = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    odd = (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(c) in turned for c in text)
    return bool(text.strip()) and not any(odd)


@dataclass(frozen=True)
class TaskRecord:
    """What is to be learned, as `layerwise.contract.Task` says it."""

    kind: Literal["onehot", "signs", "values"]
    outputs: Annotated[int, Ge(1)]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        number = len(self.classes)
        wanted = {"onehot": (number, number), "signs": (1, 2), "values": (self.outputs, 0)}[self.kind]
        if (self.outputs, number) != wanted:
            raise LayerwiseError(f"{self.kind!r} with {self.outputs} outputs and {number} classes does not go together")
        for place, name in enumerate(self.classes):
            if not is_name(name):
                raise LayerwiseError(f"class name {name!r} is no text on one line")
            if name in self.classes[:place]:
                raise LayerwiseError(f"class name {name!r} stands for two classes")


@dataclass(frozen=True)
class Record:
    """The other keys of a record, but for the source's own ``notes``."""

    source: str
    shape: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    counts: dict[str, Annotated[int, Ge(0)]]
    class_counts: dict[str, tuple[Annotated[int, Ge(0)], ...]]
    constant_features: Annotated[int, Ge(0)]
    content: str
    full: float = 1.0
    warnings: tuple[str, ...] = ()
    spec: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        if set(self.counts) != set(SPLITS):
            raise LayerwiseError(f"'counts' has not the splits {', '.join(SPLITS)}")
        if any(sum(counts) != self.counts.get(name) for name, counts in self.class_counts.items()):
            raise LayerwiseError("'class_counts' does not add up to 'counts'")


def read(path: Path) -> dict[str, Any]:
    """Read the record of a prepared data set; LayerwiseError where it is none."""
    record: Any = store.read_json(path)
    try:
        if not isinstance(record, dict):
            raise LayerwiseError("no mapping")
        task, notes = record.get("task"), record.get("notes", {})
        if not isinstance(task, dict) or not isinstance(notes, dict):
            raise LayerwiseError("'task' and 'notes' must be mappings")
        typed(TaskRecord, task, "task", "it")
        typed(Record, {k: v for k, v in record.items() if k not in ("task", "notes")}, "record", "it")
    except LayerwiseError as error:
        raise LayerwiseError(f"{path}: not the record of a data set ({error}); delete it and run again") from None
    return record
