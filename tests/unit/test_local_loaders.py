"""Torch models from data loaders: the numbers of a fit on tensors, nothing held, and mistakes in one line."""

from __future__ import annotations

import copy
import doctest

import pytest
import torch
from test_local import untimed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import layerwise.local
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient.batches import Batches
from layerwise.layers import build as layers
from layerwise.local import train
from layerwise.methods import local
from layerwise.methods._inputs import Held

CPU = torch.device("cpu")
WORDS = ("conv 3 4 pad 1", "batchnorm", "relu", "maxpool 2", "conv 3 6 pad 1", "relu", "dropout 0.2", "dense outputs")
SHORT = {"epochs": (2,), "lr": 0.05}


def samples(count=60, classes=3, shape=(1, 8, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(count) % classes
    return torch.randn(count, *shape, generator=generator) + y.view(-1, *[1] * len(shape)), y


def batches(x, y, size=16) -> list:
    return list(zip(x.split(size), y.split(size), strict=True))


def loader(**how) -> list:
    return batches(*samples(**how))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    conv = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()]
    return nn.Sequential(*conv, nn.Flatten(), nn.Linear(24, 3))


class Residual(nn.Module):
    """No sequence: what a user writes by hand."""

    def __init__(self, dropout: bool = False) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 6, 3)
        self.head, self.dropout = nn.Linear(6, 3), dropout

    def forward(self, x):
        x = self.stem(x).relu()
        x = (x + self.one(x)).relu()
        x = self.two(x).relu().mean(dim=(2, 3))
        return self.head(nn.functional.dropout(x, 0.5, self.training) if self.dropout else x)


class Endless:
    """Gives what was recorded of a fit's passes, pass by pass; its length is not known."""

    def __init__(self, passes: list) -> None:
        self.passes, self.next = [passes[0], *passes], 0  # the first is looked at for the shape of a sample

    def __iter__(self):
        self.next += 1
        return iter(self.passes[self.next - 1])


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(w, theirs[n]) for n, w in mine.items())


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"window": 2, "overlap": 1, "gradient_dropout": 0.3},
        {"schedule": "random_robin", "rounds": 2, "optimizer": "adamw", "lr": 0.01},
        {"decision": (), "memory": 1.0, "loss": "mse"},
        {"decision_by": "ridge"},
        {"schedule": "concurrent", "optimizer": "adamw", "lr": 0.01},
    ],
    ids=str,
)
def test_the_same_batches_give_the_bytes_of_a_fit_on_tensors(how, monkeypatch):
    x, y = samples()
    features = Features(Split(x[20:], y[20:]), Split(x[:20], y[:20]), Task("onehot", 3, ("0", "1", "2")))
    passes: list = []

    drawn, clean = Batches.__iter__, Held.once

    def labels(t):
        return t.argmax(dim=1) if t.dim() > 1 else t

    def recorded(self):
        passes.append([])
        for x, t in drawn(self):
            passes[-1].append((x, labels(t)))
            yield x, t

    def recorded_once(self):
        passes.append(batches(self.split.x, labels(self.split.y), self.batch))
        yield from clean(self)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__iter__", recorded)
        patch.setattr(Held, "once", recorded_once)
        options = local.Options(**{**SHORT, "batch": 16, "features": "feed", **how})
        fit = local.fit(Segment(WORDS, (1, 8, 8), 3), features, options, seed=5, device=CPU)
    trained = train(WORDS, Endless(passes), batches(x[:20], y[:20], 7), classes=3, seed=5, device="cpu", **SHORT | how)
    assert same(trained.module, fit.module)
    assert trained.layers == fit.layers
    assert untimed(trained) == untimed(fit)
    timed = ("blocks", "history", "partitions", "measures") if how.get("schedule") == "concurrent" else ()
    for name in fit.record.keys() - set(timed):
        assert trained.record[name] == fit.record[name]


def test_a_users_modules_are_trained_in_place_and_give_the_numbers_of_words():
    words = (*WORDS[:6], "dense outputs")
    torch.manual_seed(5)
    module, _ = layers.build(words, (1, 8, 8), 3)
    given = loader()
    by_words = train(words, given, given, classes=3, seed=5, crop=False, device="cpu", **SHORT)
    by_module = train(module, given, given, seed=5, crop=False, device="cpu", **SHORT)
    assert same(by_words.module, by_module.module)
    assert by_words.record == by_module.record
    assert by_module.layers is None
    assert same(by_module.module, module)


