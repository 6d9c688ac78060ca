"""All that a study has made so far, for figures, tables and the report."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pandas as pd

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval
from layerwise.results import collect, elsewhere, made
from layerwise.run import records, steps
from layerwise.study.model import Study
from layerwise.study.trie import Node, home

if TYPE_CHECKING:
    from torch import nn

    from layerwise.contract import Dataset


class StudyResults:
    """What a figure, a table or the report gets to look at.

    Parameters
    ----------
    study
        The study; everything is read from the folder of its results, and refused where it is stale.
    """

    def __init__(self, study: Study) -> None:
        self.study = study

    @functools.cached_property
    def fits(self) -> pd.DataFrame:
        """The fits of the study, as `collect` gathered them in fits.csv."""
        path = home(self.study.name) / "fits.csv"
        made.check(self.study, "fits", self.study.results_digest(), [path], "fits")
        if store.read_text(path) != store.csv_text(collect.collect(self.study)):
            raise store.Damaged(f"{path}: does not hold the fits that are there now; run the verb fits again")
        return store.read_csv(path, [], collect.TEXT)

    def partitioned(self, dataset: str, path: str, where: str) -> dict[int, dict[str, Any]]:
        """Return the records of a network whose partitions were trained at once, by seed; `where` asks for them.

        Raises
        ------
        LayerwiseError
            For a network that has none.
        """
        nodes = {seed: Node(self.study.name, dataset, seed, path) for seed in self.study.seeds_of(dataset)}
        records: dict[int, dict[str, Any]] = {seed: self.records[node]["record"] for seed, node in nodes.items()}
        if any("partitions" not in record for record in records.values()):
            raise LayerwiseError(
                f"{where}: {dataset}/{path} has no partitions: name networks whose last segment is fitted by local "
                "with a schedule concurrent"
            )
        return records

    def history(self, dataset: str, path: str, measure: str) -> pd.DataFrame:
        """Return seed, epoch, seconds so far and a measure of a network's training, a row an epoch and seed.

        The seconds of the last fit are spread evenly over its epochs.

        Raises
        ------
        LayerwiseError
            For a network that has no such measure by epoch.
        """
        rows: list[dict[str, Any]] = []
        for seed in self.study.seeds_of(dataset):
            *before, own = (self.records[n] for n in Node(self.study.name, dataset, seed, path).lineage)
            told = own["record"].get("history", [])
            if not told or measure not in told[0]:
                raise LayerwiseError(
                    f"{dataset}/{path} has no {measure} by epoch: name networks that are trained by gradient, on data "
                    "with a validation split"
                )
            start = sum(record["seconds"] for record in before)
            for i, row in enumerate(told, 1):
                seconds = start + own["seconds"] * i / len(told)
                rows.append({"seed": seed, "epoch": row["epoch"], "seconds": seconds, measure: row[measure]})
        return pd.DataFrame(rows)

    @functools.cached_property
    def elsewhere(self) -> pd.DataFrame:
        """Fits of data sets that are left out here, from another machine; none of networks asked otherwise by now."""
        return elsewhere.read(self.study)

    @functools.cached_property
    def steps(self) -> pd.DataFrame:
        """The memory of the training steps of networks that are left out, as `run.steps` counted it."""
        if not self.study.counted:
            return pd.DataFrame(columns=[*steps.TEXT, "percent", "least_percent"])
        path = home(self.study.name) / "steps.csv"
        made.check(self.study, "steps", self.study.steps_digest(), [path], "steps")
        return store.read_csv(path, [], steps.TEXT)

    @functools.cached_property
    def records(self) -> dict[Node, dict[str, Any]]:
        """The record of every fit."""
        return dict(collect.records(self.study))

    def networks(self, dataset: str, paths: tuple[str, ...] = ()) -> dict[str, str]:
        """Return the networks of a data set as ``{path: label}``, in the order of the study or of `paths`."""
        if dataset not in self.study.networks:
            known = ", ".join(self.study.networks)
            raise LayerwiseError(f"{dataset!r} is no data set with networks in the study {self.study.name}: {known}")
        networks = self.study.networks[dataset]
        for path in paths:
            if path not in self.study.paths(dataset):
                raise LayerwiseError(f"{path!r} is no network of {dataset!r} in the study {self.study.name}")
        return {p: networks.get(p, p) for p in paths} if paths else dict(networks)

    def measure(self, dataset: str) -> str:
        """Return what a data set is measured by: ``accuracy``, or ``mse`` where it is a regression."""
        self.networks(dataset)  # says what is wrong with the name
        return "mse" if records.dataset_record(self.study, dataset)["task"]["kind"] == "values" else "accuracy"

    def method(self, path: str) -> str:
        """Return the method after which a network is called: that of its first segment."""
        return self.study.segment(path.split("/", 1)[0]).method

    def values(self, dataset: str, path: str, measure: str) -> pd.Series:
        """Return a column of the fits of one network, a value a seed; absent ones are left out.

        ``<split>_error`` is what is missing of an accuracy of 100 %.
        """
        fits = self.elsewhere if dataset in self.study.left_out else self.fits
        if measure.endswith("_error") and measure not in fits:
            return 100 - self.values(dataset, path, measure.removesuffix("_error") + "_accuracy")
        if measure not in fits:
            raise LayerwiseError(f"{measure!r} is no column of fits.csv: {', '.join(map(str, fits))}")
        mine = (fits["dataset"] == dataset) & (fits["path"] == path)
        return numbers(fits, measure, "fits.csv")[mine].dropna()

    def runs(self, dataset: str, path: str) -> bool:
        """Tell whether a network was fitted: here, or elsewhere if its data set is left out."""
        away = self.elsewhere
        return dataset not in self.study.left_out or bool(((away["dataset"] == dataset) & (away["path"] == path)).any())

    def interval(self, dataset: str, path: str, measure: str) -> tuple[float, float]:
        """Return the mean over the seeds, and the half width of its 95 % interval (nan for a single seed)."""
        return interval(self.values(dataset, path, measure))

    def probe(self, name: str) -> pd.DataFrame:
        """Return what a probe saw, in all the networks that it looks at: dataset, seed, path, label and its columns."""
        if name not in self.study.probes:
            raise LayerwiseError(f"{name!r} is no probe of the study {self.study.name}; add it under probes")
        tables = []
        for dataset, path in ((d, p) for n, d, p in self.study.looks() if n == name):
            for seed in self.study.seeds_of(dataset):
                node, view = Node(self.study.name, dataset, seed, path), self.study.probes[name]
                table = records.read_seen(node, view, records.seen_digest(self.study, view, self.records[node]))
                label = self.study.networks[dataset].get(path, path)
                tables.append(table.assign(dataset=dataset, seed=seed, path=path, label=label))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def data(self, dataset: str) -> Dataset:
        """Return a prepared data set."""
        from layerwise.run import loading  # which takes torch

        return loading.read_dataset(self.study, dataset)

    def network(self, dataset: str, path: str, seed: int) -> nn.Sequential:
        """Return a fitted network, data in and its output out."""
        from layerwise.run import loading

        root = records.dataset_record(self.study, dataset)["digest"]
        return loading.read_network(self.study, Node(self.study.name, dataset, seed, path), root)

    @property
    def machines(self) -> list[str]:
        """The machines and devices that the fits ran on."""
        return sorted(set(map(collect.machine_of, self.records.values())))


def last_looks(table: pd.DataFrame) -> pd.DataFrame:
    """Return, of what a probe saw while networks were trained, what it saw last; of another probe all."""
    if "step" not in table:
        return table
    return table[table["step"] == table.groupby(["dataset", "path", "seed"])["step"].transform("max")]


def numbers(table: pd.DataFrame, column: str, where: str) -> pd.Series:
    """Return a column that holds numbers; LayerwiseError, which begins with `where`, for one that holds words."""
    if not pd.api.types.is_numeric_dtype(table[column]):
        known = [str(c) for c in table if pd.api.types.is_numeric_dtype(table[c])]
        raise LayerwiseError(f"{where}: {column!r} holds no numbers: name one of {', '.join(known)}")
    return table[column]
