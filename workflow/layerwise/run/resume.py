"""A half-done fit, kept in a file that Snakemake does not know: it deletes those that it does."""

from __future__ import annotations

import json
import time
from pathlib import Path

from torch import Tensor

from layerwise import store
from layerwise.contract import Hooks
from layerwise.run import records

NAME = ".resume.safetensors"


class Sidecar:
    """A half-done fit, kept in a file from which it can go on; one of another digest is not taken up.

    Attributes
    ----------
    earlier
        Seconds that the fit took before it was interrupted.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest, self.earlier = path, digest, 0.0
        self.start = time.perf_counter()
        self.hooks = Hooks(self._load, self._save)

    def _load(self) -> tuple[dict[str, Tensor], dict] | None:
        if not self.path.is_file():
            return None
        said = store.read_notes(self.path)
        if said.get("digest") != self.digest:
            return None
        tensors = store.read_tensors(self.path)
        if said.pop(records.SEAL, None) != _seal(said, tensors):
            raise store.Damaged(f"{self.path}: changed since it was written; delete it and run again")
        self.earlier = float(said["seconds"])
        return tensors, json.loads(said["notes"])

    def _save(self, tensors: dict[str, Tensor], notes: dict) -> None:
        seconds = round(self.earlier + time.perf_counter() - self.start, 4)
        said = {"digest": self.digest, "seconds": str(seconds), "notes": json.dumps(notes)}
        store.write_tensors(self.path, tensors, {**said, records.SEAL: _seal(said, tensors)})


def _seal(said: dict[str, str], tensors: dict[str, Tensor]) -> str:
    return records.seal({**said, "content": store.content(tensors)})
