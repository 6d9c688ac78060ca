"""The verbs on one node: what they write, what they leave alone, and what they refuse."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from layerwise import store
from layerwise.run import records


def test_the_same_seed_gives_the_same_bytes(fitted, tmp_path, made):
    """Here and in another process, in another folder."""
    for path in ("mlp", "d4", "d4/ridge"):
        for name in ("segment", *(("train", "test") if path == "d4" else ())):
            here, there = (p.node(path) / f"{name}.safetensors" for p in (fitted, made))
            assert here.read_bytes() == there.read_bytes(), f"{path}/{name}"


@pytest.mark.parametrize("path", ["mlp", "d4"])
def test_a_fit_made_again_is_the_same_and_another_seed_is_not(lab, path):
    segment = lab.node(path) / "segment.safetensors"
    first = segment.read_bytes()
    lab.unfit(path)
    lab.must("fit", "digits", path, seeds=(0, 1))
    assert segment.read_bytes() == first
    assert path != "mlp" or (lab.node(path, 1) / "segment.safetensors").read_bytes() != first


def test_a_record_tells_all_of_its_fit(fitted):
    record = json.loads((fitted.node("d4/ridge") / "fit.json").read_text())
    assert set(record) == {
        *(
            "digest",
            "weights",
            "seal",
            "method",
            "options",
            "layers",
            "shape",
            "outputs",
            "scores",
            "parameters",
            "seed",
        ),
        *("processes", "seconds", "seconds_before_interruption", "peak_memory_mb", "record"),
        *("time", "machine", "device", "threads", "instructions", "versions", "revision"),
    }
    assert (record["method"], record["shape"], record["outputs"], record["scores"]) == ("ridge", [4, 3, 3], 10, True)
    assert record["layers"] == ["flatten", "dense 10"]
    assert record["parameters"] == 37 * 10
    assert (record["seed"], record["threads"], record["device"]) == (0, 1, "cpu")
    assert 0 < record["seconds"] < 60
    assert record["seconds_before_interruption"] == 0


def test_a_segment_that_ends_in_features_is_scored_by_a_readout(fitted):
    scores = {path: json.loads((fitted.node(path) / "score.json").read_text()) for path in ("mlp", "d4")}
    assert (scores["mlp"]["kind"], scores["d4"]["kind"]) == ("scores", "readout")
    assert set(scores["d4"]["splits"]["train"]) == {"n", "mse", "accuracy", "cross_entropy", "lsd"}
    assert [scores["d4"]["splits"][s]["n"] for s in ("train", "valid", "test")] == [1078, 270, 449]
    assert scores["d4"]["splits"]["test"]["accuracy"] > 80


def test_what_is_made_is_left_alone(lab):
    before = lab.files()
    for path in ("mlp", "d4", "d4/ridge"):
        assert lab.must("fit", "digits", path) == f"fit digits/seed0/{path}: already made, left alone\n"
    assert lab.must("represent", "digits", "d4") == "represent digits/seed0/d4: already made, left alone\n"
    said = "probe lsd digits/seed0/{}: already made, left alone\n"
    assert lab.must("probe", "lsd", "digits") == said.format("mlp") + said.format("d4/ridge")
    assert lab.files() == before


def test_a_second_seed_leaves_the_first_alone(lab):
    before = lab.files()
    said = lab.must("fit", "digits", "d4", seeds=(0, 1)).splitlines()
    assert said[0] == "fit digits/seed0/d4: already made, left alone"
    assert said[1].startswith("fit digits/seed1/d4: fitted in ")
    assert {p: b for p, b in lab.files().items() if "seed1" not in p.parts} == before


def test_what_was_made_is_written_down_last(lab):
    """For Snakemake, which knows of a node no other file."""
    lab.must("fit", "digits", "mlp", "--done", "done.json", seeds=(0, 1))
    told = json.loads((lab.folder / "done.json").read_text())["made"]
    assert told == {
        f"digits/seed{seed}/mlp": json.loads((lab.node("mlp", seed) / "score.json").read_text())["digest"]
        for seed in (0, 1)
    }
    (lab.folder / "done.json").unlink()
    lab.edit("epochs: 2", "epochs: 2, lr: 1.0e+30")
    lab("fit", "digits", "mlp", "--done", "done.json").refuses("the training diverged")
    assert not (lab.folder / "done.json").exists()


def test_an_interrupted_fit_goes_on_and_counts_its_seconds(lab, monkeypatch):
    from layerwise.gradient import loop

    want = (lab.node("mlp") / "segment.safetensors").read_bytes()
    lab.unfit("mlp")
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    epochs, whole = [], loop.Training.epoch

    def interrupted(self, hooks):
        if len(epochs) == 1:
            raise KeyboardInterrupt
        epochs.append(1)
        return whole(self, hooks)

    monkeypatch.setattr(loop.Training, "epoch", interrupted)
    said = lab("fit", "digits", "mlp")
    assert (said.status, said.err) == (130, "layerwise: stopped; run the same command again to go on\n")
    sidecar = lab.node("mlp") / ".resume.safetensors"
    assert sidecar.exists()
    assert not (lab.node("mlp") / "fit.json").exists()
    earlier = float(store.read_notes(sidecar)["seconds"])
    monkeypatch.setattr(loop.Training, "epoch", whole)
    assert f"{earlier:.2f} s of them before it was interrupted" in lab.must("fit", "digits", "mlp")
    record = json.loads((lab.node("mlp") / "fit.json").read_text())
    assert record["seconds_before_interruption"] == earlier
    assert record["seconds"] > earlier > 0
    assert record["record"]["epochs"] == 2
    assert (lab.node("mlp") / "segment.safetensors").read_bytes() == want
    assert not sidecar.exists()


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("dataset digit", "'digit' is no data set of the study tiny"),
        ("fit digit mlp", "'digit' is no data set of the study tiny: digits"),
        ("fit digits mpl", "'mpl' is no path of 'digits' in the study tiny; did you mean 'mlp'?"),
        ("represent digits ridge", "'ridge' is no path of 'digits' in the study tiny"),
        ("probe lds digits mlp", "'lds' is none of the probes of the study tiny; did you mean 'lsd'?"),
        (
            "figure readout_dept",
            "'readout_dept' is none of the figures of the study tiny; did you mean 'readout_depth'?",
        ),
        ("table accurac", "'accurac' is none of the tables of the study tiny; did you mean 'accuracy'?"),
        ("fit digits mlp --device cuda", "device 'cuda': no GPU that torch can use is here; set device: cpu or auto"),
        ("fit digits mlp --device gpu", "device 'gpu': say auto, cpu or cuda"),
        ("represent digits mlp --device cuda", "device 'cuda': no GPU that torch can use is here"),
    ],
)
def test_a_name_that_the_study_does_not_have(lab, monkeypatch, verb, text):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = lab.files()
    lab(*verb.split()).refuses(text)
    assert lab.files() == before


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ("[conv 9 4, relu]", "layer 'conv 9 4' is larger than its input of 8x8: use a smaller size"),
        ("[conv 3 4, maxpool 7]", "layer 'maxpool 7' is larger than its input of 6x6: use a smaller size"),
        ("[dense 4, conv 3 4]", "layer 'conv 3 4' needs images (channels, height, width), not samples of shape (4,)"),
    ],
)
@pytest.mark.parametrize("method", ["dmn", "pca", "random"])
def test_layers_that_do_not_fit_their_input(lab, method, layers, text):
    lab.edit("{method: dmn, layers: [conv 3 4, relu, maxpool 2]}", f"{{method: {method}, layers: {layers}}}")
    before = lab.files()
    lab("fit", "digits", "d4").refuses("network digits/seed0/d4: ", text)
    assert {p: b for p, b in lab.files().items() if p.exists()} == before


def test_sgd_on_a_segment_that_ends_in_features(lab):
    lab.edit("method: dmn", "method: sgd")
    lab("fit", "digits", "d4").refuses("network digits/seed0/d4: ", "end the layers in 'dense outputs'", "'+'")


def test_weights_that_are_not_finite_are_never_written(lab, monkeypatch):
    from layerwise.methods import ridge

    whole = ridge.fit

    def broken(*args, **more):
        made = whole(*args, **more)
        with torch.no_grad():
            made.module[-1].weight[0, 0] = float("nan")
        return made

    monkeypatch.setattr(ridge, "fit", broken)
    lab.unfit("d4/ridge")
    before = lab.files()
    lab("fit", "digits", "d4/ridge").refuses("network digits/seed0/d4/ridge: the fit gave weights that are not finite")
    assert lab.files() == before


def test_a_lack_of_memory_is_one_line(lab, monkeypatch):
    from layerwise.methods import ridge

    def greedy(*args, **more):
        raise MemoryError("9 EB")

    monkeypatch.setattr(ridge, "fit", greedy)
    lab.unfit("d4/ridge")
    lab("fit", "digits", "d4/ridge").refuses("out of memory (9 EB); fit fewer samples or narrower layers")


def test_more_memory_than_there_is(lab):
    lab.edit("dense 16", "dense 999999999")
    line = lab("fit", "digits", "mlp").refuses("its fit needs", "GiB", "fewer")
    assert len(line) < 400


@pytest.mark.parametrize("words", ["fits", "table accuracy", "figure readout_depth", "verdicts", "report"])
def test_what_reads_results_does_not_wait_for_torch(made, words):
    """Importing it takes longer than most of these steps, of which a study has dozens."""
    verb, *rest = words.split()
    run = f"import sys; from layerwise.__main__ import main; main({[verb, 'studies/tiny.yaml', *rest]})"
    assert made.run(sys.executable, "-c", f"{run}; print('torch' in sys.modules)").stdout.split()[-1] == "False"


def test_a_figure_of_one_network_and_one_seed_is_drawn(lab):
    """A single point, at seconds where a logarithmic axis of its own would come out empty."""
    for name in ("mlp", "d4", "d4/ridge"):
        record = lab.node(name) / "fit.json"
        told = store.read_json(record)
        del told[records.SEAL]
        records.write(record, {**told, "seconds": 0.0099})
    lab.must("fits")
    lab.edit("figures:", "figures:\n  alone: {figure: accuracy_seconds, dataset: digits, networks: [mlp]}")
    lab.must("figure", "alone")
    assert lab.results("figures/alone.png").stat().st_size > 0
