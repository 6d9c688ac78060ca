"""The page of a study: what came of it, what ran, where, how long, how to come by it again.

This file gathers what the page shows; page.html shows it. The page asks for nothing but the figures that lie beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from layerwise import figures, store, tables
from layerwise.report import findings, prose
from layerwise.report import picture as dag
from layerwise.report.templates import PARTS, STYLE, TEMPLATES
from layerwise.report.view import Table, table
from layerwise.results import made, published, roles
from layerwise.results.collect import in_brief
from layerwise.results.study_results import StudyResults
from layerwise.run.records import dataset_record
from layerwise.study.model import Study
from layerwise.study.trie import SPLITS, home
from layerwise.tables._format import HALF, plus_minus

NO_VALUES = {"Published values": "the study answers for no published value"}
SIDE_BY_SIDE = (
    "Seconds are wall clock; jobs of a study run side by side, as many as there are cores, so that fits slow each "
    "other down a little and their seconds add up to more than the study took"
)


def write(study: Study, path: Path) -> None:
    """Write the report of a study whose fits, tables, figures and verdicts are made."""
    results = StudyResults(study)
    overview = _overview(results)  # first: it checks the fits, which all else is made from
    verdicts = _verdicts(results)
    page = TEMPLATES.get_template("page.html").render(
        title=study.title,
        description=study.description,
        findings=found(study.name),
        overview=overview | ({} if verdicts else NO_VALUES),
        notes=_notes(results),
        verdicts=verdicts,
        tables=_tables(results),
        figures=_figures(results),
        pictures=_pictures(results),
        provenance=_provenance(results),
        style=STYLE,
        script=(PARTS / "page.js").read_text(encoding="utf-8"),
    )
    with made.making(study, "report", made.view_digest(study, study.report_digest()), [path]):
        store.write_text(path, page)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _overview(results: StudyResults) -> dict[str, Any]:
    study, fits = results.study, results.fits
    times = sorted(f["time"] for f in results.records.values())
    networks = sum(map(len, study.networks.values()))
    seeds = sorted({len(study.seeds_of(d)) for d in study.networks})
    return {
        "Study": study.name,
        "What ran": f"{networks} networks on {len(study.networks)} data set{'s' * (len(study.networks) > 1)}, "
        f"{' to '.join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))} seeds, "
        f"{len(fits)} fits of segments",
        "Where": "; ".join(results.machines),
        "How long": f"{_duration(fits['seconds'].sum())} in all fits, the longest {_duration(fits['seconds'].max())}; "
        f"at most {fits['peak_memory_mb'].max():,.0f} MB of memory in a fit. {SIDE_BY_SIDE}",
        "When": f"from {times[0]} to {times[-1]}",
    }


def found(study: str) -> dict[str, Any] | None:
    """Return what the page says first: the findings of the study, with where all of them are."""
    told = findings.read(study)
    if not told:
        return None
    base = f"../../{told.file.parent.as_posix()}/"
    return {"sentences": [prose.inline(s, base) for s in told.sentences], "href": base + told.file.name}


def _notes(results: StudyResults) -> list[tuple[str, str]]:
    """Return what a reader must know of the data: what is left out, what was strange when it was prepared."""
    study = results.study
    warned = [(f"{d}:", text) for d in study.networks for text in dataset_record(study, d).get("warnings", ())]
    return left_out(study) + warned


def left_out(study: Study) -> list[tuple[str, str]]:
    """Return the data sets that a study leaves out, with why, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, why in study.left_out.items():
        by_reason.setdefault(why, []).append(name)
    return [(f"Left out here: {', '.join(names)}:", why) for why, names in by_reason.items()]


# ---------------------------------------------------------------- verdicts and tables


def _verdicts(results: StudyResults) -> dict[str, Any] | None:
    """Return the verdicts: how many of each, on what, and all in a table; nothing where there are none."""
    study, path = results.study, home(results.study.name) / "verdicts.csv"
    made.check(study, "verdicts", made.view_digest(study, study.verdicts_digest()), [path], "verdicts")
    data = store.read_csv(path, published.COLUMNS, published.TEXT)
    return judged(data, study.published) if len(data) else None


