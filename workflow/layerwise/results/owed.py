"""Which fits of a study are up to date, and which a run will make or make anew, said before it starts.

Snakemake plans jobs, and a job leaves alone the fits that are up to date: this tells them apart in a dry run. It reads
the records of fits, as a job does before it fits, and not their weights.
"""

from __future__ import annotations

import contextlib

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.gradient.progress import duration
from layerwise.preparation import record as dataset_records
from layerwise.results.collect import TEXT
from layerwise.run import records
from layerwise.study.model import Study
from layerwise.study.trie import DATASET, Node, dataset_folder, home


def in_words(study: Study) -> str:
    """Return how many fits a run makes, makes anew and leaves alone, and how long these took last time, if known."""
    roots = {name: _root(study, name) for name in study.networks}
    nodes = study.nodes()
    owed = [node for node in nodes if not _stands(study, node, roots[node.dataset][0])]
    again = sum((node.folder / "fit.json").is_file() for node in owed)
    stand = len(nodes) - len(owed)
    sure = stand - sum(not roots[node.dataset][1] for node in set(nodes) - set(owed))
    counts = {
        "to run": len(owed) - again,
        "to rerun (options, code or data changed)": again,
        "up to date": sure,
        "up to date if their data, to be prepared again, are the same": stand - sure,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"study {study.name}: {len(nodes)} fits: {told}{_seconds(study, owed)}"


def _root(study: Study, dataset: str) -> tuple[str | None, bool]:
    """Return the digest of a prepared data set, None where there is none, and whether it is prepared as asked for."""
    with contextlib.suppress(LayerwiseError):
        return records.dataset_record(study, dataset)["digest"], True
    with contextlib.suppress(LayerwiseError):
        return dataset_records.read(dataset_folder(study.name, dataset) / DATASET)["digest"], False
    return None, False


def _stands(study: Study, node: Node, root: str | None) -> bool:
    return root is not None and records.is_made(node.folder / "fit.json", study.digest(node, root))


def _seconds(study: Study, owed: list[Node]) -> str:
    """Return how long these fits took, one after the other, when all were last gathered; nothing where one is new."""
    table = home(study.name) / "fits.csv"
    if not owed or not table.is_file():
        return ""
    with contextlib.suppress(LayerwiseError, KeyError):
        each = store.read_csv(table, ["seconds"], TEXT).groupby(["dataset", "path"])["seconds"].mean()
        seconds = sum(each[node.dataset, node.path] for node in owed)
        return f"; those to run took {duration(seconds)} in all when {table} was made"
    return ""
