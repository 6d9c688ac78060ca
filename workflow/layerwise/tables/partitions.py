"""Networks whose partitions were trained at once: a row a partition, with its share of memory, work and samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from layerwise.maths.intervals import interval
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults


@dataclass(frozen=True)
class Options(Bounded):
    networks: Annotated[tuple[str, ...], MinLen(1)]
    """Networks as dataset/path whose last segment is fitted by `local` with a schedule concurrent."""


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    rows = []
    for name in options.networks:
        dataset, _, path = name.partition("/")
        if dataset in results.study.left_out:
            continue
        label = results.networks(dataset, (path,))[path]
        records = list(results.partitioned(dataset, path, "table partitions").values())
        for part in range(len(records[0]["blocks"])):
            rows.append({"dataset": dataset, "network": label, "partition": part + 1} | _row(records, part))
    return pd.DataFrame(rows)


def _row(records: list[dict[str, Any]], part: int) -> dict[str, Any]:
    own = [record["blocks"][part] for record in records]
    costs = records[0]["partitions"]["costs"]
    spans = [f"{block['first']} to {block['last']}" for block in own]
    row: dict[str, Any] = {
        "blocks": spans[0] if len(set(spans)) == 1 else "as measured",
        "parameters": own[0]["parameters"],
        "memory_percent": 100 * own[0]["memory_share"] if "memory_share" in own[0] else None,
        "work_percent": 100 * costs[part] / sum(costs) if sum(costs) else None,
    }
    samples = [100 * b["images"] / record["blocks"][0]["images"] for b, record in zip(own, records, strict=True)]
    columns = {
        "samples_percent": samples,
        "seconds": [block["seconds"] for block in own],
        "images_per_second": [block["images_per_second"] for block in own],
    }
    for column, values in columns.items():
        row[column], row[f"{column}_half_width"] = interval(values)
    return row | {"n": len(records)}


def caption(results: StudyResults, options: Options) -> str:
    return (
        "Partitions of networks, each trained to its own decision block at the same time as the others: `memory` of a "
        "step in % of the whole model's, counted; `work` in % of that of all, in operations (or seconds, where the cut "
        "was measured); the samples that it sees, in % of all; seconds at work and images per second at work, without "
        f"waiting (mean ± half width of the 95 % interval over n seeds). Measured on {'; '.join(results.machines)}, "
        f"other fits beside it. Source: results/{results.study.name}/networks/*/fit.json."
    )