def test_a_model_that_is_no_sequence_is_cut_into_blocks_that_are_it():
    model = Residual()
    given = loader()
    trained = train(model, given, given, crop=False, optimizer="adam", lr=0.02, epochs=12, device="cpu")
    assert [row["last"] for row in trained.record["blocks"]] == [1, 2, 3]
    x, y = samples()
    assert torch.allclose(model.eval()(x), trained.module(x))
    accuracy = 100 * (model(x).argmax(dim=1) == y).double().mean().item()
    assert trained.record["blocks"][-1]["valid_accuracy"] == accuracy > 80


def test_a_model_by_its_name_is_cropped_at_its_best_block():
    given = batches(*samples(16, 2, (3, 32, 32)), size=8)
    trained = train("squeezenet1_1", given, given, classes=2, head=8, epochs=1, decision=["avgpool 2", "dense outputs"])
    rows = trained.record["blocks"]
    assert trained.record["chosen"] == max(rows, key=lambda row: row["valid_accuracy"])["last"]
    assert trained.layers[0].startswith("torchvision squeezenet1_1")
    rebuilt, _ = layers.build(trained.layers, (3, 32, 32), 2)
    rebuilt.load_state_dict(trained.module.state_dict())


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_data_loader_gives_the_same_bytes_for_the_same_seed(shuffle):
    data, found = TensorDataset(*samples()), []
    for before in (1, 2):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        given = DataLoader(data, batch_size=16, shuffle=shuffle, drop_last=True)
        found.append(train(network(), given, given, seed=3, device="cpu", gradient_dropout=0.2, **SHORT))
        assert not torch.equal(state, torch.get_rng_state())  # by network() alone
    one, other = found
    assert same(one.module, other.module)
    assert one.record["history"] == other.record["history"]
    assert one.record["steps"] == 2 * 2 * 3


def test_the_users_generators_and_settings_are_left_alone():
    model, given = network(), DataLoader(TensorDataset(*samples()), batch_size=16, shuffle=True)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        module = train(model, given, device="cpu", **SHORT).module
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(before, torch.get_rng_state())
    assert all(w.dtype == torch.float32 and w.requires_grad for w in module.parameters())


def test_no_pass_holds_the_batches_of_another():
    """Of what a loader makes, a batch is alive at a time, and the one that the loop is about to let go."""
    import weakref

    alive, most = weakref.WeakSet(), []

    class Made:
        def __iter__(self):
            for x, y in loader():
                fresh = x.clone()
                alive.add(fresh)
                most.append(len(alive))
                yield fresh, y

    train(network(), Made(), device="cpu", **SHORT)
    assert max(most) <= 3


def test_weights_that_want_no_gradient_stay_as_they_are():
    model = network()
    model[0].requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    module = train(model, loader(), device="cpu", weight_decay=0.1, **SHORT).module
    assert {n for n, w in module.named_parameters() if torch.equal(w, before[n])} == {"0.weight", "0.bias"}
    assert [w.requires_grad for w in module[0].parameters()] == [False, False]


def test_lazy_layers_take_their_widths_from_the_first_batch():
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))
    assert train(lazy, loader(), device="cpu", epochs=1).module[-1].in_features == 64


def test_one_score_tells_two_classes_apart():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    given = loader(classes=2)
    trained = train(model, given, given, device="cpu", optimizer="adam", epochs=12)
    assert trained.record["blocks"][-1]["valid_accuracy"] > 80
    assert trained.module(given[0][0]).shape == (16, 1)


def test_a_memory_target_finds_the_decision_blocks():
    words = ("conv 3 16 pad 1", "relu", "conv 3 32 pad 1", "relu", "conv 3 32 pad 1", "relu", "dense outputs")
    model, _ = layers.build(words, (1, 8, 8), 3)
    rows = train(model, loader(), device="cpu", memory=0.9, epochs=1).record["blocks"]
    assert any(word.startswith("conv 3") for word in rows[0]["decision"])
    assert rows[0]["memory_share"] <= 0.905


