"""Training by gradient: what it learns, that it is the same again, and what it refuses."""

import itertools
import json
import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from training import DEEP, SIGNS, VALUES, blobs, fit, line, same, spirals

from layerwise.contract import Features, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import batches
from layerwise.gradient.losses import loss_of
from layerwise.layers import build as layers
from layerwise.methods import sgd

# ---------------------------------------------------------------- what it learns


def test_learns_two_spirals():
    features = Features(spirals(800, 0), spirals(500, 1), SIGNS)
    words = ["dense 32", "tanh"] * 2 + ["dense outputs"]
    found = fit(words, features, optimizer="adam", lr=0.02, batch=50, epochs=30, schedule="cosine")
    assert found.record["history"][-1]["valid_accuracy"] > 97
    scores = layers.apply(found.module, features.valid.x)
    accuracy = 100 * (SIGNS.labels(scores) == features.valid.y).float().mean().item()
    assert accuracy == pytest.approx(found.record["history"][-1]["valid_accuracy"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("loss", ["auto", "mse"])
def test_learns_classes_with_images(optimizer, loss):
    features = blobs(shape=(1, 4, 4))
    words = ("conv 3 4", "batchnorm", "relu", "dense outputs")
    found = fit(words, features, optimizer=optimizer, loss=loss, lr=0.02, batch=16, epochs=10)
    assert found.record["history"][-1]["valid_accuracy"] > 90
    assert found.layers == ("conv 3 4", "batchnorm", "relu", "flatten", "dense 3")
    assert not found.module.training


@pytest.mark.parametrize("x_type", [torch.float32, torch.float64])
def test_learns_values(x_type):
    features = line()
    features = Features(*(Split(s.x.to(x_type), s.y.to(x_type)) for s in (features.train, features.valid)), VALUES)
    found = fit(["dense outputs"], features, lr=0.1, batch=16, epochs=60)
    assert found.record["history"][-1]["valid_mse"] < 1e-8
    assert layers.dtype_of(found.module) == x_type
    assert found.module[0].weight.detach().flatten().tolist() == pytest.approx([1, -2, 0.5], abs=1e-3)


def test_the_record_is_json_and_says_what_was_done():
    found = fit(["dense outputs"], blobs(50), batch=16, epochs=3, lr=0.1)
    record = json.loads(json.dumps(found.record))
    assert record == found.record
    assert (record["epochs"], record["steps"]) == (3, 12)
    assert [set(row) for row in record["history"]] == [{"epoch", "lr", "train_loss", "valid_accuracy"}] * 3
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    best = max(row["valid_accuracy"] for row in record["history"])
    assert record["history"][record["best_epoch"] - 1]["valid_accuracy"] == best
    alone = fit(["dense outputs"], blobs(50, valid=0), batch=16, epochs=3, lr=0.1)
    assert alone.record["best_epoch"] is None
    assert set(alone.record["history"][0]) == {"epoch", "lr", "train_loss"}
    assert same(alone.module, found.module)  # looking at a validation split changes nothing


def test_the_train_loss_is_the_mean_over_samples():
    features = blobs(10, valid=0)
    found = fit(["dense outputs"], features, lr=1e-12, momentum=0.0, batch=4, epochs=1)
    scores = found.module(features.train.x)
    expected = nn.functional.cross_entropy(scores, features.train.y).item()
    assert found.record["history"][0]["train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "name", "scores", "labels", "expected"),
    [
        (SIGNS, "auto", [[2.0], [3.0]], [0, 1], (math.log1p(math.exp(2)) + math.log1p(math.exp(-3))) / 2),
        (SIGNS, "cross_entropy", [[-200.0]], [1], 200.0),  # far out, and still finite
        (SIGNS, "mse", [[0.5], [0.5]], [0, 1], (1.5**2 + 0.5**2) / 2),
        (Task("onehot", 2), "auto", [[1.0, 0.0]], [0], math.log1p(math.exp(-1))),
        (Task("onehot", 2), "mse", [[1.0, 0.5]], [0], 0.125),
        (Task("values", 2), "auto", [[1.0, 2.0]], [[0.0, 4.0]], 2.5),
    ],
)
def test_a_loss_is_what_its_name_says(task, name, scores, labels, expected):
    loss, targets = loss_of(name, task)
    assert loss(torch.tensor(scores), targets(torch.tensor(labels))).item() == pytest.approx(expected)


# ---------------------------------------------------------------- optimisers and schedules


@pytest.mark.parametrize(
    ("options", "twin"),
    [
        ({"lr": 0.1, "momentum": 0.0, "weight_decay": 0.1}, lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.1)),
        ({}, lambda p: torch.optim.SGD(p, 0.01, momentum=0.9)),
        ({"lr": 0.1, "nesterov": True}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
        ({"optimizer": "adam", "weight_decay": 0.1}, lambda p: torch.optim.Adam(p, 1e-3, weight_decay=0.1)),
        ({"optimizer": "adamw", "weight_decay": 0.1}, lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1)),
        ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0)),
    ],
)
def test_the_options_reach_torchs_optimisers(options, twin):
    features = blobs(20, valid=0)
    torch.manual_seed(3)
    module, _ = layers.build(("dense 5", "tanh", "dense outputs"), (4,), 3)
    optimizer = twin(module.parameters())
    for _ in range(8):  # one batch an epoch, so the order of the samples does not matter
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(features.train.x), features.train.y).backward()
        optimizer.step()
    found = fit(("dense 5", "tanh", "dense outputs"), features, seed=3, batch=20, epochs=8, **options)
    for a, b in zip(found.module.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("options", "twin"),
    [
        ({"schedule": "constant"}, lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1)),
        ({"schedule": "step", "step": 3}, lambda o: torch.optim.lr_scheduler.StepLR(o, 3)),
        ({"schedule": "step", "step": 4, "gamma": 0.5}, lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.5)),
        (
            {"schedule": "multistep", "milestones": (7, 2), "gamma": 0.3},
            lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 7], 0.3),
        ),
        ({"schedule": "cosine"}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10)),
    ],
)
def test_schedules_are_torchs(options, twin):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.2)
    scheduler = twin(optimizer)
    expected = []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    found = fit(["dense outputs"], blobs(12, valid=0), lr=0.2, epochs=10, **options)
    assert [row["lr"] for row in found.record["history"]] == pytest.approx(expected)


