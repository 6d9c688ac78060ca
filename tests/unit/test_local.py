"""Local learning: blocks see no gradient of others, the order is the one asked for, and a rerun goes on to the byte."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerwise.contract import Features, Fitted, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import loop
from layerwise.gradient.dropout import GradientDropout
from layerwise.layers import build as layers
from layerwise.methods import _windows, local, sgd
from layerwise.methods._local_training import LocalTraining

CPU = torch.device("cpu")
WORDS = (
    "conv 3 4 pad 1",
    "batchnorm",
    "relu",
    "maxpool 2",
    "conv 3 6 pad 1",
    "relu",
    "dense 12",
    "relu",
    "dense outputs",
)
SHORT = {"epochs": (2,), "batch": 16, "lr": 0.05}


def data(valid: int = 20) -> Features:
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(60) % 3
    x = torch.randn(60, 1, 8, 8, generator=generator) + y[:, None, None, None]
    return Features(Split(x[valid:], y[valid:]), Split(x[:valid], y[:valid]), Task("onehot", 3, ("a", "b", "c")))


def fitted(words=WORDS, on: Features | None = None, hooks: Hooks | None = None, **options) -> Fitted:
    on = on or data()
    segment = Segment(words, on.shape, on.task.outputs)
    given = local.Options(**{**SHORT, **options})
    return local.fit(segment, on, given, seed=5, device=CPU, hooks=hooks or Hooks())


def same(one: Fitted, other: Fitted) -> bool:
    mine, theirs = one.module.state_dict(), other.module.state_dict()
    return (
        one.layers == other.layers
        and mine.keys() == theirs.keys()
        and all(torch.equal(w, theirs[n]) for n, w in mine.items())
    )


def untimed(network) -> list[dict]:
    """Return the history of a fit, which has seconds where partitions train at once, without them."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in network.record["history"]]


def test_one_window_over_all_blocks_is_backpropagation():
    words = (*WORDS[:7], "relu", "dropout 0.3", "dense outputs")
    features = data()
    segment = Segment(words, features.shape, 3)
    twin = sgd.fit(segment, features, sgd.Options(epochs=2, batch=16, lr=0.05), seed=5, device=CPU)
    assert same(fitted(words, window=3), twin)


