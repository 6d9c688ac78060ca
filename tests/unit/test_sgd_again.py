"""The same fit again gives the same bytes: by its seed, after a kill, and under a probe's eye."""

import json

import pytest
import torch
from training import DEEP, blobs, fit, same

from layerwise.contract import Hooks
from layerwise.methods import sgd


def test_the_same_seed_gives_the_same_bytes():
    torch.manual_seed(1)
    first = fit(DEEP, blobs(), seed=7, epochs=3, batch=16)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = fit(DEEP, blobs(), seed=7, epochs=3, batch=16)
    assert torch.equal(before, torch.get_rng_state())  # nobody else's random numbers change
    assert same(first.module, again.module)
    assert first.record == again.record
    other = fit(DEEP, blobs(), seed=8, epochs=3, batch=16)
    assert not same(first.module, other.module)


class Killed(Exception):
    pass


class Sidecar:
    """Keeps what a fit saves, as a file would, and kills the fit after some savings."""

    def __init__(self, kills):
        self.kept, self.kills, self.saved = None, list(kills), 0

    def save(self, tensors, notes):
        self.kept = ({k: v.clone() for k, v in tensors.items()}, json.dumps(notes))
        self.saved += 1
        if self.saved in self.kills:
            raise Killed

    def load(self):
        return self.kept and (self.kept[0], json.loads(self.kept[1]))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "schedule": "cosine", "weight_decay": 0.01},
        {"optimizer": "adam", "schedule": "multistep", "milestones": (2, 4)},
        {"optimizer": "adamw", "patience": 3, "lr": 0.05},
    ],
)
def test_an_interrupted_fit_goes_on_to_the_same_bytes(monkeypatch, options):
    monkeypatch.setattr(sgd, "SAVE_SECONDS", 0.0)
    options = {"epochs": 8, "batch": 16, "lr": 0.02, **options}
    whole = fit(DEEP, blobs(), **options)
    sidecar = Sidecar(kills=[2, 3, 6])
    for _ in range(10):
        try:
            found = fit(DEEP, blobs(), hooks=Hooks(sidecar.load, sidecar.save), **options)
            break
        except Killed:
            torch.rand(3)
    assert sidecar.saved >= 3
    assert same(found.module, whole.module)
    assert found.record == whole.record


def test_a_saved_state_fits_into_safetensors(monkeypatch, tmp_path):
    from layerwise import store

    monkeypatch.setattr(sgd, "SAVE_SECONDS", 0.0)
    path = tmp_path / "resume.safetensors"
    states = []

    def save(tensors, notes):
        store.write_tensors(path, tensors)
        states.append(notes)

    whole = fit(DEEP, blobs(), epochs=5, optimizer="adam", patience=5, hooks=Hooks(save=save))
    assert len(states) == 4  # not after the last epoch: the fit itself is about to be written
    hooks = Hooks(load=lambda: (store.read_tensors(path), states[-1]))
    assert same(fit(DEEP, blobs(), epochs=5, optimizer="adam", patience=5, hooks=hooks).module, whole.module)


def test_a_short_fit_saves_nothing():
    def save(tensors, notes):
        raise AssertionError

    fit(DEEP, blobs(), epochs=3, hooks=Hooks(save=save))


def test_a_probe_sees_every_step_and_changes_none():
    def watch(module, step):
        seen.append((step, module[0].weight.detach().clone()))
        module.eval()
        module.zero_grad()
        torch.rand(5)

    seen = []
    watched = fit(DEEP, blobs(), epochs=2, batch=20, hooks=Hooks(watch=watch))
    assert [step for step, _ in seen] == list(range(7))
    assert not torch.equal(seen[0][1], seen[1][1])
    assert torch.equal(seen[-1][1], watched.module[0].weight)
    assert same(watched.module, fit(DEEP, blobs(), epochs=2, batch=20).module)


def test_a_probe_of_a_resumed_fit_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(sgd, "SAVE_SECONDS", 0.0)
    sidecar, seen = Sidecar(kills=[2]), []
    hooks = Hooks(sidecar.load, sidecar.save, lambda module, step: seen.append(step))
    with pytest.raises(Killed):
        fit(DEEP, blobs(), epochs=3, batch=30, hooks=hooks)
    fit(DEEP, blobs(), epochs=3, batch=30, hooks=hooks)
    assert seen == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_convolutions_interrupted_go_on_to_the_same_bytes(monkeypatch, tmp_path, optimizer):
    """Fused optimisers walk through memory: what they remember must lie as the weights do, channels last."""
    from layerwise.run import resume

    monkeypatch.setattr(sgd, "SAVE_SECONDS", 0.0)
    words, features = ("conv 3 4", "relu", "dense outputs"), blobs(shape=(3, 6, 6))
    options = {"epochs": 6, "batch": 16, "lr": 0.02, "optimizer": optimizer}
    whole = fit(words, features, **options)
    sidecar, saved = resume.Sidecar(tmp_path / "resume.safetensors", "digest"), []

    def save(tensors, notes):
        sidecar.hooks.save(tensors, notes)
        saved.append(notes)
        if len(saved) == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(words, features, hooks=Hooks(save=save), **options)
    again = resume.Sidecar(sidecar.path, "digest").hooks
    assert again.load()[1] == saved[-1]
    assert same(fit(words, features, hooks=again, **options).module, whole.module)
