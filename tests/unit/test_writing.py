"""A file is replaced as a whole, whatever stands under its name; what a killed writer left is swept up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from layerwise import store
from layerwise.errors import LayerwiseError

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def killed(code: str, path: Path) -> None:
    """Run code in a process that kills itself."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom layerwise import store\npath = Path(sys.argv[1])\n"
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", head + code.replace("KILL", kill), str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


HALF = "with store.replacing(path) as new:\n    new.write_text('half')\n    "
LEAVES = {
    "text": HALF + "KILL",
    "what a library puts beside it": HALF + "(new.parent / '.tmp1').write_text('x'); KILL",
    "two at once": HALF + "\n    ".join(HALF.splitlines()) + "KILL",
    "before it was begun": "with store.replacing(path) as new: KILL",
}


@pytest.mark.parametrize("how", LEAVES)
def test_what_a_killed_writer_left_is_swept_up_by_the_next(tmp_path, how):
    killed(LEAVES[how], tmp_path / "a.svg")
    left = names(tmp_path)
    assert left
    assert all(name.startswith(store.WRITING) for name in left)
    store.write_text(tmp_path / "another.png", "whole")
    assert names(tmp_path) == ["another.png"]


def test_git_and_dvc_ignore_what_is_being_written():
    for place in (
        f"results/quick/figures/{store.WRITING}0a1b2c3d/file",
        f"studies/elsewhere/{store.WRITING}0a1b2c3d/file",
    ):
        assert subprocess.run(["git", "check-ignore", "-q", place], cwd=ROOT, check=False).returncode == 0
    assert f"{store.WRITING}*" in (ROOT / ".dvcignore").read_text(encoding="utf-8").split()


def test_what_another_is_writing_stays(tmp_path):
    with store.replacing(tmp_path / "a") as first:
        first.write_text("first")
        with store.replacing(tmp_path / "a") as second:
            second.write_text("second")
        assert (tmp_path / "a").read_text() == "second"
        store.write_text(tmp_path / "b", "b")
    assert (tmp_path / "a").read_text() == "first"
    assert names(tmp_path) == ["a", "b"]


def test_many_at_once_lose_nothing(tmp_path):
    faults = []

    def write(n):
        try:
            for i in range(30):
                store.write_text(tmp_path / str(n), f"{n} {i}")
                assert (tmp_path / str(n)).read_text() == f"{n} {i}"
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert names(tmp_path) == [str(n) for n in range(6)]


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link"])
def test_what_a_name_leads_to_is_never_written_into(tmp_path, kind):
    """A link into a cache of DVC or git-annex, or to another disk, becomes a file."""
    cache, path = tmp_path / "cache", tmp_path / "results" / "a.json"
    path.parent.mkdir()
    if kind != "dangling link":
        cache.write_text("old")
        cache.chmod(0o444)
    path.hardlink_to(cache) if kind == "hard link" else path.symlink_to(cache)
    store.write_json(path, {"a": 1})
    assert store.read_json(path) == {"a": 1}
    assert not path.is_symlink()
    assert names(tmp_path) == (
        ["results", "results/a.json"] if kind == "dangling link" else ["cache", "results", "results/a.json"]
    )
    assert kind == "dangling link" or cache.read_text() == "old"


def test_a_folder_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to("disk")
    store.write_text(tmp_path / "results" / "a", "a")
    assert names(tmp_path / "disk") == ["a"]
    assert (tmp_path / "results").is_symlink()


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    for name in ("n" * 255, "n" * 251 + ".csv", "ü" * 127):
        store.write_text(tmp_path / name, "a")
        assert (tmp_path / name).read_text() == "a"
    before = names(tmp_path)
    with pytest.raises(LayerwiseError, match=r"cannot be written .*; nothing was left there"):
        store.write_text(tmp_path / ("n" * 256), "a")
    assert names(tmp_path) == before


def test_tensors_are_readable_to_who_may_read_the_rest(tmp_path):
    store.write_tensors(tmp_path / "t.safetensors", {"x": torch.zeros(2)})
    store.write_text(tmp_path / "a", "")
    assert len({(tmp_path / name).stat().st_mode for name in ("t.safetensors", "a")}) == 1


def test_an_error_without_a_number_has_its_text(tmp_path):
    with (
        pytest.raises(LayerwiseError, match=r"cannot be written \(encoder error -2\)"),
        store.replacing(tmp_path / "a"),
    ):
        raise OSError("encoder error -2")
    assert names(tmp_path) == []
