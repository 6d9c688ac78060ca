"""The training samples that a segment selects: as a split, and what its record tells of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from layerwise import plugins
from layerwise.contract import Dataset, Features, Fitted, Split
from layerwise.errors import LayerwiseError
from layerwise.selections import Candidates
from layerwise.study.model import Chosen, SegmentSpec


def chosen(choice: Chosen, candidates: Candidates, *, seed: int, device: torch.device) -> Split:
    """Return the training samples of a segment that are selected, in their order."""
    module = plugins.load("selections", choice.selection)
    rows = module.select(candidates, module.Options(**vars(choice.options)), seed=seed, device=device)
    train = candidates.features.train
    _check(rows, len(train), f"selection {choice.selection!r}")
    rows = rows.to(train.y.device).sort().values
    return Split(train.x, train.y).rows(rows)


def _check(rows: Tensor, samples: int, what: str) -> None:
    if rows.dtype != torch.int64 or rows.ndim != 1 or len(rows.unique()) < len(rows):
        raise LayerwiseError(f"{what}: what it returned is no list of rows, each once")
    if not len(rows):
        raise LayerwiseError(f"{what} keeps no sample; let it keep more")
    if rows.min() < 0 or rows.max() >= samples:
        raise LayerwiseError(f"{what}: it returned a row that is none of the {samples}")


def selected(spec: SegmentSpec, fitted: Fitted, features: Features, data: Dataset) -> dict[str, Any]:
    """Return what a record tells of selected samples, and ``kept_percent`` among its measures; nothing without."""
    if spec.selects is None:
        return {}
    kept, of = len(features.train), len(data.train)
    measures = {**fitted.record.get("measures", {}), "kept_percent": 100 * kept / of}
    return {
        "selected": {"selection": spec.selects.selection, "samples": kept, "of": of},
        "record": {**fitted.record, "measures": measures},
    }
