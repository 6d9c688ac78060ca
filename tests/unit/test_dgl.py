"""Deep Gaussian layer-wise losses: what is trained by what, what a fit goes on from, and what it refuses."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from plato import CPU, features_of, rings
from torch import nn

from layerwise.contract import Features, Hooks, Segment, Split, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.gradient import loop
from layerwise.layers import build as layers
from layerwise.maths import gaussian_process as gp
from layerwise.maths import kernels
from layerwise.methods import dgl, permuted, sgd
from layerwise.methods._wide import Wide, targets
from layerwise.probes import dgl as probe

NET = ("dense 12", "relu", "dense 8", "relu", "dense outputs")
BRIEF = {"epochs": 4, "batch": 150, "variances": "initial"}


@pytest.fixture(scope="module")
def blobs():
    """The rings, 450 to train on and 150 to validate."""
    whole = rings()
    return Features(whole.train.rows(torch.arange(450)), whole.train.rows(torch.arange(450, 600)), whole.task)


def fitted(features, words=NET, seed=0, uses=None, method=dgl, hooks=None, **options):
    segment = Segment(tuple(words), features.shape, features.task.outputs, uses or {})
    more = {"hooks": hooks} if hooks else {}
    return method.fit(segment, features, method.Options(**options), seed=seed, device=CPU, **more)


def accuracy(network, split):
    return 100 * float((layers.apply(network.module, split.x).argmax(1) == split.y).double().mean())


def weights(network):
    return [m.weight for m in network.module if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("objective", ["mse", "variance", "log_predictive", "bottleneck"])
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_trained_layers_beat_the_first_weights(blobs, objective, kernel):
    trained = fitted(blobs, epochs=20, batch=90, objective=objective, kernel=kernel, width=1.0, variances="initial")
    first = fitted(blobs, epochs=0)
    assert accuracy(trained, blobs.valid) > accuracy(first, blobs.valid) + 3
    losses = [row["train_loss"] for row in trained.record["history"] if row["layer"] == 1]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_first_loss_is_that_of_the_kernel_of_the_layers_above(blobs, activation):
    """With one batch and a rate of nearly nothing, the recorded loss is the definition at the first weights."""
    words = ("dense 12", activation, "dense 8", activation, "dense outputs")
    network = fitted(blobs, words, epochs=1, batch=450, lr=1e-12, variances="initial", noise=1e-2)
    h = blobs.train.x
    y = targets(blobs.task, blobs.train.y, torch.float32)
    for number, layer in enumerate(m for m in network.module if isinstance(m, nn.Linear)):
        if number == 2:
            break
        h = layers.ACTIVATIONS[activation]()(layer(h)).detach()
        count = 2 - number
        k = kernels.nngp(h, [25 / 9] * count, [0.25] * count, activation=activation)
        told = network.record["layers"][number]
        assert told["noise"] == pytest.approx(gp.noise_of(k, 1e-2), rel=1e-5)
        expected = gp.loss(*gp.leave_one_out(k.double(), y.double(), told["noise"]))
        assert told["train_loss"] == pytest.approx(float(expected), rel=1e-3)


def test_no_layer_knows_of_the_layers_above_but_their_number(blobs):
    """The first layer of a network is the same, whatever the widths above; and the second is fitted on its output."""
    one = fitted(blobs, ("dense 12", "relu", "dense 8", "relu"), **BRIEF)
    two = fitted(blobs, ("dense 12", "relu", "dense 30", "relu"), **BRIEF)
    assert torch.equal(weights(one)[0], weights(two)[0])
    alone = fitted(blobs, ("dense 12", "relu"), above=1, **BRIEF)
    assert torch.equal(weights(one)[0], weights(alone)[0])
    shallow = fitted(blobs, ("dense 12", "relu"), **BRIEF)
    assert not torch.equal(weights(one)[0], weights(shallow)[0])


def test_the_variances_of_a_used_network(blobs):
    used = fitted(blobs, method=sgd, epochs=2)
    network = fitted(blobs, uses={"net": used.module}, **{**BRIEF, "variances": "used"})
    last = weights(used)[2]
    told = network.record["layers"]
    assert told[1]["weight_variances"] == pytest.approx([float(last.detach().square().mean()) * 8])
    assert told[0]["weight_variances"][1] == pytest.approx(told[1]["weight_variances"][0])
    assert len(told[0]["bias_variances"]) == 2


def test_the_evidence_rises_and_finds_the_noise(blobs):
    """Targets drawn from the process itself: the fitted noise is that of the draw."""
    h = torch.randn(300, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    truth = Wide("relu", [1.5, 1.0], [0.2, 0.1])
    k = truth.kernel(h) + 0.05 * torch.eye(300, dtype=torch.float64)
    y = torch.linalg.cholesky(k) @ torch.randn(300, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    wide = Wide("relu", [1.0, 2.0], [0.5, 0.5])
    before = gp.log_evidence(wide.kernel(h), y, torch.tensor(1e-3))
    noise = wide.fit(h, y, 1e-3, variances=True)
    assert noise == pytest.approx(0.05, rel=0.3)
    assert gp.log_evidence(wide.kernel(h), y, torch.tensor(noise)) > before
    kept = Wide("relu", [1.5, 1.0], [0.2, 0.1])
    assert kept.fit(h, y, 1e-3, variances=False) == pytest.approx(0.05, rel=0.2)
    assert kept.weights == [1.5, 1.0]


def test_rate_and_decay_are_chosen_by_the_validation_loss(blobs):
    losses = {
        (lr, decay): fitted(blobs, lr=lr, weight_decay=decay, **BRIEF).record["layers"][0]["valid_loss"]
        for lr in (1e-4, 3e-2)
        for decay in (0.0, 10.0)
    }
    chosen = fitted(blobs, lr=(1e-4, 3e-2), weight_decay=(0.0, 10.0), **BRIEF).record["layers"][0]
    assert (chosen["lr"], chosen["weight_decay"]) == min(losses, key=losses.__getitem__)
    assert chosen["valid_loss"] == min(losses.values())


def test_patience_goes_back_to_the_best_epoch(blobs):
    network = fitted(blobs, lr=0.3, epochs=30, batch=150, patience=3)
    for number in (1, 2):
        rows = [row for row in network.record["history"] if row["layer"] == number]
        told = [row["valid_loss"] for row in rows]
        assert network.record["layers"][number - 1]["valid_loss"] == min(told)
        assert len(rows) == 30 or len(rows) - told.index(min(told)) - 1 >= 3


@pytest.mark.parametrize("stop", [1, 4, 7, 10])
@pytest.mark.parametrize("options", [{}, {"lr": (0.01, 0.03)}, {"patience": 2}])
def test_an_interrupted_fit_gives_the_same_weights(blobs, monkeypatch, stop, options):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    options = {"epochs": 3, "batch": 150, "noise": "evidence", **options}
    whole = fitted(blobs, **options)
    kept = {}

    def save(tensors, notes):
        if len(kept.setdefault("all", [])) < stop:
            kept["all"].append((tensors, json.loads(json.dumps(notes))))

    fitted(blobs, hooks=Hooks(save=save), **options)
    tensors, notes = kept["all"][-1]
    again = fitted(blobs, hooks=Hooks(load=lambda: (tensors, notes)), **options)
    for one, other in zip(weights(whole), weights(again), strict=True):
        assert torch.equal(one, other)
    assert again.record == whole.record


@pytest.mark.parametrize("save", [1, 3, 4, 6, 9, 12])
def test_a_fit_killed_at_any_saving_chooses_the_same(blobs, monkeypatch, save):
    """Two layers of two candidates of three epochs: killed in each, also where one candidate is done."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    options = {"epochs": 3, "batch": 150, "variances": "initial", "lr": (0.03, 0.001), "patience": 3}
    kept = []

    def keep(tensors, notes):
        kept.append((tensors, json.loads(json.dumps(notes))))
        if len(kept) == save:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(blobs, hooks=Hooks(save=keep), **options)
    again = fitted(blobs, hooks=Hooks(load=lambda: kept[-1]), **options)
    whole = fitted(blobs, **options)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))
    assert again.record == whole.record


