"""Environments of others: a notebook's, a cluster's, a colleague's. Runs give the same files there, or say one line."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerwise import environment, figures, store
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.figures import _style
from layerwise.preparation.paths import expanded
from layerwise.run import machine

# ---------------------------------------------------------------- matplotlib's settings

FOREIGN = """
text.usetex: True
font.family: serif
figure.dpi: 20
axes.facecolor: red
axes.prop_cycle: cycler('color', ['k'])
savefig.bbox: tight
savefig.transparent: True
savefig.dpi: 11
svg.fonttype: none
path.simplify: False
path.sketch: 1, 100, 2
axes.formatter.use_mathtext: True
axes.formatter.use_locale: True
axes.unicode_minus: False
lines.linewidth: 9
legend.loc: lower left
"""
DRAW = """
import sys
from pathlib import Path
from layerwise import figures
from layerwise.figures import _panels, _style
with figures.style():
    figure = _style.new(3, 2)
    ax = figure.add_subplot()
    ax.plot([1, 2, 3], [-1, 1e5, 1], label=_panels.entry("a"))
    ax.set_yscale("symlog")
    _panels.legend([ax])
figures.save(figure, Path("drawn"), "a caption")
"""


def drawn(folder: Path, **variables: str) -> tuple[bytes, bytes, str]:
    """Draw a figure in a process of its own, in a folder; returns its files and what the process said."""
    where = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-c", DRAW], cwd=folder, env=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return (folder / "drawn.svg").read_bytes(), (folder / "drawn.png").read_bytes(), done.stderr


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "junk", "", "qtagg"])
def test_a_backend_of_others_changes_no_figure(tmp_path, plain, backend):
    assert drawn(tmp_path, MPLBACKEND=backend) == plain


@pytest.mark.parametrize(
    ("where", "content"),
    [
        ("variable", FOREIGN.encode()),
        ("variable", b"\xff\xfe\x00"),
        ("here", FOREIGN.encode()),
        ("here", b"\xff\xfe\x00"),
        ("here", None),
        ("configuration", FOREIGN.encode()),
        ("configuration", b"no such key: 1\nbackend: junk\n"),
    ],
)
def test_settings_of_others_change_no_figure(tmp_path, plain, where, content):
    folder = tmp_path / where
    folder.mkdir()
    if content is None:
        (folder / "matplotlibrc").mkdir()
    else:
        (folder / "matplotlibrc").write_bytes(content)
    variables = {
        "variable": {"MATPLOTLIBRC": str(folder / "matplotlibrc")},
        "configuration": {"MPLCONFIGDIR": str(folder)},
    }
    assert drawn(folder if where == "here" else tmp_path, **variables.get(where, {}))[:2] == plain[:2]


def test_settings_of_this_process_change_no_figure_and_come_back(tmp_path):
    import matplotlib

    def draw(name):
        with figures.style():
            figure = _style.new(2, 2)
            figure.add_subplot().plot([0, 1])
        figures.save(figure, tmp_path / name)
        return (tmp_path / f"{name}.svg").read_bytes()

    before = draw("a")
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "text.color": "blue"}):
        assert draw("b") == before
        assert matplotlib.rcParams["lines.linewidth"] == 9


# ---------------------------------------------------------------- folders as users write them


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("~", "{home}"),
        ("~/data", "{home}/data"),
        ("$HOME/data", "{home}/data"),
        ("${HOME}/a b", "{home}/a b"),
        ("$SCRATCH/x", "/scratch/x"),
        ("data", "data"),
        ("../data", "../data"),
        ("a {b} 'c' \"d\"", "a {b} 'c' \"d\""),
        ("price$here", "price$here"),
    ],
)
def test_a_folder_is_where_its_user_means_it(tmp_path, monkeypatch, written, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "price$here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.delenv("LAYERWISE_DATA_ROOT", raising=False)
    wanted = Path(path.replace("{home}", str(tmp_path / "home")))
    assert environment.data_root(written) == wanted
    monkeypatch.setenv("LAYERWISE_DATA_ROOT", written)
    assert environment.data_root("other") == wanted


@pytest.mark.parametrize("written", ["~nobody-of-this-name/data", "$NO_SUCH_VARIABLE/data", "${NO", "", "  ", "a\0b"])
def test_a_folder_that_cannot_be_meant_is_one_line(written):
    with pytest.raises(LayerwiseError, match=r"^data_root '.*': ") as told:
        expanded(written, "data_root")
    assert "\n" not in str(told.value)


def test_a_file_for_data_root_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("LAYERWISE_DATA_ROOT", str(tmp_path / "data"))
    with pytest.raises(LayerwiseError, match=r"^LAYERWISE_DATA_ROOT '.*/data': a file; name the folder"):
        environment.data_root("data")


def test_the_folder_of_images_is_expanded(tmp_path, monkeypatch):
    from layerwise.preparation.folder import scan

    monkeypatch.setenv("HOME", str(tmp_path))
    for split in ("train", "test"):
        (tmp_path / "images" / split / "a").mkdir(parents=True)
        (tmp_path / "images" / split / "a" / "1.png").write_bytes(b"")
    assert scan("~/images").classes == scan("$HOME/images").classes == ("a",)
    with pytest.raises(LayerwiseError, match=r"^folder '~nobody-here/x': "):
        scan("~nobody-here/x")


# ---------------------------------------------------------------- who may read what is written


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)]
)
def test_the_umask_is_followed(tmp_path, umask, file, folder):
    import torch

    old = os.umask(umask)
    try:
        store.write_json(tmp_path / "new" / "a.json", {})
        store.write_json(tmp_path / "new" / "a.json", {"again": 1})
        store.write_tensors(tmp_path / "new" / "t.safetensors", {"x": torch.zeros(2)})
        with store.alone(tmp_path / "new"):
            pass
        environment.forget_dead_runs(tmp_path / "snakemake")
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {
        **dict.fromkeys(["a.json", "t.safetensors", ".lock", "alive.lock"], file),
        **dict.fromkeys(["new", "snakemake"], folder),
    }


def test_a_folder_of_a_group_keeps_it(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    try:
        os.chown(folder, -1, 12345)
    except PermissionError:
        pytest.skip("only root gives folders to any group")
    folder.chmod(0o2775)
    store.write_json(folder / "below" / "a.json", {})
    assert {path.stat().st_gid for path in folder.rglob("*")} == {12345}


# ---------------------------------------------------------------- locks


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.EIO])
def test_a_file_system_without_locks_is_warned_of_once(tmp_path, monkeypatch, number):
    def flock(handle, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    store._warn_of_no_locks.cache_clear()
    with pytest.warns(LayerwiseWarning, match=r"no locks \(.*\): see that no two runs"), store.alone(tmp_path / "a"):
        store.write_json(tmp_path / "a" / "a.json", {"x": 1})
    with store.alone(tmp_path / "b", wait=True):  # a second warning would be an error
        store.write_json(tmp_path / "b" / "a.json", {"x": 1})
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".lock", ".lock", "a", "a.json", "a.json", "b"]
    locks = tmp_path / "snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("")
    environment.forget_dead_runs(tmp_path / "snakemake")
    assert (locks / "0.output.lock").exists()  # nobody knows whether another one is alive


@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
def test_what_is_no_lock_under_its_name_is_one_line(tmp_path, kind):
    lock, other = tmp_path / "node" / ".lock", tmp_path / "other"
    lock.parent.mkdir()
    if kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(other)
        if kind == "link":
            other.write_text("kept")
    with pytest.raises(LayerwiseError, match=r"node/\.lock: a link or a folder"), store.alone(lock.parent):
        pass
    assert other.exists() == (kind == "link")


def test_a_lock_of_a_colleague_is_held_though_it_may_only_be_read(tmp_path, monkeypatch):
    (tmp_path / ".lock").write_text("")
    there = os.open

    def opened(path, how, *mode):
        if how & os.O_RDWR and Path(path).name == ".lock":  # as for one who is not root
            raise PermissionError(errno.EACCES, "Permission denied")
        return there(path, how, *mode)

    monkeypatch.setattr(os, "open", opened)
    busy = pytest.raises(LayerwiseError, match="another process is at work here")
    with store.alone(tmp_path), busy, store.alone(tmp_path):
        pass
    monkeypatch.setattr(os, "access", lambda path, how: False)
    with pytest.raises(LayerwiseError, match=r"cannot be written \(Permission denied\)"), store.alone(tmp_path):
        pass


# ---------------------------------------------------------------- Python, torch, git, a terminal


def settled(code: str, *closed: int, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from layerwise import environment\nenvironment.settle()\n{code}"],
        env={**os.environ, **variables},
        capture_output=True,
        encoding="utf-8",
        check=False,
        preexec_fn=lambda: [os.close(number) for number in closed] and None,
    )


def test_what_a_terminal_has_no_letter_for_is_still_printed(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)  # closed
    environment.settle()
    print("1 ± 2, λ \udce9", flush=True)
    assert raw.getvalue() == b"1 \\xb1 2, \\u03bb \\udce9\n"


def test_no_file_of_results_gets_the_number_of_a_closed_stream(tmp_path):
    code = f"import os; number = os.open({str(tmp_path / 'a')!r}, os.O_CREAT); os._exit(number)"
    for closed in ((0,), (1,), (2,), (0, 1, 2)):
        assert settled(code, *closed).returncode > 2, closed
    assert settled("import os; os._exit(os.open('.', os.O_RDONLY))").returncode == 3  # and no other stays open


@pytest.mark.parametrize(
    ("name", "value", "starts"),
    [
        ("PYTORCH_CUDA_ALLOC_CONF", "junk", False),
        ("TORCH_LOGS", "junk", False),
        ("TORCH_DISTRIBUTED_DEBUG", "junk", False),
        ("TORCH_DISTRIBUTED_DEBUG", "", True),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True,max_split_size_mb:128", True),
    ],
)
def test_a_variable_with_which_torch_does_not_start_is_one_line(name, value, starts):
    done = settled("import torch", **{name: value})
    if starts:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2
        assert (
            done.stderr
            == f"layerwise: torch does not start with {name}={value!r} in the environment: unset or correct it\n"
        )


@pytest.mark.parametrize("value", ["", "yesterday"])
def test_a_date_of_builds_that_is_none_stops_nothing(value):
    assert settled("import numpy.f2py", SOURCE_DATE_EPOCH=value).stderr == ""


def test_an_empty_variable_leaves_the_instructions_of_all_machines(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "environ", {"ATEN_CPU_CAPABILITY": ""})
    (tmp_path / "cpuinfo").write_bytes(b"avx512f \xff")
    environment.same_instructions(tmp_path / "cpuinfo")
    assert os.environ == environment.AVX2


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CEILING_DIRECTORIES", "GIT_OBJECT_DIRECTORY"]
)
def test_the_revision_is_that_of_the_code_whatever_repository_is_named(tmp_path, monkeypatch, name):
    before = machine.revision()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    value = Path(machine.__file__).parent if "CEILING" in name else tmp_path / ".git"
    monkeypatch.setenv(name, str(value))
    assert machine.revision() == before


def test_code_inside_a_repository_of_others_has_no_revision(tmp_path, monkeypatch):
    """Such as an environment that lies in a user's own clone."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    (tmp_path / "machine.py").write_text("")
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    assert machine.revision() == ""


