"""The stages of a network on several devices, from the record of a fit whose partitions trained at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import parted
from layerwise.maths.pipelines import Stage
from layerwise.methods import _cut
from layerwise.results.study_results import StudyResults
from layerwise.study.trie import Node

NAMES = {
    "naive": "one stage after the other",
    "gpipe": "GPipe",
    "1f1b": "1F1B",
    "zero_bubble": "zero bubble",
    "ddp": "data parallelism",
    "concurrent": "partitions at once",
}


def record_of(results: StudyResults, network: str, module: str) -> dict[str, Any] | None:
    """Return the record of the first seed of ``dataset/path``; None where its data set is left out.

    Raises
    ------
    LayerwiseError
        Where it was not fitted in partitions, or nothing is known of what its blocks cost.
    """
    found = parted(results, network)
    if found is None:
        return None
    dataset, path = found
    node = Node(results.study.name, dataset, results.study.seeds_of(dataset)[0], path)
    record: dict[str, Any] = results.records[node]["record"]
    if not sum(record.get("partitions", {}).get("block_costs", [])):
        raise LayerwiseError(
            f"figure {module}: {network} has no costs of blocks: name a network that is fitted by local with schedule "
            "concurrent, on layers whose operations can be counted"
        )
    return record


def stages(
    plan: dict[str, Any], cut: Sequence[int], exits: bool, unit: float = 1.0, bandwidth: float = 0.0
) -> list[Stage]:
    """Return the stages of a cut: a third of what their blocks cost is the forward pass, and each half of the backward.

    Parameters
    ----------
    plan
        ``partitions`` of the record of a fit: ``block_costs``, ``exit_costs``, ``block_bytes``.
    exits
        Whether stages have decision blocks.
    unit
        Seconds of a cost of 1.
    bandwidth
        Bytes a second from one device to the next; transfers take no time where it is 0.
    """
    own, sizes = plan["block_costs"], plan["block_bytes"]
    bodies = _cut.stages(own, [0.0] * len(own), cut)
    found = []
    for body, end in zip(bodies, [*cut, len(own)], strict=True):
        inner = end < len(own)
        found.append(
            Stage(
                *(unit * body / 3,) * 3,
                exit=unit * plan["exit_costs"][end - 1] if exits and inner else 0.0,
                send=sizes[end - 1] / bandwidth if bandwidth and inner else 0.0,
            )
        )
    return found
