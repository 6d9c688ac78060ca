"""What each file that a study ends in was made for: one small record a file, written last, in `.made`.

A file whose record has another digest than the study asks for now, or that was changed since, is refused.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.run import records
from layerwise.run.records import sha256
from layerwise.study.model import Study, digest_of
from layerwise.study.trie import DATASET, SPLITS, Node, dataset_folder, home


def path(study: Study, name: str) -> Path:
    """Return the record of ``fits``, ``verdicts``, ``tables/<name>``, ``figures/<name>`` or ``report``."""
    return home(study.name) / ".made" / f"{name}.json"


def view_digest(study: Study, wanted: str) -> str:
    """Return the digest that a file is made for which shows the fits: that which is asked for, of the very fits, those
    from elsewhere among them."""
    away = [study.elsewhere] if study.left_out and study.elsewhere.is_file() else []
    return digest_of([wanted, *map(sha256, [home(study.name) / "fits.csv", *away])])


def forget_what_is_gone(study: Study) -> None:
    """See that Snakemake makes anew what is owed, whether it remembers what it did or not.

    Of a data set, a node, a checkpoint or what a probe saw Snakemake knows one file, which goes where another is gone.
    The record of fits.csv goes with any of them, and where fits.csv is not as it was made. One of another digest than
    the study asks for becomes older than all else: Snakemake goes by its parameter, and without its memory by the time.
    """
    there = list(known(study))
    for marker, node, files in there:
        if marker.is_file() and not all(file.is_file() for file in files) and _tells_of(marker, node):
            store.remove(marker)
    fits, table = path(study, "fits"), home(study.name) / "fits.csv"
    if not fits.is_file():
        return
    try:
        record = store.read_json(fits)
    except store.Damaged:
        record = {}
    if not table.is_file() or record.get("files") != {table.name: sha256(table)}:
        store.remove(fits)
    elif record.get("digest") != study.results_digest():
        os.utime(fits, (1, 1))
    elif not all(marker.is_file() for marker, *_ in there):
        store.remove(fits)


def _tells_of(marker: Path, node: Node | None) -> bool:
    """Tell whether a marker says that a node was made: a seed or a network that is new was not, and is no loss."""
    try:
        return node is None or str(node) in store.read_json(marker).get("made", ())
    except store.Damaged:
        return True


def known(study: Study) -> Iterator[tuple[Path, Node | None, list[Path]]]:
    """Give each file that Snakemake knows of a study's results, the node, and the files that lie there with it."""
    for dataset in study.networks:
        folder = dataset_folder(study.name, dataset)
        yield folder / DATASET, None, [folder / f"{split}.safetensors" for split in SPLITS]
    for node in study.nodes():
        marker = functools.partial(study.marker, node.dataset, study.group(node.dataset, node.seed), node.path)
        yield marker(), node, [node.folder / name for name in ("segment.safetensors", "fit.json", "score.json")]
        if study.kept(node.path):
            yield marker("features"), node, [node.folder / f"{split}.safetensors" for split in SPLITS]
    for name, dataset, look in study.looks():
        for seed in study.seeds_of(dataset):
            node = Node(study.name, dataset, seed, look)
            group = study.group(dataset, seed)
            yield study.marker(dataset, group, "", f"probe.{name}"), node, [*records.seen(node, name)]


@contextlib.contextmanager
def making(
    study: Study, name: str, digest: str, files: Sequence[Path], text: Sequence[str] = ()
) -> Iterator[Sequence[Path]]:
    """Record, once the body has made the files, the digest that they are for, and what is in them.

    An older record goes first: it must not stand beside others than it tells of.

    Parameters
    ----------
    text
        Columns of text, where the files are a table of columns that its module alone knows.
    """
    store.remove(path(study, name))
    yield files
    told = {file.name: sha256(file) for file in files}
    records.write(path(study, name), {"digest": digest, "files": told, "text": list(text)})


def check(study: Study, name: str, digest: str, files: Iterable[Path], verb: str) -> list[str]:
    """Refuse files that were made for another digest, or that are not as they were made; returns the columns of text.

    Parameters
    ----------
    verb
        The verb that makes them, for the error.
    """
    record: dict[str, Any] = {}
    with contextlib.suppress(store.Damaged):
        record = records.read(path(study, name), digest) if path(study, name).is_file() else {}
    for file in files:
        if not file.is_file():
            raise LayerwiseError(f"{file}: no such file; run the verb {verb}")
        if not record:
            raise store.Damaged(f"{file}: made for other options, fits or code than now; run the verb {verb} again")
        if record["files"].get(file.name) != sha256(file):
            raise store.Damaged(f"{file}: changed since it was made; run the verb {verb} again")
    return record.get("text", [])
