"""The page of a study: what ran, where, how long, what came of it, how to come by it again.

The page asks for nothing but the figures that lie beside it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from layerwise import figures, store, tables
from layerwise.report import picture as dag
from layerwise.results import made, published
from layerwise.results.collect import in_brief
from layerwise.results.study_results import StudyResults
from layerwise.run.records import dataset_record
from layerwise.study.model import Study
from layerwise.study.trie import SPLITS, home
from layerwise.tables._format import HALF, number, plus_minus

PARTS = Path(__file__).parent


def write(study: Study, path: Path) -> None:
    """Write the report of a study whose fits, tables, figures and verdicts are made."""
    results = StudyResults(study)
    header = _header(results)
    sections = {
        "Verdicts": _verdicts(results),
        "Tables": _tables(results),
        "Figures": _figures(results),
        "Networks": _networks(results),
        "Provenance": _provenance(results),
    }
    sections = {title: body for title, body in sections.items() if body}
    parts = {name: (PARTS / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", "sort.js")}
    page = Template(parts["page.html"]).substitute(
        title=_text(study.title),
        style=parts["style.css"],
        script=parts["sort.js"],
        header=header,
        contents="".join(f'<li><a href="#{t.lower()}">{t}</a></li>\n' for t in sections),
        body="".join(f'<section id="{t.lower()}">\n<h2>{t}</h2>\n{b}</section>\n' for t, b in sections.items()),
    )
    with made.making(study, "report", made.view_digest(study, study.report_digest()), [path]):
        store.write_text(path, page)


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _facts(facts: dict[str, Any]) -> str:
    lines = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>\n" for k, v in facts.items() if v != "")
    return f'<dl class="facts">\n{lines}</dl>\n'


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _header(results: StudyResults) -> str:
    study, fits = results.study, results.fits
    times = sorted(f["time"] for f in results.records.values())
    networks = sum(map(len, study.networks.values()))
    seeds = sorted({len(study.seeds_of(d)) for d in study.networks})
    text = f"<p>{_text(study.description)}</p>\n" if study.description else ""
    return text + _facts(
        {
            "Study": study.name,
            "What ran": f"{networks} networks on {len(study.networks)} data set{'s' * (len(study.networks) > 1)}, "
            f"{' to '.join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))} seeds, "
            f"{len(fits)} fits of segments",
            "Where": "; ".join(results.machines),
            "How long": f"{_duration(fits['seconds'].sum())} in all fits (wall clock), the longest "
            f"{_duration(fits['seconds'].max())}; at most {fits['peak_memory_mb'].max():,.0f} MB of memory in a fit",
            "When": f"from {times[0]} to {times[-1]}",
        }
    )


# ---------------------------------------------------------------- tables


def table(data: pd.DataFrame, caption: str, classes: dict[str, str] | None = None) -> str:
    """Return a table that sorts on a click; a half width is joined to what it belongs to.

    Parameters
    ----------
    classes
        For a column, the style class of its cells; the word ``value`` takes the cell's own text as class.
    """
    shown = [c for c in map(str, data) if not (c.endswith(HALF) and c.removesuffix(HALF) in data)]
    numeric = {c for c in shown if pd.api.types.is_numeric_dtype(data[c])}
    heads = "".join(
        f'<th scope="col" aria-sort="none"{" class=number" if c in numeric else ""}>'
        f'<button type="button">{_text(c.replace("_", " "))}</button></th>'
        for c in shown
    )
    cells = {c: _cells(data, c, c in numeric, (classes or {}).get(c, "")) for c in shown}
    rows = "".join(f"<tr>{''.join(row)}</tr>\n" for row in zip(*cells.values(), strict=True))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(caption)}">\n<table class="sorts">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )


def _cells(data: pd.DataFrame, column: str, numeric: bool, style: str) -> list[str]:
    halves = data[column + HALF] if column + HALF in data else [None] * len(data)
    cells = []
    for value, half in zip(data[column], halves, strict=True):
        absent = pd.isna(value)
        if numeric:
            text = "" if absent else number(value) if half is None else plus_minus(value, half)
            key = "" if absent else repr(float(value))
            cells.append(f'<td class="number" data-value="{key}">{_text(text)}</td>')
        else:
            text = "" if absent else str(value)
            named = text.replace(" ", "-") if style == "value" else style or ("long" if len(text) > 24 else "")
            cells.append(f"<td{f' class={named}' if named else ''}>{_text(text)}</td>")
    return cells


def _verdicts(results: StudyResults) -> str:
    study, path = results.study, home(results.study.name) / "verdicts.csv"
    made.check(study, "verdicts", made.view_digest(study, study.verdicts_digest()), [path], "verdicts")
    data = store.read_csv(path, published.COLUMNS)
    if data.empty:
        return "<p>This study answers for no published value.</p>\n"
    counts = data["verdict"].value_counts()
    chips = "".join(
        f'<li><span class="{v.replace(" ", "-")}">{counts.get(v, 0)} {v}</span></li>\n' for v in published.VERDICTS
    )
    text = (
        "<p>Every value that the works publish for "
        + _text("; ".join(f"{source}: {', '.join(items)}" for source, items in study.published.items()))
        + ". <em>Better</em>: the whole 95 % interval is beyond the published value. <em>Reproduced</em>: the "
        "difference is within the interval or the tolerance (half a point of accuracy). Anything else is "
        "<em>worse</em>.</p>\n"
    )
    data.insert(data.columns.get_loc("half_width"), "measured" + HALF, data.pop("half_width"))
    difference = data["measured"] - data["published"]
    rounding = difference.abs() < 1e-9 * data["published"].abs()  # a mean of 97.51 is not 1.4e-14 below 97.51
    data["difference"] = difference.mask(rounding, 0.0).where(data["verdict"] != "not run")
    order = ["source", "item", "row", "metric", "published", "measured", "measured" + HALF, "difference", "n"]
    ranked = data.sort_values("verdict", key=lambda v: v.map(published.VERDICTS.index), kind="stable")
    return (
        f'<ul class="chips">\n{chips}</ul>\n'
        + text
        + table(ranked[[*order, "verdict", "reason"]], "Verdicts on the published values", {"verdict": "value"})
    )


def _tables(results: StudyResults) -> str:
    parts = []
    for name, view in results.study.tables.items():
        module, options = tables.opened(view)
        data = tables.read(results, view)
        parts.append(f"<h3>{_text(_title(name))}</h3>\n{table(data, _title(name))}")
        parts.append(f'<p class="note">{_text(module.caption(results, options))}</p>\n')
    return "".join(parts)


# How the words are spelt of which studies make the names of their tables and figures.
_SPELT = {"dmn": "DMN", "icassp": "ICASSP", "dgl": "DGL", "si": "supplement,", "fig": "figure", "mse": "(mse)"}


def _title(name: str) -> str:
    """Of `dmn_si_fig3`: DMN supplement, figure 3."""
    words = " ".join(_SPELT.get(w, w) for w in re.sub(r"(fig|table)(?=\d)", r"\1_", name).split("_"))
    return words[:1].upper() + words[1:]


# ---------------------------------------------------------------- figures and the trie


def _figures(results: StudyResults) -> str:
    parts = []
    for name, view in results.study.figures.items():
        module, options = figures.opened(view)
        figures.check(results, view)
        caption = _text(module.caption(results, options))
        parts.append(
            f'<figure id="figure-{_text(name)}">\n<img alt="{caption}" src="figures/{_text(name)}.svg">\n'
            f"<figcaption><strong>{_text(_title(name))}.</strong> {caption}</figcaption>\n</figure>\n"
        )
    return "".join(parts)


def _networks(results: StudyResults) -> str:
    study, fits = results.study, results.fits
    text = (
        "<p>A box is a segment: the layers that one method fits together, and its mean fit seconds. What two networks "
        "share is fitted once. Each box is fitted on the output of the box before it, run over every split, and "
        "scored; probes look at whole networks; tables, figures and verdicts come of the scores. A dashed line leads "
        "to a fit that looks at another network.</p>\n"
    )
    parts = []
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
        parts.append(f'<h3>{_text(dataset)}</h3>\n<div class="scroll whole" tabindex="0" role="region" ')
        parts.append(
            f'aria-label="Networks on {_text(dataset)}">\n{dag.drawing(study, dataset, under, ends)}\n</div>\n'
        )
    return text + "".join(parts)


# ---------------------------------------------------------------- provenance


def _provenance(results: StudyResults) -> str:
    study = results.study
    records = list(results.records.values())
    versions = {name: _union(f["versions"].get(name, "") for f in records) for name in records[0]["versions"]}
    text = _facts(
        {
            "Again": f"snakemake --cores 2 {study.name}",
            "Code": _union(f["revision"] for f in records) or "outside a clone",
            "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "Seeds": study.seeds_in_words() + "; each fit's own seed is drawn from it and the path by name",
            "Device": _union(f["device"] for f in records),
            "Threads": _union(f["threads"] for f in records),
            "Instructions": _union(f.get("instructions", "") for f in records),
        }
    )
    data = pd.DataFrame([_dataset(results, name) for name in study.networks])
    text += f"<h3>Data sets</h3>\n{table(data, 'Data sets', {'digest': 'digest'})}"
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
    text += f"<h3>Segments</h3>\n{table(segments, 'Segments')}"
    return text + f"<p>All {len(results.fits)} fits, with their digests, are in <code>fits.csv</code>.</p>\n"


def _in_use(study: Study) -> set[str]:
    """Return the segments of all networks: of what runs here with what it uses, and of what is left out."""
    run = [path for dataset in study.networks for path in study.paths(dataset)]
    return {s for path in [*run, *chain(*study.raw["networks"].values())] for s in re.split("[/+]", path)}


def _options(given: dict[str, Any], *but: str) -> str:
    """Return options as a study file has them; without PyYAML, which is not wherever a study runs."""
    own = {k: v for k, v in given.items() if k not in but}
    return json.dumps(own, ensure_ascii=False)[1:-1].replace('"', "")


def _union(values: Any) -> str:
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
        "digest": record["digest"],
    }
