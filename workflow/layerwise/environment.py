"""What runs need of the world around them: environment variables, and a folder that no dead run keeps locked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.preparation.paths import expanded


def settle() -> None:
    """Make this process, and those it starts, independent of its environment; before it computes or prints anything."""
    keep_standard_files()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not one that is closed, or a test's
            stream.reconfigure(errors="backslashreplace")  # a label or a ± that the terminal has no letter for
    same_instructions()
    if os.environ.get("WORLD_SIZE", "1") != "1":  # where another process ended, torch would print its stack to a page
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not os.environ.get("SOURCE_DATE_EPOCH", "0").isdecimal():  # numpy.f2py, which scipy imports, dies of others
        del os.environ["SOURCE_DATE_EPOCH"]
    try:
        let_torch_start()
    except LayerwiseError as error:
        print(f"layerwise: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def keep_standard_files() -> None:
    """Open what was closed of stdin, stdout and stderr: a file of results must not get the number that errors go to."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)


def pass_to_jobs() -> None:
    """Let jobs start with the Python that runs now, activated or not, and with the package of this very clone.

    Modules of the working directory are found too, as ``python -m`` finds them.
    """
    settle()
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
        if "avx512" in cpu.read_text(encoding="utf-8", errors="replace"):
            for name, value in AVX2.items():
                os.environ[name] = os.environ.get(name) or value


# Variables with which torch does not start, or aborts, where it cannot read them; and what it is known to read.
FOR_TORCH = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TORCH_LOGS", "TORCH_DISTRIBUTED_DEBUG")
READABLE = re.compile(r"((expandable_segments:(True|False)|max_split_size_mb:[1-9]\d+)(,|$))*|OFF|INFO|DETAIL")


def let_torch_start() -> None:
    """Try torch in a process of its own where a variable is set that may stop it; LayerwiseError where one does."""
    for name in FOR_TORCH:
        if os.environ.get(name) == "":
            del os.environ[name]  # says nothing
    given = {name: os.environ[name] for name in FOR_TORCH if not READABLE.fullmatch(os.environ.get(name, ""))}
    if not given or os.environ.get("LAYERWISE_TORCH_STARTS") == str(given):
        return
    done = subprocess.run(
        [sys.executable, "-c", "import torch"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        named = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise LayerwiseError(f"torch does not start with {named} in the environment: unset or correct it")
    os.environ["LAYERWISE_TORCH_STARTS"] = str(given)  # jobs need not try again


def forget_dead_runs(folder: Path) -> None:
    """Remove the locks that a killed Snakemake left in its folder ``.snakemake``, while no other one is alive there.

    Snakemake takes its lock away by itself, unless it is killed. Every one that comes by here shares a lock of the
    kernel's until it ends, however it ends: who gets that lock alone is the only one alive.
    """
    with contextlib.suppress(OSError):  # no permission, or a file system without locks: then Snakemake says --unlock
        folder.mkdir(exist_ok=True)
        handle = store.lock_file(folder / "alive.lock")  # stays open as long as the process
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for lock in folder.glob("locks/*.lock"):
                lock.unlink()
        fcntl.flock(handle, fcntl.LOCK_SH)


def data_root(configured: Path | str) -> Path:
    """Return the folder of downloaded data sets: the variable LAYERWISE_DATA_ROOT, or what is configured."""
    variable = os.environ.get("LAYERWISE_DATA_ROOT")
    where = "LAYERWISE_DATA_ROOT" if variable else "data_root"
    path = expanded(variable or configured, where)
    if path.exists() and not path.is_dir():
        raise LayerwiseError(f"{where} {str(path)!r}: a file; name the folder that data sets are downloaded to")
    return path


def git(folder: Path, *words: str) -> bytes:
    """Return what git says of the repository that a folder lies in; nothing where it fails or there is none.

    Whatever repository the environment names, who owns the folder, and without a question that nobody would answer.
    """
    named = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    trusted = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")  # its code runs now, so it is trusted
    with contextlib.suppress(OSError):
        done = subprocess.run(
            ["git", "-C", str(folder), *trusted, *words],
            env={**named, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return done.stdout if done.returncode == 0 else b""
    return b""
