"""One page over all works: of each chapter its claim, what became of it, and how its published results came out.

It reads only what is in version control: published.csv, ``results/*/verdicts.csv``, ``docs/findings``. It writes
``results/index.html`` and the same table into README.md, between two marks.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.report import findings, prose
from layerwise.report.templates import STYLE, TEMPLATES
from layerwise.results.roles import ROLES, counted
from layerwise.results.rules import VERDICTS
from layerwise.study.trie import FINDINGS, RESULTS
from layerwise.study.works import Value, values

PAGE, README = RESULTS / "index.html", Path("README.md")
WORKS = FINDINGS / "works.csv"
MARKS = ("<!-- index: written by python -m layerwise index -->", "<!-- /index -->")
NAMES = ("source", "item", "row", "metric")
NOT_RUN = "not run"
OWN = "quick"  # the study of `make run`: what it measured is each machine's own, and not in version control

Row = dict[str, str]  # of a verdicts.csv


@dataclass(frozen=True)
class Work:
    """A work, or a chapter of one, with the published results that are of it and what came of them.

    Parameters
    ----------
    verdicts
        How many of each verdict, by role.
    report, page
        The report of its study and its page of findings, as seen from the root; empty where there is none.
    """

    name: str
    study: str
    claim: str
    outcome: str
    verdicts: dict[str, dict[str, int]]
    sentences: list[str]
    report: str
    page: str

    def count(self, verdict: str) -> int:
        return sum(counts[verdict] for counts in self.verdicts.values())

    @property
    def results(self) -> int:
        return sum(map(self.count, VERDICTS))

    @property
    def measured(self) -> int:
        """How many were measured and judged."""
        return self.results - self.count(NOT_RUN)


def write() -> None:
    """Write the page and the table in README.md."""
    page, readme = made()
    store.write_text(PAGE, page)
    store.write_text(README, readme)


def made() -> tuple[str, str]:
    """Return the page, and README.md with the table of now."""
    found = works()
    page = TEMPLATES.get_template("index.html").render(
        works=found, total=total(found), verdicts=VERDICTS, others=_others({w.study for w in found}), style=STYLE
    )
    return page, replaced(store.read_text(README), markdown(found))


def total(found: list[Work]) -> Work:
    """Return the sum of all works."""
    counts = {r: {v: sum(w.verdicts.get(r, {}).get(v, 0) for w in found) for v in VERDICTS} for r in ROLES}
    return Work("all", "", "", "", counts, [], "", "")


def _others(named: set[str]) -> list[tuple[str, str]]:
    """Return the other shipped studies that have a report, each with its page of findings."""
    there = sorted(path.parent.name for path in RESULTS.glob("*/report.html") if path.parent.name != OWN)
    pages = {name: findings.read(name) for name in there if name not in named}
    return [(name, told.file.as_posix() if told else "") for name, told in pages.items()]


def works() -> list[Work]:
    """Return every work or chapter, in the order of works.csv; LayerwiseError where one is missing there."""
    results: dict[tuple[str, str], list[Value]] = {}
    for v in values():
        if v.kind == "result":
            results.setdefault((v.source, chapter(v)), []).append(v)
    lines = list(csv.DictReader(io.StringIO(store.read_text(WORKS))))
    named = [(line["source"], line["chapter"]) for line in lines]
    for source, number in results:
        if (source, number) not in named:
            raise LayerwiseError(f"{WORKS}: no line for {' '.join(filter(None, (source, number)))}, which has results")
    every = _verdicts()
    found = []
    for line in lines:
        mine = results.get((line["source"], line["chapter"]), [])
        told, study = findings.read(line["study"]), line["study"]
        report = f"results/{study}/report.html"
        found.append(
            Work(
                name=line["work"],
                study=study,
                claim=line["claim"],
                outcome=line["outcome"],
                verdicts=counted(_of(v, every, study) for v in mine),
                sentences=[prose.inline(s, f"../{FINDINGS.as_posix()}/") for s in told.sentences[:3]] if told else [],
                report=report if Path(report).is_file() else "",
                page=told.file.as_posix() if told else "",
            )
        )
    return found


def chapter(value: Value) -> str:
    """Return the chapter that a published value stands in; empty for a paper, which has none."""
    found = re.match(r"(?:ch|table|fig|section)(\d+)", value.item) if value.source == "thesis" else None
    return found[1] if found else ""


def _verdicts() -> dict[tuple[str, ...], dict[str, Row]]:
    """Return, for each published value, the row of each study that answers for it."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for path in sorted(path for path in RESULTS.glob("*/verdicts.csv") if path.parent.name != OWN):
        for row in csv.DictReader(io.StringIO(store.read_text(path))):
            if row.get("verdict") not in VERDICTS:
                raise LayerwiseError(f"{path}: no verdict {row.get('verdict')!r}; run the verb verdicts again")
            found.setdefault(tuple(row[name] for name in NAMES), {})[path.parent.name] = row
    return found


def _of(value: Value, every: dict[tuple[str, ...], dict[str, Row]], study: str) -> Row:
    """Return the verdict on a value that counts: that of the chapter's study, else of the first that measured it."""
    rows = every.get((value.source, value.item, value.row, value.metric), {})
    ordered = [rows[name] for name in sorted(rows, key=lambda name: (name != study, name))]
    absent = {"row": value.row, "metric": value.metric, "verdict": NOT_RUN}
    return next((row for row in ordered if row["verdict"] != NOT_RUN), absent)


# ---------------------------------------------------------------- the table in README.md


def markdown(found: list[Work]) -> str:
    """Return the table of all works, and the claim of each with what became of it."""
    heads = ["work", "results", "measured", *VERDICTS, "pages"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 2)}---|"]
    for work in found:
        pages = ", ".join(_links(work)) or "none yet"
        lines.append(f"| {work.name} | {_counts(work)} | {pages} |")
    every = total(found)
    lines += [
        f"| **all** | {_counts(every)} | [index]({PAGE.as_posix()}) |",
        "",
        "By role: " + _by_role(every) + ".",
        "",
    ]
    lines += [f"- **{work.name}**: {work.claim} *Here*: {work.outcome}" for work in found]
    return "\n".join(lines)


def _counts(work: Work) -> str:
    return " | ".join(map(str, [work.results, work.measured, *map(work.count, VERDICTS)]))


def _by_role(work: Work) -> str:
    told = {r: [f"{counts[v]} {v}" for v in VERDICTS if counts[v]] for r, counts in work.verdicts.items()}
    return "; ".join(f"*{role}* {', '.join(counts)}" for role, counts in told.items() if counts)


def _links(work: Work) -> list[str]:
    links = {"findings": work.page, "report": work.report}
    return [f"[{name}]({target})" for name, target in links.items() if target]


def replaced(readme: str, table: str) -> str:
    """Return the text with another table between the marks; LayerwiseError where they do not stand there once each."""
    start, end = MARKS
    if [readme.count(mark) for mark in MARKS] != [1, 1] or readme.index(start) > readme.index(end):
        raise LayerwiseError(
            f"{README}: the table of works belongs between {start!r} and {end!r}; add the two lines once"
        )
    before, after = readme.split(start)[0], readme.split(end)[1]
    return f"{before}{start}\n{table}\n{end}{after}"
