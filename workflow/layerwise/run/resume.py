"""A half-done fit, kept in a file that Snakemake does not know: it deletes those that it does.

Parts of a fit that save by themselves have a file each.
"""

from __future__ import annotations

import functools
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
        self.hooks = Hooks(functools.partial(self._load, path), functools.partial(self._save, path), named=self._named)

    def clear(self) -> None:
        """Forget the fit, once it is done."""
        for path in (self.path, *self.path.parent.glob(self._part("*").name)):
            path.unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{name}{self.path.suffix}")

    def _named(self, name: str) -> Hooks:
        path = self._part(name)
        return Hooks(functools.partial(self._load, path), functools.partial(self._save, path), named=self._named)

    def _load(self, path: Path) -> tuple[dict[str, Tensor], dict] | None:
        if not path.is_file():
            return None
        said = store.read_notes(path)
        if said.get("digest") != self.digest:
            return None
        tensors = store.read_tensors(path)
        if said.pop(records.SEAL, None) != _seal(said, tensors):
            raise store.Damaged(f"{path}: changed since it was written; delete it and run again")
        self.earlier = max(self.earlier, float(said["seconds"]))
        return tensors, json.loads(said["notes"])

    def _save(self, path: Path, tensors: dict[str, Tensor], notes: dict) -> None:
        seconds = round(self.earlier + time.perf_counter() - self.start, 4)
        said = {"digest": self.digest, "seconds": str(seconds), "notes": json.dumps(notes)}
        store.write_tensors(path, tensors, {**said, records.SEAL: _seal(said, tensors)})


def _seal(said: dict[str, str], tensors: dict[str, Tensor]) -> str:
    return records.seal({**said, "content": store.content(tensors)})