def test_weight_decay_shrinks_all_parameters():
    plain, decayed = (
        fit(["dense outputs"], blobs(valid=0), lr=0.1, epochs=20, weight_decay=w).module for w in (0.0, 0.5)
    )
    for a, b in zip(plain.parameters(), decayed.parameters(), strict=True):
        assert b.norm() < a.norm() / 2


def test_first_weights():
    words = ("conv 3 4", "relu", "dense 50", "dense outputs")
    features = blobs(9, valid=0, shape=(2, 6, 6))
    torch.manual_seed(5)
    expected, _ = layers.build(words, (2, 6, 6), 3)
    found = fit(words, features, seed=5, lr=1e-30, epochs=1).module
    assert same(found, expected)
    found = fit(words, features, seed=5, lr=1e-30, epochs=1, init="glorot").module
    convolution, dense = found[0], found[3]
    bound = math.sqrt(6 / (64 + 50))
    assert 0.9 * bound < dense.weight.abs().max() <= bound
    assert convolution.weight.abs().max() <= math.sqrt(6 / (9 * (2 + 4)))
    assert dense.bias.abs().max() < 1e-20


def test_the_fitted_module_is_an_ordinary_one():
    module = fit(DEEP, blobs(), epochs=1).module
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    module(blobs().train.x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_torchs_compiler_is_loaded_with_the_method_and_not_in_a_timed_fit():
    code = "import sys, layerwise.methods.sgd; sys.exit('torch._dynamo' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("count", "batch", "least", "expected"),
    [
        (10, 4, 1, [4, 4, 2]),
        (8, 4, 1, [4, 4]),
        (9, 4, 1, [4, 4, 1]),
        (9, 4, 2, [4, 5]),
        (3, 4, 2, [3]),
        (1, 4, 2, [1]),
        (8, 4, 2, [4, 4]),
    ],
)
def test_batch_sizes(count, batch, least, expected):
    assert batches.batch_sizes(count, batch, least) == expected


