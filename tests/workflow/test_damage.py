"""Files that are cut short, old, or of something else are refused in one line, and made anew once they are gone."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from layerwise import store
from layerwise.results import made as what_was_made
from layerwise.study import file as study_file

STALE = "made for other options or by other code than the study asks for; run snakemake"
ON_D4 = [("fit", "digits", "d4/ridge"), ("probe", "lsd", "digits", "d4/ridge")]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def forget(lab, path):
    """Take away what was fitted and seen of a node, so that its verbs have something to do."""
    lab.unfit(path)
    for name in ("score.json", "lsd.csv"):
        (lab.node(path) / name).unlink(missing_ok=True)


# ---------------------------------------------------------------- results of other options


@pytest.mark.parametrize("verb", ON_D4, ids=lambda v: v[0])
def test_a_parent_of_another_digest_is_refused(lab, verb):
    record = lab.node("d4") / "fit.json"
    record.write_text(record.read_text().replace(store.read_json(record)["digest"], "0" * 16))
    forget(lab, "d4/ridge") if verb[0] == "fit" else (lab.node("d4/ridge") / "lsd.csv").unlink()
    lab(*verb).refuses("results/tiny/networks/digits/seed0/d4/fit.json: " + STALE)


@pytest.mark.parametrize("verb", ["fits", "figure readout_depth", "table accuracy"])
def test_a_stale_fit_never_reaches_a_table(lab, verb):
    lab.edit("conv 3 4", "conv 3 5")
    before = lab.files()
    said = "results/tiny/fits.csv: made for other options" if verb.startswith("table") else "d4/fit.json: " + STALE
    lab(*verb.split()).refuses(said)
    assert lab.files() == before


def test_another_option_is_stale_down_the_path_and_nowhere_else(lab):
    lab.edit("maxpool 2]}", "maxpool 2], variance: 0.5}")
    for verb in ON_D4:
        lab(*verb).refuses("seed0/d4", STALE)
    assert "left alone" in lab.must("fit", "digits", "mlp")


@pytest.mark.parametrize("verb", ["fit digits mlp", "represent digits d4", "probe lsd digits mlp", "fits"])
def test_a_data_set_of_other_options_is_refused(lab, verb):
    lab.edit("valid: 0.2", "valid: 0.3")
    before = lab.files()
    line = lab(*verb.split()).refuses(
        "results/tiny/datasets/digits/dataset.json: made for other options or by other code"
    )
    assert "run" in line.rsplit(";", 1)[1]
    assert lab.files() == before


def test_a_checkpoint_of_an_older_fit_is_not_taken_in(lab):
    """A parent that was fitted anew, and whose features were not: its child is fitted on what it gives now."""
    features = lab.node("d4") / "train.safetensors"
    old = features.read_bytes()
    lab.edit("maxpool 2]}", "maxpool 2], variance: 0.5}")
    lab.must("fit", "digits", "d4")
    lab.must("fit", "digits", "d4/ridge")
    through = (lab.node("d4/ridge") / "segment.safetensors").read_bytes()
    assert features.read_bytes() == old
    lab.must("represent", "digits", "d4")
    assert features.read_bytes() != old
    lab.unfit("d4/ridge")
    lab.must("fit", "digits", "d4/ridge")
    assert (lab.node("d4/ridge") / "segment.safetensors").read_bytes() == through


def test_a_score_of_an_older_fit_is_refused_and_made_anew(lab):
    record = lab.node("mlp") / "score.json"
    whole = record.read_bytes()
    record.write_text(record.read_text().replace(store.read_json(record)["digest"], "0" * 16))
    lab("fits").refuses("seed0/mlp/score.json: of another fit")
    assert "fitted" not in lab.must("fit", "digits", "mlp")
    assert record.read_bytes() == whole
    lab.must("fits")


def test_what_a_probe_saw_of_an_older_fit_is_refused(lab):
    lab.edit("epochs: 2", "epochs: 3")
    for verb in ("fit digits mlp", "fits"):
        lab.must(*verb.split())
    lab("figure", "readout_depth").refuses("seed0/mlp/lsd.csv: of another fit")


def test_what_a_probe_saw_under_other_options_is_refused(lab):
    lab.edit("lsd: {}", "lsd: {samples: 100}")
    lab.must("fits")
    lab("figure", "readout_depth").refuses("seed0/mlp/lsd.csv: of another fit", "run the verb probe again")
    lab.must("probe", "lsd", "digits")
    lab.must("figure", "readout_depth")


def test_fits_of_another_run_are_refused(lab):
    lab.edit("epochs: 2", "epochs: 3")
    for verb in ("fit digits mlp", "probe lsd digits mlp"):
        lab.must(*verb.split())
    lab("table", "accuracy").refuses("results/tiny/fits.csv: made for other options, fits or code than now")
    lab.must("fits")
    lab.must("table", "accuracy")


@pytest.mark.parametrize(
    ("file", "again"), [("fits.csv", "fits"), ("tables/accuracy.csv", "table accuracy"), ("verdicts.csv", "verdicts")]
)
def test_a_file_that_was_edited_by_hand_is_not_shown(lab, file, again):
    for verb in ("table accuracy", "figure readout_depth", "verdicts", "report"):
        lab.must(*verb.split())
    path = lab.results(file)
    path.write_text(path.read_text() + "\n")
    lab("report").refuses(f"results/tiny/{file}: changed since it was made; run the verb {again.split()[0]} again")
    for verb in dict.fromkeys([again, "table accuracy", "figure readout_depth", "verdicts"]):
        lab.must(*verb.split())
    lab.must("report")


@pytest.mark.parametrize("what", ["table accuracy", "figure readout_depth", "verdicts"])
def test_what_was_made_of_older_fits_is_not_shown(lab, what):
    """A table is made for the very fits, not only for the options."""
    for verb in ("table accuracy", "figure readout_depth", "verdicts"):
        lab.must(*verb.split())
    lab.unfit("mlp")
    lab.must("fit", "digits", "mlp")
    lab.must("fits")
    for verb in {"table accuracy", "figure readout_depth", "verdicts"} - {what}:
        lab.must(*verb.split())
    lab("report").refuses("made for other options, fits or code than now", f"run the verb {what.split()[0]} again")


# ---------------------------------------------------------------- half-done fits


@pytest.mark.parametrize("digest", ["of something else", None])
def test_a_half_done_fit_of_something_else_is_not_taken_up(lab, digest):
    folder = lab.node("mlp")
    want = (folder / "segment.safetensors").read_bytes()
    forget(lab, "mlp")
    notes = {"notes": "{}", **({"digest": digest} if digest else {})}
    store.write_tensors(folder / ".resume.safetensors", {"weights.0.weight": torch.zeros(3)}, notes)
    lab.must("fit", "digits", "mlp")
    assert (folder / "segment.safetensors").read_bytes() == want
    assert not (folder / ".resume.safetensors").exists()


def test_a_half_done_fit_that_is_cut_short_says_what_to_do(lab):
    forget(lab, "mlp")
    sidecar = lab.node("mlp") / ".resume.safetensors"
    sidecar.write_bytes(b"\x00" * 7)
    lab("fit", "digits", "mlp").refuses(".resume.safetensors: cut short, or not a safetensors file; delete it and run")
    sidecar.unlink()
    lab.must("fit", "digits", "mlp")


# ---------------------------------------------------------------- files cut short

DAMAGED = {
    "features": ("networks/digits/seed0/d4/train.safetensors", "fit digits d4/ridge", "represent digits d4"),
    "weights": ("networks/digits/seed0/d4/segment.safetensors", "represent digits d4", "fit digits d4"),
    "record of a fit": ("networks/digits/seed0/d4/fit.json", "fit digits d4/ridge", "fit digits d4"),
    "score": ("networks/digits/seed0/mlp/score.json", "fits", "fit digits mlp"),
    "record of the data": ("datasets/digits/dataset.json", "fit digits mlp", "dataset digits"),
    "samples": ("datasets/digits/train.safetensors", "fit digits mlp", "dataset digits"),
}


@pytest.mark.parametrize("how", ["half", "empty"])
@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_named_and_made_anew_once_it_is_gone(lab, what, how):
    name, verb, cure = DAMAGED[what]
    path = lab.results(name)
    whole = path.read_bytes()
    if what in ("features", "weights", "record of a fit"):
        forget(lab, "d4/ridge")
    if what == "weights":
        (lab.node("d4") / "test.safetensors").unlink()
    path.write_bytes(whole[: len(whole) // 2] if how == "half" else b"")
    lab(*verb.split()).refuses(f"results/tiny/{name}: ", "delete it and run again")
    path.unlink()
    lab.must(*cure.split())
    lab.must(*verb.split())
    if path.suffix == ".safetensors":
        assert path.read_bytes() == whole
    else:
        assert json.loads(path.read_text())["digest"] == json.loads(whole)["digest"]


def test_features_of_fewer_samples_are_refused(lab):
    path = lab.node("d4") / "train.safetensors"
    forget(lab, "d4/ridge")
    store.write_tensors(path, {"x": store.read_tensors(path)["x"][:-1]}, store.read_notes(path))
    lab("fit", "digits", "d4/ridge").refuses("seed0/d4/train.safetensors: changed since it was written")


def test_weights_of_another_shape_are_refused_and_fitted_again(lab):
    path = lab.node("d4") / "segment.safetensors"
    whole = path.read_bytes()
    store.write_tensors(path, {"0.weight": torch.zeros(2, 1, 3, 3)})
    forget(lab, "d4/ridge")
    (lab.node("d4") / "test.safetensors").unlink()
    lab("represent", "digits", "d4").refuses("seed0/d4/segment.safetensors: not the weights that fit.json tells of")
    lab.must("fit", "digits", "d4")
    assert path.read_bytes() == whole
    lab.must("represent", "digits", "d4")


@pytest.mark.parametrize("how", ["half", "empty"])
@pytest.mark.parametrize("name", ["fit.json", "score.json", "segment.safetensors"])
def test_a_fit_makes_what_is_damaged_of_its_own_anew(lab, name, how):
    """It is its own to write over: nobody need delete a file by hand."""
    path = lab.node("d4") / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if how == "half" else b"")
    lab.must("fit", "digits", "d4")
    if name == "fit.json":  # of another time
        assert store.read_json(path)["weights"] == json.loads(whole)["weights"]
    else:
        assert path.read_bytes() == whole


@pytest.mark.parametrize("text", ["", "stage,lsd\n", "not,a\ntable"], ids=["empty", "no rows", "other columns"])
def test_what_a_probe_saw_cut_short_is_named(lab, text):
    path = lab.node("mlp") / "lsd.csv"
    path.write_text(text)
    lab("figure", "readout_depth").refuses("seed0/mlp/lsd.csv: ", "run")
    path.unlink()
    lab("figure", "readout_depth").refuses("seed0/mlp/lsd.csv: no such file; run the verb probe")


@pytest.mark.parametrize("text", ["", "dataset,seed\n"], ids=["empty", "no rows"])
def test_fits_cut_short_are_named(lab, text):
    lab.results("fits.csv").write_text(text)
    lab("table", "accuracy").refuses("results/tiny/fits.csv: ", "run")
    lab.must("fits")
    lab.must("table", "accuracy")


@pytest.mark.parametrize(
    ("verb", "gone", "text"),
    [
        ("fit digits mlp", "datasets/digits/dataset.json", "dataset.json: no such file; run the step that makes it"),
        ("fit digits d4/ridge", "networks/digits/seed0/d4/fit.json", "d4/fit.json: no such file; run the step"),
        ("represent digits d4", "networks/digits/seed0/d4/segment.safetensors", "segment.safetensors: no such file"),
        ("fits", "networks/digits/seed0/mlp/score.json", "mlp/score.json: no such file"),
        ("table accuracy", "fits.csv", "fits.csv: no such file"),
    ],
)
def test_what_is_not_there_yet_is_named(lab, verb, gone, text):
    forget(lab, "d4/ridge") if verb.endswith("ridge") else None
    if verb.startswith("fit digits mlp"):
        forget(lab, "mlp")
    if verb.startswith("represent"):
        (lab.node("d4") / "test.safetensors").unlink()
    lab.results(gone).unlink()
    lab(*verb.split()).refuses(text)


# ---------------------------------------------------------------- files that are gone


def test_of_every_file_that_is_gone_snakemake_makes_anew(made, monkeypatch):
    """Whichever file is gone, one that Snakemake knows is gone too, once it has read the study."""
    monkeypatch.chdir(made.folder)
    study = study_file.load("studies/tiny.yaml")
    fits = made.results(".made/fits.json")
    known = {fits, *(made.folder / marker for marker, *_ in what_was_made.known(study))}
    # Files that are targets, and the records of these, are left to Snakemake.
    targets = {made.results(name) for name in study.targets()}
    before = made.files()
    inner = [p for p in sorted(set(before) - targets | {fits}) if ".made" not in p.parts or p == fits]
    inner = [p for p in inner if ".asked" not in p.parts]
    assert len(inner) > 20
    for path in inner:
        whole = {p: (p.read_bytes(), p.stat()) for p in known | {path}}
        path.unlink()
        what_was_made.forget_what_is_gone(study)
        owed = [p for p in known if not p.exists()]
        for file, (content, told) in whole.items():
            file.write_bytes(content)
            os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
        assert fits in owed, path
        assert path.name in ("fits.csv", "fits.json") or len(owed) == 2, (path, owed)
    assert made.files() == before


GONE = ["datasets", "tables/accuracy.csv"]
GONE += [f"networks/digits/seed0/d4/{name}" for name in ("fit.json", "valid.safetensors")]
GONE += [f"networks/digits/seed1/{name}" for name in ("mlp/score.json", "mlp/lsd.csv", "d4/ridge/segment.safetensors")]


def test_a_run_makes_anew_what_is_gone(workplace):
    there = set(workplace.files())
    for name in GONE:
        path = workplace.results(name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    workplace.snakemake("--", "tiny")
    assert set(workplace.files()) == there
    assert workplace.plan("tiny") == []


@pytest.mark.slow
def test_weights_that_were_changed_are_said_once_and_the_next_run_is_whole(workplace):
    path = workplace.node("d4") / "segment.safetensors"
    whole = path.read_bytes()
    store.write_tensors(path, {k: v * 0 for k, v in store.read_tensors(path).items()})
    (workplace.node("d4/ridge") / "lsd.csv").unlink()  # so that something reads them
    said = workplace.snakemake("--", "tiny", check=False)
    assert "d4/segment.safetensors: not the weights that fit.json tells of; run the study again" in said
    workplace.snakemake("--", "tiny")
    assert path.read_bytes() == whole
    assert workplace.plan("tiny") == []
