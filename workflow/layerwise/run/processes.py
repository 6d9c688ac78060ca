"""How the processes of a shared fit find each other, and make sure that they are about to fit the same.

``torchrun`` starts them, or somebody who sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT for each. Clusters and
other programmes leave one or two of these about: a process that lacks one of the four fits alone. Those of a fit in
partitions may also meet in a folder, where RANK and WORLD_SIZE will do.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from layerwise import __version__
from layerwise.contract import Dataset
from layerwise.errors import LayerwiseError
from layerwise.gradient import folder, partners
from layerwise.gradient.allocation import Allocation
from layerwise.gradient.network import Network
from layerwise.study.model import Study
from layerwise.study.trie import Node, prefixes

WAIT = 60.0  # seconds for all to come: an import of torch on a slow disk, not a queue
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
POLL = 0.05  # seconds
ALONE = "to fit alone, unset RANK"
AGAIN = f"start all with the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE, or, {ALONE}"


def join(on: torch.device, study: Study, dataset: str, path: str, data: Dataset, through: Path | None = None) -> None:
    """Join the other processes of a fit, if there are any; LayerwiseError where one lacks or is about another fit.

    Parameters
    ----------
    through
        A folder on a shared disk, through which those of a fit in partitions reach each other, and not a network.
    """
    if through is not None:
        _meet(on, study, dataset, path, data, through)
        return
    if not (distributed.is_available() and all(os.environ.get(name) for name in VARIABLES)):
        return
    world = _number("WORLD_SIZE", 1, 2**20)
    rank = _number("RANK", 0, world - 1)
    port = _number("MASTER_PORT", 1, 2**16 - 1)
    if world == 1:
        return
    allocation = _demanded(study, path, world)
    _take_device(on, allocation)
    about = {"WORLD_SIZE": str(world), **_about(on, study, dataset, path, data)}
    until = time.monotonic() + WAIT
    store = _store(os.environ["MASTER_ADDR"], port, rank, world, until)
    try:
        try:
            _agree(store, rank, world, until, about, allocation.named if allocation else str)
        except LayerwiseError:
            _see_off(store, rank, world)
            raise
    except distributed.DistNetworkError:
        raise LayerwiseError(f"process {rank} of {world}: process 0 ended; see what it said") from None
    backend = "nccl" if on.type == "cuda" and allocation is None else "gloo"
    group = distributed.PrefixStore("group", store)
    distributed.init_process_group(backend, store=group, rank=rank, world_size=world)
    if allocation is not None:
        own = distributed.PrefixStore("partners", store)
        partners.join(partners.Group(rank, allocation, own, Network(_by_nccl(on, allocation, rank))))


def _by_nccl(on: torch.device, allocation: Allocation, rank: int) -> Any:
    """Return what adds up the gradients of this process's partition by NCCL, where each process has a GPU of its own.

    Batches go through gloo all the same: to send them by NCCL from the threads that carry them would be to use several
    of its communicators on one GPU at once, which may hang.
    """
    if max(allocation.sizes) == 1 or on.type != "cuda" or not (distributed.is_nccl_available() and _own_gpus()):
        return None
    every = [allocation.ranks(n) for n in range(len(allocation.sizes))]
    teams = [distributed.new_group(list(ranks), backend="nccl") for ranks in every]  # each process makes all
    return teams[allocation.partition_of(rank)]


def _own_gpus() -> bool:
    """Tell whether each process has a GPU of its own."""
    gpus = [""] * distributed.get_world_size()
    distributed.all_gather_object(gpus, str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid))
    return len(set(gpus)) == len(gpus)


def _meet(on: torch.device, study: Study, dataset: str, path: str, data: Dataset, through: Path) -> None:
    """Join the other processes of a fit in partitions through a folder."""
    if _allocation(study, path) is None:
        raise LayerwiseError(f"--through {through}: {path!r} is not fitted in partitions; leave it out")
    for name in VARIABLES[:2]:
        if not os.environ.get(name):
            raise LayerwiseError(f"--through {through}: set RANK and WORLD_SIZE for each process; {name} is not set")
    world = _number("WORLD_SIZE", 1, 2**20)
    rank = _number("RANK", 0, world - 1)
    allocation = _demanded(study, path, world)
    assert allocation is not None
    _take_device(on, allocation)
    run = folder.meet(through, rank, allocation, WAIT)
    store, until = folder.FolderStore(run), time.monotonic() + WAIT
    try:
        about = {"WORLD_SIZE": str(world), **_about(on, study, dataset, path, data)}
        _agree(store, rank, world, until, about, allocation.named)
    except LayerwiseError:
        _see_off(store, rank, world)
        raise
    partners.join(partners.Group(rank, allocation, store, folder.Folder(run, rank)))


def _allocation(study: Study, path: str) -> Allocation | None:
    """Return which processes train which partition of a segment; None where it is not fitted by several so."""
    options = study.segment(path).options
    return Allocation(options.teams) if getattr(options, "processes", 1) > 1 else None


def _demanded(study: Study, path: str, world: int) -> Allocation | None:
    """Return the allocation of a segment, if it has one; LayerwiseError where there are not as many processes."""
    allocation = _allocation(study, path)
    if allocation is not None and allocation.processes != world:
        sizes = allocation.sizes
        has = f"the segment has {len(sizes)} partitions: start a process for each"
        if max(sizes) > 1:
            has = f"the segment has an allocation of {list(sizes)}: start {sum(sizes)} processes"
        raise LayerwiseError(f"WORLD_SIZE={world}, and {has}, or, {ALONE}")
    return allocation


def _take_device(on: torch.device, allocation: Allocation | None) -> None:
    """Take a GPU of this machine by LOCAL_RANK; partitions may share one."""
    if on.type == "cuda":
        os.environ.setdefault("LOCAL_RANK", "0")
        count = torch.cuda.device_count()
        torch.cuda.set_device(_number("LOCAL_RANK", 0, (count if allocation is None else 2**20) - 1) % count)


def leave() -> None:
    """Leave the other processes; called while an error is on its way, it lets those of partitions know."""
    partners.leave()
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _number(name: str, least: int, most: int) -> int:
    value = os.environ[name]
    if not (re.fullmatch(r"\s*[0-9]{1,9}\s*", value) and least <= int(value) <= most):
        raise LayerwiseError(
            f"{name}={value!r} in the environment: a fit that processes share needs a number from {least} to {most}; "
            f"start it by torchrun, or, {ALONE}"
        )
    return int(value)


def _about(on: torch.device, study: Study, dataset: str, path: str, data: Dataset) -> dict[str, str]:
    """Return what must be the same in all processes, by the name to call it by: what a user can mend comes first."""
    about: dict[str, object] = {"study": study.name, "network": f"{dataset}/{path}"}
    about["seeds"] = " ".join(map(str, study.seeds_of(dataset)))
    for prefix in prefixes(path):
        spec = study.segment(prefix)
        for name, value in {"method": spec.method, "layers": spec.layers, **dataclasses.asdict(spec.options)}.items():
            about[f"{name} of {prefix}"] = value
    about["digest of code and data set options"] = study.plan_digest(dataset, path)
    about["number of training samples"] = len(data.train)
    about["digest of the data set"] = data.record["digest"]
    about["type of the samples"] = f"{data.train.x.dtype} beside {torch.get_default_dtype()}"
    for seed in study.seeds_of(dataset):
        for node in Node(study.name, dataset, seed, path).lineage[:-1]:
            about[f"sha256 of the weights of {node}"] = _sha256(node.folder / "segment.safetensors")
    about["version of layerwise"], about["version of torch"] = __version__, torch.__version__
    # Each process computes the features on its own: rounded otherwise, they would be those of another network.
    about["device"] = on.type if on.type == "cpu" else torch.cuda.get_device_name()
    about["instructions of the CPU"] = torch.backends.cpu.get_cpu_capability()
    about["number of threads"] = torch.get_num_threads()
    return {name: str(value) for name, value in about.items()}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "none"


def _store(host: str, port: int, rank: int, world: int, until: float) -> distributed.Store:
    """Return what the processes tell each other by before they are a group: torchrun's own, or one of process 0."""
    me = f"process {rank} of {world}"
    first = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        socket.getaddrinfo(host, port)
        while not first and not _answers(host, port):
            if time.monotonic() > until:
                raise LayerwiseError(f"{me}: process 0 did not come to {host}:{port} within {WAIT:.0f} s; {AGAIN}")
        wait = datetime.timedelta(seconds=WAIT)
        store = distributed.TCPStore(host, port, world, is_master=first, timeout=wait, wait_for_workers=False)
    except OSError as error:
        raise LayerwiseError(f"{me}: MASTER_ADDR={host!r}: {error.strerror}; {AGAIN}") from None
    except RuntimeError as error:
        reason = "is in use" if "EADDRINUSE" in str(error) else "cannot be used"
        raise LayerwiseError(f"{me}: port {port} of {host} {reason}; set another MASTER_PORT, or, {ALONE}") from None
    return distributed.PrefixStore(f"layerwise/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _answers(host: str, port: int) -> bool:
    """Tell whether somebody listens there; asked before torch does, which fills the terminal where nobody does."""
    try:
        socket.create_connection((host, port), timeout=5).close()
        return True
    except OSError:
        time.sleep(POLL)
        return False


def _agree(
    store: partners.Store, rank: int, world: int, until: float, mine: dict[str, str], named: Callable[[int], str]
) -> None:
    """Wait until every process has told what it is about; LayerwiseError where it is not what this one is about."""
    me, told = f"process {rank} of {world}", json.dumps({**mine, "process": uuid.uuid4().hex})
    if store.compare_set(str(rank), "", told).decode() != told:
        raise LayerwiseError(f"{me}: another process has this RANK; give each its own, from 0 to {world - 1}")
    missing = list(range(world))
    while missing:
        for other in [n for n in missing if store.check([str(n)])]:
            missing.remove(other)
            its = json.loads(store.get(str(other)))
            for name in mine:
                if its.get(name) != mine[name]:
                    raise LayerwiseError(
                        f"{me}: {name}: {mine[name]} here, and {its.get(name)} in process {other}; "
                        "start all with the same words, study, data and environment"
                    )
        if missing and time.monotonic() > until:
            absent = ", ".join(map(named, missing))
            raise LayerwiseError(f"{me}: process {absent} did not come within {WAIT:.0f} s; see what it said; {AGAIN}")
        time.sleep(POLL if missing else 0)


def _see_off(store: partners.Store, rank: int, world: int) -> None:
    """Let the others read why before process 0 ends, through which they read."""
    store.set(f"read {rank}", "")
    until = time.monotonic() + min(5, WAIT)
    while rank == 0 and time.monotonic() < until and not store.check([f"read {other}" for other in range(1, world)]):
        time.sleep(POLL)
