"""The identities that the closed-form methods stand on, each against its definition or an independent program."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV

from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.maths import linalg
from layerwise.maths.linalg import Gram, Normal


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def problem():
    """Correlated features of unlike scales, far from the origin, and noisy targets."""
    z = normal(120, 9) @ normal(9, 9, seed=1) * torch.logspace(-2, 3, 9, dtype=torch.float64) + 5
    return z, z / z.std(dim=0) @ normal(9, 2, seed=2) + normal(120, 2, seed=3) - 3


def gram_of(z, y, sizes=(50, 1, 69)):
    gram = Gram(z.shape[1], y.shape[1])
    for a, b in zip(z.split(sizes), y.split(sizes), strict=True):
        gram.add(a, b)
    return gram


def test_eigh_is_sorted_and_its_signs_do_not_depend_on_those_that_lapack_gives():
    matrix = normal(7, 7) @ normal(7, 7).T
    values, vectors = linalg.eigh(matrix)
    assert (values.diff() <= 0).all()
    assert torch.allclose(vectors @ values.diag() @ vectors.T, (matrix + matrix.T) / 2)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()
    flips = torch.tensor([1.0, -1, -1, 1, -1, 1, -1], dtype=torch.float64)
    assert torch.equal(linalg.fix_signs(vectors * flips), vectors)


def test_the_sign_of_loadings_that_tie_is_the_first_ones():
    tied = torch.tensor([[-1.0, 1.0], [1.0 + 1e-9, -1.0 - 1e-9]], dtype=torch.float64)
    assert torch.equal(linalg.fix_signs(tied)[0], torch.ones(2, dtype=torch.float64))


def test_eigh_refuses_nan():
    with pytest.raises(LayerwiseError, match="NaN"):
        linalg.eigh(torch.full((2, 2), float("nan")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cholesky_of_a_good_matrix_has_no_jitter(dtype):
    matrix = (normal(5, 5) @ normal(5, 5).T + torch.eye(5)).to(dtype)
    factor = linalg.cholesky(matrix + 1e-9 * normal(5, 5).to(dtype))  # symmetrised on the way
    assert torch.allclose(factor @ factor.T, matrix, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "negative", "jitter"),
    [
        *((torch.float32, 5e-7, "1e-06"), (torch.float32, 5e-5, "1e-04")),
        *((torch.float64, 5e-11, "1e-10"), (torch.float64, 5e-9, "1e-08")),
    ],
)
def test_cholesky_climbs_the_ladder_and_says_how_far(dtype, negative, jitter):
    matrix = 1000 * torch.diag(torch.tensor([1.0, 1.0, 1.0, -negative], dtype=dtype))
    with pytest.warns(LayerwiseWarning, match=f"added {jitter} of the mean diagonal to a 4x4"):
        factor = linalg.cholesky(matrix)
    assert torch.allclose(factor @ factor.T, matrix, atol=1000 * float(jitter))


def test_cholesky_says_what_to_change():
    with pytest.raises(LayerwiseError, match=r"not positive definite even with 1e-06 .* raise the ridge strength"):
        linalg.cholesky(-torch.eye(3, dtype=torch.float64))
    with pytest.raises(LayerwiseError, match="NaN"):
        linalg.cholesky(torch.full((2, 2), float("inf")))


def test_a_streamed_gram_is_the_whole_one_and_shards_add_up(problem):
    z, y = problem
    both = torch.cat([z, y], dim=1)
    parts = gram_of(z[:33], y[:33], (20, 13)) + gram_of(z[33:], y[33:], (40, 47))
    for gram in (gram_of(z, y), parts):
        assert gram.n == 120
        assert torch.allclose(gram.second, both.T @ both, rtol=1e-13)
        assert torch.allclose(gram.sums, both.sum(0), rtol=1e-13)
        assert torch.allclose(gram.moment(centre=True), torch.cov(both.T, correction=0), rtol=1e-9)
        assert torch.allclose(gram.moment(), both.T @ both / 120)


def test_a_gram_takes_float32_patches_and_sums_them_in_float64():
    patches = normal(10, 6, 4).float()
    rows = patches.reshape(60, 4).double()
    assert torch.allclose(Gram(4).add(patches).second, rows.T @ rows, rtol=1e-15)


@pytest.mark.parametrize("block", [1, 4, 11, 50])
def test_a_gram_summed_in_blocks_is_the_whole_one(problem, block, monkeypatch):
    both = torch.cat(problem, dim=1)
    monkeypatch.setattr(linalg, "BLOCK", block)
    for products, rtol in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        second = Gram(9, 2, products=products).add(*problem).second
        assert second.dtype == torch.float64
        assert torch.allclose(second, second.T, rtol=rtol)
        assert torch.allclose(second, both.T @ both, rtol=rtol, atol=rtol)


def test_an_empty_gram_has_no_moment():
    with pytest.raises(LayerwiseError, match="no sample"):
        Gram(3).moment()


@pytest.mark.parametrize("centre", [False, True])
def test_principal_components_are_the_singular_vectors(problem, centre):
    z = problem[0] / problem[0].std(dim=0)
    rank_deficient = torch.cat([z, z[:, :2] + 1], dim=1)  # 11 columns, 10 directions from the origin, 9 from the mean
    values, vectors = linalg.principal(Gram(11).add(rank_deficient), centre)
    shifted = rank_deficient - rank_deficient.mean(0) * centre
    _, singular, right = torch.linalg.svd(shifted, full_matrices=False)
    assert len(values) == 10 - centre
    assert torch.allclose(values, singular[: len(values)] ** 2 / 120, rtol=1e-6, atol=1e-10)
    projector = right[:3].T @ right[:3]  # vectors have signs, projectors have none
    assert torch.allclose(vectors[:, :3] @ vectors[:, :3].T, projector, atol=1e-9)


def by_hand(z, y, strength):
    """Ridge on scaled, centred features, its fit and its hat matrix, from the definitions."""
    scaled = (z - z.mean(0)) / z.std(0, correction=0)
    hat = scaled @ torch.linalg.inv(scaled.T @ scaled + strength * len(z) * torch.eye(z.shape[1])) @ scaled.T
    hat = hat + 1 / len(z)
    return hat @ y, hat


def test_one_decomposition_serves_all_strengths(problem):
    z, y = problem
    system = Normal(gram_of(z, y))
    for strength in (1e-6, 1e-2, 1.0, 30.0):
        fit, hat = by_hand(z, y, strength)
        weight = system.weights(strength)
        assert torch.allclose(z @ weight + system.mean_y - system.mean_z @ weight, fit, atol=1e-7)
        residual = float((y - fit).square().sum()) / 120
        assert system.residual(strength) == pytest.approx(residual, rel=1e-8)
        gcv = residual / (1 - float(hat.trace()) / 120) ** 2
        assert system.gcv(strength) == pytest.approx(gcv, rel=1e-8)
        scikit = Ridge(alpha=strength * 120).fit((z - z.mean(0)) / z.std(0, correction=0), y)
        assert np.allclose(scikit.coef_.T, weight * z.std(0, correction=0)[:, None], atol=1e-8)


def test_one_factorisation_gives_the_weights_of_the_decomposition(problem):
    z, y = problem
    z = torch.cat([z, torch.full((120, 1), 3.0), z[:, :1]], dim=1)  # a constant and a repeated feature
    equations, system = linalg.Equations(Gram(11, 2).add(z, y)), Normal(Gram(11, 2).add(z, y))
    for strength in (1e-6, 1e-2, 1.0, 30.0):
        assert torch.allclose(equations.solve(strength), system.weights(strength), rtol=1e-6, atol=1e-9)
    assert (equations.solve(0.1)[9] == 0).all()
    assert equations.constant == 1


def test_leave_one_out_is_that_of_refits_and_of_scikit_learn(problem):
    z, y = problem
    scaled = (z - z.mean(0)) / z.std(0, correction=0)
    errors = Normal(gram_of(z, y)).leave_one_out(z, y, 0.01)
    for left_out in (0, 57, 119):
        rest = torch.arange(120) != left_out
        refit = Ridge(alpha=1.2, solver="cholesky").fit(scaled[rest], y[rest])
        predicted = torch.tensor(refit.predict(scaled[[left_out]]))
        assert torch.allclose(errors[left_out], y[left_out] - predicted[0], atol=1e-8)
    scikit = RidgeCV(alphas=[1.2], store_cv_results=True).fit(scaled, y)
    assert np.allclose(errors.square(), scikit.cv_results_[..., 0], atol=1e-7)


def test_ridge_takes_the_strength_of_least_gcv(problem):
    z, y = problem
    strengths = (1e-8, 1e-3, 3e-2, 1.0, 1e3)
    found = linalg.ridge(gram_of(z, y), strengths)
    scores = {
        s: float((y - (by := by_hand(z, y, s))[0]).square().sum()) / (120 - by[1].trace()) ** 2 for s in strengths
    }
    assert found.strength == min(scores, key=scores.__getitem__)
    assert torch.allclose(z @ found.weight.T + found.bias, by_hand(z, y, found.strength)[0], atol=1e-7)
    assert found.lsd == pytest.approx(linalg.lsd(z, y), rel=1e-6)
    assert found.lsd <= found.error


def test_ridge_gives_constant_features_no_weight_and_refuses_when_nothing_varies(problem):
    z, y = problem
    z = torch.cat([z, torch.full((120, 2), 0.1, dtype=torch.float64)], dim=1)
    found = linalg.ridge(gram_of(z, y))
    assert found.constant == 2
    assert (found.weight[:, 9:] == 0).all()
    with pytest.raises(LayerwiseError, match="all features are constant"):
        linalg.ridge(gram_of(z[:, 9:], y))
    with pytest.raises(LayerwiseError, match="NaN"):
        linalg.ridge(gram_of(z * torch.nan, y))


def test_gcv_is_not_fooled_by_more_features_than_samples():
    z, y = normal(20, 50), normal(20, 1, seed=1)  # noise: whatever fits it exactly has no freedom left
    found = linalg.ridge(gram_of(z, y, (20,)))
    assert found.error > 0.1 * float(y.square().mean())


@pytest.mark.parametrize("bias", [False, True])
def test_lsd_is_its_definition_also_for_dependent_and_for_wide_features(problem, bias):
    z, y = problem
    for features in (z, torch.cat([z, z[:, :3] @ normal(3, 4), torch.zeros(120, 1)], dim=1), z[:8]):
        targets = y[: len(features)]
        scaled = features / features.norm(dim=0).clamp(min=1e-9)
        full = torch.cat([torch.ones(len(features), 1, dtype=torch.float64), scaled], dim=1) if bias else scaled
        expected = (targets - full @ torch.linalg.pinv(full) @ targets).square().sum() / len(features)
        assert linalg.lsd(features, targets, bias=bias) == pytest.approx(float(expected), rel=1e-6, abs=1e-20)


def test_lsd_in_batches_holds_where_a_gram_has_lost_its_digits():
    t = torch.linspace(-1, 1, 9000, dtype=torch.float64)[:, None]
    powers = t ** torch.arange(1, 21)  # condition number about 1e9
    target = powers @ normal(20, 1) + 1e-9 * torch.sin(200 * t)
    assert linalg.lsd(powers, target) == pytest.approx(0.5e-18, rel=0.05)


def test_lsd_refuses_nan():
    with pytest.raises(LayerwiseError, match="NaN"):
        linalg.lsd(torch.full((9, 2), torch.nan), torch.ones(9, 1))


def test_spectrum_is_the_singular_values(problem):
    z = torch.cat([problem[0], normal(9000, 9)])
    assert torch.allclose(linalg.spectrum(z.float()), torch.linalg.svdvals(z.float().double()), rtol=1e-10)
    centred = z - z.mean(0)
    assert torch.allclose(linalg.spectrum(z, centre=True), torch.linalg.svdvals(centred), rtol=1e-10)
