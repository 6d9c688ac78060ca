"""What stands in one file and must be so in another: pins, studies, the stages of DVC, and no place of one machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from layerwise.study import file as study_file
from places import ROOT, make
from shipped import studies

STUDIES = studies()
WHOLE = [path for path in STUDIES if "extends" not in yaml.safe_load(path.read_text())]


def tracked() -> list[Path]:
    """The files of the repository, or of this folder's git, new ones too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda p: p.stem)
def test_environments_pin_what_the_lock_pins(path):
    locked = set(re.findall(r"^([a-z0-9._-]+==[^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    pins = next(d["pip"] for d in yaml.safe_load(path.read_text())["dependencies"] if isinstance(d, dict))
    assert set(pins) - locked == set()
    assert {"torch", "numpy", "pandas", "matplotlib", "safetensors", "scikit-learn", "jinja2"} <= {
        p.split("==")[0] for p in pins
    }


def test_the_lock_holds_a_hash_of_each_package_and_no_host():
    text = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[a-z0-9._-]+==.*(?:\n    .*)*", text, re.MULTILINE)
    assert len(packages) > 100
    assert [p.splitlines()[0] for p in packages if "--hash=sha256:" not in p] == []
    assert "://" not in text


def test_no_file_names_a_place_of_one_machine():
    """Nor a registry: an installer is told where to look by whoever runs it."""
    words = [
        "py" + "pi.org",
        "files.python" + "hosted",
        "download.py" + "torch.org",
        "/wo" + "rk/",
        "/tm" + "p/",
        "sha" + "red/",
    ]
    wrong = re.compile("|".join(map(re.escape, words)))
    binary = {".png", ".safetensors", ".gz", ".pdf", ".ico"}
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        if path.suffix not in binary
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if wrong.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_study_is_right(path):
    study = study_file.load(path)
    assert study.nodes()
    assert study.description, "a study says what it compares"


@pytest.mark.slow
def test_every_study_can_be_planned(tmp_path):
    place = make(tmp_path / "place")
    shutil.rmtree(place.folder / "studies")
    shutil.copytree(ROOT / "studies", place.folder / "studies")
    shutil.copy(ROOT / "config.yaml", place.folder)
    for path in STUDIES:
        place.snakemake("--dry-run", "--quiet", "all", "--", path.stem)


def test_dvc_knows_every_study():
    """But for a part of another one, without keys of its own for DVC to look at: what it makes, the whole makes."""
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert content["vars"] == [{"studies": [path.stem for path in WHOLE]}]


def test_a_stage_of_dvc_depends_on_what_is_asked_of_it():
    """Not on files of code or keys of a study: any study will do, and code that is vouched for costs no run."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for stage, asked in (("data", "datasets"), ("networks", "networks"), ("study", "study")):
        deps = stages[stage]["do"]["deps"]
        assert f"results/${{item}}/.asked/{asked}" in deps
        assert [dep for dep in deps if "workflow" in dep or dep.endswith(".yaml")] == []
    assert {"studies", "workflow/layerwise"} <= set(stages["asked"]["do"]["deps"])


def test_no_stage_of_dvc_keeps_old_results():
    """An output that persists would be locked, unchanged, under new options."""
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        for out in stage["do"]["outs"]:
            assert isinstance(out, str) or not any(options.get("persist") for options in out.values())
