"""What was changed on disk after it was written is refused in one line that names it, and made anew by the next run."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from layerwise import store
from layerwise.__main__ import main
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.results import elsewhere
from layerwise.results.study_results import StudyResults
from layerwise.run import records
from layerwise.study import file as study_file
from layerwise.study.trie import Node

RESULTS = Path("results/tiny")


def node(path: str, seed: int = 0) -> Path:
    return Node("tiny", "digits", seed, path).folder


@pytest.fixture(scope="module")
def reported(ran, tmp_path_factory) -> Path:
    """The tiny study with one table, one figure, the verdicts and the report."""
    folder = tmp_path_factory.mktemp("reported") / "copy"
    shutil.copytree(ran, folder)
    raw = json.loads((folder / "tiny.json").read_text())
    views = {"tables": {"accuracy": {}}, "figures": {"accuracy": {"figure": "accuracy_seconds", "dataset": "digits"}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.json").write_text(json.dumps(raw | views))
        shutil.rmtree(RESULTS / ".made" / "tables", ignore_errors=True)
        for words in (["table", "accuracy"], ["figure", "accuracy"], ["verdicts"], ["report"]):
            assert run(*words) == 0
    return folder


@pytest.fixture
def place(reported, tmp_path, monkeypatch) -> None:
    """A copy of it, to be damaged."""
    shutil.copytree(reported, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")


def run(verb: str, *words: str) -> int:
    where = ["--device", "cpu", "--threads", "1"] if verb in ("fit", "probe", "represent") else []
    return main([verb, "tiny.json", *words, *where])


def refused(capsys, verb: str, *words: str) -> str:
    """Run a verb that must refuse; returns its one line."""
    capsys.readouterr()
    assert run(verb, *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("layerwise: ")


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ---------------------------------------------------------------- weights

WEIGHTS: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]] = {
    "nan": lambda w: {k: torch.full_like(v, torch.nan) for k, v in w.items()},
    "zeros": lambda w: {k: torch.zeros_like(v) for k, v in w.items()},
    "one value": lambda w: {k: v + (torch.arange(v.numel()).view(v.shape) == 0) for k, v in w.items()},
    "integers": lambda w: {k: v.to(torch.int32) for k, v in w.items()},
    "half": lambda w: {k: v.to(torch.bfloat16) for k, v in w.items()},
    "double": lambda w: {k: v.double() for k, v in w.items()},
    "another shape": lambda w: {k: v[:1] for k, v in w.items()},
    "another name": lambda w: {f"{k}x": v for k, v in w.items()},
    "one more": lambda w: {**w, "x": torch.zeros(1)},
    "none": lambda w: {},
}


@pytest.mark.parametrize("how", [*WEIGHTS, "another seed's", "a text", "a folder"])
def test_other_weights_are_never_used_and_are_fitted_again(spoilt, capsys, how):
    path = node("r4") / "segment.safetensors"
    whole = path.read_bytes()
    if how in WEIGHTS:
        store.write_tensors(path, WEIGHTS[how](store.read_tensors(path)))
    elif how == "another seed's":
        shutil.copy(node("r4", 1) / "segment.safetensors", path)
    elif how == "a text":
        path.write_text("weights")
    else:
        path.unlink()
        path.mkdir()
    for name in ("fit.json", "lsd.csv"):
        (node("r4/ridge") / name).unlink()
    marker = RESULTS / "networks/digits/seed0/r4/node.json"
    marker.write_text("{}")
    assert f"{path}: " in refused(capsys, "fit", "digits", "r4/ridge")
    with pytest.raises(LayerwiseError, match=r"r4/segment\.safetensors: "):
        spoilt.network("digits", "r4", 0)
    assert not marker.exists()  # so that Snakemake makes the node again
    if how == "a folder":
        assert "cannot be" in refused(capsys, "fit", "digits", "r4")
        return
    assert run("fit", "digits", "r4") == 0
    assert path.read_bytes() == whole
    assert run("fit", "digits", "r4/ridge") == 0
    assert run("probe", "lsd", "digits", "r4/ridge") == 0


def test_a_score_is_of_the_weights_that_the_record_tells_of(spoilt):
    """Where weights are replaced and the score is missing, the fit is done again: it is not those that are scored."""
    score = (node("ridge") / "score.json").read_bytes()
    shutil.copy(node("d4/ridge") / "segment.safetensors", node("ridge") / "segment.safetensors")
    (node("ridge") / "score.json").unlink()
    assert run("fit", "digits", "ridge") == 0
    assert (node("ridge") / "score.json").read_bytes() == score


def test_a_checkpoint_with_other_features_is_refused_and_made_anew(spoilt, capsys):
    edit(Path("tiny.json"), keep=["d4"])
    assert run("represent", "digits", "d4") == 0
    path = node("d4") / "train.safetensors"
    whole = path.read_bytes()
    store.write_tensors(path, {"x": store.read_tensors(path)["x"] * 0}, store.read_notes(path))
    (node("d4/ridge") / "fit.json").unlink()
    assert refused(capsys, "fit", "digits", "d4/ridge") == f"{path}: changed since it was written; run the study again"
    assert run("represent", "digits", "d4") == 0
    assert path.read_bytes() == whole
    assert run("fit", "digits", "d4/ridge") == 0


# ---------------------------------------------------------------- records

JSON: dict[str, bytes | Callable[[dict[str, Any]], Any]] = {
    "a list": b"[1, 2]",
    "null": b"null",
    "a number": b"1e999",
    "a text": b'"fit"',
    "nothing": b"{}",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "a huge number": b'{"digest": ' + b"9" * 10_000 + b"}",
    "no seal": lambda r: {k: v for k, v in r.items() if k != "seal"},
    "another seal": lambda r: r | {"seal": "0" * 16},
    "digest alone": lambda r: {"digest": r["digest"]},
    "digest a list": lambda r: r | {"digest": [r["digest"]]},
    "a key more": lambda r: r | {"more": 1},
    "values null": lambda r: {k: v if k in ("digest", "seal") else None for k, v in r.items()},
    "values text": lambda r: {k: v if k in ("digest", "seal") else "x" for k, v in r.items()},
    "values nan": lambda r: {k: v if k in ("digest", "seal") else float("nan") for k, v in r.items()},
}


@pytest.mark.parametrize("how", [*JSON, "twice", "a folder", "cut"])
@pytest.mark.parametrize("name", ["fit.json", "score.json", "probe.lsd.json"])
def test_a_record_that_is_not_as_written_is_one_line(spoilt, capsys, name, how):
    path = node("ridge") / name
    whole = path.read_bytes()
    change = JSON.get(how)
    if isinstance(change, bytes):
        path.write_bytes(change)
    elif change:
        path.write_text(json.dumps(change(json.loads(whole))))
    elif how == "twice":
        path.write_text('{"digest": "x", ' + whole.decode().lstrip()[1:])
    elif how == "cut":
        path.write_bytes(whole[:-3])
    else:
        path.unlink()
        path.mkdir()
    if name == "probe.lsd.json":
        with pytest.raises(LayerwiseError, match=r"ridge/(lsd\.csv|probe\.lsd\.json): ") as caught:
            spoilt.probe("lsd")
        assert "\n" not in str(caught.value)
    else:
        assert f"{path}: " in refused(capsys, "fits")
    if how == "a folder":
        return
    assert run(*(["probe", "lsd", "digits"] if name.startswith("probe") else ["fit", "digits", "ridge"])) == 0
    if name != "fit.json":  # which has its time
        assert path.read_bytes() == whole
    assert run("fits") == 0


@pytest.mark.parametrize("reader", ["read_json", "read_csv", "read_tensors", "read_notes", "read_text"])
def test_what_cannot_be_read_is_not_to_be_deleted(tmp_path, monkeypatch, reader):
    path = tmp_path / "a"
    path.write_text("{}")

    def denied(*args, **more):
        raise PermissionError(13, "Permission denied")

    for place in ("pathlib.Path.open", "pathlib.Path.read_text", "pandas.read_csv"):
        monkeypatch.setattr(place, denied)
    with pytest.raises(LayerwiseError, match=r"a: cannot be read \(Permission denied\)") as caught:
        getattr(store, reader)(path, *([[]] if reader == "read_csv" else []))
    assert "delete" not in str(caught.value)
    assert not isinstance(caught.value, store.Damaged)


def test_a_score_that_was_edited_never_stands_in_a_table(place, capsys):
    before = (RESULTS / "fits.csv").read_bytes()
    path = node("ridge") / "score.json"
    splits = json.loads(path.read_text())["splits"]
    splits["test"]["accuracy"] = 99.9
    edit(path, splits=splits)
    for verb in (["fits"], ["table", "accuracy"], ["verdicts"], ["report"]):
        assert refused(capsys, *verb) == (
            f"{path}: changed since it was written, or by an older version; run the study again"
        )
    assert run("fit", "digits", "ridge") == 0
    assert run("fits") == 0
    assert (RESULTS / "fits.csv").read_bytes() == before


@pytest.mark.parametrize("what", ["a folder of another seed", "scores of another network", "seconds"])
def test_records_that_are_moved_or_edited_are_refused(spoilt, capsys, what):
    if what == "a folder of another seed":
        shutil.rmtree(node("ridge"))
        shutil.copytree(node("ridge", 1), node("ridge"))
    elif what == "scores of another network":
        a, b = (node(p) / "score.json" for p in ("ridge", "d4/ridge"))
        texts = a.read_bytes(), b.read_bytes()
        a.write_bytes(texts[1])
        b.write_bytes(texts[0])
    else:
        edit(node("ridge") / "fit.json", seconds=0.001)
    assert ": " in refused(capsys, "fits")
    for path in ("ridge", "d4/ridge"):
        assert run("fit", "digits", path) == 0
    assert run("fits") == 0


# ---------------------------------------------------------------- tables


def forge(record: Path, file: Path, sealed: bool) -> None:
    """Let a record tell of the file as it is now, as one who knows of the sha256 does, or of the seal as well."""
    told = json.loads(record.read_text())
    told["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if sealed:
        told["seal"] = records.seal({k: v for k, v in told.items() if k != "seal"})
    record.write_text(json.dumps(told))


def cell(text: str) -> str:
    table = pd.read_csv(io.StringIO(text))
    table.loc[0, "test_accuracy"] = 99.9
    return table.to_csv(index=False)


LINES: dict[str, Callable[[list[str]], list[str]]] = {
    "dropped": lambda lines: lines[:-1],
    "doubled": lambda lines: [*lines, lines[-1]],
    "swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "cut": lambda lines: [*lines[:-1], lines[-1][:20]],
    "nothing": lambda lines: [],
}


@pytest.mark.parametrize("how", ["cell", *LINES])
@pytest.mark.parametrize("forged", ["by hand", "sha256", "seal"])
def test_fits_that_the_records_do_not_tell_of_are_not_shown(spoilt, capsys, how, forged):
    path = RESULTS / "fits.csv"
    text = path.read_text()
    path.write_text(cell(text) if how == "cell" else "".join(LINES[how](text.splitlines(keepends=True))))
    if forged != "by hand":
        forge(RESULTS / ".made" / "fits.json", path, sealed=forged == "seal")
    for verb in (["table", "accuracy"], ["verdicts"]):
        assert refused(capsys, *verb).startswith(f"{path}: ")
    assert run("fits") == 0
    assert path.read_text() == text


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("tables/accuracy.csv", "tables/accuracy"),
        ("tables/accuracy.md", "tables/accuracy"),
        ("verdicts.csv", "verdicts"),
        ("figures/accuracy.svg", "figures/accuracy"),
        ("figures/accuracy.png", "figures/accuracy"),
    ],
)
def test_what_was_edited_does_not_get_into_the_report(place, capsys, name, made, forged):
    path = RESULTS / name
    path.write_bytes(path.read_bytes().replace(b"9", b"8"))
    if forged:
        forge(RESULTS / ".made" / f"{made}.json", path, sealed=False)
    assert refused(capsys, "report").startswith(f"{path.parent}/")
    assert run(*made.split("/")[0].removesuffix("s").split(), *made.split("/")[1:]) == 0 if "/" in made else True


@pytest.mark.parametrize("how", [*JSON, "a folder"])
@pytest.mark.parametrize("name", ["fits", "verdicts", "tables/accuracy"])
def test_what_a_file_was_made_for_is_a_record_too(place, capsys, name, how):
    path = RESULTS / ".made" / f"{name}.json"
    whole, change = path.read_bytes(), JSON.get(how)
    if how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(change if isinstance(change, bytes) else json.dumps(change(json.loads(whole))).encode())
    assert "run the verb" in refused(capsys, "report")
    words = name.replace("tables", "table").split("/")
    if how == "a folder":
        assert f"{path}: cannot be replaced" in refused(capsys, *words)
    else:
        assert run(*words) == 0
        assert path.read_bytes() == whole


def test_a_probe_that_was_edited_is_not_shown(spoilt):
    path = node("r4/ridge") / "lsd.csv"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"0.", b"1.", 1))
    with pytest.raises(LayerwiseError, match=r"lsd\.csv: changed since it was written; run the verb probe again"):
        spoilt.probe("lsd")
    assert run("probe", "lsd", "digits") == 0
    assert path.read_bytes() == whole
    shutil.copy(node("r4/ridge", 1) / "lsd.csv", path)
    with pytest.raises(LayerwiseError, match=r"lsd\.csv: changed"):
        spoilt.probe("lsd")


# ---------------------------------------------------------------- fits from elsewhere


@pytest.fixture
def away(spoilt) -> Path:
    """The fits of a data set that the study leaves out here, in the file from elsewhere."""
    raw = json.loads(Path("tiny.json").read_text()) | {"leave_out": {"spirals": "an hour"}, "figures": {}}
    Path("tiny.json").write_text(json.dumps(raw | {"tables": {"elsewhere": {}}}))
    elsewhere.write(study_file.load("tiny.json", left_out=True))
    assert run("fits") == 0
    return Path("elsewhere/tiny.csv")


def sealed(text: str) -> str:
    return elsewhere.sealed(text)


def value(column: str, what: object) -> Callable[[str], str]:
    """Change one cell of the first network, and seal the file again."""

    def change(text: str) -> str:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        table.loc[0, column] = str(what)
        return sealed(table.to_csv(index=False))

    return change


ROW = r"row 1, spirals/\S+: "
AWAY: dict[str, tuple[Callable[[str], str], str]] = {
    "250 %": (value("test_accuracy", 250), ROW + "test_accuracy is 250.0, which cannot be"),
    "inf": (value("test_mse", "inf"), ROW + "test_mse is inf"),
    "-1 s": (value("total_seconds", -1), ROW + "total_seconds is -1"),
    "no seconds": (value("seconds", ""), ROW + "seconds is nan"),
    "a text": (value("test_mse", "small"), "not a table of fits"),
    "nan": (value("test_mse", "nan"), "not a table of fits"),
    "half a seed": (value("seed", 0.5), ROW + "seed is 0.5"),
    "no seed": (value("seed", ""), ROW + "seed is nan"),
    "seed -1": (value("seed", -1), ROW + "seed is -1"),
    "a seed 100 times": (
        lambda t: sealed(t + "".join([t.splitlines(keepends=True)[-1]] * 99)),
        r"row \d+, spirals/\S+: seed 1 of the network stands there twice",
    ),
    "a merge conflict": (
        lambda t: t.replace("\nspirals,0", "\n<<<<<<< HEAD\nspirals,0", 1) + "=======\n>>>>>>> b\n",
        "line 2 is of a merge conflict",
    ),
    "half": (lambda t: t[: len(t) // 2], "cut short"),
    "rows alone": (lambda t: t, "cut short"),
    "a row less": (
        lambda t: "".join((lines := sealed(t).splitlines(keepends=True))[:-2] + lines[-1:]),
        "changed since it was written",
    ),
    "edited": (lambda t: sealed(t).replace("dense 8", "dense 9"), "changed since it was written"),
    "a column less": (
        lambda t: sealed(pd.read_csv(io.StringIO(t)).drop(columns="test_mse").to_csv(index=False)),
        "not a table of fits",
    ),
    "empty": (lambda t: "", "cut short"),
}


@pytest.mark.parametrize("how", AWAY)
def test_fits_from_elsewhere_are_possible_and_whole(away, capsys, how):
    change, why = AWAY[how]
    away.write_text(change("".join(away.read_text().splitlines(keepends=True)[:-1])))
    for verb in (["table", "elsewhere"], ["verdicts"]):
        line = refused(capsys, *verb)
        assert line.startswith(f"{away}: ")
        assert pd.Series([line]).str.contains(why).all(), line
        assert "delete" not in line


def test_fits_from_elsewhere_of_no_text_or_no_file(away, capsys):
    away.write_bytes(b"\xff\xfe")
    assert refused(capsys, "table", "elsewhere") == f"{away}: not a text in UTF-8"
    away.unlink()
    away.mkdir()
    assert f"{away}: cannot be read (Is a directory)" in refused(capsys, "table", "elsewhere")
    away.rmdir()
    away.symlink_to("gone")
    assert f"{away}: no such file" in refused(capsys, "table", "elsewhere")


def test_fits_from_elsewhere_may_have_the_lines_of_windows(away):
    whole = StudyResults(study_file.load("tiny.json")).elsewhere
    away.write_bytes(away.read_bytes().replace(b"\n", b"\r\n"))
    assert StudyResults(study_file.load("tiny.json")).elsewhere.equals(whole)


def test_a_seed_that_the_study_has_not_does_not_count(away):
    rows = "".join(away.read_text().splitlines(keepends=True)[:-1])
    table = pd.read_csv(io.StringIO(rows), keep_default_na=False)
    more = [table, *(table[table["seed"] == 1].assign(seed=seed) for seed in range(2, 100))]
    away.write_text(sealed(pd.concat(more).to_csv(index=False)))
    with pytest.warns(LayerwiseWarning, match=r"fits of seeds that the study has not \(2, 3, 4, 5, 6, …\) do not"):
        assert set(StudyResults(study_file.load("tiny.json")).elsewhere["seed"]) == {0, 1}


def test_the_shipped_fits_from_elsewhere_are_whole():
    folder = Path(__file__).resolve().parents[2] / "studies"
    files = sorted(folder.glob("elsewhere/*.csv"))
    assert files
    for file in files:
        study = study_file.load(folder / f"{file.stem}.yaml")
        assert len(elsewhere.read(study)) == len(file.read_text().splitlines()) - 2
