import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from phs_mpi.search.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    Prior,
    cholesky,
    fit,
    log_marginal_likelihood,
)

CASES = [(1, 3, 1.0, 1e-2), (3, 40, 1.7, 1e-3), (6, 80, 0.4, 1e-1), (2, 25, 1.0, 1e-4)]


def problem(columns, n, seed=0):
    rng = np.random.default_rng([columns, n, seed])
    X = rng.random((n, columns))
    y = np.sin(5 * X.sum(axis=1)) + 0.1 * rng.standard_normal(n)
    return X, (y - y.mean()) / y.std(), rng.uniform(0.2, 2.0, columns), rng.random((15, columns))


@pytest.mark.parametrize(("columns", "n", "scale", "noise"), CASES)
def test_posterior_is_that_of_the_reference_and_of_scikit_learn(columns, n, scale, noise):
    X, y, lengthscales, points = problem(columns, n)
    gp = GaussianProcess(Hyperparameters(lengthscales, scale, noise), np.arange(columns), X)
    gp.condition(y)
    mean, std = gp.predict(points)
    slow_mean, slow_std = reference.posterior(X, y, points, lengthscales, scale, noise)
    assert np.allclose(mean, slow_mean, rtol=0, atol=1e-8)
    assert np.allclose(std, slow_std, rtol=0, atol=1e-8)
    kernel = ConstantKernel(scale) * Matern(lengthscales, nu=2.5)
    peer = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(X, y)
    peer_mean, peer_std = peer.predict(points, return_std=True)
    assert np.allclose(mean, peer_mean, rtol=0, atol=1e-8)
    assert np.allclose(std, peer_std, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("columns", "n", "scale", "noise"), CASES)
