"""The training loop by itself: what is saved when, what it resumes to, who sees a step, and what it calls diverged."""

import itertools
import json
import math
import time

import pytest
import torch
from torch import nn

from layerwise.contract import Hooks, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import loop, losses
from layerwise.gradient.batches import Batches
from layerwise.gradient.optimisers import load_state_tensors, optimizer, state_tensors
from layerwise.gradient.validation import validation

EPOCHS, STEPS = 6, 4


@pytest.fixture(autouse=True)
def alone():
    """Leave other tests' random numbers alone; for a net of this size a second thread is a burden."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def saving_always(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)


def samples(count=50, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=random)
    return Split(x, x[:, :1].sin() + 0.1 * torch.randn(count, 1, generator=random))


def training(seed=1, optimiser="sgd", validation=None, loss=None, epochs=EPOCHS, split=None, **options):
    """A net with all that has a state: dropout, batch normalisation, momenta, a rate that falls."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    valid = samples(30, seed=5)

    def measure():
        with torch.no_grad():
            return nn.functional.mse_loss(module.eval()(valid.x), valid.y).item()

    return loop.Training(
        name="net",
        module=module,
        loss=loss or (lambda x, t: nn.functional.mse_loss(module(x), t)),
        batches=Batches(split or samples(), [13, 13, 13, 11], seed),
        optimizer=optimizer(optimiser, module.parameters(), 0.05, **({"momentum": 0.9} if optimiser == "sgd" else {})),
        epochs=epochs,
        rate=lambda epoch: 0.05 / (1 + epoch),
        validation=validation or loop.Validation("valid_mse", measure),
        **options,
    )


def same(a, b):
    a, b = a.module.state_dict(), b.module.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)


class Killed(Exception):
    pass


class File:
    """Keeps the last state, as a file would, and may kill the fit as it is saved."""

    def __init__(self, kill=0):
        self.state, self.saved, self.kill, self.seen = None, 0, kill, []

    @property
    def hooks(self):
        return Hooks(self.load, self.save, lambda module, step: self.seen.append(step))

    def load(self):
        return self.state and (self.state[0], json.loads(self.state[1]))

    def save(self, tensors, notes):
        self.state, self.saved = (tensors, json.dumps(notes)), self.saved + 1
        if self.saved == self.kill:
            raise Killed


# ---------------------------------------------------------------- saved and resumed


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("patience", [0, 2, EPOCHS])
@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_a_training_interrupted_after_any_epoch_resumes_to_the_same_bytes(saving_always, optimiser, patience, epoch):
    def fresh(seed):
        """The third epoch is the best; with a patience of 2 the fifth is the last."""
        one = training(seed, optimiser, patience=patience)
        if patience:
            one.validation = loop.Validation("value", lambda: abs(len(one.history) - 2.0))
        return one

    whole = fresh(1)
    whole.run()
    assert len(whole.history) == (5 if patience == 2 else EPOCHS)
    end = torch.rand(3)
    file = File(kill=min(epoch, len(whole.history)))
    with pytest.raises(Killed):
        fresh(1).run(file.hooks)
    again = fresh(99)  # other weights, order and dropout
    again.run(file.hooks)
    assert torch.equal(end, torch.rand(3))  # the global generator is where it would be, too
    assert same(whole, again)
    assert again.record() == whole.record()
    assert file.seen == list(range(whole.record()["steps"] + 1))


