"""Files: whole under their final name or not there, and a damaged one is refused in one line."""

import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest
import torch

from layerwise import store
from layerwise.errors import LayerwiseError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def run(code, *args, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], capture_output=True, text=True, **options
    )


def test_text_records_and_tables_are_read_back(tmp_path):
    import pandas as pd

    store.write_json(tmp_path / "new" / "a.json", {"b": [1, 2.5, None], "a": "ä"})
    assert store.read_json(tmp_path / "new" / "a.json") == {"a": "ä", "b": [1, 2.5, None]}
    store.write_csv(tmp_path / "t.csv", pd.DataFrame({"x": [1, 2]}))
    assert (tmp_path / "t.csv").read_text() == "x\n1\n2\n"
    assert names(tmp_path / "new") == ["a.json"]
    assert (tmp_path / "t.csv").stat().st_mode & 0o777 == 0o644


def test_the_same_record_is_the_same_bytes(tmp_path):
    store.write_json(tmp_path / "a", {"x": 1, "y": 2})
    store.write_json(tmp_path / "b", {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_and_notes_are_read_back(tmp_path):
    path = tmp_path / "t.safetensors"
    tensors = {
        "turned": torch.randn(3, 4).T,
        "bytes": torch.arange(5, dtype=torch.uint8),
        "empty": torch.empty(0, 3),
        "number": torch.tensor(3, dtype=torch.int64),
        "weights": torch.nn.Linear(2, 2).weight,
    }
    store.write_tensors(path, tensors, {"digest": "d"})
    found = store.read_tensors(path)
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items())
    assert not found["weights"].requires_grad
    assert store.read_notes(path) == {"digest": "d"}
    store.write_tensors(path, {})
    assert (store.read_tensors(path), store.read_notes(path)) == ({}, {})


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(5, "a fault")])
def test_a_failure_inside_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")

    def half():
        with store.replacing(path) as new:
            new.write_text("half of the new")
            raise error

    with pytest.raises(LayerwiseError if isinstance(error, OSError) else type(error)):
        half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_what_cannot_be_written_as_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        store.write_json(tmp_path / "a.json", {"a": object()})
    assert names(tmp_path) == []


def test_a_full_disk_leaves_what_was_there(tmp_path):
    code = """
        import resource, sys, torch
        from pathlib import Path
        from layerwise import store
        from layerwise.errors import LayerwiseError
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for path in map(Path, sys.argv[1:]):
            try:
                if path.suffix == ".json":
                    store.write_json(path, {"x": "long " * 10_000})
                else:
                    store.write_tensors(path, {"x": torch.zeros(50_000)})
            except LayerwiseError as error:
                print(error)
    """
    files = [tmp_path / n for n in ("old.json", "new.json", "old.safetensors", "new.safetensors")]
    for path in files[::2]:
        path.write_text("old")
    done = run(code, *files)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    for path, line in zip(files, lines, strict=True):
        assert line.startswith(f"{path}: cannot be written")
    assert names(tmp_path) == ["old.json", "old.safetensors"]
    assert [p.read_text() for p in files[::2]] == ["old", "old"]


def test_a_kill_leaves_nothing_under_the_final_name(tmp_path):
    code = """
        import os, signal, sys
        from pathlib import Path
        from layerwise import store
        with store.replacing(Path(sys.argv[1])) as new:
            new.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(code, tmp_path / "a.json").returncode == -9
    assert not (tmp_path / "a.json").exists()
    store.write_json(tmp_path / "a.json", {})
    assert store.read_json(tmp_path / "a.json") == {}


def test_a_place_where_no_file_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LayerwiseError, match=r"b\.json: cannot be written"):
        store.write_json(tmp_path / "file" / "b.json", {})
    with pytest.raises(LayerwiseError, match="cannot be written"), store.alone(tmp_path / "file"):
        pass


def test_a_missing_file_says_what_to_do(tmp_path):
    for read in (store.read_json, store.read_tensors, store.read_notes):
        with pytest.raises(LayerwiseError, match="no such file; run the step that makes it"):
            read(tmp_path / "none")


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_tensors_cut_short_are_refused(tmp_path, keep):
    path = tmp_path / "t.safetensors"
    store.write_tensors(path, {"x": torch.randn(100)})
    path.write_bytes(path.read_bytes()[:keep])
    for read in (store.read_tensors, store.read_notes):
        with pytest.raises(LayerwiseError, match=r"t\.safetensors: cut short, .* delete it and run again") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_record_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(LayerwiseError, match="not a readable record; delete it"):
        store.read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LayerwiseError, match="not a readable record; delete it"):
        store.read_json(path)
    with pytest.raises(LayerwiseError, match=r"cannot be read \(Is a directory\)"):
        store.read_json(tmp_path)


HOLD = """
    import sys
    from pathlib import Path
    from layerwise import store
    from layerwise.errors import LayerwiseError
    try:
        with store.alone(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
    except LayerwiseError as error:
        print(error)
"""


def test_two_processes_do_not_share_a_folder(tmp_path):
    code = [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path)]
    first = subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        assert "another process is at work here" in run(HOLD, tmp_path, stdin=subprocess.DEVNULL).stdout
        with pytest.raises(LayerwiseError, match="another process is at work"), store.alone(tmp_path):
            pass
        done = threading.Event()

        def wait():
            with store.alone(tmp_path, wait=True):
                done.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done.wait(0.2)
        first.kill()  # the lock ends with the process, however it ends
        first.wait()
        assert done.wait(10)
        waiting.join()
    finally:
        first.kill()
        first.wait()
        first.stdin.close()
        first.stdout.close()
    with store.alone(tmp_path):
        pass


def test_an_error_inside_alone_is_itself_and_frees_the_folder(tmp_path):
    with pytest.raises(BlockingIOError), store.alone(tmp_path):
        raise BlockingIOError(11, "something else")
    with store.alone(tmp_path):
        assert os.listdir(tmp_path) == [".lock"]  # noqa: PTH208


# ---------------------------------------------------------------- tables, second names


def test_a_table_is_read_with_the_columns_that_it_must_have(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n")
    assert store.read_csv(path, ["a"], text=["a", "b"]).to_dict("list") == {"a": ["1"], "b": ["x"]}
    with pytest.raises(LayerwiseError, match=r"t.csv: not a readable table; delete it and run again"):
        store.read_csv(path, ["a", "c"])
    for damaged in (b"", b"\xff\xfe,\n", b'a,b\n"1,'):
        path.write_bytes(damaged)
        with pytest.raises(LayerwiseError, match="not a readable table"):
            store.read_csv(path, ["a", "b"])
    path.unlink()
    with pytest.raises(LayerwiseError, match="no such file; run the step that makes it"):
        store.read_csv(path, [])


def test_a_tensor_is_described_and_read_in_parts(tmp_path):
    path, x = tmp_path / "a.safetensors", torch.arange(24.0).reshape(6, 2, 2)
    store.write_tensors(path, {"x": x})
    assert store.describe(path, "x") == (6, (2, 2), torch.float32)
    parts = list(store.read_rows(path, "x", 4))
    assert [len(part) for part in parts] == [4, 2]
    assert torch.equal(torch.cat(parts), x)
    with pytest.raises(LayerwiseError, match=r"a\.safetensors: holds no 'y'; delete it and run again"):
        store.describe(path, "y")
