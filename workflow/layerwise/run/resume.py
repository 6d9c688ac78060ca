"""A half-done fit, kept in a file that Snakemake does not know: it deletes those that it does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import Tensor

from layerwise import store
from layerwise.contract import Hooks

NAME = ".resume.safetensors"


class Sidecar:
    """A half-done fit, kept in a file from which it can go on; one of another digest is not taken up.

    Attributes
    ----------
    earlier
        Seconds that the fit took before it was interrupted.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.path, self.digest, self.earlier = folder / NAME, digest, 0.0
        self.start = time.perf_counter()
        self.hooks = Hooks(self._load, self._save)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def _load(self) -> tuple[dict[str, Tensor], dict] | None:
        if not self.path.is_file():
            return None
        said = store.read_notes(self.path)
        if said.get("digest") != self.digest:
            return None
        self.earlier = float(said["seconds"])
        # A file keeps no strides, and fused optimisers walk through memory: momenta must lie as the weights of
        # convolutions do (`layers.for_images`), or each would go to another weight.
        tensors = store.read_tensors(self.path)
        laid = {k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in tensors.items()}
        return laid, json.loads(said["notes"])

    def _save(self, tensors: dict[str, Tensor], notes: dict) -> None:
        seconds = round(self.earlier + time.perf_counter() - self.start, 4)
        said = {"digest": self.digest, "seconds": str(seconds), "notes": json.dumps(notes)}
        store.write_tensors(self.path, tensors, said)
