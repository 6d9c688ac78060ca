"""Seeds and features: a new seed is fitted alone, and features that a study does not keep go."""

from __future__ import annotations

import json

import pytest

from places import TINY

SEPARATE = TINY.replace("seeds: 2\nseeds_together: true", "seeds: 1").replace(
    "{mlp: backprop, d4/ridge: class PCA}", "[ridge, d4/ridge]"
)
SPLITS = [f"{split}.safetensors" for split in ("train", "valid", "test")]


def test_a_new_seed_is_fitted_alone_where_one_job_fits_all(workplace):
    fits = [workplace.node(path, seed) / "fit.json" for path in ("mlp", "d4") for seed in (0, 1)]
    old = {p: p.read_bytes() for fit in fits for p in fit.parent.iterdir() if p.is_file()}
    workplace.edit("seeds: 2", "seeds: 3")
    plan = workplace.plan("tiny")
    assert "prepare data set digits" not in plan
    assert "fit mlp on digits, seeds 0 1 2" in plan
    workplace.snakemake("--", workplace.marker("mlp"), workplace.marker("d4"))
    assert {p: p.read_bytes() for p in old} == old  # the record with its time and seconds, and every byte of weights
    for path in ("mlp", "d4"):
        log = (workplace.folder / f"logs/tiny/fit/digits/seeds/{path}.log").read_text().splitlines()
        assert log[:2] == [f"fit digits/seed{s}/{path}: already made, left alone" for s in (0, 1)]
        assert log[2].startswith(f"fit digits/seed2/{path}: fitted in ")
        assert json.loads((workplace.node(path, 2) / "fit.json").read_text())["seed"] == 2


def test_one_job_a_seed_and_features_that_are_not_kept(empty):
    empty.write(SEPARATE)
    nodes = [empty.marker(path, group="seed0") for path in ("ridge", "d4/ridge")]
    targets = [empty.marker("d4", "features", "seed0"), *nodes]
    empty.snakemake("--", *targets)
    kept = {path: [(empty.node(path) / name).exists() for name in SPLITS] for path in ("ridge", "d4", "d4/ridge")}
    assert kept == {"ridge": [False] * 3, "d4": [True] * 3, "d4/ridge": [False] * 3}
    for path in kept:
        assert (empty.node(path) / "score.json").exists()
        assert (empty.node(path) / "segment.safetensors").exists()
    assert empty.plan(*targets) == []

    empty.edit("seeds: 1", "seeds: 2")
    assert empty.plan(*targets) == []
    new = [target.replace("seed0", "seed1") for target in targets]
    assert empty.plan(*new) == sorted(
        [*(f"fit {path} on digits, seeds 1" for path in kept), "represent digits by d4, seeds 1"]
    )
    old = empty.files()
    empty.snakemake("--", empty.marker("ridge", group="seed1"))
    assert {p: p.read_bytes() for p in old} == old
    assert json.loads((empty.node("ridge", 1) / "fit.json").read_text())["seed"] == 1
    wrong = empty.snakemake("--dry-run", "--", empty.marker("ridge", group="seeds"), check=False)
    assert "layerwise: 'seeds' is no group of seeds of 'digits' here: seed0, seed1" in wrong


@pytest.mark.slow
def test_a_child_is_fitted_on_what_goes_through_where_no_checkpoint_is_kept(workplace):
    """And the fits before it are left alone; the bytes are those of a fit on the checkpoint."""
    before = (workplace.node("d4/ridge") / "segment.safetensors").read_bytes()
    workplace.edit("keep: [d4]\n", "")
    for seed in (0, 1):
        for name in SPLITS:
            (workplace.node("d4", seed) / name).unlink()
    (workplace.folder / workplace.marker("d4", "features")).unlink()
    workplace.snakemake("--", workplace.marker("d4/ridge"))  # which now takes in no checkpoint, and stands as it is
    log = (workplace.folder / "logs/tiny/fit/digits/seeds/d4/ridge.log").read_text().splitlines()
    assert log == [f"fit digits/seed{seed}/d4/ridge: already made, left alone" for seed in (0, 1)]
    for seed in (0, 1):
        workplace.unfit("d4/ridge", seed)
    (workplace.folder / workplace.marker("d4/ridge")).unlink()
    assert workplace.plan(workplace.marker("d4/ridge")) == ["fit d4/ridge on digits, seeds 0 1"]
    workplace.snakemake("--", workplace.marker("d4/ridge"))
    assert (workplace.node("d4/ridge") / "segment.safetensors").read_bytes() == before