def test_a_fit_is_saved_every_few_seconds_whatever_its_trainings(monkeypatch):
    """One clock for three trainings of six epochs of a second: saved after every fifth epoch."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock, saved = loop.Clock(), []

    def second(module, step):
        now[0] += 1 / STEPS if step else 0

    for number in range(3):
        hooks = Hooks(save=lambda tensors, notes, number=number: saved.append((number, len(notes["history"]))))
        training().run(Hooks(save=hooks.save, watch=second), clock)
    assert saved == [(0, 5), (1, 4), (2, 3)]


@pytest.mark.parametrize("kill", [1, EPOCHS, EPOCHS + 1, 2 * EPOCHS + 2, 3 * EPOCHS])
def test_a_fit_of_parts_resumes_in_the_part_where_it_was(saving_always, kill):
    def fit(hooks):
        saved = hooks.load()
        done = list(saved[1]["done"]) if saved else []
        for number in range(len(done), 3):
            state = {f"{i}.sum": torch.tensor(value) for i, value in enumerate(done)}, {"done": list(done)}
            one = training(seed=number)
            one.run(loop.part(hooks, saved, state))
            saved = None
            done.append(sum(float(p.detach().sum()) for p in one.module.parameters()))
        return done

    file = File(kill)
    with pytest.raises(Killed):
        fit(file.hooks)
    tensors, notes = file.load()
    assert [float(tensors[f"{i}.sum"]) for i in range(len(notes["done"]))] == pytest.approx(notes["done"])
    assert len(notes["part"]["history"]) == (kill - 1) % EPOCHS + 1
    assert fit(file.hooks) == fit(Hooks())


def test_a_momentum_lies_in_memory_as_its_parameter():
    module = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    for name in ("sgd", "adam"):
        one = optimizer(name, module.parameters(), 0.1, **({"momentum": 0.9} if name == "sgd" else {}))
        module(torch.randn(2, 3, 5, 5)).square().sum().backward()
        one.step()
        kept = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state_tensors(one).items()}
        other = optimizer(name, module.parameters(), 0.1)
        load_state_tensors(other, kept)
        for key, value in state_tensors(other).items():
            assert torch.equal(value, kept[key])
            if value.ndim == 4:
                assert value.stride() == module.weight.stride() != kept[key].stride()


# ---------------------------------------------------------------- watched, validated


def test_watch_sees_every_step_and_changes_none():
    looks = []

    def watch(module, step):
        looks.append((step, module.training, module[0].weight.detach().clone()))
        module.eval()
        module.zero_grad()
        torch.rand(7)

    plain, watched = training(), training()
    torch.manual_seed(2)
    plain.run()
    torch.manual_seed(2)
    watched.run(Hooks(watch=watch))
    assert [(step, on) for step, on, _ in looks] == [(step, True) for step in range(EPOCHS * STEPS + 1)]
    assert all(not torch.equal(a, b) for (_, _, a), (_, _, b) in itertools.pairwise(looks))
    assert same(plain, watched)


@pytest.mark.parametrize(("more", "values"), [(True, [1, 3, 3, 2, 3, 1]), (False, [3, 1, 1, 2, 1, 2])])
def test_of_equal_validations_the_first_counts(more, values):
    given = iter(values)
    weights = []
    one = training(validation=loop.Validation("value", lambda: float(next(given)), more), patience=3)
    one.run(Hooks(watch=lambda module, step: weights.append(module[0].weight.detach().clone())))
    assert one.record()["best_epoch"] == 2
    assert [row["value"] for row in one.history] == values[:5]
    assert torch.equal(one.module[0].weight, weights[2 * STEPS])


def test_without_patience_the_last_weights_stay():
    given = iter(range(EPOCHS))
    one = training(validation=loop.Validation("loss", lambda: float(next(given))))
    weights = []
    one.run(Hooks(watch=lambda module, step: weights.append(module[0].weight.detach().clone())))
    assert one.best_epoch == 1
    assert torch.equal(one.module[0].weight, weights[-1])
    assert [row["lr"] for row in one.history] == [0.05 / (1 + epoch) for epoch in range(EPOCHS)]


# ---------------------------------------------------------------- diverged


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_says_diverged(bad):
    one = training()
    plain, steps = one.loss, []

    def loss(x, t):
        steps.append(1)
        return plain(x, t) * (bad if len(steps) == 2 * STEPS + 2 else 1)

    one.loss = loss
    with pytest.raises(LayerwiseError, match=r"net: the training diverged in epoch 3 \(lr 0.05\); choose a lower lr"):
        one.run()
    assert len(one.history) == 2


def test_a_validation_or_a_last_weight_that_is_no_number_says_diverged():
    with pytest.raises(LayerwiseError, match="diverged in epoch 1"):
        training(validation=loop.Validation("loss", lambda: math.nan)).run()

    def spoil(module, step):
        if step == EPOCHS * STEPS:
            module[0].weight.data[0, 0] = math.nan

    with pytest.raises(LayerwiseError, match="diverged in epoch 6"):
        training(validation=loop.Validation("loss", lambda: 1.0)).run(Hooks(watch=spoil))


def test_samples_that_are_no_numbers_are_not_blamed_on_the_rate():
    split = samples()
    split.y[3] = math.nan
    with pytest.raises(LayerwiseError, match="net: the features or targets hold NaN"):
        training(split=split).run()


def test_every_loss_by_name_gives_a_loss_and_targets():
    from layerwise.contract import Task

    for name in losses.LOSSES:
        loss, targets = losses.loss_of(name, Task("onehot", 3, ("a", "b", "c")))
        assert loss(torch.zeros(2, 3), targets(torch.tensor([0, 2]))).shape == ()


@pytest.mark.parametrize("kind", ["onehot", "signs", "values"])
def test_a_validation_in_batches_is_that_of_the_whole(kind):
    generator = torch.Generator().manual_seed(0)
    task = Task(kind, 1 if kind == "signs" else 3, () if kind == "values" else ("a", "b", "c"))
    scores = torch.randn(50, task.outputs, generator=generator)
    y = torch.randn(50, 3, generator=generator) if kind == "values" else torch.arange(50) % (task.outputs + 1)
    whole = validation(task, lambda: [(scores, y)])
    parts = validation(task, lambda: zip(scores.split(7), y.split(7), strict=True))
    if kind == "values":
        assert whole.measure() == (scores - y).double().square().mean().item()
        assert (whole.column, whole.more_is_better) == ("valid_mse", False)
        assert parts.measure() == pytest.approx(whole.measure(), rel=1e-12)
    else:
        assert whole.measure() == 100 * (task.labels(scores) == y).double().mean().item() == parts.measure()
        assert (whole.column, whole.more_is_better) == ("valid_accuracy", True)
