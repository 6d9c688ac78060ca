"""Networks beside the values that a work publishes for them, and beside their controls: a row a published row.

The rows, their columns and the networks are those that the study has under ``published``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.results.study_results import StudyResults
from layerwise.run import steps
from layerwise.study import works


@dataclass(frozen=True)
class Options:
    source: str
    """The work, such as dmn."""
    item: str
    """The published table, such as table2."""


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    item = works.mapped(results.study, options.source, options.item)
    known = {(v.row, v.metric): v.value for v in works.values() if (v.source, v.item) == (options.source, options.item)}
    columns = list(dict.fromkeys(column for networks in item.rows.values() for column in networks))
    rows = []
    for name, networks in item.rows.items():
        row: dict[str, object] = {"row": name.replace("|", ": ").replace(",", ", ")}
        counts = []
        for column in columns:
            how = item.column(column)
            if how.published:
                if (name, how.published) not in known:
                    raise LayerwiseError(f"{options.source} {options.item} has no {how.published} of {name!r}")
                row[f"{column}_published"] = known[name, how.published]
            measured, half, n = _measured(results, networks.get(column), how.measure)
            row |= {column: measured, f"{column}_half_width": half}
            counts += [n] if n else []
        rows.append(row | {"n": min(counts, default=0)})
    return pd.DataFrame(rows)


def _measured(results: StudyResults, network: str | None, measure: str) -> tuple[float, float, int]:
    """Return mean, half width and number of seeds; nan where there is no network, or it was not fitted anywhere.

    The memory of a network that is left out is counted, without a seed.
    """
    dataset, _, path = (network or "").partition("/")
    if not network or not results.runs(dataset, path):
        counted = steps.networks(results.steps)
        mine = counted[counted["dataset"] + "/" + counted["path"] == network]
        return (float(mine[measure].iloc[0]) if measure in mine and len(mine) else np.nan), np.nan, 0
    if dataset not in results.study.left_out:
        results.networks(dataset, (path,))  # says what is wrong with the name
    return *results.interval(dataset, path, measure), len(results.values(dataset, path, measure))


def _what(results: StudyResults, options: Options) -> str:
    item = works.mapped(results.study, options.source, options.item)
    measures = {item.column(column).measure for cells in item.rows.values() for column in cells}
    return "Accuracies in %" if all(m.endswith("accuracy") for m in measures) else "Values as the columns say"


def caption(results: StudyResults, options: Options) -> str:
    absent = [d for d in results.study.left_out if d not in set(results.elsewhere["dataset"])]
    machines = sorted(set(results.elsewhere["machine"]))
    elsewhere = f"; what is left out here on {'; '.join(machines)}" if machines else ""
    away = f"not run ({', '.join(absent)} left out), or " if absent else ""
    return (
        f"{_what(results, options)}, beside the values of {options.source} {options.item}: mean ± half width of the "
        f"95 % Student-t interval over n seeds. Empty cells: {away}no such control. "
        f"Measured on {'; '.join(results.machines)}{elsewhere}. Source: results/{results.study.name}/fits.csv."
    )
