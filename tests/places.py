"""Places in which tests run studies: with Snakemake, or with the verbs in this process."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from layerwise import store

ROOT = Path(__file__).resolve().parents[1]

TINY = """
title: Tiny
seeds: 2
seeds_together: true
keep: [d4]
datasets:
  digits: {source: digits, valid: 0.2}
segments:
  mlp: {method: sgd, layers: [dense 16, relu, dense outputs], epochs: 2}
  d4: {method: dmn, layers: [conv 3 4, relu, maxpool 2]}
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: {mlp: backprop, d4/ridge: class PCA}
probes:
  lsd: {}
tables:
  accuracy: {}
figures:
  readout_depth: {dataset: digits}
"""


@dataclass(frozen=True)
class Said:
    """What a command came to, and what it printed."""

    status: int
    out: str
    err: str

    def refuses(self, *texts: str) -> str:
        """Demand one line that holds the texts, and exit status 2; returns the line."""
        lines = [line for line in self.err.splitlines() if line]
        assert self.status == 2, (self.status, self.err)
        assert len(lines) == 1, self.err
        assert lines[0].startswith("layerwise: "), self.err
        assert "Traceback" not in self.err
        for text in texts:
            assert text in lines[0], f"{text!r} is not in {lines[0]!r}"
        return lines[0]


class Place:
    """A folder with studies and results."""

    study = "tiny"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def results(self, *parts: str) -> Path:
        return self.folder.joinpath("results", self.study, *parts)

    def node(self, path: str, seed: int = 0, dataset: str = "digits") -> Path:
        return self.results("networks", dataset, f"seed{seed}", path)

    def marker(self, path: str, name: str = "node", group: str = "seeds") -> str:
        """The one file that Snakemake knows of a node, as a target."""
        return f"results/{self.study}/networks/digits/{group}/{path}/{name}.json"

    def write(self, text: str, name: str = "tiny") -> Path:
        path = self.folder / "studies" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def edit(self, old: str, new: str, file: str = "studies/tiny.yaml") -> None:
        """Replace a text that stands once in a file."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))

    def unfit(self, path: str, seed: int = 0) -> None:
        """Take a fit away."""
        for name in ("fit.json", "segment.safetensors"):
            (self.node(path, seed) / name).unlink(missing_ok=True)

    def files(self) -> dict[Path, bytes]:
        """The files under final names in the results, with what is in them."""
        found = (p for p in self.folder.joinpath("results").rglob("*") if p.is_file() and p.name != ".lock")
        return {p: p.read_bytes() for p in found}


class Lab(Place):
    """A place in which the verbs run in this process, which has imported torch once."""

    def __call__(self, *words: str, seeds: tuple[int, ...] = (0,)) -> Said:
        """Run a verb of the command line on the study, one seed of it."""
        from layerwise.__main__ import main

        verb, *rest = words
        # Where a verb runs matters; the tests leave it to the first of these words only where they test it.
        where = ["--device", "cpu", "--threads", "1"] if verb in ("fit", "represent", "probe", "all") else []
        where = [] if "--device" in rest else where
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([verb, f"studies/{self.study}.yaml", *rest, *where, "--seeds", *map(str, seeds)])
        return Said(status, out.getvalue(), err.getvalue())

    def must(self, *words: str, **more) -> str:
        """Run a verb that ends well; returns what it printed."""
        said = self(*words, **more)
        assert said.status == 0, said.err
        return said.out


class Workplace(Place):
    """A place with a copy of the Snakefile and the package, in which Snakemake runs."""

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder / "workflow"), "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, check: bool = True, **more) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False, **more
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    @contextlib.contextmanager
    def begun(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command beside the body; its end is the body's end. It hears Ctrl-C, whoever runs the tests."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        hear = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a shell's `&` ignores it
        run = subprocess.Popen(command, cwd=self.folder, env=self.environment(), preexec_fn=hear, **pipes)
        try:
            yield run
        finally:
            run.kill()
            run.communicate()

    def snakemake(self, *words: str, check: bool = True) -> str:
        """Run Snakemake; returns what it printed."""
        done = self.run("snakemake", "--cores", "2", *words, check=check)
        assert check or done.returncode, "Snakemake was expected to fail"
        return done.stdout + done.stderr

    def plan(self, *targets: str) -> list[str]:
        """Return what a dry run would do: the message of each job, sorted."""
        said = self.snakemake("--dry-run", "--", *targets)
        assert "Traceback" not in said
        return sorted(re.findall(r"^Job \d+: (.*)$", said, re.MULTILINE))

    def slow_down(self) -> None:
        """Let trainings save every other epoch, take a tenth of a second an epoch, and rest while there is a `hold`."""
        loop = "workflow/layerwise/gradient/loop.py"
        self.edit("import time", "import os\nimport time", loop)
        self.edit("SAVE_SECONDS = 5.0", "SAVE_SECONDS = 0.2", loop)
        rest = "        time.sleep(0.1)\n        while os.path.exists('hold'):\n            time.sleep(0.1)\n"
        step = "        self.module.train()\n        done"
        self.edit(step, rest + step, loop)

    def layerwise(self, *words: str, check: bool = True, **more) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "layerwise", *words, check=check, **more)


def whole(place: Place) -> int:
    """Demand that every file under a final name can be read; returns how many there are."""
    found = [p for p in place.results().rglob("*") if p.is_file() and not p.name.startswith(".")]
    for path in found:
        if path.suffix == ".safetensors":
            store.read_tensors(path)
        elif path.suffix == ".json":
            store.read_json(path)
        elif path.suffix == ".svg":
            assert path.read_text().rstrip().endswith("</svg>")
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    return len(found)


def make(folder: Path) -> Workplace:
    folder.mkdir()
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".mypy_cache")
        shutil.copytree(source, folder / name, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
    (folder / "config.yaml").write_text("study: tiny\ndevice: cpu\n")
    place = Workplace(folder)
    place.write(TINY)
    return place


def copied(place: Place, folder: Path) -> Path:
    """Copy a place, times and Snakemake's memory with it."""
    return shutil.copytree(place.folder, folder, symlinks=True)
