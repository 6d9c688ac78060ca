"""All that a study has made so far, for figures, tables and the report."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from torch import nn

from layerwise import store
from layerwise.contract import Dataset
from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval
from layerwise.run import steps
from layerwise.study.model import Study, digest_of
from layerwise.study.trie import SPLITS, Node, dataset_folder, home

TOLD = ("machine", "asked")  # columns of fits from elsewhere
MEASURES = ("accuracy", "mse", "cross_entropy")


def dataset_record(study: Study, dataset: str) -> dict[str, Any]:
    """Return the record of a prepared data set; LayerwiseError where it is not the one that the study asks for."""
    path = dataset_folder(study.name, dataset) / "dataset.json"
    record = store.read_json(path)
    if record.get("spec") != digest_of(study.dataset_spec(dataset)):
        raise LayerwiseError(f"{path}: made for other options or by other code than now; run the study again")
    return record


def records(study: Study) -> Iterator[tuple[Node, dict[str, Any]]]:
    """Give every node of a study with the record of its fit; LayerwiseError at one that is missing or stale."""
    roots = {d: dataset_record(study, d)["digest"] for d in study.networks}
    for node in study.nodes():
        yield node, steps.read_fit(study, node, roots[node.dataset])


def collect(study: Study) -> pd.DataFrame:
    """Gather all fits of a study.

    Returns
    -------
    One row a node. `parameters`, `seconds` and `peak_memory_mb` are of the node's own segment;
    `total_parameters` and `total_seconds` add those before it on the path. Accuracies are in per cent.
    `least_layer_error` is the least squared error, summed over targets, of a linear read-out before any layer.
    `label` is empty for a node that is no network of the study but a part of one.
    """
    rows: list[dict[str, Any]] = []
    known: dict[Node, dict[str, Any]] = {}
    for node, fit in records(study):
        known[node] = fit
        score = store.read_json(node.folder / "score.json")
        if score.get("digest") != steps.represented_digest(study, fit):
            raise LayerwiseError(f"{node.folder / 'score.json'}: of another fit or other code; run the study again")
        lineage = [known[n] for n in node.lineage]  # parents come first
        rows.append(
            {
                "dataset": node.dataset,
                "seed": node.seed,
                "path": node.path,
                "label": study.networks[node.dataset].get(node.path, ""),
                "method": fit["method"],
                "depth": node.depth,
                "layers": in_brief(fit["layers"]),
                "parameters": fit["parameters"],
                "total_parameters": sum(f["parameters"] for f in lineage),
                "seconds": fit["seconds"],
                "total_seconds": round(sum(f["seconds"] for f in lineage), 4),
                "peak_memory_mb": fit["peak_memory_mb"],
                "kind": score["kind"],
                **_measured(score["splits"]),
                "least_layer_error": _least(fit["record"].get("input_error", [])),
                "digest": fit["digest"],
            }
        )
    return pd.DataFrame(rows)


def collect_elsewhere(study: Study) -> pd.DataFrame:
    """Gather the fits of what a study leaves out, for where it is left out: with their machine and `Study.asked`."""
    asked = {(d, p): study.asked(d, p) for d in study.networks for p in study.paths(d)}
    told = [{"machine": _machine(fit), "asked": asked[node.dataset, node.path]} for node, fit in records(study)]
    return pd.concat([collect(study).drop(columns="digest"), pd.DataFrame(told)], axis=1)


def _machine(fit: dict[str, Any]) -> str:
    return fit["machine"] + ("" if fit["device"] == "cpu" else f"; {fit['device']}")


def in_brief(words: Sequence[str]) -> str:
    """Return layer words as text, in which what comes three times or more in a row is said once."""
    parts, at = [], 0
    while at < len(words):
        runs = [(_times(words, at, length), length) for length in range(1, 7)]
        times, length = max((run for run in runs if run[0] >= 3), key=lambda run: run[0] * run[1], default=(0, 0))
        if times:
            parts.append(f"{times:,} x ({', '.join(words[at : at + length])})")
            at += times * length
        else:
            parts.append(words[at])
            at += 1
    return ", ".join(parts)


def _times(words: Sequence[str], at: int, length: int) -> int:
    """Return how many times in a row the next words come; the shortest of equal ones is found first."""
    block, times = words[at : at + length], 1
    while len(block) == length and words[at + times * length : at + (times + 1) * length] == block:
        times += 1
    return times


def _least(errors: Sequence[float | None]) -> float | None:
    """Return the least error of the linear read-outs at the inputs of the layers, where the method records them."""
    return min((e for e in errors if e is not None), default=None)


def _measured(splits: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Return every measure of every split as a column; None where it was not taken."""
    columns = {f"{s}_{m}": splits.get(s, {}).get(m) for m in MEASURES for s in SPLITS}
    return {**columns, "train_lsd": splits.get("train", {}).get("lsd")}


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
        if not path.is_file():
            raise LayerwiseError(f"{path}: no such file; run the verb fits")
        names = ("dataset", "seed", "path", "digest")
        fits = store.read_csv(path, names, dtype={"label": str, "path": str, "dataset": str}).fillna({"label": ""})
        want = {str(node): fit["digest"] for node, fit in self.records.items()}
        nodes = fits["dataset"] + "/seed" + fits["seed"].astype(str) + "/" + fits["path"]
        if dict(zip(nodes, fits["digest"], strict=True)) != want:
            raise LayerwiseError(f"{path}: does not hold the fits that are there now; run the verb fits again")
        return fits

    @functools.cached_property
    def elsewhere(self) -> pd.DataFrame:
        """Fits of data sets that are left out here, from another machine; none of networks asked otherwise by now."""
        path = self.study.elsewhere
        if not (self.study.left_out and path.is_file()):
            return pd.DataFrame(columns=["dataset", "seed", "path", *TOLD])
        fits = store.read_csv(path, ("dataset", "seed", "path", *TOLD), dtype={"label": str}).fillna({"label": ""})
        fits = fits[fits["dataset"].isin(self.study.left_out)]
        names = fits[["dataset", "path"]].itertuples(index=False, name=None)
        known = {name: self._asked(*name) for name in dict.fromkeys(names)}
        asked = [known[name] for name in fits[["dataset", "path"]].itertuples(index=False, name=None)]
        return fits[fits["asked"] == asked]

    def _asked(self, dataset: str, path: str) -> str | None:
        try:
            return self.study.asked(dataset, path)
        except LayerwiseError:  # a segment that is gone
            return None

    @functools.cached_property
    def records(self) -> dict[Node, dict[str, Any]]:
        """The record of every fit."""
        return dict(records(self.study))

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
        return "mse" if dataset_record(self.study, dataset)["task"]["kind"] == "values" else "accuracy"

    def method(self, path: str) -> str:
        """Return the method after which a network is called: that of its first segment."""
        return self.study.segment(path.split("/", 1)[0]).method

    def values(self, dataset: str, path: str, measure: str) -> pd.Series:
        """Return a column of the fits of one network, a value a seed; absent ones are left out."""
        fits = self.elsewhere if dataset in self.study.left_out else self.fits
        if measure not in fits:
            raise LayerwiseError(f"{measure!r} is no column of fits.csv: {', '.join(map(str, fits))}")
        mine = (fits["dataset"] == dataset) & (fits["path"] == path)
        return fits.loc[mine, measure].dropna()

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
                node = Node(self.study.name, dataset, seed, path)
                file = node.folder / f"{name}.csv"
                if not file.is_file():
                    raise LayerwiseError(f"{file}: no such file; run the verb probe")
                table = store.read_csv(file, ["digest"])
                if set(table["digest"]) != {steps.seen_digest(self.study, self.study.probes[name], self.records[node])}:
                    raise LayerwiseError(f"{file}: of another fit, other options or code; run the verb probe again")
                label = self.study.networks[dataset].get(path, path)
                tables.append(table.drop(columns="digest").assign(dataset=dataset, seed=seed, path=path, label=label))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def data(self, dataset: str) -> Dataset:
        """Return a prepared data set."""
        return steps.read_dataset(self.study, dataset)

    def network(self, dataset: str, path: str, seed: int) -> nn.Sequential:
        """Return a fitted network, data in and its output out."""
        root = dataset_record(self.study, dataset)["digest"]
        return steps.read_network(self.study, Node(self.study.name, dataset, seed, path), root)

    @property
    def machines(self) -> list[str]:
        """The machines and devices that the fits ran on."""
        return sorted(set(map(_machine, self.records.values())))
