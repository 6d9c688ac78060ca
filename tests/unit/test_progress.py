"""How far a long training is: told every so often, in the log that the command line shows, and of no matter to it."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from test_local import data, fitted, same

from layerwise import __main__
from layerwise.contract import Segment
from layerwise.gradient import progress
from layerwise.gradient.progress import Progress, duration
from layerwise.methods import sgd


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_it_is_told_every_ten_seconds_with_what_is_left(monkeypatch, caplog):
    clock = Clock(monkeypatch)
    caplog.set_level(logging.INFO, "layerwise")
    told = Progress()
    for step in range(1, 41):  # of 100 a tenth of an epoch: two epochs in 40 steps, a second each
        told.tell("method 'x'", step / 20, 10)
        clock.now += 1
    assert caplog.messages == [
        "method 'x': epoch 1 of 10, about 3 min left",  # 189.5 s: 9.45 epochs at 20 s
        "method 'x': epoch 2 of 10, about 3 min left",
        "method 'x': epoch 2 of 10, about 3 min left",
    ]


def test_a_resumed_training_goes_by_its_own_pace(monkeypatch, caplog):
    clock = Clock(monkeypatch)
    caplog.set_level(logging.INFO, "layerwise")
    told = Progress()
    told.tell("m", 8.0, 10)
    clock.now = 20.0
    told.tell("m", 9.0, 10)
    assert caplog.messages == ["m: epoch 10 of 10, about 20 s left"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (5970, "1.7 h"), (86400, "24.0 h")],
)
def test_seconds_as_people_say_them(seconds, said):
    assert duration(seconds) == said


HOW = [
    {},
    {"schedule": "round_robin", "rounds": 2, "epochs": (2,)},
    {"schedule": "concurrent"},
    {"schedule": "concurrent", "filter": "kfilter", "filter_from": 1, "filter_k": 1, "epochs": (3,)},
]


@pytest.mark.parametrize("how", HOW, ids=str)
def test_a_training_that_tells_at_every_step_has_the_same_weights(monkeypatch, caplog, how):
    quiet = fitted(**how)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    caplog.set_level(logging.INFO, "layerwise")
    assert same(quiet, fitted(**how))
    assert caplog.messages
    line = re.compile(r"method 'local', blocks \d to \d: epoch (\d) of (\d)(, about \d+ s left)?")
    found = [line.fullmatch(text) for text in caplog.messages]
    assert all(found)
    assert all(int(each[1]) <= int(each[2]) for each in found)


def test_a_short_fit_says_nothing(caplog):
    caplog.set_level(logging.INFO, "layerwise")
    features = data()
    sgd.fit(
        Segment(("dense outputs",), features.shape, 3),
        features,
        sgd.Options(epochs=2),
        seed=0,
        device=torch.device("cpu"),
    )
    assert not caplog.messages


def test_the_command_line_shows_it_on_stderr(capsys):
    assert __main__.main(["study", "nothing.yaml"]) == 2
    capsys.readouterr()
    progress.LOG.info("%s: epoch %d of %d", "method 'x'", 1, 2)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "layerwise: method 'x': epoch 1 of 2\n")
