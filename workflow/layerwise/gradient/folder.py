"""A folder on a shared disk, through which processes fit that have no network between them.

Texts and batches are files in it, written under another name and renamed: who finds one finds it whole. A batch is
deleted by who has read it. Each run has a folder of its own, which goes with process 0.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.gradient.allocation import Allocation
from layerwise.gradient.channels import Message

POLL = 0.005  # seconds between two looks for a file
RUN = "run"  # the file that names the folder of the run


def _names(folder: Path) -> set[str]:
    """Return what is in a folder: a disk over the network looks anew at one that is opened, and not at a lone file."""
    return {entry.name for entry in folder.iterdir()}


class FolderStore:
    """A `partners.Store` whose texts are files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _file(self, name: str) -> Path:
        return self.path / f"{quote(name, safe=' ')}.txt"

    def set(self, name: str, text: str) -> None:
        self._written(text).replace(self._file(name))

    def get(self, name: str) -> bytes:
        return self._file(name).read_bytes()

    def check(self, names: list[str]) -> bool:
        there = _names(self.path)
        return {self._file(name).name for name in names} <= there

    def compare_set(self, name: str, before: str, text: str) -> bytes:
        written = self._written(text)
        with contextlib.suppress(FileExistsError):
            os.link(written, self._file(name))  # of two who link, one does
        written.unlink()
        return self.get(name)

    def _written(self, text: str) -> Path:
        path = self.path / f".{secrets.token_hex(8)}"
        path.write_text(text, encoding="utf-8")
        return path


class Folder:
    """The `channels.Transport` whose messages are files."""

    def __init__(self, path: Path, rank: int) -> None:
        self.path, self.rank = path, rank

    def send(self, to: int, name: str, number: int, item: Message, most: int) -> None:
        start = f"{name} {self.rank} {to} "
        while sum(entry.startswith(start) for entry in _names(self.path)) >= most:
            time.sleep(POLL)
        tensors = {"z": item.z, "t": item.t} if item.z is not None else {}
        notes = {"saves": str(item.saves), "rows": str(item.rows)}
        written = self.path / f".{secrets.token_hex(8)}"
        try:
            save_file({k: v.cpu() for k, v in tensors.items() if v is not None}, written, notes)
        except SafetensorError as error:  # what the library makes of a full disk
            written.unlink(missing_ok=True)
            raise LayerwiseError(f"{self.path}: cannot be written ({error})") from None
        written.replace(self.path / f"{start}{number}")

    def receive(self, of: int, name: str, number: int) -> Message:
        file = f"{name} {of} {self.rank} {number}"
        while file not in _names(self.path):
            time.sleep(POLL)
        with safe_open(self.path / file, framework="pt") as opened:
            # Copied out of the file, where they lie as it comes: some processors round products of matrices that do
            # not begin at a multiple of 64 bytes otherwise.
            tensors = {key: opened.get_tensor(key).clone() for key in opened.keys()}  # noqa: SIM118  (no mapping)
            notes = opened.metadata()
        (self.path / file).unlink()
        return Message(tensors.get("z"), tensors.get("t"), notes["saves"] == "True", int(notes["rows"]))

    def total(self, ranks: Sequence[int], name: str, number: int, mine: Tensor) -> Tensor:
        others = [rank for rank in ranks if rank != self.rank]
        for rank in others:
            self.send(rank, name, number, Message(mine, mine[:0]), 2)
        parts: dict[int, Any] = {rank: self.receive(rank, name, number).z for rank in others} | {self.rank: mine.cpu()}
        return functools.reduce(torch.add, (parts[rank] for rank in ranks)).to(mine.device)

    def close(self) -> None:
        if self.rank == 0:
            (self.path.parent / RUN).unlink(missing_ok=True)
            shutil.rmtree(self.path, ignore_errors=True)


def meet(folder: Path, rank: int, allocation: Allocation, wait: float) -> Path:
    """Return the folder of a new run, in which every process has seen process 0, and process 0 every other.

    Raises
    ------
    LayerwiseError
        Where one does not come within `wait` seconds, or a file of one is not seen by another.
    """
    me, until = f"process {rank} of {allocation.processes}", time.monotonic() + wait
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _host(folder, allocation, until, wait) if rank == 0 else _guest(folder, rank, until, me, wait)
    except OSError as error:
        raise LayerwiseError(f"{me}: --through {folder}: cannot be used ({error.strerror}); name another") from None


def _host(folder: Path, allocation: Allocation, until: float, wait: float) -> Path:
    size = allocation.processes
    for old in folder.glob(f"{RUN}-*"):  # of a run that was killed
        shutil.rmtree(old, ignore_errors=True)
    run = folder / f"{RUN}-{secrets.token_hex(6)}"
    run.mkdir()
    store = FolderStore(folder)
    store._written(run.name).replace(folder / RUN)
    own, missing = FolderStore(run), set(range(1, size))
    while missing := {other for other in missing if not own.check([f"here {other}"])}:
        if time.monotonic() > until:
            (folder / RUN).unlink(missing_ok=True)
            shutil.rmtree(run, ignore_errors=True)
            absent = ", ".join(map(allocation.named, sorted(missing)))
            raise LayerwiseError(
                f"process 0 of {size}: process {absent} was not seen in {folder} within {wait:.0f} s; "
                "start all, with one folder that all machines share"
            )
        time.sleep(POLL)
    own.set("met", " ".join(own.get(f"here {other}").decode() for other in range(1, size)))
    return run


def _guest(folder: Path, rank: int, until: float, me: str, wait: float) -> Path:
    said, token = None, secrets.token_hex(8)
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):  # process 0 is not there yet, or takes away what an old one left
            if RUN in _names(folder):
                run = folder / (folder / RUN).read_text(encoding="utf-8")
                if run != said:
                    FolderStore(run).set(f"here {rank}", token)
                    said = run
                # A run that was killed has met others than this process.
                if FolderStore(run).check(["met"]) and token in FolderStore(run).get("met").decode():
                    return run
        time.sleep(POLL)
    raise LayerwiseError(
        f"{me}: process 0 was not seen in {folder} within {wait:.0f} s; "
        "start all, with one folder that all machines share"
    )