def judged(data: pd.DataFrame, works: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of verdicts, as verdicts.csv has them, on items by work: what went wrong first."""
    data = data.rename(columns={"half_width": "measured" + HALF})
    difference = data["measured"] - data["published"]
    rounding = difference.abs() < 1e-9 * data["published"].abs()  # a mean of 97.51 is not 1.4e-14 below 97.51
    data["difference"] = difference.mask(rounding, 0.0).where(data["verdict"] != "not run")
    data["role"] = [roles.role(row, metric) for row, metric in zip(data["row"], data["metric"], strict=True)]
    first = ["verdict", "row", "metric", "published", "measured", "measured" + HALF]  # what a narrow page shows
    last = ["difference", "n", "role", "item", "source", "reason"]
    ranked = data.sort_values("verdict", key=lambda v: v.map(published.VERDICTS.index), kind="stable")
    counts = data["verdict"].value_counts()
    return {
        "counts": {verdict: counts.get(verdict, 0) for verdict in published.VERDICTS},
        "roles": roles.counted(data.to_dict("records")),
        "sources": [f"{source}: {', '.join(items)}" for source, items in works.items()],
        "table": table(ranked[first + last], "Verdicts on the published values", {"verdict": "verdict"}),
    }


def _tables(results: StudyResults) -> list[tuple[Table, str]]:
    """Return each table of the study with the note below it."""
    shown = []
    for name, view in results.study.tables.items():
        module, options = tables.opened(view)
        data = tables.read(results, view)
        shown.append((table(data, _title(name)), module.caption(results, options)))
    return shown


# How the words are spelt of which studies make the names of their tables and figures.
_SPELT = {"dmn": "DMN", "icassp": "ICASSP", "dgl": "DGL", "si": "supplement,", "fig": "figure", "mse": "(mse)"}


def _title(name: str) -> str:
    """Of `dmn_si_fig3`: DMN supplement, figure 3."""
    words = " ".join(_SPELT.get(w, w) for w in re.sub(r"(fig|table)(?=\d)", r"\1_", name).split("_"))
    return words[:1].upper() + words[1:]


# ---------------------------------------------------------------- figures and the trie


def _figures(results: StudyResults) -> list[tuple[str, str, str]]:
    """Return the name, the title and the caption of each figure."""
    shown = []
    for name, view in results.study.figures.items():
        module, options = figures.opened(view)
        figures.check(results, view)
        shown.append((name, _title(name), module.caption(results, options)))
    return shown


def _pictures(results: StudyResults) -> dict[str, str]:
    """Return the trie of each data set as an SVG, in which all texts are escaped."""
    study, fits = results.study, results.fits
    pictures = {}
    for dataset, networks in study.networks.items():
        mine = fits[fits["dataset"] == dataset]
        seconds = mine.groupby("path")["seconds"].mean()
        under = {p: f"{study.segment(p).method}, {_duration(seconds[p])}" for p in study.paths(dataset)}
        record = dataset_record(study, dataset)
        under[""] = ", ".join(f"{record['counts'][s]:,} {s}" for s in SPLITS if record["counts"][s])
        measure = results.measure(dataset)
        unit = " %" if measure == "accuracy" else " mse"
        ends = {}
        for path, label in networks.items():
            split = "test" if len(results.values(dataset, path, f"test_{measure}")) else "train"
            told = plus_minus(*results.interval(dataset, path, f"{split}_{measure}"))
            ends[path] = f"{label}: {split} {told}{unit}"
        pictures[dataset] = dag.drawing(study, dataset, under, ends)
    return pictures


# ---------------------------------------------------------------- provenance


def _provenance(results: StudyResults) -> dict[str, Any]:
    study = results.study
    records = list(results.records.values())
    versions = {name: _union(f["versions"].get(name, "") for f in records) for name in records[0]["versions"]}
    facts = {
        "Again": f"snakemake --cores 2 {study.name}",
        "Code": _union(f["revision"] for f in records) or "outside a clone",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Seeds": study.seeds_in_words() + "; each fit's own seed is drawn from it and the path by name",
        "Device": _union(f["device"] for f in records),
        "Threads": _union(f["threads"] for f in records),
        "Instructions": _union(f.get("instructions", "") for f in records),
    }
    datasets = pd.DataFrame([_dataset(results, name) for name in study.networks])
    in_use = _in_use(study)
    segments = pd.DataFrame(
        [
            {
                "segment": s.name,
                "method": s.method,
                "layers": in_brief(s.layers),
                "options": _options(study.raw["segments"][s.name], "method", "layers"),
            }
            for s in study.segments.values()
            if s.name in in_use
        ]
    )
    return {
        "facts": facts,
        "tables": [table(datasets, "Data sets", {"digest": "digest"}), table(segments, "Segments")],
        "fits": len(results.fits),
    }


def _in_use(study: Study) -> set[str]:
    """Return the segments of all networks: of what runs here with what it uses, and of what is left out."""
    run = [path for dataset in study.networks for path in study.paths(dataset)]
    return {s for path in [*run, *chain(*study.raw["networks"].values())] for s in re.split("[/+]", path)}


def _options(given: dict[str, Any], *but: str) -> str:
    """Return options as a study file has them; without PyYAML, which is not wherever a study runs."""
    own = {k: v for k, v in given.items() if k not in but}
    return json.dumps(own, ensure_ascii=False)[1:-1].replace('"', "")


def _union(values: Iterable[Any]) -> str:
    return ", ".join(sorted({str(v) for v in values if v != ""}))


def _dataset(results: StudyResults, name: str) -> dict[str, Any]:
    record = dataset_record(results.study, name)
    shape: Sequence[int] = record["shape"]
    return {
        "data set": name,
        "source": results.study.datasets[name]["source"],
        "options": _options(results.study.datasets[name], "source"),
        "sample": "x".join(map(str, shape)),
        **{split: record["counts"][split] for split in SPLITS},
        "task": record["task"]["kind"],
        "outputs": record["task"]["outputs"],
        **({"warnings": "; ".join(record["warnings"])} if record.get("warnings") else {}),
        "digest": record["digest"],
    }