def test_an_epoch_has_every_sample_once_in_a_new_order(monkeypatch):
    split = Split(torch.arange(23.0)[:, None].repeat(1, 4), torch.arange(23))
    epochs = batches.Batches(split, [5, 5, 5, 5, 3], seed=0)
    whole = [[y.tolist() for _, y in epochs] for _ in range(2)]
    assert all([len(y) for y in epoch] == [5, 5, 5, 5, 3] for epoch in whole)
    assert all(sorted(itertools.chain(*epoch)) == list(range(23)) for epoch in whole)
    assert whole[0] != whole[1]
    monkeypatch.setattr(batches, "BLOCK", 45)  # two batches together
    pairs = list(batches.Batches(split, [5, 5, 5, 5, 3], seed=0))
    assert [y.tolist() for _, y in pairs] == whole[0]
    assert all(torch.equal(x[:, 0].long(), y) for x, y in pairs)


def test_batchnorm_with_a_rest_of_one_sample():
    found = fit(("dense 4", "batchnorm", "relu", "dense outputs"), blobs(33), batch=16, epochs=2)
    assert found.record["steps"] == 4
    assert found.module[1].num_batches_tracked == 4


def test_dropout_is_on_in_training_alone():
    words = ("dense 8", "dropout 0.5", "dense outputs")
    looks = []
    hooks = Hooks(watch=lambda module, step: looks.append(module.training))
    found = fit(words, blobs(), epochs=2, batch=30, hooks=hooks)
    assert looks == [True] * 5
    assert torch.equal(found.module(blobs().valid.x), found.module(blobs().valid.x))
    assert not same(found.module, fit(("dense 8", "dropout 0.0", "dense outputs"), blobs(), epochs=2).module)


# ---------------------------------------------------------------- early stop


def test_patience_stops_and_goes_back_to_the_best_epoch():
    features = line(12, valid=40, noise=2.0)  # few samples: it soon fits their noise
    words = ("dense 64", "tanh", "dense outputs")
    options = {"optimizer": "adam", "lr": 0.02, "batch": 4}
    found = fit(words, features, epochs=200, patience=5, **options)
    record = found.record
    assert record["epochs"] == record["best_epoch"] + 5 < 200
    values = [row["valid_mse"] for row in record["history"]]
    assert values.index(min(values)) + 1 == record["best_epoch"]
    twin = fit(words, features, epochs=record["best_epoch"], **options)
    assert same(found.module, twin.module)
    last = fit(words, features, epochs=record["epochs"], **options)
    assert not same(found.module, last.module)


def test_patience_that_does_not_run_out_still_gives_the_best():
    features = line(12, valid=40, noise=2.0)
    options = {"optimizer": "adam", "lr": 0.02, "batch": 4, "epochs": 25}
    found = fit(("dense 64", "tanh", "dense outputs"), features, patience=25, **options)
    assert found.record["best_epoch"] < found.record["epochs"] == 25
    scores = layers.apply(found.module, features.valid.x)
    best = min(row["valid_mse"] for row in found.record["history"])
    assert (scores - features.valid.y).square().mean().item() == pytest.approx(best, rel=1e-5)