def test_a_probe_of_networks_sees_no_layer_alone(blobs):
    seen = []
    fitted(blobs, hooks=Hooks(watch=lambda module, step: seen.append(step)), **BRIEF)
    assert not seen


def test_landmarks_that_are_the_whole_batch_change_little_and_fewer_more(blobs):
    h = torch.rand(200, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    y = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    exact = Wide("relu", [2.0, 1.0], [0.1, 0.1])
    noise = gp.noise_of(exact.kernel(h))
    expected = gp.loss(*exact.leave_one_out(h, y, noise))
    apart = []
    for count in (199, 50, 10):
        wide = Wide("relu", [2.0, 1.0], [0.1, 0.1], landmarks=count)
        apart.append(abs(float(gp.loss(*wide.leave_one_out(h, y, noise)) / expected - 1)))
    assert apart[0] < 0.01
    assert apart[0] < apart[2]
    assert accuracy(fitted(blobs, landmarks=60, **BRIEF), blobs.valid) > accuracy(fitted(blobs, epochs=0), blobs.valid)


def test_a_segment_without_a_read_out_is_left_without_one(blobs):
    network = fitted(blobs, ("dense 12", "relu"), **BRIEF)
    assert network.layers == ("dense 12", "relu")


def test_regression_targets(blobs):
    x = torch.linspace(-1, 1, 300)[:, None]
    features = features_of(x, torch.sin(6 * x), Task("values", 1))
    network = fitted(features, ("dense 30", "relu", "dense outputs"), epochs=60, batch=300)
    error = (layers.apply(network.module, x) - features.train.y).square().mean()
    first = fitted(features, ("dense 30", "relu", "dense outputs"), epochs=0)
    assert error < (layers.apply(first.module, x) - features.train.y).square().mean() / 2


def test_double_precision(blobs):
    features = Features(*(Split(s.x.double(), s.y) for s in (blobs.train, blobs.valid)), blobs.task)
    assert weights(fitted(features, **BRIEF))[0].dtype == torch.float64


def test_a_class_that_a_batch_hardly_has_is_warned_of(blobs):
    with pytest.warns(LayerwiseWarning, match="a batch of 5 .* raise batch"):
        fitted(blobs, ("dense 4", "relu"), epochs=1, batch=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LayerwiseWarning)
        fitted(blobs, ("dense 4", "relu"), epochs=1, batch=150)


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (("conv 3 4", "relu"), {}, "layer 'conv 3 4': dgl trains dense layers"),
        (("dense 8", "tanh", "dense 8", "tanh"), {}, "no kernel of layers with tanh above it: use one of relu, erf"),
        (("dense 8", "relu", "dense 8", "erf", "dense 8", "relu"), {}, "erf and relu"),
        (("dense 8", "relu"), {"variances": "used"}, "needs one network under uses"),
        (("dense", "relu"), {}, "has no width"),
        (("dense 8", "relu"), {"lr": 1e30}, "diverged in epoch 1|not positive definite|NaN"),
    ],
)
def test_mistakes(blobs, words, options, said):
    with pytest.raises(LayerwiseError, match=said):
        fitted(blobs, words, **{**BRIEF, **options})


