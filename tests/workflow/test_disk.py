"""A full disk, or one that may not be written to: one line, no file, and it works once there is room."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys

import pytest

VERBS = {
    "dataset": "dataset digits",
    "fit": "fit digits mlp",
    "represent": "represent digits d4",
    "probe": "probe lsd digits mlp",
    "fits": "fits",
    "figure": "figure readout_depth",
    "table": "table accuracy",
}
MAKES = {
    "dataset": ["datasets/digits"],
    "fit": [f"networks/digits/seed0/mlp/{n}" for n in ("segment.safetensors", "fit.json", "score.json")],
    "represent": [f"networks/digits/seed0/d4/{n}" for n in ("train.safetensors", "valid.safetensors")],
    "probe": [f"networks/digits/seed0/mlp/{n}" for n in ("lsd.csv", "probe.lsd.json")],
    "fits": ["fits.csv", ".made"],
    "figure": ["figures"],
    "table": ["tables"],
}


def undo(lab, verb):
    if verb == "fit":
        lab.unfit("mlp")
    for name in MAKES[verb]:
        path = lab.results(name)
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def files_of_at_most(size: int):
    """Let this process write no file that is longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_that_cannot_be_finished_is_not_there(lab, verb):
    undo(lab, verb)
    before = lab.files()
    with files_of_at_most(100):
        line = lab(*VERBS[verb].split()).refuses("results/tiny/", "cannot be written", "nothing was left there")
    assert str(lab.folder) not in line  # a name as it can be typed
    assert lab.files() == before
    lab.must(*VERBS[verb].split())
    assert all(lab.results(name).exists() for name in MAKES[verb])


@pytest.fixture
def small_disk(lab):
    """The lab with its results on a file system of their own, nearly full; gives a function that makes room."""
    results = lab.folder / "results"
    kept = results.rename(lab.folder / "kept")
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(results)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copytree(kept, results, dirs_exist_ok=True)
        yield lab
    finally:
        subprocess.run(["umount", "--lazy", str(results)], check=True)


def fill(folder):
    """Fill the disk; returns the file that does."""
    path = folder / "filling"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\x00" * 4096)
    return path


def test_a_full_disk_is_said_and_the_next_run_goes_on(small_disk):
    lab = small_disk
    for verb, words in VERBS.items():
        undo(lab, verb)
        filling = fill(lab.folder / "results")
        before = lab.files()
        said = lab(*words.split())
        said.refuses("results/tiny/", "cannot be written", "No space left on device")
        assert lab.files() == before, verb
        filling.unlink()
        lab.must(*words.split())


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_to_is_said(lab):
    undo(lab, "table")
    lab.results().chmod(0o555)
    try:
        lab("table", "accuracy").refuses("results/tiny/tables/accuracy.csv: cannot be written (Permission denied)")
    finally:
        lab.results().chmod(0o755)


def test_a_folder_under_the_name_of_a_file_is_said(lab):
    lab.results("fits.csv").unlink()
    lab.results("fits.csv").mkdir()
    lab("fits").refuses("results/tiny/fits.csv: cannot be written (Is a directory)")
    assert [p.name for p in lab.results().iterdir() if p.name.startswith(".")] == [".made"]


def test_a_reader_that_goes_away_ends_a_verb_quietly(made):
    """As in `python -m layerwise show studies/tiny.yaml | head -1`."""
    verb = subprocess.Popen(
        [sys.executable, "-m", "layerwise", "show", "studies/tiny.yaml"],
        cwd=made.folder,
        env=made.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    verb.stdout.close()
    assert verb.stderr.read().decode() == ""
    assert verb.wait() == 1
