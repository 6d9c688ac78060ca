"""The machine: devices, threads, and what is measured and written down."""

import mmap
import platform
import subprocess
import sys
import time

import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.run import machine


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_takes_what_is_there(no_gpu):
    assert machine.device("auto") == torch.device("cpu")
    assert machine.device("cpu") == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.device("auto") == torch.device("cuda")
    assert machine.device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_said_with_the_cure(no_gpu):
    with pytest.raises(
        LayerwiseError, match="device 'cuda': no GPU that torch can use is here; set device: cpu or auto"
    ):
        machine.device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:7", "", "CPU"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(LayerwiseError, match=f"device {name!r}: say auto, cpu or cuda"):
        machine.device(name)


def test_threads_are_at_least_one():
    before = torch.get_num_threads()
    try:
        machine.deterministic(torch.device("cpu"), 0)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def block_of_128_mb() -> torch.Tensor:
    """From the system itself: an allocator may have as much left of an earlier test, and then no peak shows."""
    return torch.frombuffer(mmap.mmap(-1, 2**27), dtype=torch.uint8).fill_(1)


def test_the_meter_reads_wall_seconds_and_the_peak():
    cpu = torch.device("cpu")
    with machine.metered(cpu) as reading:
        time.sleep(0.05)
        block = block_of_128_mb()
        del block
    with machine.metered(cpu) as after:
        pass
    assert 0.05 <= reading["seconds"] < 5
    assert reading["peak_memory_mb"] > 128
    if platform.system() == "Linux":  # which can forget a peak that is over
        assert reading["peak_memory_mb"] - after["peak_memory_mb"] > 64


@pytest.mark.skipif(platform.system() != "Linux", reason="other systems do not forget a peak that is over")
def test_what_a_fit_left_in_a_circle_of_references_does_not_count_for_the_next():
    cpu = torch.device("cpu")
    machine.warm_up(cpu)
    with machine.metered(cpu) as reading:
        circle = [block_of_128_mb()]
        circle.append(circle)
        del circle
    with machine.metered(cpu) as after:
        pass
    assert reading["peak_memory_mb"] - after["peak_memory_mb"] > 64


def test_the_record_says_where_when_and_with_what():
    record = machine.provenance(torch.device("cpu"))
    assert record["device"] == "cpu"
    assert record["threads"] == torch.get_num_threads()
    assert record["versions"]["torch"] == torch.__version__
    assert platform.machine() in record["machine"]
    assert machine.processor() in record["machine"]


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_has_a_plus_where_the_code_was_changed(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    code = tmp_path / "package" / "machine.py"
    code.write_text("1")
    monkeypatch.setattr(machine, "__file__", str(code))
    git(tmp_path, "init", "-q")
    assert machine.revision() == ""  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    (tmp_path / "results.csv").write_text("not code")
    assert machine.revision() == head
    code.write_text("2")
    assert machine.revision() == head + "+"


def test_a_machine_without_git_has_no_revision(monkeypatch):
    def missing(*words, **more):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert machine.revision() == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library of Linux")
def test_freed_memory_is_kept():
    """A chain of layers of 24 MB: without, each tensor's 6,000 pages are cleared again, 600,000 in fifty rounds."""
    code = (
        "import resource, torch\n"
        "from layerwise.run import machine\n"
        "machine.keep_freed_memory()\n"
        "for _ in range({}): a = torch.ones(6_000_000); b = a + 1; del a; c = b * 2; del b; d = c + 1; del c, d\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )
    few, many = (
        int(subprocess.run([sys.executable, "-c", code.format(n)], capture_output=True, text=True, check=True).stdout)
        for n in (2, 52)
    )
    assert many - few < 50_000