@pytest.mark.parametrize(
    "options",
    [{"lr": 0.0}, {"lr": ()}, {"weight_decay": -1.0}, {"batch": 1}, {"epochs": -1}, {"noise": 0.0}, {"bias": -1.0}],
)
def test_options_out_of_range(options):
    with pytest.raises(LayerwiseError, match=f"option '{next(iter(options))}' is"):
        dgl.Options(**options)


def test_a_choice_needs_a_validation_split():
    with pytest.raises(LayerwiseError, match="need a validation split"):
        fitted(rings(), lr=(0.1, 0.01))


def test_a_kernel_that_does_not_fit_is_refused_with_its_size(blobs):
    x = torch.zeros(2_000_000, 1)
    features = features_of(x, torch.zeros(len(x), dtype=torch.long), Task("onehot", 2, ("a", "b")))
    with pytest.raises(LayerwiseError, match=r"needs \d+ GiB and the cpu has \d+ GiB"):
        fitted(features, ("dense 3", "relu"), batch=2_000_000)


def test_a_network_of_another_depth_cannot_be_used(blobs):
    used = fitted(blobs, ("dense 8", "relu", "dense outputs"), method=sgd, epochs=1)
    with pytest.raises(LayerwiseError, match="use a network of the same depth"):
        fitted(blobs, uses={"net": used.module}, variances="used")


def test_permuted_weights_are_the_same_in_other_places(blobs):
    used = fitted(blobs, **BRIEF)
    mixed = fitted(blobs, NET[:4], method=permuted, uses={"net": used.module})
    for one, other in zip(weights(used)[:2], weights(mixed), strict=True):
        assert not torch.equal(one, other)
        assert torch.equal(one.flatten().sort().values, other.flatten().sort().values)
    with pytest.raises(LayerwiseError, match="no such layer"):
        fitted(blobs, ("dense 3",), method=permuted, uses={"net": used.module})
    with pytest.raises(LayerwiseError, match="one network under uses"):
        fitted(blobs, ("dense 3",), method=permuted)


def test_the_probe_sees_the_losses_of_the_method(blobs):
    options = {"epochs": 3, "batch": 150}
    trained = fitted(blobs, method=sgd, **options)
    eye = probe.follow(trained.module, blobs, probe.Options(every=3, samples=100), seed=0, device=CPU)
    kept = []

    def watch(module, step):
        eye(module, step)
        kept.append([p.detach().clone() for p in module.parameters()])

    fitted(blobs, method=sgd, hooks=Hooks(watch=watch), **options)
    table = eye.table()
    assert sorted(table["step"].unique()) == [0, 3, 6, 9]
    assert sorted(table["layer"].unique()) == [1, 2]
    w1, b1, w2, b2, w3, b3 = kept[-1]
    x, labels = blobs.train.x[:100], blobs.train.y[:100]
    h = (x @ w1.T + b1).relu()
    last = table[table["step"] == 9].set_index("layer")
    above = Wide.of([m for m in trained.module if isinstance(m, nn.Linear)][1:], "relu")
    y = targets(blobs.task, labels, torch.float32)
    expected = gp.loss(*gp.leave_one_out(above.kernel(h).double(), y.double(), last.loc[1, "noise"]))
    assert last.loc[1, "loss"] == pytest.approx(float(expected), rel=1e-3)
    scores = (h @ w2.T + b2).relu() @ w3.T + b3
    given = blobs.task.targets(labels)
    assert last.loc[1, "mse"] == pytest.approx(float((scores - given).square().sum(1).mean()), rel=1e-4)
    assert last["bottleneck"].isna().tolist() == [True, False]


def test_the_probe_refuses_what_it_cannot_look_at(blobs):
    for words in (("dense outputs",), ("dense 5", "tanh", "dense outputs")):
        trained = fitted(blobs, words, method=sgd, epochs=1)
        with pytest.raises(LayerwiseError, match="probe dgl"):
            probe.follow(trained.module, blobs, probe.Options(), seed=0, device=CPU)
