"""What runs need of the world around them: environment variables, and a folder that no dead run keeps locked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path


def pass_to_jobs() -> None:
    """Let jobs start with the Python that runs now, activated or not, and with the package of this very clone.

    Modules of the working directory are found too, as ``python -m`` finds them.
    """
    sys.path.append(str(Path.cwd()))
    for name, first in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", Path(__file__).parents[1])):
        rest = os.environ.get(name)
        os.environ[name] = os.pathsep.join([str(first), rest]) if rest else str(first)


# Wider registers add in another order. These keep torch, oneDNN and MKL to AVX2, which about every x86 machine has.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def same_instructions(cpu: Path = Path("/proc/cpuinfo")) -> None:
    """Let a machine with AVX-512 find the very numbers of one without; before torch computes. What is set stays.

    Training convolutions takes 1.4 times as long so on an AMD EPYC 9005 and the rest as long as before.
    """
    with contextlib.suppress(OSError):
        if "avx512" in cpu.read_text():
            for name, value in AVX2.items():
                os.environ.setdefault(name, value)


def forget_dead_runs(folder: Path) -> None:
    """Remove the locks that a killed Snakemake left in its folder ``.snakemake``, while no other one is alive there.

    Snakemake takes its lock away by itself, unless it is killed. Every one that comes by here shares a lock of the
    kernel's until it ends, however it ends: who gets that lock alone is the only one alive.
    """
    with contextlib.suppress(OSError):  # no permission, or a file system without locks: then Snakemake says --unlock
        folder.mkdir(exist_ok=True)
        handle = os.open(folder / "alive.lock", os.O_CREAT | os.O_RDWR, 0o644)  # stays open as long as the process
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for lock in folder.glob("locks/*.lock"):
                lock.unlink()
        fcntl.flock(handle, fcntl.LOCK_SH)


def data_root(configured: Path | str) -> Path:
    """Return the folder of downloaded data sets: the variable LAYERWISE_DATA_ROOT, or what is configured."""
    return Path(os.environ.get("LAYERWISE_DATA_ROOT") or configured)
