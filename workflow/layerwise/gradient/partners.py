"""The processes that train the partitions of one fit: what each says of itself, and what ends them all.

They tell each other short texts through a `Store`: torch's own over the network, or a folder. Each gives a sign of life
every other second; who ends or hangs is named by the others, and all end with that one line. Batches go another way
(`gradient/channels.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from layerwise.errors import LayerwiseError

BEAT = 2.0  # seconds between two signs of life
TICK = 0.2  # seconds between two looks at the others, while this one waits
DEAD = 30.0  # seconds without a sign of life
HANGS = 45.0  # seconds without a step, where steps do not take a twentieth of that or more
SEE_OFF = 5.0  # seconds for the others to read what this one said last
BROKEN = (RuntimeError, OSError)  # of a store: torch's errors of the network, a folder that is gone


class Store(Protocol):
    """What processes tell each other by: texts by name, each of which all can read once it is set."""

    def set(self, name: str, text: str) -> None: ...

    def get(self, name: str) -> bytes: ...

    def check(self, names: list[str]) -> bool: ...

    def compare_set(self, name: str, before: str, text: str) -> bytes:
        """Set a text where `before` is what is there ("": nothing); returns what is there then."""


class Group:
    """The processes of a fit in partitions, one a partition, as one of them sees them.

    Parameters
    ----------
    rank, size
        Number of this process, which trains the partition of that number from 0, and how many there are.
    store
        Reaches all of them.
    transport
        Carries batches between two of them (`channels.Transport`).
    """

    def __init__(self, rank: int, size: int, store: Store, transport: Any) -> None:
        self.rank, self.size, self.store, self.transport = rank, size, store, transport
        self.fits = 0  # that were begun: their batches do not mix
        self._questions = 0
        self._epoch = self._step = 0
        self._moved, self._slowest, self._waits, self._done = time.monotonic(), 0.0, True, False
        now = time.monotonic()
        self._seen: dict[int, tuple[dict[str, Any], float]] = {other: ({}, now) for other in range(size)}
        self._ended, self._reachable = threading.Event(), True
        self._say(0)
        threading.Thread(target=self._beat, daemon=True).start()

    # ------------------------------------------------------------ what this one says

    def _say(self, number: int) -> None:
        said = {"beat": number, "place": _place(), "host": socket.gethostname(), "pid": os.getpid()}
        said |= {"epoch": self._epoch, "step": self._step, "waits": self._waits, "done": self._done}
        said |= {"idle": time.monotonic() - self._moved, "limit": max(HANGS, 20 * self._slowest)}
        self.store.set(f"beat {self.rank}", json.dumps(said))

    def _beat(self) -> None:
        number = 0
        with contextlib.suppress(*BROKEN):  # whoever waits for the others says so
            while not self._ended.wait(BEAT):
                number += 1
                self._say(number)

    def stepped(self, epoch: int, step: int) -> None:
        """Say how far the training of this partition is."""
        now = time.monotonic()
        self._slowest, self._moved = max(self._slowest, now - self._moved), now
        self._epoch, self._step = epoch, step

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Let the others count on a step now and then while the body trains."""
        self._waits, self._moved = False, time.monotonic()
        try:
            yield
        finally:
            self._waits = True

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Let no step be expected while the body waits for another process."""
        before, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits, self._moved = before, time.monotonic()

    # ------------------------------------------------------------ what the others say

    def told(self, thing: Any) -> list[Any]:
        """Return what each process has to tell, as JSON, by its number; LayerwiseError where one ended."""
        self._questions += 1
        name = f"told {self._questions}"
        with self.reached(), self.waiting():
            self.store.set(f"{name} {self.rank}", json.dumps(thing))
            missing = set(range(self.size))
            while missing := {other for other in missing if not self.store.check([f"{name} {other}"])}:
                self.check()
                time.sleep(TICK / 10)
            return [json.loads(self.store.get(f"{name} {other}")) for other in range(self.size)]

    def check(self) -> None:
        """LayerwiseError where a process ended, hangs, or said why it cannot go on."""
        with self.reached():
            if self.store.check(["end"]):
                raise LayerwiseError(self.store.get("end").decode())
            for other in range(self.size):
                if other != self.rank and (lost := self._lost(other)):
                    raise self.fail(f"{self._named(other)} {lost}; run the same command again to go on")

    def _lost(self, other: int) -> str:
        """Return how a process was lost; nothing of one that is well."""
        now = time.monotonic()
        if self.store.check([f"beat {other}"]):
            said = json.loads(self.store.get(f"beat {other}"))
            if said["beat"] != self._seen[other][0].get("beat"):
                self._seen[other] = said, now
        said, since = self._seen[other]
        if said.get("done"):
            return ""
        if said and said["place"] == _place() and not _lives(said["pid"]):
            return "ended"
        if now - since > DEAD:
            return f"gave no sign of life for {now - since:.0f} s: it ended, hangs, or cannot be reached"
        if said and not said["waits"] and (idle := said["idle"] + now - since) > said["limit"]:
            return f"hangs: no step for {idle:.0f} s"
        return ""

    def _named(self, other: int) -> str:
        said, _ = self._seen[other]
        where = f" on {said['host']}, epoch {said['epoch'] + 1}, last step {said['step']}" if said else ""
        return f"partition {other + 1} (process {other}{where})"

    def fail(self, text: str) -> LayerwiseError:
        """Return the one error with which all processes end: this one, or that of who failed first."""
        with contextlib.suppress(*BROKEN):
            text = self.store.compare_set("end", "", text).decode() if self._reachable else text
        return LayerwiseError(text)

    def failed(self, error: LayerwiseError) -> LayerwiseError:
        """Return the error of all processes for one that this process met."""
        where = f"partition {self.rank + 1} (process {self.rank} on {socket.gethostname()}, last step {self._step})"
        return self.fail(str(error) if str(error).startswith("partition ") else f"{where}: {error}")

    def broken(self, error: Exception) -> LayerwiseError:
        """Return why batches come no more: the others know who ended, as soon as it shows."""
        until = time.monotonic() + DEAD + BEAT
        while time.monotonic() < until:
            try:
                self.check()
            except LayerwiseError as known:
                return known
            time.sleep(TICK)
        said = " ".join(str(error).split())[:160]
        return self.fail(f"partition {self.rank + 1}: a neighbour cannot be reached ({said}); run again to go on")

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Let a store that is gone, which process 0 holds, be one line."""
        try:
            yield
        except BROKEN:
            self._reachable = False
            raise LayerwiseError(f"{self._named(0)} ended; run the same command again to go on") from None

    def leave(self) -> None:
        """Say goodbye, or why not. Process 0 waits for the others, who may read through it what it said."""
        if (error := sys.exception()) is not None:
            self.failed(LayerwiseError(str(error) or "was stopped"))
        self._done = True
        self._ended.set()
        with contextlib.suppress(*BROKEN):
            if self._reachable:
                self._say(-1)
            until = time.monotonic() + SEE_OFF
            while (
                self._reachable
                and self.rank == 0
                and time.monotonic() < until
                and not all(map(self._gone, range(1, self.size)))
            ):
                time.sleep(TICK / 4)
        self.transport.close()

    def _gone(self, other: int) -> bool:
        lost = self._lost(other)
        return bool(lost or self._seen[other][0].get("done"))


_current: Group | None = None


def join(group: Group) -> None:
    """Let the fits of this process be of one partition each, from now on."""
    global _current
    _current = group


def current() -> Group | None:
    """Return the processes of a fit in partitions; None where this process fits all of it."""
    return _current


def rank() -> int:
    """Return the number of this process; 0 writes the results."""
    return _current.rank if _current else 0


def leave() -> None:
    global _current
    group, _current = _current, None
    if group:
        group.leave()


def _place() -> str:
    """Return what two processes share that can see each other's numbers: the host, and the space of its numbers."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()} {os.getpid()}"


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
