"""Mistakes through Snakemake: one line that says what to do, a non-zero exit, and nothing was run."""

from __future__ import annotations

import json

import pytest

from layerwise import store

STUDY = "studies/tiny.yaml"
WRONG = {
    "study": (
        STUDY,
        "segments:",
        "segmnets:",
        "layerwise: studies/tiny.yaml: no key 'segmnets'; did you mean 'segments'?",
    ),
    "option": (
        STUDY,
        "epochs: 2",
        "epoch: 2",
        "layerwise: studies/tiny.yaml: segment 'mlp': method 'sgd' has no option 'epoch'; did you mean 'epochs'?",
    ),
    "configuration": (
        "config.yaml",
        "device: cpu",
        "devise: cpu",
        "layerwise: config.yaml: no key 'devise'; did you mean 'device'?",
    ),
    "configuration that says nothing": (
        "config.yaml",
        "study: tiny\ndevice: cpu",
        "# study: tiny",
        "layerwise: config.yaml: holds no mapping",
    ),
    "unknown study": (
        "config.yaml",
        "study: tiny",
        "study: tinny",
        "layerwise: study 'tinny': no file studies/tinny.yaml; did you mean 'tiny'?",
    ),
    "no YAML": (STUDY, "seeds: 2", "seeds: [2", "layerwise: studies/tiny.yaml: line 4 is not YAML: "),
    "images that are not there": (
        STUDY,
        "{source: digits, valid: 0.2}",
        "{source: imagefolder, folder: photos, size: 8}",
        "layerwise: photos: no such folder; images belong in photos/train/<class>/ and photos/test/<class>/",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_one_line(empty, what):
    file, old, new, line = WRONG[what]
    empty.edit(old, new, file)
    said = empty.snakemake("--dry-run", check=False)
    assert [each for each in said.splitlines() if each.startswith(line)], said
    assert "Traceback" not in said
    assert not (empty.folder / "results").exists()


TARGETS = {
    "tinny": "layerwise: study 'tinny': no file studies/tinny.yaml; did you mean 'tiny'?",
    "tiny:dataset": "layerwise: target 'tiny:dataset': no study, and no stage of one; did you mean 'tiny:datasets'?",
    "studies/tiny.yaml": "layerwise: target 'studies/tiny.yaml': a study is asked for by its name; did you mean",
    "results/tiny/tables/acuracy.csv": "layerwise: 'acuracy' is none of the tables of the study tiny; did you mean",
    "results/tiny/figures/depth.svg": "layerwise: 'depth' is none of the figures of the study tiny; ",
    "results/tiny/networks/digits/seeds/probe.lds.json": "layerwise: 'lds' is none of the probes of the study tiny; ",
}


@pytest.mark.parametrize("target", TARGETS)
def test_an_unknown_target_is_named(empty, target):
    said = empty.snakemake("--dry-run", "--", target, check=False)
    assert [each for each in said.splitlines() if each.startswith(TARGETS[target])], said
    assert "Traceback" not in said


def test_a_mistake_in_a_job_is_shown_with_its_log_and_the_rest_is_made(empty):
    """Layers that do not fit their input are known once the input is there."""
    empty.edit("conv 3 4", "conv 9 4")
    targets = [empty.marker(path) for path in ("mlp", "d4")]
    said = empty.snakemake("--", *targets, check=False)
    text = "layer 'conv 9 4' is larger than its input of 8x8: use a smaller size"
    assert f"layerwise: network digits/seed0/d4: {text}" in said
    assert "Traceback" not in said
    assert not (empty.node("d4") / "fit.json").exists()
    assert (empty.node("mlp") / "fit.json").exists()
    empty.edit("conv 9 4", "conv 3 4")
    assert empty.plan(*targets) == ["fit d4 on digits, seeds 0 1"]


def test_features_cut_short_are_named_and_made_anew_once_they_are_gone(workplace):
    features = workplace.node("d4") / "train.safetensors"
    whole = features.read_bytes()
    features.write_bytes(whole[: len(whole) // 2])
    target = workplace.marker("d4/ridge")
    workplace.unfit("d4/ridge")
    (workplace.folder / target).unlink()
    said = workplace.snakemake("--", target, check=False)
    assert "seed0/d4/train.safetensors: cut short, or not a safetensors file; delete it and run again" in said
    assert "Traceback" not in said
    features.unlink()
    workplace.snakemake("--", target)
    assert store.read_tensors(workplace.node("d4/ridge") / "segment.safetensors")
    (workplace.folder / workplace.marker("d4", "features")).unlink()
    workplace.snakemake("--", workplace.marker("d4", "features"))
    assert features.read_bytes() == whole


ODD = "{x} {wildcards.study} {{ }} $HOME `touch pwned` $(touch pwned) \" ' ; touch pwned #"


def test_text_is_text_in_rules_and_commands(empty):
    """Titles, labels and folders with braces, quotes and what a shell would run; the data set is made, nothing else."""
    empty.edit("title: Tiny", f"title: {json.dumps(ODD)}\ndescription: {json.dumps(ODD)}")
    empty.edit("mlp: backprop", f"mlp: {json.dumps(ODD)}")
    said = empty.snakemake("--config", f"data_root=-{ODD}", "--", "tiny:datasets")
    assert "prepare data set digits" in said
    assert empty.results("datasets", "digits", "dataset.json").is_file()
    assert not list(empty.folder.rglob("pwned*"))
    assert "draw readout_depth" in empty.plan("tiny")


@pytest.mark.slow
def test_a_study_that_is_not_asked_for_stops_no_other(empty):
    tiny = (empty.folder / STUDY).read_text()
    drafts = {"draft": "title: Draft\n", "half": tiny[:200], "away": tiny.replace("method: dmn", "method: nolab.boost")}
    for name in ("all", "fits", "node", "figure", "tiny_fits", "a copy", "#a", "._a", "-x"):
        empty.write(tiny, name)
    for name, text in drafts.items():
        empty.write(text, name)
    (empty.folder / "studies" / ".#a.yaml").symlink_to("somebody@somewhere.1")
    (empty.folder / "studies" / "gone.yaml").symlink_to("nowhere")
    (empty.folder / "studies" / "folder.yaml").mkdir()
    (empty.folder / "studies" / "elsewhere").mkdir()
    assert "prepare data set digits" in empty.plan("tiny")
    assert "prepare data set digits" in empty.plan()
    assert "prepare data set digits" in empty.plan("tiny_fits")
    lines = {
        "draft": "studies/draft.yaml: the key 'datasets' is missing",
        "half": "studies/half.yaml: ",
        "away": "studies/away.yaml: method 'nolab.boost': no such module",
        "gone": "studies/gone.yaml: cannot be read",
        "folder": "studies/folder.yaml: not a file",
        "all": "study 'all': a rule of the workflow is called so; rename studies/all.yaml",
        "fits": "study 'fits': a rule of the workflow is called so; rename studies/fits.yaml",
        "tny": "study 'tny': no file studies/tny.yaml; did you mean 'tiny'?",
        "tny:datasets": "target 'tny:datasets': no study, and no stage of one; did you mean 'tiny:datasets'?",
        "elsewhere": "study 'elsewhere': no file studies/elsewhere.yaml",
    }
    for target, line in lines.items():
        said = empty.snakemake("--dry-run", "--", target, check=False)
        assert f"layerwise: {line}" in said, (target, said)
        assert "Traceback" not in said


CONFIGURED = {
    "seeds=1.0": "seeds: 1.0 is not what belongs here",
    "seeds=1e22": "seeds: 1e+22 is not what belongs here",
    "seeds=100000000": "seeds: 100000000 is not what belongs here",
    "seeds=[0,a]": "seeds: [0, 'a'] is not what belongs here",
    "study=2024_1": "study: 20241 is a number; name the study as the target",
    "study=../studies/tiny": "study: '../studies/tiny' is not what belongs here",
    "device=tpu": "device: 'tpu' is not what belongs here",
    "devise=cpu": "no key 'devise'; did you mean 'device'?",
}


@pytest.mark.parametrize("given", CONFIGURED)
def test_a_mistake_on_the_command_line_is_not_blamed_on_the_file(empty, given):
    said = empty.snakemake("--dry-run", "--config", given, check=False)
    assert f"layerwise: --config or --configfile: {CONFIGURED[given]}" in said
    assert "Traceback" not in said


def test_a_list_of_seeds_on_the_command_line_is_as_meant(empty):
    assert "--seeds 0 7" in empty.snakemake("--dry-run", "--printshellcmds", "--config", "seeds=[0,7]")
