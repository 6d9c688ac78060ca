"""DVC for real, with a folder as its remote: a clone adopts what another computed, and nothing old passes as new."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from layerwise.errors import LayerwiseError
from places import ROOT, TINY, Workplace, make

# Of one seed and one network, whose features it keeps, and without figures.
STUDY = TINY.replace("seeds: 2\nseeds_together: true\nkeep: [d4]", "seeds: 1\nkeep: [ridge]")
STUDY = STUDY.replace("{mlp: backprop, d4/ridge: class PCA}", "{ridge: a read-out}")
STUDY = STUDY.replace("probes:\n  lsd: {}\n", "").replace("figures:\n  readout_depth: {dataset: digits}\n", "")
FILES = [f"networks/digits/seed0/ridge/{name}.safetensors" for name in ("train", "segment")] + ["fits.csv"]
DONE = "Nothing to be done"


class Clone(Workplace):
    """A workplace that is a git clone with DVC."""

    def environment(self) -> dict[str, str]:
        who = {f"GIT_{role}_{key}": "tests" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "DVC_NO_ANALYTICS": "1"}
        # DVC's own settings of this machine and user stay out of it.
        return {**super().environment(), **who, **plain, "DVC_GLOBAL_CONFIG_DIR": str(self.folder.parent / "none")}

    def dvc(self, *words: str, check: bool = True) -> str:
        done = self.run("dvc", *words, check=check)
        return done.stdout + done.stderr

    def git(self, *words: str) -> None:
        self.run("git", *words)

    def clean(self) -> bool:
        """Tell whether DVC finds all results to be those of the options and the code that are here."""
        return json.loads(self.run("dvc", "status", "--json").stdout) == {}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Clone:
    """A repository with the tiny study among the stages of DVC, its results computed, committed and pushed."""
    tmp_path = tmp_path_factory.mktemp("dvc")
    place = Clone(make(tmp_path / "first").folder)
    place.write(STUDY)
    for name in (".dvc/config", ".dvcignore", ".gitignore", "dvc.yaml", "config.yaml"):
        (place.folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, place.folder / name)
    shutil.copytree(ROOT / "studies/elsewhere", place.folder / "studies/elsewhere")  # a dependency of every study
    place.edit("study: quick", "study: tiny", "config.yaml")
    listed = (place.folder / "dvc.yaml").read_text().splitlines(keepends=True)
    assert sum(line.startswith("  - studies: [") for line in listed) == 1
    lines = ("  - studies: [tiny]\n" if line.startswith("  - studies: [") else line for line in listed)
    (place.folder / "dvc.yaml").write_text("".join(lines))
    place.git("init", "--quiet", "--initial-branch", "main")
    place.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    place.dvc("repro", "study@tiny")
    place.git("add", ".")
    place.git("commit", "--quiet", "-m", "results")
    place.dvc("push", "--quiet")
    return place


def digest(place) -> str:
    return json.loads((place.node("ridge") / "fit.json").read_text())["digest"]


def test_a_clone_adopts_results_and_recomputes_what_changed(first, tmp_path):
    assert first.clean()
    assert DONE in first.snakemake("--dry-run", "--", "tiny")
    listed = first.run("git", "ls-files").stdout.split()
    assert "results/tiny/fits.csv" in listed  # small results are git's
    assert "results/tiny/tables/accuracy.md" in listed
    assert not [name for name in listed if name.endswith(".safetensors")]  # heavy ones are DVC's

    subprocess.run(["git", "clone", "--quiet", str(first.folder), str(tmp_path / "second")], check=True)
    second = Clone(tmp_path / "second")
    assert not (second.folder / "results/tiny/networks").exists()
    second.run("bash", "workflow/adopt.sh", "tiny")
    for name in FILES:
        assert second.results(name).read_bytes() == first.results(name).read_bytes(), name
    assert DONE in second.snakemake("--dry-run", "--", "tiny")
    assert "up to date" in second.dvc("repro", "study@tiny")
    assert second.clean()
    second.run("git", "diff", "--exit-code", "--quiet")

    # Another option: nothing is adopted, and what is locked then was computed under it.
    second.edit("{method: ridge,", "{method: ridge, strengths: [1.0],")
    refused = second.run("bash", "workflow/adopt.sh", "tiny", check=False)
    assert refused.returncode == 1
    said = "layerwise: study tiny: its files are not of the options and code here; run: dvc repro study@tiny"
    assert said in refused.stderr.splitlines()
    assert not second.clean()
    old = digest(second)
    second.dvc("repro", "study@tiny")
    assert digest(second) != old
    assert digest(second) in second.results("fits.csv").read_text()
    assert old not in second.results("fits.csv").read_text()
    assert second.clean()
    assert DONE in second.snakemake("--dry-run", "--", "tiny")
    assert json.loads((second.node("ridge") / "fit.json").read_text())["options"]["strengths"] == [1.0]
    second.layerwise("fits", "studies/tiny.yaml")  # which refuses every stale result


# ---------------------------------------------------------------- a remote that is not to be trusted

NODE = "results/tiny/networks/digits/seed0/ridge"


@pytest.fixture
def clone(first, tmp_path, monkeypatch) -> Clone:
    """A clone that has adopted nothing yet, and a copy of the remote of its own, to be spoilt."""
    subprocess.run(["git", "clone", "--quiet", str(first.folder), str(tmp_path / "clone")], check=True)
    shutil.copytree(first.folder.parent / "store", tmp_path / "store")
    for path in tmp_path.joinpath("store").rglob("*"):
        path.chmod(0o755)
    place = Clone(tmp_path / "clone")
    config = place.folder / ".dvc/config"
    config.write_text(config.read_text().replace(str(first.folder.parent / "store"), str(tmp_path / "store")))
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.folder)
    return place


def stored(name: str) -> Path:
    """Where the remote of the clone in the working directory has a file, or the list of a folder's files."""
    store = Path("../store/files/md5")
    stages = yaml.safe_load(Path("dvc.lock").read_text())["stages"].values()
    for out in (out for stage in stages for out in stage["outs"] if out["md5"].endswith(".dir")):
        listed = store / out["md5"][:2] / out["md5"][2:]
        if out["path"] == name:
            return listed
        for entry in json.loads(listed.read_text()):
            if f"{out['path']}/{entry['relpath']}" == name:
                return store / entry["md5"][:2] / entry["md5"][2:]
    raise AssertionError(name)


