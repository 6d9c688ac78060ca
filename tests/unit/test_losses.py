"""Losses with targets: their gradients, what they are beside torch's own, and which numbers each takes."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch.nn import functional
from training import SIGNS, VALUES, blobs, fit, spirals

from layerwise.contract import Features, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient.losses import LOSSES, TARGETED, loss_of
from layerwise.methods import sgd

TASK = Task("onehot", 4, tuple("abcd"))
OUTPUTS = {
    "half_squares": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": lambda x: x.tanh(),
    "tanh_squares": lambda x: x.tanh(),
    "exp_ga": lambda x, alpha: alpha * x.exp(),
    "pow3_ga": lambda x, alpha, beta: alpha * x**3 + beta,
}
# As the thesis has them: sections 4.5, 4.7, 4.10, tables 4.2 to 4.4.
CASES = [
    ("half_squares", {}, (-1, 1), ()),
    ("half_squares", {"target_low": 0.0, "target_high": 1.0}, (0, 1), ()),
    ("sigmoid", {}, (0, 1), ()),
    ("sigmoid", {"target_low": 0.1, "target_high": 0.9}, (0.1, 0.9), ()),
    ("tanh", {}, (-1, 1), ()),
    ("exp_ga", {}, (0, 16), (0.1,)),
    ("exp_ga", {"target_low": 0.0, "target_high": 2.0, "alpha": 0.5}, (0, 2), (0.5,)),
    ("pow3_ga", {}, (0, 10), (0.001, 0.4)),
    ("pow3_ga", {"target_low": -2.0, "target_high": 10.0}, (-2, 10), (0.001, 0.4)),
    ("pow3_ga", {"target_low": -1.0, "target_high": 1.0, "alpha": 0.0007, "beta": 0.0}, (-1, 1), (0.0007, 0.0)),
]


def scores(n=7):
    random = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(n, 4, generator=random, dtype=torch.float64)
    return x.requires_grad_(), torch.randint(0, 4, (n,), generator=random)


@pytest.mark.parametrize(("name", "given", "targets", "numbers"), CASES)
def test_the_gradient_is_y_minus_t_over_the_batch(name, given, targets, numbers):
    """No factor of the number of columns is in it, as the mean of `mse` has."""
    x, labels = scores()
    loss, made = loss_of(name, TASK, torch.float64, vars(sgd.Options(loss=name, **given)))
    t = torch.full((7, 4), float(targets[0]), dtype=torch.float64)
    t[range(7), labels] = float(targets[1])
    torch.testing.assert_close(made(labels), t)
    loss(x, made(labels)).backward()
    torch.testing.assert_close(x.grad, (OUTPUTS[name](x.detach(), *numbers) - t) / 7)


@pytest.mark.parametrize("name", TARGETED)
def test_the_loss_is_least_where_the_output_is_the_target(name):
    """So its formula has the right sign, and one sample can be learned."""
    loss, targets = loss_of(name, TASK, torch.float64, {"target_low": 0.25, "target_high": 0.75})
    x = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([x], lr=0.5, max_iter=500, tolerance_grad=1e-10, tolerance_change=0)

    def closure():
        optimiser.zero_grad()
        value = loss(x, targets(torch.tensor([2])))
        value.backward()
        return value

    optimiser.step(closure)
    y = OUTPUTS[name](x.detach(), *TARGETED[name].numbers)
    torch.testing.assert_close(y, torch.tensor([[0.25, 0.25, 0.75, 0.25]], dtype=torch.float64), atol=1e-4, rtol=0)


def test_they_are_what_torch_and_the_thesis_say():
    x, labels = scores()
    x = x.detach()
    onehot = functional.one_hot(labels, 4).double()

    def value(name, **given):
        loss, targets = loss_of(name, TASK, torch.float64, given)
        return loss(x, targets(labels)).item()

    assert value("half_squares") == pytest.approx(4 / 2 * functional.mse_loss(x, 2 * onehot - 1).item())
    assert value("tanh_squares") == pytest.approx(4 / 2 * functional.mse_loss(x.tanh(), 2 * onehot - 1).item())
    each = functional.binary_cross_entropy_with_logits(x, onehot, reduction="none")
    assert value("sigmoid") == pytest.approx(each.sum(1).mean().item())
    twice = functional.binary_cross_entropy_with_logits(2 * x, onehot, reduction="none")
    assert value("tanh") == pytest.approx(twice.sum(1).mean().item())
    y, t = 0.1 * x.exp(), 16 * onehot
    assert value("exp_ga") == pytest.approx((y.norm(p=1, dim=1) - (t * y.log()).sum(1)).mean().item())
    t = 10 * onehot
    assert value("pow3_ga") == pytest.approx((0.001 / 4 * x**4 + 0.4 * x - t * x).sum(1).mean().item())


def test_softmax_is_exp_ga_whose_outputs_are_normalised():
    """Thesis section 4.5: the gradient of cross-entropy is y - t as well, of y over its sum."""
    x, labels = scores()
    loss, targets = loss_of("cross_entropy", TASK, torch.float64)
    loss(x, targets(labels)).backward()
    y = OUTPUTS["exp_ga"](x.detach(), 0.1)
    torch.testing.assert_close(x.grad, (y / y.sum(1, keepdim=True) - functional.one_hot(labels, 4)) / 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TARGETED)
def test_targets_have_the_type_of_the_scores(name, dtype):
    _, targets = loss_of(name, TASK, dtype)
    assert targets(torch.tensor([1])).dtype == dtype


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_scores_far_out_are_finite(name):
    loss, targets = loss_of(name, TASK)
    assert loss(torch.full((1, 4), 300.0), targets(torch.tensor([0]))).isfinite()
    assert loss(torch.full((1, 4), -300.0), targets(torch.tensor([0]))).isfinite()


@pytest.mark.parametrize("name", TARGETED)
def test_learns_classes(name):
    rate = {"exp_ga": 0.002, "pow3_ga": 0.002}.get(name, 0.02)
    words = ("dense 12", "relu", "dense outputs")
    found = fit(words, blobs(shape=(1, 4, 4)), loss=name, lr=rate, momentum=0.5, batch=16, epochs=15)
    assert found.record["history"][-1]["valid_accuracy"] > 90


def test_label_smoothing_is_cross_entropy_with_softer_targets():
    x, labels = scores()
    smooth = 0.9 * functional.one_hot(labels, 4).double() + 0.1 / 4
    loss, targets = loss_of(
        "cross_entropy", TASK, torch.float64, vars(sgd.Options(loss="cross_entropy", label_smoothing=0.1))
    )
    assert loss(x, targets(labels)).item() == pytest.approx(-(smooth * x.log_softmax(1)).sum(1).mean().item())
    # Two classes are the same in one column as in two, whose scores lie that far apart.
    one, two = Task("signs", 1, ("a", "b")), Task("onehot", 2, ("a", "b"))
    found = []
    for task, column in ((one, x[:, :1]), (two, torch.cat([torch.zeros_like(x[:, :1]), x[:, :1]], 1))):
        loss, targets = loss_of("cross_entropy", task, torch.float64, {"label_smoothing": 0.2})
        found.append(loss(column, targets(labels % 2)).item())
    assert found[0] == pytest.approx(found[1])


def test_every_number_that_is_given_counts():
    losses = {
        str(o): [row["train_loss"] for row in fit(["dense outputs"], blobs(), epochs=2, **o).record["history"]]
        for o in (
            {"loss": "pow3_ga"},
            {"loss": "pow3_ga", "target_low": -2.0, "target_high": 10.0},
            {"loss": "pow3_ga", "alpha": 0.01},
            {"loss": "pow3_ga", "beta": 0.1},
            {"loss": "cross_entropy"},
            {"loss": "cross_entropy", "label_smoothing": 0.1},
        )
    }
    assert len({tuple(v) for v in losses.values()}) == 6


# ---------------------------------------------------------------- which takes what


def test_options_know_which_loss_takes_what():
    for name in [*LOSSES, *TARGETED]:
        loss = TARGETED.get(name)
        takes = ["target_low", "target_high", *list(inspect.signature(loss.loss).parameters)[2:]] if loss else []
        assert loss is None or len(takes) == 2 + len(loss.numbers)
        takes += ["label_smoothing"] if name == "cross_entropy" else []
        for option in ("target_low", "target_high", "alpha", "beta", "label_smoothing"):
            given = {"target_low": 0.1, "target_high": 0.9} if option.startswith("target") else {option: 0.5}
            if option in takes:
                sgd.Options(loss=name, **given)
            else:
                with pytest.raises(LayerwiseError, match=f"is for loss .*, not for {name}$"):
                    sgd.Options(loss=name, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "exp_ga", "target_high": 2.0}, "'target_low' and 'target_high' go together"),
        ({"loss": "exp_ga", "target_low": -1.0, "target_high": 2.0}, "both from 0 to inf, where exp_ga has its"),
        ({"loss": "sigmoid", "target_low": 0.0, "target_high": 2.0}, "both from 0 to 1"),
        (
            {"loss": "pow3_ga", "target_low": 3.0, "target_high": 2.0},
            "targets 3 and 2: target_low must be below target",
        ),
        ({"loss": "exp_ga", "alpha": 0.0}, "'alpha' is 0.0: it must be above 0"),
        ({"loss": "pow3_ga", "beta": -1.0}, "'beta' is -1.0: it must be at least 0"),
        ({"loss": "pow3_ga", "target_low": 0.0, "target_high": math.inf}, "must be a finite number"),
        ({"loss": "exp"}, "did you mean 'exp_ga'"),
    ],
)
def test_what_is_refused(given, said):
    with pytest.raises(LayerwiseError, match=said):
        sgd.Options(**given)


@pytest.mark.parametrize("name", TARGETED)
def test_they_are_for_classes_of_a_column_each(name):
    two = Features(spirals(40, 0), spirals(20, 1), SIGNS)
    with pytest.raises(LayerwiseError, match=f"loss {name} needs a column for each class.* targets: onehot"):
        fit(["dense outputs"], two, loss=name)
    values = Features(
        Split(torch.randn(20, 3), torch.randn(20, 1)), Split(torch.randn(0, 3), torch.randn(0, 1)), VALUES
    )
    with pytest.raises(LayerwiseError, match=f"loss {name} is for classes"):
        fit(["dense outputs"], values, loss=name)


def test_a_rate_that_is_too_high_is_refused_in_one_line():
    with pytest.raises(LayerwiseError, match="choose a lower lr"):
        fit(["dense 50", "relu", "dense outputs"], blobs(), loss="exp_ga", lr=1.0, epochs=5)
