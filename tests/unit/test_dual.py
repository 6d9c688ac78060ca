"""(K + penalty I) A = Y and conjugate gradients: against refits, scikit-learn, and the solution itself."""

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeCV

from layerwise.errors import LayerwiseError
from layerwise.maths import conjugate, dual, linalg
from layerwise.maths import gaussian_process as gp
from layerwise.maths.linalg import Gram, Normal

SHAPES = [(40, 9), (30, 30), (25, 80)]


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def problem(samples, features):
    z = normal(samples, features) + 3
    return z, z @ normal(features, 2, seed=1) + 5 * normal(samples, 2, seed=2) - 4


def centred(z, y):
    z, y = z - z.mean(0), y - y.mean(0)
    return dual.Dual(z @ z.T, y, centred=True), z


@pytest.mark.parametrize("penalty", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_leave_one_out_is_what_refits_without_each_sample_predict(shape, penalty):
    z, y = problem(*shape)
    with_bias, without = centred(z, y)[0], dual.Dual(z @ z.T, y)
    for equation, bias in ((with_bias, True), (without, False)):
        errors = equation.leave_one_out(penalty)
        for n in (0, 7, shape[0] - 1):
            rest = [i for i in range(shape[0]) if i != n]
            model = Ridge(alpha=penalty, fit_intercept=bias, solver="svd").fit(z[rest], y[rest])
            assert torch.allclose(errors[n], y[n] - torch.from_numpy(model.predict(z[n : n + 1]))[0], rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_coefficients_are_those_of_kernel_ridge_and_of_the_gaussian_process(shape):
    z, y = problem(*shape)
    expected = torch.from_numpy(KernelRidge(alpha=0.3, kernel="linear").fit(z, y).dual_coef_)
    k = z @ z.T
    assert torch.allclose(dual.coefficients(k, y, 0.3), expected, rtol=1e-6, atol=1e-8)
    assert torch.allclose(dual.inverse(k, 0.3) @ y, expected, rtol=1e-6, atol=1e-8)
    # What lies where the kernel is zero gives no weight, and is left out.
    assert torch.allclose(z.T @ dual.Dual(k, y).coefficients(0.3), z.T @ expected, rtol=1e-7)
    assert torch.allclose(dual.Dual(k, y).leave_one_out(0.3), gp.leave_one_out(k, y, 0.3)[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_errors_are_those_of_the_primal_equations(shape):
    z, y = problem(*shape)
    z = z / z.std(0, correction=0)  # which the primal equations do by themselves
    equation, z = centred(z, y)
    primal = Normal(Gram(shape[1], 2).add(z, y))
    strengths = [10 ** (half / 2) for half in range(-8, 5)]
    for strength in strengths:
        penalty = strength * shape[0]
        assert equation.residual(penalty) == pytest.approx(primal.residual(strength), rel=1e-7, abs=1e-9)
        if shape[0] > shape[1] or strength > 1e-3:
            assert equation.gcv(penalty) == pytest.approx(primal.gcv(strength), rel=1e-7)
        assert torch.allclose(z.T @ equation.coefficients(penalty), primal.weights(strength), rtol=1e-6, atol=1e-9)
    assert equation.best([s * shape[0] for s in strengths]) == pytest.approx(shape[0] * primal.best(strengths))
    assert equation.residual(0.0) == pytest.approx(linalg.lsd(z, y - y.mean(0)), abs=1e-10)
    assert torch.allclose(equation.leave_one_out(1.0), primal.leave_one_out(z, y, 1.0 / shape[0]), rtol=1e-7)


def test_the_mean_of_leave_one_out_errors_is_that_of_ridge_cv():
    z, y = problem(25, 80)
    model = RidgeCV(alphas=[2.0], gcv_mode="svd", store_cv_results=True).fit(z, y)
    errors = torch.from_numpy(model.cv_results_[..., 0])
    assert torch.allclose(centred(z, y)[0].leave_one_out(2.0).square(), errors, rtol=1e-6)


def test_without_penalty_there_are_no_leave_one_out_errors():
    with pytest.raises(LayerwiseError, match="need a penalty above 0"):
        centred(*problem(25, 80))[0].leave_one_out(0.0)


def test_a_kernel_is_the_sum_over_runs_of_features(monkeypatch):
    monkeypatch.setattr(linalg, "BLOCK", 7)
    z, _ = problem(25, 80)
    kernel = torch.zeros(25, 25, dtype=torch.float64)
    for run in z.split(17, dim=1):
        dual.add(kernel, run)
    dual.mirror(kernel)
    assert torch.allclose(kernel, z @ z.T, rtol=1e-12)


def test_standardised_features_far_from_the_origin():
    x = torch.cat([normal(200, 3) * 1e-3 + 1e6, torch.full((200, 1), 0.1, dtype=torch.float64)], dim=1)
    z, mean, scale = dual.standardised(x)
    assert torch.allclose(z[:, :3].square().mean(0), torch.ones(3, dtype=torch.float64), rtol=1e-10)
    assert float(z.mean(0).abs().max()) < 1e-12
    assert torch.allclose(mean, x.mean(0), rtol=1e-15)
    assert scale[3] == 0
    assert not z[:, 3].any()
    assert float(dual.standardised(x, most=5.0)[2].max()) == 5


@pytest.mark.parametrize("columns", ["independent", "of one-hot targets", "one of zeros", "more than rows"])
@pytest.mark.parametrize("rounded", [False, True])
def test_conjugate_gradients_reach_the_residual_they_state(columns, rounded):
    z = normal(90, 40)
    matrix = z.T @ z / 90 + 0.01 * torch.eye(40, dtype=torch.float64)
    right = normal(40, 50 if columns == "more than rows" else 4, seed=1)
    if columns == "of one-hot targets":
        right -= right.mean(dim=1, keepdim=True)
    if columns == "one of zeros":
        right[:, 1] = 0

    def product(p):
        return (matrix.float() @ p.float()).double() if rounded else matrix @ p

    goal = 1e-5 if rounded else 1e-11
    found = conjugate.solve(product, right, residual=goal, products=100)
    assert found.residual <= goal
    assert found.residual == pytest.approx(float((right - product(found.x)).norm() / right.norm()))
    assert torch.allclose(found.x, torch.linalg.solve(matrix, right), atol=2e3 * goal)
    assert found.products < 60
    near = conjugate.solve(product, right, residual=goal, products=100, start=found.x)
    assert near.products == 1  # a look at the start, which is good enough
    assert torch.equal(near.x, found.x)


def test_conjugate_gradients_stop_where_rounding_allows_no_less():
    z = normal(90, 40)
    matrix, right = (z.T @ z / 90 + 1e-3 * torch.eye(40, dtype=torch.float64)).float(), normal(40, 3, seed=1)
    calls = []

    def product(p):
        calls.append(1)
        return (matrix @ p.float()).double()

    found = conjugate.solve(product, right, residual=1e-14, products=1000)
    assert 1e-14 < found.residual < 1e-4
    assert found.products == len(calls) < 400
    assert conjugate.solve(product, torch.zeros_like(right), residual=1e-3, products=9).products == 0