def wide() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(64, 3))


X, Y = samples()
MISTAKES = {
    "empty": ({"loader": []}, "loader gives no batch"),
    "left none": (
        {"loader": DataLoader(TensorDataset(X, Y), batch_size=99, drop_last=True)},
        "loader gives no batch",
    ),
    "validation empty": ({"valid": []}, "valid gives no batch"),
    "batch of one": ({"loader": batches(X[:17], Y[:17])}, "loader, batch 2 has one sample, and batchnorm needs two"),
    "label above": ({"loader": batches(X, Y + 1)}, "loader, batch 1: label 3 is out of range: labels go from 0 to 2"),
    "label below": ({"loader": batches(X, Y - 1)}, "loader, batch 1: label -1 is out of range"),
    "label in valid": ({"valid": batches(X, Y + 9)}, "valid, batch 1: label 11 is out of range"),
    "one pass": ({"loader": iter(batches(X, Y))}, "can be gone through once alone"),
    "number": ({"loader": 3}, "loader is int: give a DataLoader"),
    "tensors": ({"loader": (X, Y)}, "loader, batch 1 is a Tensor: give pairs (x, y)"),
    "three": ({"loader": [(X, Y, Y)]}, "loader, batch 1 is a tuple of 3: give pairs (x, y)"),
    "bytes": ({"loader": [(X.byte(), Y)]}, "x is torch.uint8: give a tensor of floats"),
    "float labels": ({"loader": [(X, Y.float())]}, "y is torch.float32 of shape (60,)"),
    "more labels": ({"loader": [(X[:9], Y)]}, "give as many labels as samples"),
    "other shape": ({"loader": [(X, Y), (X[..., :7], Y)]}, "samples of shape (1, 8, 7), and (1, 8, 8) before"),
    "other valid": ({"valid": [(X[..., :7], Y)]}, "valid, batch 1: samples of shape (1, 8, 7)"),
    "wrong layer": ({"model": wide()}, "layer 3 of the model, Conv2d, cannot take samples of shape (4, 6, 6)"),
    "wrong block": ({"model": Residual(), "loader": [(X.repeat(1, 2, 1, 1), Y)]}, "block 1 of the model cannot take"),
    "no model": ({"model": 5}, "model is int: give a torch module"),
    "one class": ({"model": WORDS, "classes": 1}, "say how many classes there are"),
    "no scores": ({"model": network()[:4]}, "the model ends in (4, 4, 4) numbers a sample, not in a score a class"),
    "tuple": ({"model": nn.Sequential(nn.Flatten(), nn.LSTM(64, 3))}, "LSTM, gives tuple, not a tensor"),
    "dropout": ({"model": Residual(dropout=True)}, "calls the function dropout in its forward"),
    "classes": ({"classes": 4}, "classes is 4, and the model has 3 outputs"),
    "words": ({"model": WORDS}, "say how many classes there are"),
    "words without scores": ({"model": WORDS[:3], "classes": 3}, "end them in 'dense outputs'"),
    "no such model": ({"model": "resnet19", "classes": 3}, "did you mean 'resnet18'?"),
    "one block": ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 3))}, "give more layers, or a smaller head"),
    "memory": ({"memory": 0.01}, "memory: 0.01 of the whole model's step cannot be met"),
    "batch": ({"batch": 3}, "option 'batch' is not for a loader"),
    "init": ({"init": "used"}, "option 'init' is not for a loader"),
    "option": ({"epoch": 3}, "has no option 'epoch'; did you mean 'epochs'?"),
    "nan": ({"loader": [(X / 0, Y)]}, "the features or targets hold NaN or infinite values"),
    "lr": ({"lr": 1e9}, "the training diverged in epoch"),
    "device": ({"device": "tpu"}, "device 'tpu'"),
}


@pytest.mark.parametrize(("given", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(given, said, capfd):
    how = {"model": network(), "loader": batches(X, Y), "valid": None, "device": "cpu", "epochs": 1, **given}
    how["model"] = copy.deepcopy(how["model"])
    with pytest.raises(LayerwiseError) as caught:
        train(how.pop("model"), how.pop("loader"), how.pop("valid"), **how)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_the_example_runs():
    assert doctest.testmod(layerwise.local).failed == 0
