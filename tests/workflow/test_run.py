"""A whole study through Snakemake: everything is there, and a second run has nothing to do."""

from __future__ import annotations

import csv
import json
import re
import sys
import zipfile

import pytest

DONE = "Nothing to be done (all requested files are present and up to date)."


def test_a_study_ends_in_all_its_files(made):
    wanted = ["fits.csv", "verdicts.csv", "report.html", "tables/accuracy.csv", "tables/accuracy.md"]
    for name in [*wanted, "figures/readout_depth.svg", "figures/readout_depth.png"]:
        assert made.results(name).stat().st_size > 0, name
    for seed in (0, 1):
        for path in ("mlp", "d4", "d4/ridge"):
            names = {p.name for p in made.node(path, seed).iterdir() if p.is_file() and not p.name.startswith(".")}
            # The features are of the one that the study keeps.
            more = (
                {f"{s}.safetensors" for s in ("train", "valid", "test")}
                if path == "d4"
                else {"lsd.csv", "probe.lsd.json"}
            )
            assert names == {"segment.safetensors", "fit.json", "score.json", *more}
    hidden = {p.name for p in made.results().rglob(".*")}
    assert hidden == {".lock", ".made"}  # no temporary file, no half-done fit


def test_fits_have_a_row_a_node(made):
    with made.results("fits.csv").open() as file:
        rows = list(csv.DictReader(file))
    said = [(r["dataset"], r["path"], int(r["seed"]), r["label"], r["method"]) for r in rows]
    assert said == [
        ("digits", path, seed, label, method)
        for path, label, method in (("d4", "", "dmn"), ("mlp", "backprop", "sgd"), ("d4/ridge", "class PCA", "ridge"))
        for seed in (0, 1)
    ]
    for row in rows:
        assert (
            row["digest"] == json.loads((made.node(row["path"], int(row["seed"])) / "fit.json").read_text())["digest"]
        )
        assert 10 < float(row["test_accuracy"]) <= 100
        assert 0 < float(row["seconds"]) <= float(row["total_seconds"])


def test_every_job_left_a_log_and_a_benchmark(made):
    log = (made.folder / "logs/tiny/fit/digits/seeds/d4/ridge.log").read_text()
    line = r"fit digits/seed[01]/d4/ridge: fitted in \d+\.\d\d s; \(10,\), train [\d.]+, valid [\d.]+, test [\d.]+\n"
    assert re.fullmatch(f"({line}){{2}}", log)
    benchmark = (made.folder / "benchmarks/tiny/fit/digits/seeds/d4/ridge.jsonl").read_text()
    assert json.loads(benchmark)["s"] > 0
    logs = ("dataset/digits.log", "represent/digits/seeds/d4.log", "lsd/digits/seeds.log", "figures/readout_depth.log")
    for rule in logs:
        assert (made.folder / "logs/tiny" / rule).exists()


def test_commands_name_no_folder_of_this_machine(made):
    """A command that a rule prints can be typed by hand, and a clone that moves is the same workflow."""
    commands = re.findall(r"python -m layerwise .*", (made.folder / "run.log").read_text())
    assert len(commands) == 11
    assert not [c for c in commands if str(made.folder) in c]


@pytest.mark.parametrize("target", ["", "tiny", "results/tiny/networks/digits/seeds/d4/ridge/node.json"])
def test_a_second_run_has_nothing_to_do(made, target):
    """The default target is the study that config.yaml names."""
    assert DONE in made.snakemake("--dry-run", "--", *target.split())


def test_the_workflow_is_free_of_lint(made):
    assert "Congratulations" in made.snakemake("--lint")


def test_snakemakes_own_report_is_written(workplace):
    workplace.snakemake("--report", "report.zip", "--", "tiny")
    with zipfile.ZipFile(workplace.folder / "report.zip") as report:
        names = report.namelist()
    assert any(name.endswith("report.html") for name in names)
    assert any("readout_depth.svg" in name for name in names)


def test_the_workflow_parses_without_torch(made):
    """A dry run imports all that the rules import; none of it may take seconds."""
    code = (
        "import sys, snakemake.cli\n"
        "try: snakemake.cli.main(['--cores', '1', '--dry-run', '--quiet', 'all', '--', 'tiny'])\n"
        "finally: print({'torch', 'sklearn', 'matplotlib', 'torchvision'} & set(sys.modules), file=sys.stderr)\n"
    )
    done = made.run(sys.executable, "-c", code)
    assert done.stderr.splitlines()[-1] == "set()"


def test_a_job_is_planned_for_once(made):
    """Snakemake's own rate limit plans anew each second for every job that has finished, all through a long study."""
    said = (made.folder / "run.log").read_text()
    jobs = int(re.search(r"(\d+) of \1 steps \(100%\) done", said)[1])
    assert jobs == 12
    assert said.count("Resources before job selection") <= jobs + 1