def test_equal_results_do_not_count_as_better():
    features = blobs(valid=3, count=90)
    found = fit(["dense outputs"], features, epochs=50, patience=4, lr=0.1)
    best = found.record["history"][found.record["best_epoch"] - 1]["valid_accuracy"]
    assert all(row["valid_accuracy"] <= best for row in found.record["history"])
    assert found.record["epochs"] == found.record["best_epoch"] + 4


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": 0.0}, "'lr' is 0.0"),
        ({"lr": -1.0}, "'lr' is -1.0"),
        ({"lr": math.nan}, "'lr' is nan"),
        ({"lr": math.inf}, "'lr' is inf"),
        ({"momentum": 1.0}, "'momentum' is 1.0"),
        ({"weight_decay": -0.1}, "'weight_decay' is -0.1"),
        ({"gamma": 0.0}, "'gamma' is 0.0"),
        ({"epochs": 0}, "'epochs' is 0"),
        ({"batch": 0}, "'batch' is 0"),
        ({"patience": -1}, "'patience' is -1"),
        ({"step": -1, "schedule": "step"}, "'step' is -1"),
        ({"nesterov": True, "momentum": 0.0}, "'nesterov' needs"),
        ({"nesterov": True, "optimizer": "adam"}, "'nesterov' needs"),
        ({"schedule": "step"}, "schedule step and option 'step'"),
        ({"step": 3}, "schedule step and option 'step'"),
        ({"schedule": "multistep"}, "schedule multistep and option 'milestones'"),
        ({"milestones": (3,)}, "schedule multistep and option 'milestones'"),
        ({"schedule": "multistep", "milestones": (0, 3)}, "'milestones' has 0: each must be at least 1"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(LayerwiseError, match=said):
        sgd.Options(**options)


@pytest.mark.parametrize("words", [("dense 5", "relu"), ("dense 3",), ("dense outputs", "relu"), ()])
def test_a_segment_without_scores_is_refused(words):
    with pytest.raises(LayerwiseError, match=r"end the layers in 'dense outputs', or join .* with '\+'"):
        fit(words, blobs())


@pytest.mark.parametrize(
    ("features", "words", "options", "said"),
    [
        (blobs(valid=0), ["dense outputs"], {"patience": 2}, "'patience' needs a validation split"),
        (line(), ["dense outputs"], {"loss": "cross_entropy"}, "cross_entropy is for classes"),
        (blobs(0), ["dense outputs"], {}, "training split is empty"),
        (blobs(1), ["batchnorm", "dense outputs"], {}, "batchnorm needs two samples"),
        (blobs(), ["batchnorm", "dense outputs"], {"batch": 1}, "batchnorm needs two samples"),
        (blobs(), ["dense", "dense outputs"], {}, "has no width"),
        (blobs(), ["conv 3 2", "dense outputs"], {}, "needs images"),
        (line(), ["dense 9", "relu", "dense outputs"], {"lr": 1e6, "epochs": 5}, r"diverged in epoch . .* lower lr"),
        (line(8), ["dense outputs"], {"lr": 1e38, "epochs": 1}, "diverged"),
    ],
)
def test_data_and_options_that_do_not_go_together(features, words, options, said):
    with pytest.raises(LayerwiseError, match=said) as caught:
        fit(words, features, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_numbers_are_not_blamed_on_the_learning_rate(bad):
    features = blobs()
    features.train.x[3, 2] = bad
    with pytest.raises(LayerwiseError, match="features or targets hold NaN"):
        fit(["dense outputs"], features)


def test_training_starts_from_the_network_that_it_uses():
    features = blobs()
    used = fit(("dense 6", "relu", "dense outputs"), features, seed=3, epochs=2)
    words = ("dense 6", "tanh", "dense outputs")
    seen = []
    segment = Segment(words, features.shape, 3, {"start": used.module})
    options = sgd.Options(init="used", epochs=1)
    hooks = Hooks(watch=lambda module, step: seen.append({k: v.clone() for k, v in module.state_dict().items()}))
    sgd.fit(segment, features, options, seed=0, device=torch.device("cpu"), hooks=hooks)
    assert all(torch.equal(seen[0][k], v) for k, v in used.module.state_dict().items())
    assert not torch.equal(seen[-1]["0.weight"], seen[0]["0.weight"])
    lowest = Segment(words, features.shape, 3, {"start": used.module[:2]})
    sgd.fit(lowest, features, options, seed=0, device=torch.device("cpu"), hooks=hooks)
    starts = [s for s in seen if torch.equal(s["0.weight"], used.module[0].weight)]
    assert len(starts) == 2
    assert not torch.equal(starts[1]["2.weight"], used.module[2].weight)
    with pytest.raises(LayerwiseError, match="init: used needs one network under uses, and there are 0"):
        fit(words, features, init="used")
    other = Segment(("dense 5", "dense outputs"), features.shape, 3, {"start": used.module})
    with pytest.raises(LayerwiseError, match=r"init: used: the weights of 'start' are of the shapes .*: use a network"):
        sgd.fit(other, features, options, seed=0, device=torch.device("cpu"))
