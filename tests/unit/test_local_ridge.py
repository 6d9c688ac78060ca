"""Decision blocks whose affine layer is a ridge regression, and first weights of a used network, in local learning."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Ridge
from test_local import CPU, SHORT, WORDS, data, fitted, same
from torch import nn
from training import SIGNS, VALUES, blobs, line

from layerwise.contract import Features, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import memory
from layerwise.layers import build as layers
from layerwise.methods import _refits, local, sgd

POOLED = ("avgpool 2", "dense outputs")
IMAGES = (*WORDS[:6], "avgpool 2", "conv 2 5", "relu", "dense outputs")  # each window gives images


@pytest.mark.parametrize("how", [{}, {"input_dropout": 0.5}, {"schedule": "round_robin", "rounds": 2}], ids=str)
def test_the_head_is_the_ridge_regression_on_the_final_features(how):
    """Held against scikit-learn, on features of unit variance."""
    features = data(valid=0)
    segment = Segment(IMAGES, features.shape, 3)
    options = local.Options(
        **{**SHORT, "decision_by": "ridge", "decision": POOLED, "features": "feed", "lr": 0.01, **how}
    )
    module = nn.Sequential(*layers.assemble(segment.layers, segment.shape, 3)[0])
    training = local.LocalTraining(module, local._samples(features, options), options, 5)
    torch.manual_seed(5)
    training.run(Hooks())
    first = training.windows[0]
    below, head = nn.Sequential(*first.trained, *first.decision[:-1]), first.decision[-1]
    z = layers.apply(below, features.train.x).double()
    scaled = (z - z.mean(dim=0)) / z.std(dim=0, correction=0)
    y = features.task.targets(features.train.y, torch.float64)
    peer = Ridge(alpha=first.row["strength"] * len(z), tol=1e-12).fit(scaled.numpy(), y.numpy())
    scores = layers.apply(head, z.float()).double()
    assert torch.allclose(scores, torch.from_numpy(peer.predict(scaled.numpy())), atol=1e-4)


def test_a_head_stays_fixed_in_an_epoch_and_has_no_gradient_and_no_state():
    seen: dict[int, torch.Tensor] = {}
    gradients = []

    def watch(module, step):
        if module[-1].out_features == 3 and step not in seen and len(seen) <= 6:
            seen[step] = module[-1].weight.detach().clone()
            gradients.append(module[-1].weight.grad)

    rows = fitted(decision_by="ridge", lr=0.01, hooks=Hooks(watch=watch)).record["blocks"]
    assert gradients == [None] * 7
    assert all(torch.equal(seen[1], seen[step]) for step in (2, 3))  # three steps an epoch
    assert not torch.equal(seen[3], seen[4])
    assert all(torch.equal(seen[4], seen[step]) for step in (5, 6))
    assert [row.get("decision_by") for row in rows] == ["ridge", "ridge", None]
    assert all(row["strength"] > 0 for row in rows[:2])
    by_gradient = fitted().record["blocks"]
    assert [b["parameters"] - r["parameters"] for r, b in zip(rows, by_gradient, strict=True)] == [
        64 * 3 + 3,
        96 * 3 + 3,
        0,
    ]


def test_one_window_over_all_blocks_is_backpropagation_whatever_fits_the_decisions():
    features = data()
    twin = sgd.fit(
        Segment(WORDS, features.shape, 3), features, sgd.Options(epochs=2, batch=16, lr=0.05), seed=5, device=CPU
    )
    assert same(fitted(window=3, decision_by="ridge"), twin)


@pytest.mark.parametrize("width", [8, 64])
def test_memory_has_no_gradient_of_the_head_and_has_its_sums(width):
    words = ("conv 3 8 pad 1", "relu", "conv 3 8 pad 1", "relu", "dense outputs")
    decision = ("avgpool 8", f"dense {width}", "relu", "dense outputs")
    row, _ = fitted(words, decision_by="ridge", decision=decision, lr=0.001).record["blocks"]
    step, _ = layers.build((*words[:2], *decision), (1, 8, 8), 3)
    step[-1].requires_grad_(False)
    counted = memory.step(step, (1, 8, 8), 16, optimiser="sgd")
    sums = counted.parameters + counted.optimiser + 8 * _refits.COPIES * (width + 3) ** 2
    assert row["memory_bytes"] == pytest.approx(max(counted.peak, sums), rel=0.02)  # the loss is another one
    assert (sums > counted.peak) == (width == 64)
    assert counted.peak < memory.step(step.requires_grad_(True), (1, 8, 8), 16, optimiser="sgd").peak


def test_a_decision_block_with_a_ridge_head_meets_its_memory_target():
    words = ("conv 3 16 pad 1", "relu", "conv 3 32 pad 1", "relu", "conv 3 32 pad 1", "relu", "dense outputs")
    row, *_ = fitted(words, decision=(), memory=0.9, decision_by="ridge").record["blocks"]
    assert row["memory_share"] <= 0.905
    assert any(word.startswith("conv 3 ") for word in row["decision"])


@pytest.mark.parametrize(
    ("task", "targets", "matrix"),
    [
        (Task("onehot", 3, tuple("abc")), torch.tensor([2, 0]), [[0, 0, 1], [1, 0, 0]]),
        (Task("onehot", 2, tuple("ab")), torch.tensor([[0.0, 1.0]]), [[0, 1]]),
        (SIGNS, torch.tensor([[0.0], [1.0]]), [[-1], [1]]),
        (SIGNS, torch.tensor([[-1.0], [1.0]]), [[-1], [1]]),
        (VALUES, torch.tensor([[0.3], [-2.0]]), [[0.3], [-2.0]]),
    ],
    ids=["labels", "one-hot", "columns of 0 and 1", "signs", "values"],
)
def test_the_regression_has_its_targets_whatever_the_loss_takes(task, targets, matrix):
    made = _refits.matrix(task, targets, torch.float32)
    assert torch.equal(made, torch.tensor(matrix, dtype=torch.float32))
    assert _refits.squared_error(task, made + 1, targets) == pytest.approx(made.shape[1] / 2)


def test_it_learns_signs_and_values():
    features = blobs(classes=2)
    signs = Features(features.train, features.valid, SIGNS)
    words = ("dense 6", "tanh", "dense 5", "tanh", "dense outputs")
    assert fitted(words, signs, decision_by="ridge", epochs=(4,)).record["blocks"][0]["valid_accuracy"] >= 90
    assert fitted(words, line(), decision_by="ridge", epochs=(4,)).record["blocks"][0]["valid_mse"] < 0.5


@pytest.mark.parametrize("depth", [2, 4, 6, 9])
def test_the_first_weights_are_those_of_the_used_network_as_far_as_it_goes(depth):
    features = data()
    torch.manual_seed(1)
    used, _ = layers.build(WORDS[:depth], features.shape, 3)
    torch.manual_seed(5)
    drawn, _ = layers.build(WORDS, features.shape, 3)
    starts = []
    options = local.Options(**SHORT, init="used", window=3)
    hooks = Hooks(watch=lambda module, step: step or starts.append([w.detach().clone() for w in module.parameters()]))
    segment = Segment(WORDS, features.shape, 3, {"start": used})
    result = local.fit(segment, features, options, seed=5, device=CPU, hooks=hooks)
    taken = len(list(used.parameters()))
    expected = [*used.parameters(), *list(drawn.parameters())[taken:]]
    assert all(torch.equal(a, b) for a, b in zip(starts[0], expected, strict=True))
    assert not same(result, fitted(window=3))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (None, "method 'local': init: used needs one network under uses, and there are 0"),
        (("conv 3 5 pad 1",), "use a network of the same layers, or of the lowest of them"),
        ((*WORDS, "dense 3"), "use a network of the same layers"),
        (("relu", "maxpool 2"), "use a network of the same layers"),
    ],
    ids=["none", "wider", "longer", "without weights"],
)
def test_a_used_network_of_other_layers_is_refused(words, said):
    features = data()
    uses = {} if words is None else {"start": layers.build(words, features.shape, 3)[0]}
    with pytest.raises(LayerwiseError) as caught:
        local.fit(Segment(WORDS, features.shape, 3, uses), features, local.Options(init="used"), seed=0, device=CPU)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_ways_to_give_first_weights_are_refused(tmp_path):
    with pytest.raises(LayerwiseError, match="both give first weights"):
        local.Options(init="used", weights=str(tmp_path / "a.safetensors"))


def test_features_all_constant_are_one_line():
    features = data()
    train, valid = (Split(torch.zeros_like(split.x), split.y) for split in (features.train, features.valid))
    flat = Features(train, valid, features.task)
    with pytest.raises(LayerwiseError, match="all features are constant"):
        fitted(on=flat, decision_by="ridge")