def test_git_neither_asks_nor_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git(tmp_path, "status") == b""  # there is none
    (tmp_path / "git").write_text('#!/bin/sh\nread answer; echo "$GIT_TERMINAL_PROMPT $answer"\n')
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert environment.git(tmp_path, "status") == b"0 \n"


@pytest.mark.parametrize("optimize", ["", "2"])
def test_documentation_is_there_whatever_python_strips(optimize):
    code = "from layerwise import plugins; print(plugins.documentation('methods', 'dmn')['variance'] != '')"
    assert settled(code, PYTHONOPTIMIZE=optimize).stdout == "True\n"


def test_no_file_is_read_or_written_in_the_encoding_of_the_locale(tmp_path):
    """Files that hold more than ASCII, in the C locale without Python's own mending of it."""
    (tmp_path / "script.py").write_text(
        "import sys; from pathlib import Path; from layerwise import environment, plugins, store\n"
        "environment.settle()\n"
        "store.write_text(Path('a'), 'ä λ'); store.write_json(Path('b'), {'a': 'ä'})\n"
        "assert store.read_json(Path('b')) == {'a': 'ä'}\n"
        "[plugins.code_digest(plugins.sources('methods', m)) for m in plugins.known('methods')]\n"
        "from layerwise.report import page; page.TEMPLATES.get_template('page.html')\n"
        "assert sys.stdout.encoding != 'utf-8'; print('ä λ')",
        encoding="utf-8",
    )
    where = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "script.py"],
        cwd=tmp_path,
        env={**os.environ, **where, "PYTHONPATH": str(Path(store.__file__).parents[1])},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"\\xe4 \\u03bb\n"
    own = [line for line in done.stderr.decode().splitlines() if "EncodingWarning" in line and "layerwise" in line]
    assert own == []
    assert (tmp_path / "a").read_bytes() == "ä λ".encode()
