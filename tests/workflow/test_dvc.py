"""DVC for real, with a folder as its remote: a clone adopts what another computed, and nothing old passes as new."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
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


@pytest.fixture
def first(tmp_path) -> Clone:
    """A repository with the tiny study among the stages of DVC, its results computed, committed and pushed."""
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
