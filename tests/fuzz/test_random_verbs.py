"""Any words after a verb run it, are refused in one line, or show the usage; soon, and with no traceback.

LAYERWISE_FUZZ=20000 tries so many lists of words.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerwise import __main__

STUDY = """
title: Tiny
seeds: 1
datasets:
  circle: {source: toys, problem: spirals, samples: 60}
segments:
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  circle: {ridge: a read-out}
probes:
  lsd: {}
tables:
  accuracy: {}
figures:
  readout_depth: {dataset: circle}
"""
VERBS = [
    "dataset",
    "fit",
    "represent",
    "probe",
    "fits",
    "figure",
    "table",
    "verdicts",
    "report",
    "asked",
    "predict",
    "export",
    "study",
    "show",
]
OPTIONS = [
    "--seeds",
    "--left-out",
    "--device",
    "--threads",
    "--done",
    "--data-root",
    "--help",
    "--version",
    "--nothing",
    "--",
]
FILES = [
    "tiny.yaml",
    "tiny.json",
    "draft.yaml",
    "folder",
    "fifo",
    "dangling.yaml",
    "/dev/zero",
    "/dev/null",
    "/proc/self/mem",
]
FILES += [
    "a" * 300,
    f"{'a' * 300}.yaml",
    "a/" * 3000,
    "",
    ".",
    "..",
    "~",
    "\x00",
    "a\nb.yaml",
    "\udcff.yaml",
    "large.yaml",
]
NAMES = [
    "circle",
    "ridge",
    "lsd",
    "accuracy",
    "readout_depth",
    "ridge/ridge",
    "../..",
    "-1",
    "0",
    "1e20",
    "1_0",
    "9" * 5000,
]
NAMES += ["3000000000", "100000000000000000000", "cpu", "cuda", "tpu", "auto", "{x}", "$HOME", "`id`", "'", '"', "٣"]
NAMES += ["x.csv", "x.safetensors", "--json", "made.json", "folder/made.json", "tiny.yaml/made.json"]
WORDS = st.one_of(
    st.sampled_from([*FILES, *NAMES, *OPTIONS]), st.text(max_size=6).filter(lambda word: "\x00" not in word)
)


@st.composite
def lines(draw):
    """Return a verb, words that are often right, and any others."""
    verb = draw(st.sampled_from(VERBS))
    study = draw(st.one_of(st.just("tiny.yaml"), st.sampled_from(FILES)))
    right = {"dataset": ["circle"], "fit": ["circle", "ridge"], "represent": ["circle", "ridge"]}
    right |= {"predict": ["circle", "ridge", "x.csv"], "export": ["circle", "ridge", "x.safetensors"]}
    right |= {"probe": ["lsd", "circle"], "figure": ["readout_depth"], "table": ["accuracy"]}
    words = [draw(st.one_of(st.just(word), WORDS)) for word in right.get(verb, [])]
    more = [
        word
        for option in draw(st.lists(st.sampled_from(OPTIONS), max_size=3))
        for word in [option, *draw(st.lists(WORDS, max_size=2))]
    ]
    return [verb, study, *words, *more]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a study, and with what is none."""
    folder = tmp_path_factory.mktemp("verbs")
    (folder / "tiny.yaml").write_text(STUDY)
    (folder / "draft.yaml").write_text("title: Draft\n")
    (folder / "large.yaml").write_text("#" * 3_000_000)
    (folder / "folder").mkdir()
    (folder / "dangling.yaml").symlink_to("nowhere")
    os.mkfifo(folder / "fifo")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("LAYERWISE_FUZZ", "100")),
    suppress_health_check=list(HealthCheck),
)
@given(lines())
def test_any_words_are_a_command_or_a_mistake_in_one_line(place, words):
    start = time.process_time()
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))  # as a terminal
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = __main__.main(words)
        except SystemExit as ended:  # argparse's own
            status = ended.code
    err.flush()
    said = err.buffer.getvalue().decode()
    assert status in (0, 2), said
    assert "Traceback" not in said
    if status == 2 and not said.startswith("usage: "):
        lines = [line for line in said.splitlines() if not line.startswith("layerwise: warning: ")]
        assert len(lines) == 1, said
        assert re.match("layerwise: ", lines[0])
    assert time.process_time() - start < 20
    assert {path.name for path in place.iterdir()} <= {
        *("tiny.yaml", "draft.yaml", "large.yaml", "folder", "fifo", "dangling.yaml", "results"),
        *(Path(word).name for word in words),  # what --done names
    }