def test_blocks_begin_where_weights_are():
    module, _ = layers.build(("maxpool 2", *WORDS), (1, 16, 16), 3)
    blocks = [[type(layer).__name__ for layer in block] for block in _windows.blocks_of(module)]
    assert blocks == [
        ["MaxPool2d", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"],
        ["Conv2d", "ReLU", "Flatten"],
        ["Linear", "ReLU"],
        ["Linear"],
    ]


@pytest.mark.parametrize(
    ("blocks", "window", "overlap", "spans"),
    [
        (4, 1, 0, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        (4, 2, 1, [(0, 2), (1, 3), (2, 4)]),
        (5, 2, 0, [(0, 2), (2, 4), (4, 5)]),
        (5, 3, 2, [(0, 3), (1, 4), (2, 5)]),
        (4, 4, 0, [(0, 4)]),
        (4, 4, 3, [(0, 4)]),
    ],
)
def test_spans(blocks, window, overlap, spans):
    assert _windows.spans(blocks, window, overlap) == spans


def test_no_gradient_and_no_step_leaves_its_window():
    """While a window trains, weights and statistics of all others stay as they are, to the bit."""
    features = data()
    segment = Segment(WORDS, features.shape, 3)
    with loop.kept_generators(CPU):
        torch.manual_seed(5)
        parts, _ = layers.assemble(segment.layers, segment.shape, 3)
        module = nn.Sequential(*parts)
        options = local.Options(**SHORT)
        fitting = LocalTraining(module, local._samples(features, options), options, 5)
        before = {n: w.clone() for n, w in module.state_dict().items()}
        for window in fitting.windows:
            module.zero_grad()
            fitting._enter(window)
            x, t = next(iter(window.training.batches))
            loss = window.training.loss(x, t)
            own = {id(w) for part in (*window.trained, *window.decision) for w in part.parameters()}
            others = [w for w in module.parameters() if id(w) not in own]
            assert not any(w.requires_grad for w in others)
            loss.backward()
            assert all(w.grad is None for w in others)
        last = fitting.windows[-1]
        last.training.epochs = 1
        fitting._enter(last)
        last.training.run()
    changed = {n for n, w in module.state_dict().items() if not torch.equal(w, before[n])}
    assert changed == {"7.weight", "7.bias", "9.weight", "9.bias"}


@pytest.mark.parametrize(
    "how",
    [{}, {"window": 2, "overlap": 1}, {"schedule": "round_robin", "rounds": 2}, {"decision_by": "ridge"}],
    ids=str,
)
def test_features_that_are_held_and_those_that_are_fed_give_the_same_bytes(how):
    assert same(fitted(features="stored", **how), fitted(features="feed", **how))


def test_a_gradient_dropout_leaves_the_forward_alone():
    x = torch.randn(64, 32, requires_grad=True)
    drop = GradientDropout(0.5).train()
    y = drop(x)
    assert torch.equal(y, x)
    y.sum().backward()
    values = x.grad.unique()
    assert torch.equal(values, torch.tensor([0.0, 2.0]))  # scaled, so that its mean stays
    assert 0.4 < float((x.grad == 0).float().mean()) < 0.6
    assert drop.eval()(x) is x


def test_a_dropout_of_inputs_decays_from_epoch_to_epoch():
    features, seen = data(), []
    hooks = Hooks(watch=lambda module, step: seen.append(module[0].p))
    fitted(hooks=hooks, input_dropout=0.8, input_dropout_decay=0.5, epochs=(3,))
    assert list(dict.fromkeys(seen)) == [0.8, 0.4, 0.2]
    assert len(features.train)


def test_rates_and_decays_go_by_block():
    rows = fitted(lr=0.1, lr_by_block=0.5, weight_decay=0.01, weight_decay_by_block=2.0).record["blocks"]
    assert [row["lr"] for row in rows] == [0.1, 0.05, 0.025]
    assert [row["weight_decay"] for row in rows] == [0.01, 0.02, 0.04]


def test_the_last_number_of_epochs_is_for_all_windows_after_it():
    record = fitted(epochs=(3, 1)).record
    assert [row["epochs"] for row in record["blocks"]] == [3, 1, 1]
    assert [(row["window"], row["epoch"]) for row in record["history"]] == [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]


def test_epochs_grow_from_block_to_block():
    rows = fitted(epochs=(2,), epochs_by_block=1.6).record["blocks"]
    assert [row["epochs"] for row in rows] == [2, 3, 5]  # 2, 3.2, 5.12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_memory_of_each_window_is_recorded(dtype):
    features = data()
    train, valid = (Split(split.x.to(dtype), split.y) for split in (features.train, features.valid))
    whole = fitted(on=Features(train, valid, features.task), window=3).record["blocks"][0]
    assert whole["memory_share"] == 1
    for row in fitted(on=Features(train, valid, features.task)).record["blocks"]:
        assert row["memory_share"] == round(row["memory_bytes"] / whole["memory_bytes"], 4) < 1
        assert row["memory_bytes"] > row["parameters"] * dtype.itemsize


def test_the_network_is_cropped_at_the_best_block_and_scores_as_recorded():
    features = data()
    result = fitted(on=features)
    rows = result.record["blocks"]
    best = max(rows, key=lambda row: row["valid_accuracy"])
    assert result.record["chosen"] == best["last"]
    module, words = layers.build(result.layers, features.shape, 3)
    assert words == result.layers
    module.load_state_dict(result.module.state_dict())
    labels = features.task.labels(layers.apply(module, features.valid.x))
    assert 100 * float((labels == features.valid.y).double().mean()) == pytest.approx(best["valid_accuracy"])


def test_without_a_validation_split_the_network_is_whole():
    features = data(valid=0)
    assert fitted(on=features).layers[:7] == (*WORDS[:6], "flatten")
    assert fitted(crop=False).record["chosen"] == 3


class _Stop(Exception):
    pass


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"window": 2, "overlap": 1},
        {"schedule": "random_robin", "rounds": 2, "optimizer": "adamw", "lr": 0.01},
        {"window": 2, "overlap": 1, "schedule": "round_robin", "rounds": 2},
        {"input_dropout": 0.5, "gradient_dropout": 0.3},
        {"augment": ("crop", "flip")},
        {"decision_by": "ridge"},
        {"decision_by": "ridge", "input_dropout": 0.5, "schedule": "random_robin", "rounds": 2, "lr": 0.005},
    ],
    ids=str,
)
def test_an_interrupted_fit_goes_on_to_the_byte(how, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    whole = fitted(**how)
    for stop in (1, 2, 4):
        kept: list[tuple[dict, dict]] = []

        def save(tensors, notes, kept=kept, stop=stop):
            kept.append(({n: t.clone() for n, t in tensors.items()}, notes))
            if len(kept) == stop:
                raise _Stop

        with pytest.raises(_Stop):
            fitted(hooks=Hooks(save=save), **how)
        again = fitted(hooks=Hooks(load=lambda kept=kept: kept[-1]), **how)
        assert same(again, whole)
        assert again.record == whole.record


def test_a_decision_block_takes_the_memory_that_it_may():
    words = ("conv 3 16 pad 1", "relu", "conv 3 32 pad 1", "relu", "conv 3 32 pad 1", "relu", "dense outputs")
    result = fitted(words, decision=(), memory=0.9, crop=False)
    row, *_ = result.record["blocks"]
    assert row["memory_share"] <= 0.905
    assert any(word.startswith("conv 3 ") for word in row["decision"])
    with pytest.raises(LayerwiseError, match=r"memory: 0\.05 of .* cannot be met: .*say memory: 0\.\d+ or more"):
        fitted(words, decision=(), memory=0.05)


def test_a_model_of_a_library_is_trained_block_by_block():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 3, 32, 32, generator=generator), torch.arange(24) % 2
    features = Features(Split(x[8:], y[8:]), Split(x[:8], y[:8]), Task("onehot", 2, ("a", "b")))
    pool = ("avgpool 2", "dense outputs")
    how = {"epochs": (1,), "batch": 8, "decision": pool, "head": 7, "crop": False}
    result = fitted(("torchvision squeezenet1_1",), features, **how)
    assert result.layers == ("torchvision squeezenet1_1",)
    assert [row["last"] for row in result.record["blocks"]] == [1, 2, 3]
    module, _ = layers.build(result.layers, (3, 32, 32), 2)
    module.load_state_dict(result.module.state_dict())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"window": 9}, "3 blocks lie below the head"),
        ({"window": 2, "overlap": 2}, "must be below 'window'"),
        ({"decision": ()}, "give 'decision' words"),
        ({"memory": 0.3}, "and not both"),
        ({"rounds": 2}, "round_robin"),
        ({"decision": ("dense 4",)}, "end it with 'dense outputs'"),
        ({"head": 4}, "smaller head"),
        ({"decision": ("conv 99 4", "dense outputs")}, "larger than its input"),
        ({"batch": 1}, "batchnorm needs two samples"),
        ({"lr": 1e6}, "diverged"),
        ({"augment": ("flip",), "features": "stored"}, "needs features: feed"),
    ],
    ids=str,
)
def test_what_is_refused(options, text):
    with pytest.raises(LayerwiseError) as caught:
        fitted(**options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