def refused() -> list[str]:
    """Adopt, in this process, what is not to be adopted; returns the lines that are said."""
    spec = importlib.util.spec_from_file_location("adopt", ROOT / "workflow/adopt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(LayerwiseError) as caught:
        module.adopt("tiny")
    return str(caught.value).split("\nlayerwise: ")


def replace(name: str, old: str, new: str) -> None:
    path = stored(name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def flip(name: str) -> None:
    path = stored(name)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def grow(name: str) -> None:
    stored(name).open("ab").write(b"x")


def cut(name: str) -> None:
    stored(name).write_bytes(stored(name).read_bytes()[:-1])


def lies(name: str) -> None:
    """Let the lock itself ask for a file outside of the folder, as somebody might who can write both."""
    replace(name, "digits/seed0/ridge/fit.json", "../../../evil")
    content = stored(name).read_bytes()
    digest = hashlib.md5(content).hexdigest()
    target = Path("../store/files/md5") / digest[:2] / f"{digest[2:]}.dir"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    old = next(out for out in yaml.safe_load(Path("dvc.lock").read_text())["stages"]["networks@tiny"]["outs"])["md5"]
    Path("dvc.lock").write_text(Path("dvc.lock").read_text().replace(old, f"{digest}.dir"))


LISTED = "results/tiny/networks"
SPOILT = {
    "weights": (lambda: flip(f"{NODE}/segment.safetensors"), [f"{NODE}/segment.safetensors: nothing was taken up: "]),
    "score": (lambda: replace(f"{NODE}/score.json", "9", "8"), [f"{NODE}/score.json: nothing was taken up: "]),
    "labels": (lambda: flip("results/tiny/datasets/digits/test.safetensors"), ["datasets/digits/test.safetensors: "]),
    "grown": (lambda: grow(f"{NODE}/fit.json"), ["fit.json: nothing was taken up: "]),
    "cut": (lambda: cut(f"{NODE}/train.safetensors"), ["train.safetensors: nothing was taken up: "]),
    "empty": (lambda: stored(f"{NODE}/fit.json").write_text(""), ["is not what dvc.lock asks for"]),
    "missing": (lambda: stored(f"{NODE}/fit.json").unlink(), ["fit.json: nothing was taken up: "]),
    "two": (
        lambda: (cut(f"{NODE}/fit.json"), flip("results/tiny/.made/fits.json")),
        ["seed0/ridge/fit.json: nothing was", "results/tiny/.made/fits.json: nothing was"],
    ),
    "list": (lambda: replace(LISTED, "digits/seed0/ridge/fit.json", "../../../evil"), [f"{LISTED}: nothing was taken"]),
    "list of other hashes": (lambda: replace(LISTED, '"md5": "', '"md5": "../../'), [f"{LISTED}: nothing was taken"]),
    "no list": (lambda: stored(LISTED).write_text("[]"), [f"{LISTED}: nothing was taken up: "]),
    "lock": (lambda: lies(LISTED), ["dvc.lock asks for a file outside of it, '../../../evil'"]),
    "no remote": (lambda: shutil.rmtree("../store"), ["is not in the remote; see dvc remote list"]),
    "remote of none": (lambda: Path(".dvc/config").write_text("[core]\n"), ["DVC: "]),
    "remote of a kind": (lambda: other_remote("s4://x"), ["DVC: "]),
    "unreachable": (lambda: other_remote("http://127.0.0.1:9/x"), ["cannot be read ("]),
    "no lock": (lambda: Path("dvc.lock").unlink(), ["dvc.lock: no such file here"]),
    "empty lock": (lambda: Path("dvc.lock").write_text(""), ["dvc.lock: not as DVC writes it"]),
    "conflict": (lambda: head("dvc.lock", "<<<<<<< HEAD\n"), ["dvc.lock: not as DVC writes it, a conflict"]),
    "lock of another": (lambda: sub("dvc.lock", "data@tiny", "data@other"), ["dvc.lock: has no data@tiny"]),
    "fits": (lambda: head("results/tiny/fits.csv", "\n"), ["results/tiny/fits.csv: not as dvc.lock has it"]),
    "table": (lambda: head("results/tiny/tables/accuracy.md", "\n"), ["accuracy.md: not as it was made"]),
    "own": (lambda: own(), ["networks/mine: here it is another"]),
    "no git": (lambda: shutil.rmtree(".git"), ["DVC: "]),
}


def other_remote(url: str) -> None:
    sub(".dvc/config", str(Path("../store").resolve()), url)


def sub(file: str, old: str, new: str) -> None:
    assert old in Path(file).read_text()
    Path(file).write_text(Path(file).read_text().replace(old, new))


def head(file: str, line: str) -> None:
    Path(file).write_text(line + Path(file).read_text())


def own() -> None:
    Path("results/tiny/networks").mkdir()
    Path("results/tiny/networks/mine").write_text("mine")


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_not_as_it_was_recorded_is_not_adopted(clone, what):
    spoil, says = SPOILT[what]
    spoil()
    before = clone.files()
    said = refused()
    assert len(said) == len(says), said
    for text in says:
        assert [line for line in said if text in line], (text, said)
    assert not [line for line in said if "\n" in line]
    assert clone.files() == before
    assert not (clone.folder / "evil").exists()


@pytest.mark.slow
def test_what_was_adopted_stands_whatever_the_remote_becomes(clone):
    clone.run("bash", "workflow/adopt.sh", "tiny")
    before = clone.files()
    shutil.rmtree("../store")
    clone.run("bash", "workflow/adopt.sh", "tiny")  # it has all
    assert clone.files() == before
    weights = clone.folder / NODE / "segment.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    done = clone.run("bash", "workflow/adopt.sh", "tiny", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"layerwise: {NODE}/segment.safetensors: here it is another")
    assert done.stderr.count("\n") == 1
