"""Time a study from nothing, in a folder of its own: `python bench/study.py quick --cores 2`.

Prints wall and CPU seconds, the largest process, what a second run costs that has nothing to do, and where the time
went, rule by rule (from Snakemake's own benchmark files). One JSON line goes to bench/results.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copy(ROOT / "config.yaml", place)
        shutil.copytree(ROOT / "studies", place / "studies")
        command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(place), "--quiet", "all"]
        command += ["--cores", str(args.cores), "--", args.study]
        first = timed(command)
        again = timed(command)
        rules = sorted(by_rule(place / "benchmarks" / args.study).items(), key=lambda pair: -pair[1][1])
    print(
        f"{args.study}: {first['wall']:.0f} s wall, {first['cpu']:.0f} s CPU, largest process {first['peak_mb']:.0f} MB"
    )
    print(f"again, with nothing to do: {again['wall']:.1f} s wall, {again['cpu']:.1f} s CPU")
    for rule, (jobs, seconds) in rules:
        print(f"  {rule:12} {jobs:4} jobs {seconds:8.1f} s")
    with (ROOT / "bench" / "results.jsonl").open("a") as file:
        file.write(json.dumps({"study": args.study, "cores": args.cores, "first": first, "again": again}) + "\n")
    return 0


def timed(command: list[str]) -> dict[str, float]:
    """Run a command and measure it; one that fails raises, since a study that fails has no time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": time.perf_counter() - start, "cpu": cpu, "peak_mb": after.ru_maxrss / 1024}


def by_rule(folder: Path) -> dict[str, tuple[int, float]]:
    """Return the number of jobs and their wall seconds for each rule."""
    found: dict[str, tuple[int, float]] = {}
    for file in folder.rglob("*.jsonl"):
        rule = file.relative_to(folder).parts[0]
        seconds = sum(json.loads(line)["s"] for line in file.read_text().splitlines())
        jobs, total = found.get(rule, (0, 0.0))
        found[rule] = (jobs + 1, total + seconds)
    return found


if __name__ == "__main__":
    sys.exit(main())
