"""A tiny study that really ran, for the tests of what comes after the fits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tinydmn
import torch

from layerwise import environment
from layerwise.__main__ import main
from layerwise.results.study_results import StudyResults
from layerwise.run import loading, machine, probe
from layerwise.run import node as nodes
from layerwise.study import file as study_file
from layerwise.study import trie

environment.same_instructions()  # as the verbs do

TINY = {
    "name": "tiny",
    "title": "Tiny <study> & more",
    "description": 'Two seeds of "everything" <b>small</b>.',
    "seeds": 2,
    "datasets": {
        "digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "spirals": {"source": "toys", "problem": "spirals", "samples": 120, "test_samples": 60},
        "sine": {"source": "toys", "problem": "sinusoid", "samples": 120, "test_samples": 60},
    },
    "segments": {
        "d4": {"method": "dmn", "layers": ["conv 3 4", "relu", "maxpool 2"]},
        "r4": {"method": "random", "layers": ["conv 3 4", "relu", "maxpool 2"]},
        "c4": {"method": "sgd", "layers": ["conv 3 4", "relu", "maxpool 2"]},
        "r8": {"method": "random", "layers": ["dense 8", "tanh"]},
        "head": {"method": "sgd", "layers": ["dense outputs"], "epochs": 2},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
    },
    "networks": {
        "digits": {
            "ridge": "pixels",
            "c4+head": "backprop",
            "d4/ridge": "class PCA",
            "d4/head": "class PCA, <head>",
            "r4/ridge": "random",
        },
        "spirals": {"r8/ridge": "random", "ridge": "linear"},
        "sine": {"r8/ridge": "random", "ridge": "linear"},
    },
    "probes": {
        "lsd": {},
        "spectrum": {"networks": ["digits/d4/ridge", "digits/r4/ridge"], "samples": 40, "top": 9},
    },
    "figures": {
        "accuracy": {"figure": "accuracy_seconds", "dataset": "digits"},
        "error": {"figure": "accuracy_seconds", "dataset": "sine"},
        "depth": {"figure": "readout_depth", "dataset": "digits"},
        "depth_test": {"figure": "readout_depth", "dataset": "digits", "measure": "test_accuracy"},
        "regions": {"figure": "toy_regions", "dataset": "spirals"},
        "curve": {"figure": "toy_curve", "dataset": "sine"},
        "filters": {"dataset": "digits"},
        "spectra": {"dataset": "digits", "networks": ["d4/ridge", "r4/ridge"]},
    },
    "tables": {
        "accuracy": {"control": {"digits": "ridge"}},
        "controls": {"against": {"random": {"digits/d4/ridge": "r4/ridge"}, "backprop": {"digits/d4/head": "c4+head"}}},
    },
    "published": {"thesis": ["fig7.4", "section7.6"]},
    "verdicts": [{"item": "fig7.4", "network": "sine/ridge", "measure": "test_mse", "reason": "it is tiny <here>"}],
}


def fitted(folder: Path, study: str, raw: dict) -> Path:
    """Run a study in a folder up to fits.csv, and return the folder."""
    (folder / f"{study}.json").write_text(json.dumps(raw))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan = study_file.load(f"{study}.json")
        cpu = torch.device("cpu")
        machine.deterministic(cpu, 1)  # whatever a test before made of it: some tests fit this again
        for dataset in plan.networks:
            loading.prepare_dataset(plan, dataset, folder)
        data = {dataset: loading.read_dataset(plan, dataset) for dataset in plan.networks}
        for node in plan.nodes():
            nodes.fit(plan, node, data[node.dataset], cpu)
        for name, dataset, path in plan.looks():
            for seed in plan.seeds_of(dataset):
                node = trie.Node(plan.name, dataset, seed, path)
                probe.probe(plan, node, data[dataset], cpu, plan.probes[name])
        assert main(["fits", f"{study}.json"]) == 0
    return folder


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tiny study ran, up to fits.csv."""
    return fitted(tmp_path_factory.mktemp("tiny"), "tiny", TINY)


@pytest.fixture
def tiny(ran: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    """The tiny study's results, to be read only; the working directory is where they lie."""
    monkeypatch.chdir(ran)
    return StudyResults(study_file.load("tiny.json"))


@pytest.fixture
def spoilt(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    """A copy of the tiny study's results, to be damaged."""
    shutil.copytree(ran, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return StudyResults(study_file.load("tiny.json"))


@pytest.fixture(scope="session")
def dmn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tiny study of density matrix networks ran."""
    return fitted(tmp_path_factory.mktemp("tinydmn"), "tinydmn", tinydmn.TINY)


@pytest.fixture
def dmn(dmn_folder: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    monkeypatch.chdir(dmn_folder)
    return StudyResults(study_file.load("tinydmn.json"))


EXCHANGED = {
    "name": "tinysent",
    "title": "Tiny exchange",
    "seeds": 2,
    "datasets": {"digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20}},
    "segments": {
        name: {"method": "sgd", "layers": ["dense outputs"], "epochs": 4, "batch": 20, "lr": 0.1, "exchange": words}
        for name, words in {"whole": "float32", "bins": "fixed 4", "none": "none"}.items()
    },
    "networks": {"digits": {"whole": "float32", "bins": "4 bits", "none": "nothing sent"}},
    "probes": {"coding": {"networks": ["digits/whole"], "coders": ["float32", "fixed 2", "fixed 6", "top 0.5"]}},
    "tables": {"exchange": {"baseline": "digits/whole"}},
    "figures": {
        "rates": {},
        "seeds": {"panels": {"a": {"float32": "digits/whole", "4": "digits/bins"}}, "measures": ["epochs_to_best"]},
        "by_epoch": {"networks": ["digits/bins"], "columns": [["bits_raw", "bits_sent"], ["gradient_1"]]},
    },
}


@pytest.fixture(scope="session")
def exchanged_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a tiny study ran whose networks send their weights."""
    return fitted(tmp_path_factory.mktemp("tinysent"), "tinysent", EXCHANGED)


@pytest.fixture
def exchanged(exchanged_folder: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    monkeypatch.chdir(exchanged_folder)
    return StudyResults(study_file.load("tinysent.json"))
