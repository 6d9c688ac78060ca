"""The steps on one node, on a data set of a few points: seeds, half-done fits, and what stands for what."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.preparation import disk
from layerwise.run import loading, records, resume, source
from layerwise.run import node as nodes
from layerwise.study import file as study_file
from layerwise.study import model as studies
from layerwise.study.trie import Node, dataset_folder

CPU = torch.device("cpu")
RAW = {
    "title": "Few",
    "seeds": 2,
    "datasets": {"toy": {"source": "toys", "problem": "spirals", "samples": 60, "test_samples": 20, "valid": 0.2}},
    "segments": {
        "r8": {"method": "random", "layers": ["dense 8", "tanh"]},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
        "sgd": {"method": "sgd", "layers": ["dense 4", "relu", "dense outputs"], "epochs": 3, "batch": 16},
    },
    "networks": {"toy": ["r8/ridge", "sgd"]},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.write_json(tmp_path / "few.json", RAW)
    return study_file.load("few.json")


@pytest.fixture
def data(study):
    loading.prepare_dataset(study, "toy", study.file)
    return loading.read_dataset(study, "toy")


def node(path: str, seed: int = 0) -> Node:
    return Node("few", "toy", seed, path)


def run(study, data, path: str, seed: int = 0) -> None:
    nodes.fit(study, node(path, seed), data, CPU)


def test_a_seed_of_a_fit_is_drawn_from_names_alone():
    seeds = [records.seed_of(node(path, seed)) for path in ("a", "b", "a/b") for seed in range(50)]
    assert len(set(seeds)) == 150
    assert records.seed_of(node("a")) == records.seed_of(node("a"))
    assert records.seed_of(node("a")) == records.seed_of(Node("another study", "toy", 0, "a"))
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_data_set_has_a_digest_of_what_is_in_it(study, data):
    record = data.record
    assert record["spec"] == studies.digest_of(study.dataset_spec("toy"))
    assert record["digest"] == studies.digest_of([record["content"], record["task"]])
    with pytest.raises(LayerwiseError, match="'yot' is no data set of the study few"):
        loading.prepare_dataset(study, "yot", study.file)


def test_a_network_is_its_segments_one_after_the_other(study, data):
    run(study, data, "r8")
    run(study, data, "r8/ridge")
    network = loading.read_network(study, node("r8/ridge"), data.record["digest"])
    seen = source.outputs(study, node("r8/ridge"), "test", data, CPU)
    assert torch.allclose(network(data.test.x), seen.x, atol=1e-5)
    assert not any(part.training for part in network.modules())


def test_a_child_takes_in_what_its_parent_gives(study, data):
    run(study, data, "r8")
    first = source.inputs(study, node("r8"), "train", data, CPU)
    assert first.x is data.train.x
    second = source.inputs(study, node("r8/ridge"), "valid", data, CPU)
    assert second.shape == (8,)
    assert second.x.shape == (12, 8)
    assert torch.equal(second.y, data.valid.y)


def test_weights_of_doubles_are_read_as_such(study, data, monkeypatch):
    from layerwise.methods import random

    whole = random.fit
    monkeypatch.setattr(random, "fit", lambda *a, **k: _doubled(whole(*a, **k)))
    run(study, data, "r8")
    record = records.read_fit(study, node("r8"), data.record["digest"])
    assert {p.dtype for p in loading.read_module(node("r8"), record).parameters()} == {torch.float64}


def _doubled(fitted):
    fitted.module.double()
    return fitted


def test_a_fit_sees_no_test_split(study, data, monkeypatch):
    from layerwise.methods import ridge

    run(study, data, "r8")
    given = []
    whole = ridge.fit

    def watched(segment, features, options, **more):
        given.append(features)
        return whole(segment, features, options, **more)

    monkeypatch.setattr(ridge, "fit", watched)
    nodes.fit(study, node("r8/ridge"), data, CPU)
    assert not hasattr(given[0], "test")
    assert len(given[0].train) + len(given[0].valid) == 60


def test_a_record_never_stands_beside_other_weights(study, data, monkeypatch):
    """A fit that ends between the two leaves no record, whatever was there before."""
    nodes.fit(study, node("sgd"), data, CPU)
    store.write_json(node("sgd").folder / "fit.json", {"digest": "of other options"})

    def interrupted(path, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nodes.fit(study, node("sgd"), data, CPU)
    assert not (node("sgd").folder / "fit.json").exists()


# ---------------------------------------------------------------- half-done fits


def test_a_half_done_fit_is_given_back_as_it_was_kept(tmp_path):
    path = tmp_path / ".resume.safetensors"
    state = {"weights.0": torch.randn(2, 3), "random.cpu": torch.get_rng_state()}
    assert resume.Sidecar(path, "d").hooks.load() is None
    resume.Sidecar(path, "d").hooks.save(state, {"history": [{"epoch": 1, "loss": 0.1}]})
    again = resume.Sidecar(path, "d")
    tensors, notes = again.hooks.load()
    assert all(torch.equal(tensors[k], v) for k, v in state.items())
    assert notes == {"history": [{"epoch": 1, "loss": 0.1}]}
    assert again.earlier >= 0


def test_a_half_done_fit_of_another_digest_is_not(tmp_path):
    path = tmp_path / ".resume.safetensors"
    resume.Sidecar(path, "d").hooks.save({}, {})
    other = resume.Sidecar(path, "e")
    assert other.hooks.load() is None
    assert other.earlier == 0


def test_seconds_add_up_over_interruptions(tmp_path, monkeypatch):
    clock = iter([0.0, 10.0, 100.0, 103.0, 200.0])
    monkeypatch.setattr(resume.time, "perf_counter", lambda: next(clock))
    path = tmp_path / ".resume.safetensors"
    resume.Sidecar(path, "d").hooks.save({}, {})  # ten seconds
    second = resume.Sidecar(path, "d")
    second.hooks.load()
    second.hooks.save({}, {})  # and three more
    third = resume.Sidecar(path, "d")
    third.hooks.load()
    assert third.earlier == 13


# ---------------------------------------------------------------- scores


def test_a_split_without_samples_has_no_score(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = {**RAW, "datasets": {"toy": {**RAW["datasets"]["toy"], "valid": 0}}}
    store.write_json(tmp_path / "few.json", raw)
    study = study_file.load("few.json")
    loading.prepare_dataset(study, "toy", tmp_path)
    data = loading.read_dataset(study, "toy")
    run(study, data, "r8")
    assert set(json.loads((node("r8").folder / "score.json").read_text())["splits"]) == {"train", "test"}
    run(study, data, "r8/ridge")


def test_scores_of_a_fit_are_made_anew_without_another_fit(study, data):
    run(study, data, "r8")
    fit, score = ((node("r8").folder / name).read_bytes() for name in ("fit.json", "score.json"))
    (node("r8").folder / "score.json").unlink()
    assert "fitted" not in nodes.fit(study, node("r8"), data, CPU)
    assert (node("r8").folder / "fit.json").read_bytes() == fit
    assert (node("r8").folder / "score.json").read_bytes() == score
    assert nodes.fit(study, node("r8"), data, CPU) == "already made, left alone"


# ---------------------------------------------------------------- what lies on disk


def test_the_data_set_on_disk_is_the_one_in_the_study(study, data):
    record = dataset_folder("few", "toy") / "dataset.json"
    store.write_json(record, {**data.record, "spec": "0" * 16})
    with pytest.raises(LayerwiseError, match=r"dataset.json: made for other options or by other code"):
        loading.read_dataset(study, "toy")


def test_a_module_is_built_as_its_record_says(study, data):
    run(study, data, "sgd")
    module = loading.read_module(node("sgd"), records.read_fit(study, node("sgd"), data.record["digest"]))
    assert [type(m) for m in module if isinstance(m, nn.Linear)] == [nn.Linear, nn.Linear]
    assert disk.read(dataset_folder("few", "toy")).record == data.record
