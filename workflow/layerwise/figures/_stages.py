"""The stages of a network on several devices, from the record of a fit whose partitions trained at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import parted, ran
from layerwise.figures._style import provenance
from layerwise.maths.pipelines import Stage
from layerwise.methods import _cut
from layerwise.results.study_results import StudyResults
from layerwise.run import steps
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
    """Return the record of the first seed of ``dataset/path``; of one that is left out, its ``partitions`` as counted.

    None where it is left out and cannot be counted.

    Raises
    ------
    LayerwiseError
        Where it was not fitted in partitions, or nothing is known of what its blocks cost.
    """
    found = parted(results, network)
    if found is None:
        if not counted(results, network):
            return None
        method, *asked = steps.unseen(results.study, *network.split("/", 1))
        return {"partitions": method.foreseen(*asked)}
    dataset, path = found
    node = Node(results.study.name, dataset, results.study.seeds_of(dataset)[0], path)
    record: dict[str, Any] = results.records[node]["record"]
    if not sum(record.get("partitions", {}).get("block_costs", [])):
        raise LayerwiseError(
            f"figure {module}: {network} has no costs of blocks: name a network that is fitted by local with schedule "
            "concurrent, on layers whose operations can be counted"
        )
    return record


def counted(results: StudyResults, network: str) -> bool:
    """Tell whether what a network costs is counted, for its data set is left out and its shape is known."""
    if network not in results.study.counted:
        return False
    segment = results.study.segment(network.partition("/")[2])
    return getattr(segment.options, "schedule", "") == "concurrent"


def origin(results: StudyResults, network: str) -> str:
    """Return the words of a caption on where the costs of a network come from."""
    if counted(results, network):
        return "Counted without training; nothing was run."
    _, out = ran(results, [network])
    return f"{out.strip()} {provenance(results, 'networks/*/fit.json')}".strip()


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
