"""The package by itself: a whole study without Snakemake, DVC, PyYAML, jsonschema and torchvision."""

from __future__ import annotations

import shutil
import subprocess
import sys

from places import ROOT, TINY

BLOCKED = """
import sys

class Blocked:
    names = {"snakemake", "dvc", "yaml", "jsonschema", "torchvision"}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
try:
    import yaml
except ModuleNotFoundError:
    pass
else:
    sys.exit("the block is open")
from layerwise.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_study_runs_where_there_is_only_torch_and_its_like(tmp_path, made):
    shutil.copytree(
        ROOT / "workflow/layerwise", tmp_path / "lib/layerwise", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "tiny.json").write_text(made.layerwise("study", "studies/tiny.yaml").stdout)
    environment = {**made.environment(), "PYTHONPATH": str(tmp_path / "lib")}

    def run(*words):
        command = [sys.executable, "-c", BLOCKED, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = run("all", "tiny.json", "--seeds", "1", "--device", "cpu", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name in ("report.html", "verdicts.csv", "tables/accuracy.md", "figures/readout_depth.png"):
        assert (tmp_path / "results/tiny" / name).stat().st_size > 0
    # The same bytes as the workflow made, and the same digests, since the study is the same.
    for path in ("mlp", "d4", "d4/ridge"):
        for name in ("segment.safetensors", "score.json", *(["test.safetensors"] if path == "d4" else [])):
            file = f"results/tiny/networks/digits/seed1/{path}/{name}"
            assert (tmp_path / file).read_bytes() == (made.folder / file).read_bytes(), file

    (tmp_path / "tiny.yaml").write_text(TINY)
    done = run("fits", "tiny.yaml")
    assert (done.returncode, done.stderr) == (
        2,
        "layerwise: tiny.yaml: reading YAML needs PyYAML; install it, or give the study as JSON\n",
    )
    (tmp_path / "tiny.json").write_text((tmp_path / "tiny.json").read_text().replace("epochs", "epohcs"))
    done = run("fits", "tiny.json")
    assert (done.returncode, done.stderr) == (
        2,
        "layerwise: tiny.json: not as the verb study prints a study; print it anew, or install jsonschema and PyYAML\n",
    )
