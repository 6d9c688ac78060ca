"""How many filters a method found for each layer by itself, beside the number that a work tells of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.layers.words import parse
from layerwise.options import Bounded, MinLen
from layerwise.results.study_results import StudyResults
from layerwise.study.trie import Node


@dataclass(frozen=True)
class Options(Bounded):
    networks: Annotated[dict[str, str], MinLen(1)]
    """The networks, as dataset/path, with what to call each."""
    published: dict[str, str] = field(default_factory=dict)
    """For a network, the filters of each layer as published, such as ``22, 41``."""

    def __post_init__(self) -> None:
        for name in self.networks:
            if "/" not in name:
                raise LayerwiseError(f"network {name!r}: name it as dataset/path")


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    rows = []
    for name, said in options.networks.items():
        dataset, path = name.split("/", 1)
        if dataset in results.study.left_out:
            continue
        label = results.networks(dataset, (path,))[path]
        found = [_widths(results, dataset, seed, path) for seed in results.study.seeds_of(dataset)]
        spans = [f"{min(w)} to {max(w)}" if min(w) < max(w) else str(w[0]) for w in zip(*found, strict=True)]
        row: dict[str, object] = {"dataset": dataset, "thresholds": said, "filters": ", ".join(spans)}
        row["published"] = options.published.get(name, "")
        row["test"], row["test_half_width"] = results.interval(dataset, path, "test_accuracy")
        rows.append(row | {"n": len(found), "network": label})
    columns = ["dataset", "thresholds", "filters", "published", "test", "test_half_width", "n", "network"]
    return pd.DataFrame(rows, columns=columns)


def _widths(results: StudyResults, dataset: str, seed: int, path: str) -> list[int]:
    """Return the filters of each convolution of one fit of a network."""
    node = Node(results.study.name, dataset, seed, path)
    words = [word for part in node.lineage for word in results.records[part]["layers"]]
    return [int(layer.width or 0) for layer in map(parse, words) if layer.kind == "conv"]


def caption(results: StudyResults, options: Options) -> str:
    return (
        "Filters of each layer as the thresholds give them, over n seeds, and the published number; test accuracy, %, "
        f"of the network (mean ± half width of the 95 % interval). Measured on {'; '.join(results.machines)}. "
        f"Source: results/{results.study.name}/fits.csv."
    )
