"""The machine under a fit: devices, threads, seconds, memory, and what to write down of it."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import functools
import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from layerwise import environment
from layerwise.errors import LayerwiseError
from layerwise.layers.words import LIBRARIES

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of glibc


def device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` stands for; LayerwiseError where there is no GPU."""
    if name not in ("auto", "cpu", "cuda"):
        raise LayerwiseError(f"device {name!r}: say auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise LayerwiseError("device 'cuda': no GPU that torch can use is here; set device: cpu or auto in config.yaml")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def deterministic(on: torch.device, threads: int) -> None:
    """Make torch give the same bytes for the same seed: a CPU does on a fixed number of threads, a GPU if asked."""
    torch.set_num_threads(max(1, threads))
    if on.type == "cuda":  # not on a CPU: the call alone imports torch's compiler, seconds of every short job
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def keep_freed_memory() -> None:
    """Let the C library of Linux keep what is freed for the next tensor.

    Given back to the system, every page is cleared again at its next use: of running 500 filters over CIFAR-10 that
    was 40 % of the time. Without such a library nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for name, value in ((M_MMAP_THRESHOLD, 2**25), (M_TRIM_THRESHOLD, 2**30), (M_TOP_PAD, 2**26)):
            library.mallopt(name, value)


@functools.cache
def warm_up(on: torch.device) -> None:
    """Let torch load what it loads on first use, once a process: the first fit of a job would be charged with it."""
    x = torch.eye(64, device=on, dtype=torch.float64)
    torch.linalg.eigh(x @ x)
    torch.linalg.pinv(x)
    images = torch.zeros(2, 1, 8, 8, device=on, requires_grad=True)
    torch.nn.functional.conv2d(images, torch.zeros(2, 1, 3, 3, device=on)).sum().backward()
    gc.freeze()  # 300,000 objects of libraries, which `metered` need not go through before every fit


@contextlib.contextmanager
def metered(on: torch.device) -> Iterator[dict[str, float]]:
    """Measure the body: ``seconds`` (wall), and ``peak_memory_mb``, resident on a CPU or allocated on a GPU."""
    reading: dict[str, float] = {}
    gc.collect()  # what an earlier fit left in circles of references is not of this one: 100 of them took 12 GB
    if on.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):  # Linux forgets the peak of what this process did before
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    start = time.perf_counter()
    yield reading
    if on.type == "cuda":
        torch.cuda.synchronize()
    reading["seconds"] = round(time.perf_counter() - start, 4)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on.type == "cuda" else _peak_resident_mb()
    reading["peak_memory_mb"] = round(peak, 1)


def _peak_resident_mb() -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def provenance(on: torch.device) -> dict[str, Any]:
    """Return what to know of where, when and with what a fit ran. None of it enters a digest."""
    import numpy

    from layerwise import __version__

    used = {name: metadata.version(name) for name in LIBRARIES if name in sys.modules}  # of models, of augmentation
    versions = {"layerwise": __version__, "python": platform.python_version(), "torch": torch.__version__}
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if on.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": {**versions, "numpy": numpy.__version__, **used},
        "revision": revision(),
    }


def processor() -> str:
    """Return the processor's name as the system gives it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or "unknown processor"


def revision() -> str:
    """Return the git revision of the code, with a + where the tree differs from it; empty outside a clone."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return environment.git(folder, *words).decode(errors="replace").strip()

    head = git("rev-parse", "--short", "HEAD") if git("ls-files", Path(__file__).name) else ""
    return head + ("+" if head and git("status", "--porcelain", "--untracked-files=no", ".") else "")
