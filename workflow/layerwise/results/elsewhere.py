"""Fits of what a study leaves out here, from a machine that runs it: a table in version control, written as a whole.

Its last line holds the digest of all lines before it. A reader takes what is as it was written, of values that can be,
and each seed once.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from pathlib import Path
from sys import float_info

import pandas as pd

from layerwise import store
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.results import collect
from layerwise.study.model import Study
from layerwise.study.trie import SPLITS

TEXT = [*(c for c in collect.TEXT if c != "digest"), "machine", "asked"]  # the columns that hold words
LAST = re.compile(r"# sha256 of the lines above: ([0-9a-f]{64})\n?")
COUNTS = ["seed", "depth", "parameters", "total_parameters"]  # whole numbers
FILLED = [*COUNTS, "seconds", "total_seconds", "peak_memory_mb"]
MEASURES = [f"{split}_{measure}" for split in SPLITS for measure in collect.MEASURES]
NUMBERS = [*FILLED, *MEASURES, "train_lsd", "least_layer_error"]  # none below zero
AGAIN = "take the whole file from version control, or write it anew by the verb all --left-out where they run"


def write(study: Study) -> None:
    """Gather the fits of what a study leaves out, where they ran: with their machine and `Study.asked`."""
    asked = {(d, p): study.asked(d, p) for d in study.networks for p in study.paths(d)}
    told = [
        {"machine": collect.machine_of(fit), "asked": asked[node.dataset, node.path]}
        for node, fit in collect.records(study)
    ]
    table = pd.concat([collect.collect(study).drop(columns="digest"), pd.DataFrame(told)], axis=1)
    store.write_text(study.elsewhere, sealed(store.csv_text(table)))


def sealed(text: str) -> str:
    """Return the lines of a table with the digest below them."""
    return f"{text}# sha256 of the lines above: {_sha256(text)}\n"


def read(study: Study) -> pd.DataFrame:
    """Read the fits of the data sets that a study leaves out; none of networks that are asked otherwise by now."""
    path = study.elsewhere
    if not (study.left_out and (path.exists() or path.is_symlink())):  # a link to what is gone is told of
        return pd.DataFrame(columns=[*TEXT, *NUMBERS])
    fits = _checked(path)
    fits = fits[fits["dataset"].isin(study.left_out)]
    of_study = [seed in study.seeds_by_dataset.get(d, study.seeds) for d, seed in zip(fits["dataset"], fits["seed"])]  # noqa: B905
    if others := sorted(set(fits["seed"][~pd.Series(of_study, fits.index, dtype=bool)])):
        told = ", ".join(map(str, others[:5])) + (", …" if len(others) > 5 else "")
        warnings.warn(f"{path}: fits of seeds that the study has not ({told}) do not count", LayerwiseWarning, 2)
        fits = fits[of_study]
    asked = {name: _asked(study, *name) for name in set(zip(fits["dataset"], fits["path"], strict=True))}
    return fits[[asked[d, p] == own for d, p, own in zip(fits["dataset"], fits["path"], fits["asked"], strict=True)]]


def _asked(study: Study, dataset: str, path: str) -> str | None:
    try:
        return study.asked(dataset, path)
    except LayerwiseError:  # a segment that is gone
        return None


def _checked(path: Path) -> pd.DataFrame:
    """Read the table; LayerwiseError where it is not whole, or says what cannot be, naming the row."""
    text = store.read_text(path).replace("\r\n", "\n")  # as a git on Windows may write it
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if line.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
            raise store.Damaged(f"{path}: line {number} is of a merge conflict; {AGAIN}")
    rows, last = "".join(lines[:-1]), LAST.fullmatch(lines[-1]) if lines else None
    if not last:
        raise store.Damaged(f"{path}: cut short, for its last line is not the digest of those above; {AGAIN}")
    try:
        fits = store.read_csv(io.StringIO(rows), NUMBERS, TEXT)
    except store.Damaged:
        raise store.Damaged(f"{path}: not a table of fits; {AGAIN}") from None
    for column in NUMBERS:
        values = fits[column]
        most = 100 if column.endswith("_accuracy") else float_info.max
        wrong = ~values.between(0, most) & (values.notna() | (column in FILLED))
        if column in COUNTS:
            wrong |= values % 1 != 0
        _refuse(path, fits, wrong, f"{column} is {{}}, which cannot be", column)
    twice = fits.duplicated(["dataset", "seed", "path"])
    _refuse(path, fits, twice, "seed {} of the network stands there twice", "seed")
    if last[1] != _sha256(rows):
        raise store.Damaged(f"{path}: changed since it was written; {AGAIN}")
    return fits


def _refuse(path: Path, fits: pd.DataFrame, wrong: pd.Series, why: str, column: str) -> None:
    if wrong.any():
        row = fits[wrong].iloc[0]
        at = f"row {fits.index[wrong][0] + 1}, {row['dataset']}/{row['path']}"
        raise store.Damaged(f"{path}: {at}: {why.format(row[column])}; {AGAIN}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
