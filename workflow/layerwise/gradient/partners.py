"""The processes that train the partitions of one fit: what each says of itself, and what ends them all.

They tell each other short texts through a `Store`: torch's own over the network, or a folder. Each gives a sign of life
every other second; who ends or hangs is named by the others, and all end with that one line. Batches go another way
(`gradient/channels.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TypeVar

from layerwise.errors import LayerwiseError
from layerwise.gradient.allocation import Allocation

BEAT = 2.0  # seconds between two signs of life
TICK = 0.2  # seconds between two looks at the others, while this one waits
DEAD = 30.0  # seconds without a sign of life
HANGS = 45.0  # seconds without a step, where steps do not take a twentieth of that or more
SEE_OFF = 5.0  # seconds for the others to read what this one said last
AGAIN = "run the same command again to go on"
BROKEN = (RuntimeError, OSError)  # of a store: torch's errors of the network, a folder that is gone


T = TypeVar("T")


class Store(Protocol):
    """What processes tell each other by: texts by name, each of which all can read once it is set."""

    def set(self, name: str, text: str) -> None: ...

    def get(self, name: str) -> bytes: ...

    def check(self, names: list[str]) -> bool: ...

    def compare_set(self, name: str, before: str, text: str) -> bytes:
        """Set a text where `before` is what is there ("": nothing); returns what is there then."""


class Group:
    """All processes of a fit in partitions, as one of them sees them; those of its own partition are a `teams.Team`.

    A thread of its own reads and writes the store, so that nobody hangs with the process that holds it.

    Parameters
    ----------
    rank
        Number of this process.
    allocation
        Which of them train which partition.
    store
        Reaches all of them.
    transport
        Carries batches between two of them (`channels.Transport`).
    """

    def __init__(self, rank: int, allocation: Allocation, store: Store, transport: Any) -> None:
        self.rank, self.allocation, self.store, self.transport = rank, allocation, store, transport
        self.size, self.partition = allocation.processes, allocation.partition_of(rank)
        self.fits = 0  # that were begun: their batches do not mix
        self._questions = self._epoch = self._step = 0
        self._slowest, self._waits, self._done = 0.0, True, False
        self._moved = self._looked = now = time.monotonic()
        self._seen: dict[int, tuple[dict[str, Any], float]] = {other: ({}, now) for other in range(self.size)}
        self._verdict = ""  # why all end
        self._requests: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._watch, daemon=True).start()

    # ------------------------------------------------------------ the thread

    def _watch(self) -> None:
        """Say how this process does, look at the others, and ask the store what is asked for, until there is none."""
        spoke, answer = 0.0, Future[Any]()
        try:
            while True:
                now = time.monotonic()
                if now - spoke >= BEAT:
                    self._say()
                    spoke = now
                self._look()
                self._looked = time.monotonic()
                with contextlib.suppress(queue.Empty):
                    action, answer = self._requests.get(timeout=TICK)
                    answer.set_result(action())
        except BROKEN:
            self._verdict = self._verdict or f"{self._named(0)} ended; {AGAIN}"

    def _say(self) -> None:
        said = {"at": time.monotonic(), "place": _place(), "host": socket.gethostname(), "pid": os.getpid()}
        said |= {"epoch": self._epoch, "step": self._step, "waits": self._waits, "done": self._done}
        said |= {"idle": time.monotonic() - self._moved, "limit": max(HANGS, 20 * self._slowest)}
        self.store.set(f"life {self.rank}", json.dumps(said))

    def _look(self) -> None:
        """Find out why all end, if they do."""
        if not self._verdict and self.store.check(["end"]):
            self._verdict = self.store.get("end").decode()
        for other in range(self.size):
            if other != self.rank and (lost := self._lost(other)) and not self._verdict:
                text = f"{self._named(other)} {lost}; {AGAIN}"
                self._verdict = self.store.compare_set("end", "", text).decode()

    def _lost(self, other: int) -> str:
        """Return how a process was lost; nothing of one that is well."""
        now = time.monotonic()
        if self.store.check([f"life {other}"]):
            said = json.loads(self.store.get(f"life {other}"))
            if said["at"] != self._seen[other][0].get("at"):
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
        return f"partition {self.allocation.partition_of(other) + 1} (process {other}{where})"

    # ------------------------------------------------------------ what this process says and asks

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

    def ask(self, action: Callable[[], T]) -> T:
        """Return what an action on the store gives; LayerwiseError where a process ended or hangs."""
        answer: Future[T] = Future()
        self._requests.put((action, answer))
        while True:
            try:
                return answer.result(timeout=TICK)
            except TimeoutError:
                self.check()

    def told(self, thing: Any) -> list[Any]:
        """Return what each process has to tell, as JSON, by its number; LayerwiseError where one ended."""
        self._questions += 1
        names = [f"told {self._questions} {other}" for other in range(self.size)]
        with self.waiting():
            self.ask(lambda: self.store.set(names[self.rank], json.dumps(thing)))
            while not self.ask(lambda: self.store.check(names)):
                self.check()
                time.sleep(TICK / 10)
            return self.ask(lambda: [json.loads(self.store.get(name)) for name in names])

    def check(self) -> None:
        """LayerwiseError where a process ended, hangs, or said why it cannot go on."""
        if self._verdict:
            raise LayerwiseError(self._verdict)
        if (silent := time.monotonic() - self._looked) > DEAD:  # the store answers no more
            raise LayerwiseError(f"{self._named(0)} gave no sign of life for {silent:.0f} s; {AGAIN}")

    def fail(self, text: str) -> LayerwiseError:
        """Return the one error with which all processes end: this one, or that of who failed first."""
        try:
            return LayerwiseError(self.ask(lambda: self.store.compare_set("end", "", text).decode()))
        except LayerwiseError as error:
            return error

    def failed(self, error: LayerwiseError) -> LayerwiseError:
        """Return the error of all processes for one that this process met."""
        where = (
            f"partition {self.partition + 1} (process {self.rank} on {socket.gethostname()}, last step {self._step})"
        )
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
        return self.fail(f"partition {self.partition + 1}: a neighbour cannot be reached ({said}); {AGAIN}")

    def leave(self) -> None:
        """Say goodbye, or why not. Process 0 waits for the others, who may read through it what it said."""
        if (error := sys.exception()) is not None:
            self.failed(LayerwiseError(str(error) or "was stopped"))
        self._done, until = True, time.monotonic() + SEE_OFF
        others = range(self.size) if self.rank == 0 else ()
        answer: Future[None] = Future()
        self._requests.put((self._say, answer))
        with contextlib.suppress(TimeoutError, *BROKEN):
            answer.result(timeout=SEE_OFF)
            while time.monotonic() < until and not all(self._seen[other][0].get("done") for other in others if other):
                time.sleep(TICK / 4)
        self.transport.close()


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
