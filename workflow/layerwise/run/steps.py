"""The memory of the training steps of networks that a study leaves out, counted without data and without training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from layerwise import plugins
from layerwise.study.model import Study

if TYPE_CHECKING:  # torch, which tables, figures and verdicts that read what is written do without
    from layerwise.contract import Segment, Task

TEXT = ["dataset", "path", "decision"]  # the columns that hold words
SHARE = "memory_percent"  # the measure of a network, by which a verdict goes
MIB = 2**20


def count(study: Study) -> pd.DataFrame:
    """Count the steps of all networks of `Study.counted`.

    Returns
    -------
    A row a window: dataset, path, ``first`` and ``last`` block, words of the ``decision`` block, ``parameters`` in
    training, ``step_mb`` (MiB), ``percent`` of the whole model's step, and ``least_percent`` with an affine decision
    layer alone.
    """
    known: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for named in study.counted:
        dataset, path = named.split("/", 1)
        module, *asked = unseen(study, dataset, path)
        segment, _, options = asked
        key = json.dumps([module.__name__, segment, module.counted_by(options)], default=str)
        if key not in known:
            known[key] = module.count(*asked)
        rows += [{"dataset": dataset, "path": path, **_row(window)} for window in known[key]]
    return pd.DataFrame(rows)


def unseen(study: Study, dataset: str, path: str) -> tuple[Any, Segment, Task, Any]:
    """Return the method of a network that `Study.counts`, and what it counts by: segment, task and options."""
    source, given, _ = study.dataset(dataset)
    from layerwise.contract import Segment, Task

    shape, outputs = plugins.load("datasets", source).sample(given)
    segment = study.segment(path)
    module = plugins.load("methods", segment.method)
    task = Task("onehot", outputs, tuple(map(str, range(outputs))))
    return module, Segment(segment.layers, shape, outputs), task, module.Options(**vars(segment.options))


def _row(window: dict[str, Any]) -> dict[str, Any]:
    return {
        "first": window["first"],
        "last": window["last"],
        "decision": ", ".join(window["decision"]),
        "parameters": window["parameters"],
        "step_mb": round(window["memory_bytes"] / MIB, 1),
        "percent": round(100 * window["memory_share"], 2),
        "least_percent": round(100 * window["least_share"], 2),
    }


def decided(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the windows that have a decision block: all but the last one, which trains the model's own head."""
    return steps[steps["decision"].fillna("") != ""]


def networks(steps: pd.DataFrame) -> pd.DataFrame:
    """Return a row a network: ``memory_percent`` of the whole model's step, and the ``least_percent``, of its largest
    window."""
    if not len(steps):
        return pd.DataFrame(columns=["dataset", "path", SHARE, "least_memory_percent"])
    most = decided(steps).groupby(["dataset", "path"], sort=False)[["percent", "least_percent"]].max().reset_index()
    return most.rename(columns={"percent": SHARE, "least_percent": "least_memory_percent"})
