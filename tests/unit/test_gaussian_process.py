"""Leave-one-out predictions of a Gaussian process: against N refits, and their closed-form gradient."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.maths import gaussian_process as gp
from layerwise.maths import kernels


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def kernel():
    return kernels.nngp(normal(20, 5), [1.5, 1.2], [0.1, 0.2])


def test_leave_one_out_is_what_refits_without_each_sample_predict(kernel):
    y = normal(20, 3, seed=1)
    errors, variances = gp.leave_one_out(kernel, y, 0.01)
    for n in range(20):
        rest = [i for i in range(20) if i != n]
        inverse = torch.linalg.inv(kernel[rest][:, rest] + 0.01 * torch.eye(19, dtype=torch.float64))
        weights = inverse @ kernel[rest, n]
        assert torch.allclose(errors[n], y[n] - weights @ y[rest], rtol=1e-9, atol=1e-12)
        assert torch.isclose(variances[n], kernel[n, n] - weights @ kernel[rest, n] + 0.01, rtol=1e-9)


@pytest.mark.parametrize("objective", ["mse", "variance", "log_predictive"])
def test_the_closed_form_gradient(kernel, objective, monkeypatch):
    monkeypatch.setattr(kernels, "STRIP", 3)
    y = normal(8, 2, seed=1)

    def loss(k):
        return gp.loss(*gp.leave_one_out((k + k.T) / 2, y, 0.1), objective=objective, noise=0.1)

    assert torch.autograd.gradcheck(loss, (kernel[:8, :8].clone().requires_grad_(),))


def test_the_loss_is_that_of_the_papers_formula(kernel):
    """DGL eq. 5: -sum over pairs of targets and S, a sum where ours is a mean, for a kernel without noise."""
    y = normal(20, 3, seed=1)
    b = torch.linalg.inv(kernel + 1e-9 * torch.eye(20, dtype=torch.float64))
    similarity = -torch.einsum("nq,qm,q->nm", b, b, b.diagonal() ** -2)
    published = -torch.einsum("nk,mk,nm->", y, y, similarity)
    ours = gp.loss(*gp.leave_one_out(kernel, y, 1e-9))
    assert torch.isclose(20 * ours, published, rtol=1e-8)


def test_the_log_predictive_loss_is_a_normal_density(kernel):
    y = normal(20, 2, seed=1)
    errors, variances = gp.leave_one_out(kernel, y, 0.05)
    density = torch.distributions.Normal(0.0, variances.sqrt()[:, None]).log_prob(errors)
    assert torch.isclose(gp.loss(errors, variances, "log_predictive"), -density.sum(dim=1).mean())


def test_the_log_evidence_is_that_of_a_normal_distribution(kernel):
    y, eye = normal(20, 3, seed=1), torch.eye(20, dtype=torch.float64)
    normal_ = torch.distributions.MultivariateNormal(torch.zeros(20, dtype=torch.float64), kernel + 0.1 * eye)
    expected = normal_.log_prob(y.T).mean() / 20
    assert torch.isclose(gp.log_evidence(kernel, y, torch.tensor(0.1, dtype=torch.float64)), expected)


def test_a_linear_kernel_needs_its_features_alone():
    h, y = normal(30, 4), normal(30, 2, seed=1)
    for dense, linear in zip(gp.leave_one_out(h @ h.T, y, 0.3), gp.linear_leave_one_out(h, y, 0.3), strict=True):
        assert torch.allclose(dense, linear, rtol=1e-10)


@pytest.mark.parametrize("draw", range(8))
def test_a_sample_that_alone_has_a_feature_breaks_no_loss_in_float32(draw):
    h, y = normal(50, 3, seed=draw), normal(50, 2, seed=100 + draw)
    h[:, 2], h[7, 2] = 0, 40.0
    others = torch.arange(50) != 7  # of the seventh 6e-9 is left
    exact = gp.linear_leave_one_out(h, y, 1e-5)
    rough = gp.linear_leave_one_out(h.float(), y.float(), 1e-5)
    for one, other in zip(exact, rough, strict=True):
        assert torch.allclose(one[others], other[others].double(), rtol=1e-3, atol=1e-6)
    assert float(gp.loss(*rough)) < 2 * float(gp.loss(*exact))
    assert torch.isfinite(gp.loss(*rough, objective="log_predictive"))


def test_before_the_read_out_the_loss_tends_to_the_least_squares_distance():
    """DGL eq. 8: to leading order in d / N, so that the difference halves as the samples double."""
    y, h = normal(4000, 2, seed=1), normal(4000, 5)
    y = y + h[:, :2]
    apart = []
    for n in (1000, 2000, 4000):
        exact = gp.loss(*gp.linear_leave_one_out(h[:n], y[:n], 1e-9))
        leading = gp.preclassifier(h[:n], y[:n])
        apart.append(float(exact / leading - 1))
        fit = h[:n] @ torch.linalg.lstsq(h[:n], y[:n]).solution
        assert torch.isclose(leading, (y[:n] - fit).square().sum() / n, rtol=1e-9)
    assert apart[0] == pytest.approx(2 * 5 / 1000, rel=0.1)
    assert apart[1] == pytest.approx(apart[0] / 2, rel=0.1)
    assert apart[2] == pytest.approx(apart[0] / 4, rel=0.1)


def test_the_gradient_before_the_read_out():
    assert torch.autograd.gradcheck(lambda h: gp.preclassifier(h, normal(9, 2)), (normal(9, 3).requires_grad_(),))
    assert torch.autograd.gradcheck(
        lambda h: gp.loss(*gp.linear_leave_one_out(h, normal(9, 2), 0.1)), (normal(9, 3).requires_grad_(),)
    )


def test_the_authors_noise_is_a_share_of_the_root_mean_square_eigenvalue(kernel):
    values = torch.linalg.eigvalsh(kernel)
    assert gp.noise_of(kernel) == pytest.approx(1e-3 * float(values.square().mean()) ** 0.5)


def test_landmarks_that_are_all_samples_give_the_kernel_itself():
    x = normal(40, 5)
    whole = kernels.nngp(x, [1.5, 1.2], [0.1, 0.2])
    features = gp.nystroem(whole, whole)
    assert torch.allclose(features @ features.T, whole, rtol=1e-8)
    errors = []
    for count in (5, 10, 20, 40):
        some = kernels.nngp(x, [1.5, 1.2], [0.1, 0.2], x[:count])
        features = gp.nystroem(some, some[:count])
        errors.append(float((features @ features.T - whole).norm() / whole.norm()))
    assert errors == sorted(errors, reverse=True)


def test_the_overlap_of_two_gaussians_is_the_entropy_their_mixture_lost():
    z = torch.linspace(-30, 40, 200_001, dtype=torch.float64)
    apart = math.log(2) + math.log(2 * math.pi * math.e) / 2
    for distance in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
        p = (torch.exp(-(z**2) / 2) + torch.exp(-((z - distance) ** 2) / 2)) / (2 * math.sqrt(2 * math.pi))
        entropy = -float(torch.trapezoid(torch.xlogy(p, p), z))
        assert float(gp.overlap(torch.tensor(distance, dtype=torch.float64))) == pytest.approx(
            apart - entropy, abs=1e-4
        )


def test_the_bottleneck_loss_pulls_equal_labels_together_and_others_apart():
    h = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [6.0, 0.0]], dtype=torch.float64)
    for across, sign in ((torch.tensor([0, 0, 1, 1]), 1), (torch.tensor([0, 1, 0, 1]), -1)):
        points = h.clone().requires_grad_()
        gp.bottleneck(points, across, width=0.5).backward()
        assert sign * float(points.grad[0, 0]) < 0  # downhill is towards the neighbour, or away from it


def test_repeated_samples_are_fine_with_noise_and_a_singular_kernel_says_what_was_added():
    h = normal(6, 3)
    h = torch.cat([h, h])
    errors, _ = gp.leave_one_out(kernels.nngp(h, [1.0, 1.0], [0.0, 0.0]), normal(12, 2), 1e-3)
    assert errors.isfinite().all()
    negative = torch.eye(4, dtype=torch.float64)
    negative[0, 0] = -1e-12
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gp.leave_one_out(negative, normal(4, 1), 1e-13)
    assert any(issubclass(w.category, LayerwiseWarning) and "added" in str(w.message) for w in caught)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda k, y: gp.leave_one_out(k, y, 0.0), "above 0"),
        (lambda k, y: gp.leave_one_out(k, y, math.nan), "above 0"),
        (lambda k, y: gp.leave_one_out(-k, y, 0.1), "not positive definite"),
        (lambda k, y: gp.leave_one_out(k * math.nan, y, 0.1), "NaN"),
        (lambda k, y: gp.linear_leave_one_out(k, y, -1.0), "above 0"),
    ],
)
def test_mistakes(kernel, call, said):
    with pytest.raises(LayerwiseError, match=said):
        call(kernel, normal(20, 2))
