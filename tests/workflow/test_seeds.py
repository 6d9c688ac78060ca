"""Seeds and features: a new seed is fitted alone, and features that a study does not keep go."""

from __future__ import annotations

import json

SEPARATE = """
title: Tiny
seeds: 1
keep: [d4]
datasets:
  digits: {source: digits, valid: 0.2}
segments:
  d4: {method: dmn, layers: [conv 3 4, relu, maxpool 2]}
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  digits: [ridge, d4/ridge]
"""
SPLITS = [f"{split}.safetensors" for split in ("train", "valid", "test")]


def relative(place, paths):
    return [str(p.relative_to(place.folder)) for p in paths]


def test_a_new_seed_is_fitted_alone_where_one_job_fits_all(workplace):
    fits = [workplace.node(path, seed) / "fit.json" for path in ("mlp", "d4") for seed in (0, 1)]
    old = {p: p.read_bytes() for fit in fits for p in fit.parent.iterdir() if p.is_file()}
    workplace.edit("seeds: 2", "seeds: 3")
    plan = workplace.plan("tiny")
    assert "prepare data set digits" not in plan
    assert "fit mlp on digits, seeds 0 1 2" in plan
    new = [workplace.node("mlp", 2) / "score.json", workplace.node("d4", 2) / "fit.json"]
    workplace.snakemake("--", *relative(workplace, new))
    assert {p: p.read_bytes() for p in old} == old  # the record with its time and seconds, and every byte of weights
    for path in ("mlp", "d4"):
        log = (workplace.folder / f"logs/tiny/fit/digits/{path}.log").read_text().splitlines()
        assert log[:2] == [f"fit digits/seed{s}/{path}: already made, left alone" for s in (0, 1)]
        assert log[2].startswith(f"fit digits/seed2/{path}: fitted in ")
        assert json.loads((workplace.node(path, 2) / "fit.json").read_text())["seed"] == 2


def test_one_job_a_seed_and_features_that_are_not_kept(empty):
    empty.write(SEPARATE)
    empty.snakemake("--", "tiny_networks")
    kept = {path: [(empty.node(path) / name).exists() for name in SPLITS] for path in ("ridge", "d4", "d4/ridge")}
    assert kept == {"ridge": [False] * 3, "d4": [True] * 3, "d4/ridge": [False] * 3}
    for path in kept:
        assert (empty.node(path) / "score.json").exists()
        assert (empty.node(path) / "segment.safetensors").exists()
    assert empty.plan("tiny_networks") == []

    empty.edit("seeds: 1", "seeds: 2")
    assert empty.plan("tiny_networks") == sorted(
        [
            *(f"fit {path} on digits, seeds 1" for path in kept),
            *(f"represent digits by {path}, seeds 1" for path in kept),
        ]
    )
    old = empty.files()
    empty.snakemake("--", *relative(empty, [empty.node("ridge", 1) / "score.json"]))
    assert {p: p.read_bytes() for p in old} == old
    assert json.loads((empty.node("ridge", 1) / "fit.json").read_text())["seed"] == 1


def test_features_that_are_not_kept_come_back_for_a_new_child(workplace):
    """And the fits before them are left alone."""
    workplace.edit("seeds: 2", "seeds: 2\nkeep: []")
    for path in ("d4", "mlp", "d4/ridge"):
        for seed in (0, 1):
            for name in SPLITS:
                (workplace.node(path, seed) / name).unlink()
    assert workplace.plan("tiny_networks") == []
    workplace.edit("d4/ridge: class PCA", "d4/ridge: class PCA, d4/other: another head")
    workplace.edit("  ridge:", "  other: {method: random, layers: [dense 8, relu, dense outputs]}\n  ridge:")
    plan = workplace.plan("results/tiny/networks/digits/seed0/d4/other/fit.json")
    assert plan == ["fit d4/other on digits, seeds 0 1", "represent digits by d4, seeds 0 1"]