def test_likelihood_and_gradient_are_those_of_scikit_learn(columns, n, scale, noise):
    X, y, lengthscales, _ = problem(columns, n)
    theta = np.log([*lengthscales, scale, noise])
    value, gradient = log_marginal_likelihood(X, y, np.arange(columns), theta)
    kernel = ConstantKernel(scale) * Matern(lengthscales, nu=2.5) + WhiteKernel(noise)
    peer = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(X, y)
    names = [h.name for h in peer.kernel_.hyperparameters]
    assert [n.split("__")[-1] for n in names] == ["constant_value", "length_scale", "noise_level"]
    peer_value, slope = peer.log_marginal_likelihood(peer.kernel_.theta, eval_gradient=True)
    assert value == pytest.approx(peer_value, rel=1e-8, abs=1e-8)
    assert np.allclose(gradient, [*slope[1:-1], slope[0], slope[-1]], rtol=1e-8, atol=1e-8)
    slow = reference.log_marginal_likelihood(X, y, lengthscales, scale, noise)
    assert value == pytest.approx(slow, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(("columns", "n", "scale", "noise"), CASES)
def test_known_variances_of_results_are_those_of_scikit_learn(columns, n, scale, noise):
    X, y, lengthscales, points = problem(columns, n)
    v = np.random.default_rng(n).gamma(1.0, 0.1, n)
    h = Hyperparameters(lengthscales, scale, noise)
    group = np.arange(columns)
    gp = GaussianProcess(h, group, X, v=v)
    gp.condition(y)
    grown = GaussianProcess(h, group, X[:2], v=v[:2])  # one point has to make room
    for k in range(2, n):
        grown.append(X[k : k + 1], v[k : k + 1])
    grown.condition(y)
    kernel = ConstantKernel(scale) * Matern(lengthscales, nu=2.5)
    peer = GaussianProcessRegressor(kernel, alpha=noise + v, optimizer=None).fit(X, y)
    peer_mean, peer_std = peer.predict(points, return_std=True)
    for made in (gp, grown):
        mean, std = made.predict(points)
        assert np.allclose(mean, peer_mean, rtol=0, atol=1e-8)
        assert np.allclose(std, peer_std, rtol=0, atol=1e-8)
    # What it says of the evaluated points themselves.
    assert np.allclose(y - gp.variances * gp.weights, peer.predict(X), rtol=0, atol=1e-8)
    theta = np.log([*lengthscales, scale, noise])
    value, gradient = log_marginal_likelihood(X, y, group, theta, v)
    with_noise = kernel + WhiteKernel(noise)
    peer = GaussianProcessRegressor(with_noise, alpha=v, optimizer=None).fit(X, y)
    peer_value, slope = peer.log_marginal_likelihood(peer.kernel_.theta, eval_gradient=True)
    assert value == pytest.approx(peer_value, rel=1e-8, abs=1e-8)
    assert np.allclose(gradient, [*slope[1:-1], slope[0], slope[-1]], rtol=1e-8, atol=1e-8)


def test_columns_of_a_group_share_their_lengthscale():
    X, y, _, points = problem(3, 30)
    group = np.array([0, 1, 1])
    theta = np.log([0.5, 0.8, 1.2, 1e-2])
    value, gradient = log_marginal_likelihood(X, y, group, theta)
    apart = np.log([0.5, 0.8, 0.8, 1.2, 1e-2])
    value_apart, gradient_apart = log_marginal_likelihood(X, y, np.arange(3), apart)
    assert value == pytest.approx(value_apart)
    assert gradient == pytest.approx(
        [gradient_apart[0], gradient_apart[1] + gradient_apart[2], *gradient_apart[3:]]
    )
    tied = GaussianProcess(Hyperparameters(np.array([0.5, 0.8]), 1.2, 1e-2), group, X)
    tied.condition(y)
    slow_mean, _ = reference.posterior(X, y, points, [0.5, 0.8, 0.8], 1.2, 1e-2)
    assert np.allclose(tied.predict(points)[0], slow_mean, atol=1e-8)


@pytest.mark.parametrize("sizes", [[1] * 40, [40], [3, 7, 30], [1, 39]])
def test_appending_gives_the_posterior_of_all_points(sizes):
    X, y, lengthscales, points = problem(4, 60)
    h = Hyperparameters(lengthscales, 1.3, 1e-3)
    whole = GaussianProcess(h, np.arange(4), X)
    grown = GaussianProcess(h, np.arange(4), X[:20])
    start = 20
    for size in sizes:
        grown.append(X[start : start + size])
        start += size
    whole.condition(y)
    grown.condition(y)
    for a, b in zip(whole.predict(points), grown.predict(points), strict=True):
        assert np.allclose(a, b, rtol=0, atol=1e-9)
    assert np.allclose(whole.J, grown.J, atol=1e-8)


def test_truncating_takes_points_back_bit_for_bit():
    X, y, lengthscales, points = problem(2, 30)
    gp = GaussianProcess(Hyperparameters(lengthscales), np.arange(2), X[:20])
    gp.condition(y[:20])
    before = gp.predict(points)
    gp.append(X[20:])
    gp.condition(y)
    gp.truncate(20)
    gp.condition(y[:20])
    assert all(np.array_equal(a, b) for a, b in zip(before, gp.predict(points), strict=True))


def test_fantasies_lower_the_deviation_and_leave_the_mean():
    X, y, lengthscales, points = problem(2, 20)
    gp = GaussianProcess(Hyperparameters(lengthscales), np.arange(2), X)
    gp.condition(y)
    mean, std = gp.predict(points)
    gp.append(points[:3])
    gp.condition(y)
    new_mean, new_std = gp.predict(points)
    assert np.allclose(mean, new_mean, atol=1e-12)
    assert (new_std[:3] < 0.8 * std[:3]).all()
    assert (new_std <= std + 1e-12).all()
    believed = np.concatenate([y, mean[:3]])
    slow_mean, slow_std = reference.posterior(
        np.vstack([X, points[:3]]), believed, points[3:], lengthscales, 1.0, 1e-4
    )
    assert np.allclose(new_mean[3:], slow_mean, atol=1e-8)
    assert np.allclose(new_std[3:], slow_std, atol=1e-8)


def test_gradients_are_finite_differences():
    X, y, lengthscales, points = problem(3, 30)
    gp = GaussianProcess(Hyperparameters(lengthscales, 1.5, 1e-3), np.arange(3), X)
    gp.condition(y)
    mean, std, mean_gradient, std_gradient = gp.predict_with_gradients(points)
    assert np.array_equal(mean, gp.predict(points)[0])
    assert np.array_equal(std, gp.predict(points)[1])
    for j in range(3):
        step = np.zeros(3)
        step[j] = 1e-5
        high, low = gp.predict(points + step), gp.predict(points - step)
        assert np.allclose((high[0] - low[0]) / 2e-5, mean_gradient[:, j], atol=1e-5)
        assert np.allclose((high[1] - low[1]) / 2e-5, std_gradient[:, j], atol=1e-5)


def test_prior_gradient_is_a_finite_difference():
    prior = Prior.of(3)
    theta = np.array([0.1, -0.4, 1.0, 0.3, -5.0])
    _, gradient = prior.log_density(theta)
    for j in range(5):
        step = np.zeros(5)
        step[j] = 1e-6
        slope = (prior.log_density(theta + step)[0] - prior.log_density(theta - step)[0]) / 2e-6
        assert gradient[j] == pytest.approx(slope, abs=1e-6)


def test_fit_finds_what_matters():
    rng = np.random.default_rng(1)
    X = rng.random((60, 3))
    y = np.sin(8 * X[:, 0]) + 0.2 * X[:, 1]
    h = fit(X, (y - y.mean()) / y.std(), np.arange(3))
    assert h.lengthscales[0] < h.lengthscales[1] < h.lengthscales[2]
    assert h.noise < 1e-2


def test_fit_tells_noise_from_signal():
    rng = np.random.default_rng(2)
    X = rng.random((150, 1))
    y = np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(150)
    deviation = y.std()
    h = fit(X, (y - y.mean()) / deviation, np.arange(1))
    assert h.noise * deviation**2 == pytest.approx(0.09, rel=0.4)


@given(st.integers(1, 30), st.integers(0, 2**32))
def test_the_factor_of_a_singular_matrix_is_finite(n, seed):
    row = np.random.default_rng(seed).standard_normal(n)
    L = cholesky(np.outer(row, row))
    assert np.isfinite(L).all()
    assert (np.diag(L) > 0).all()


@pytest.mark.parametrize("y", [np.zeros(12), np.r_[np.ones(11), -11.0]])
def test_equal_points_and_constant_results_do_not_raise(y):
    X = np.full((12, 2), 0.3)
    h = fit(X, y, np.arange(2))
    gp = GaussianProcess(h, np.arange(2), X)
    gp.append(X)
    gp.condition(y)
    mean, std, *slopes = gp.predict_with_gradients(np.array([[0.3, 0.3], [0.9, 0.1]]))
    assert all(np.isfinite(v).all() for v in (mean, std, *slopes))
    assert (std > 0).all()
