"""The environment: jobs find this Python and this package, and data sets lie where the variable says."""

import os
import subprocess
import sys
from pathlib import Path

from layerwise import environment


def test_a_job_finds_the_python_that_runs_and_the_package_of_this_clone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment.pass_to_jobs()
    assert os.environ["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/usr/bin"]
    code = "import layerwise, sys; print(layerwise.__file__)"
    done = subprocess.run(["python", "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == Path(environment.__file__).parent


def test_what_was_on_the_python_path_stays_on_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("PYTHONPATH", "one:two")
    environment.pass_to_jobs()
    assert os.environ["PYTHONPATH"].endswith(":one:two")
    assert sys.path[-1] == str(tmp_path)  # a module of the working directory, such as a method of the user's own


def test_the_variable_goes_before_what_is_configured(monkeypatch):
    monkeypatch.delenv("LAYERWISE_DATA_ROOT", raising=False)
    assert environment.data_root("data") == Path("data")
    monkeypatch.setenv("LAYERWISE_DATA_ROOT", "elsewhere")
    assert environment.data_root("data") == Path("elsewhere")
    monkeypatch.setenv("LAYERWISE_DATA_ROOT", "")
    assert environment.data_root("data") == Path("data")


def test_a_machine_with_wider_registers_computes_as_others_do(monkeypatch, tmp_path):
    set_by_user = {"ONEDNN_MAX_CPU_ISA": "ALL"}
    monkeypatch.setattr(os, "environ", dict(set_by_user))
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("flags: sse2 avx avx2\n")
    environment.same_instructions(cpu)
    environment.same_instructions(tmp_path / "none")
    assert os.environ == set_by_user
    cpu.write_text("flags: sse2 avx avx2 avx512f avx512bw\n")
    environment.same_instructions(cpu)
    assert os.environ == environment.AVX2 | set_by_user


def test_no_verb_computes_with_wider_registers():
    code = (
        "import contextlib, torch\n"
        "from layerwise.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['fits', 'nothing.yaml'])\n"
        "print(torch.backends.cpu.get_cpu_capability())"
    )
    free = {name: value for name, value in os.environ.items() if name not in environment.AVX2}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=free)
    assert done.stdout.strip() != "AVX512"


ALIVE = """
import sys
from pathlib import Path
from layerwise import environment
environment.forget_dead_runs(Path(sys.argv[1]))
print("alive", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_dead_run_goes_and_that_of_a_live_one_stays(tmp_path):
    folder = tmp_path / ".snakemake"
    command = [sys.executable, "-c", ALIVE, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "alive\n"
        (folder / "locks").mkdir()
        lock = folder / "locks" / "0.output.lock"
        lock.write_text("results/fit.json\n")
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, stdout=subprocess.DEVNULL)
        assert lock.exists()
        other.kill()
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, stdout=subprocess.DEVNULL)
    assert not lock.exists()


def test_a_folder_without_permission_is_left_to_snakemake(tmp_path):
    (tmp_path / ".snakemake").write_text("no folder")
    environment.forget_dead_runs(tmp_path / ".snakemake")
