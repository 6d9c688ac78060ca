"""Processes that fit one segment together, forked from a server that has torch already: for the tests of partitions."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import socket
import sys
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
MODULES = "torch torch._dynamo layerwise.__main__ layerwise.run.node layerwise.run.loading layerwise.methods.local"
SERVER.set_forkserver_preload([*MODULES.split(), "jsonschema", "yaml", "together"])


def prepared_in(folder: Path, study: str) -> Path:
    """Write a study of one data set ``d`` in a folder, prepare it, and return the folder."""
    from layerwise.__main__ import main

    (folder / "studies").mkdir()
    (folder / "studies/t.yaml").write_text(study)
    with contextlib.chdir(folder):
        assert main(["dataset", "studies/t.yaml", "d"]) == 0
    return folder


def free_port() -> str:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


def over_network(size: int) -> dict[str, str]:
    return {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}


def work(place: Path, out: Path, words: list[str], variables: dict[str, str], constants: dict[str, float]) -> None:
    """Run a verb as a process of its own would; what it says goes to a file."""
    from layerwise.__main__ import main

    os.chdir(place)
    os.environ.update(variables)
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    with out.open("w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        sys.exit(main(words))


class Together:
    """So many processes of a fit, each in a folder; the last words of each are `said`."""

    def __init__(self, places: list[Path], words: list[str], variables: dict[str, str], **constants: float) -> None:
        self.outs = [place.parent / f"{place.name}-said-{n}.txt" for n, place in enumerate(places)]
        self.processes = [
            SERVER.Process(
                target=work, args=(place, out, words, {**variables, "RANK": str(n), "LOCAL_RANK": str(n)}, constants)
            )
            for n, (place, out) in enumerate(zip(places, self.outs, strict=True))
        ]
        for process in self.processes:
            process.start()

    def end(self, seconds: float = 60) -> list[int | None]:
        """Wait for all, and return their exit codes."""
        for process in self.processes:
            process.join(seconds)
        return [process.exitcode for process in self.processes]

    def said(self, number: int) -> str:
        return self.outs[number].read_text() if self.outs[number].exists() else ""

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
