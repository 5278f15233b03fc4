import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.search.acquisition import (
    CAUTION,
    MARGIN,
    POINTWISE,
    ConfidenceBound,
    ExpectedImprovement,
    Feasibility,
    LogExpectedImprovement,
    LogProbabilityOfImprovement,
    log_expected_improvement,
    log_expected_improvement_slopes,
    log_h,
)
from phs_mpi.search.gaussian_process import GaussianProcess, Hyperparameters


def test_log_ei_is_the_logarithm_of_ei():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(0, 2, 500), rng.uniform(0.1, 2, 500)
    slow = reference.expected_improvement(mean, std, -1.0)
    usable = slow > 1e-12
    fast = log_expected_improvement(mean, std, -1.0)
    assert np.allclose(fast[usable], np.log(slow[usable]), rtol=1e-6)


def test_log_h_far_out_is_its_expansion():
    # h(-z) = φ(z) (1/z² - 3/z⁴ + 15/z⁶ - ...)
    z = np.array([100.0, 1000.0, 1e4, 9.9e4, 1.01e5, 1e7])
    series = -0.5 * z * z - 0.5 * np.log(2 * np.pi) + np.log(1 / z**2 - 3 / z**4 + 15 / z**6)
    assert np.allclose(log_h(-z) + 0.5 * z * z, series + 0.5 * z * z, rtol=0, atol=1e-2)
    assert np.allclose(log_h(-z), series, rtol=1e-12)


@given(st.floats(-100, 100), st.booleans())
def test_log_h_and_slopes_are_finite_over_hundred_decades(exponent, negative):
    z = np.array([10.0**exponent * (-1 if negative else 1)])
    if exponent < 150:
        assert np.isfinite(log_h(z)).all()
        value, by_mean, by_std = log_expected_improvement_slopes(-z, np.ones(1), 0.0)
        assert np.isfinite([value, by_mean, by_std]).all()


def test_slopes_meet_where_their_form_changes():
    mean = np.array([0.999e5, 1.001e5])
    _, by_mean, by_std = log_expected_improvement_slopes(mean, np.ones(2), 0.0)
    assert np.allclose(by_mean, -mean, rtol=1e-5)
    assert np.allclose(by_std, mean**2, rtol=1e-5)


def test_log_h_rises():
    z = np.concatenate([-np.logspace(8, -8, 2000), np.logspace(-8, 8, 2000)])
    assert (np.diff(log_h(z)) > 0).all()


def test_slopes_are_finite_differences():
    mean = np.array([-3.0, -0.5, 0.0, 0.4, 1.0, 5.0, 30.0])
    std = np.array([0.5, 1.0, 0.2, 2.0, 0.7, 0.3, 0.9])
    value, by_mean, by_std = log_expected_improvement_slopes(mean, std, 0.1)
    assert np.array_equal(value, log_expected_improvement(mean, std, 0.1))
    e = 1e-6
    numeric = log_expected_improvement(mean + e, std, 0.1)
    numeric = (numeric - log_expected_improvement(mean - e, std, 0.1)) / (2 * e)
    assert np.allclose(by_mean, numeric, rtol=1e-5)
    numeric = log_expected_improvement(mean, std + e, 0.1)
    numeric = (numeric - log_expected_improvement(mean, std - e, 0.1)) / (2 * e)
    assert np.allclose(by_std, numeric, rtol=1e-5)


def surrogate(columns=2, n=15, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.random((n, columns))
    y = np.sum((X - 0.6) ** 2, axis=1) * 6 - 1
    gp = GaussianProcess(Hyperparameters(np.full(columns, 0.6), 1.0, 1e-4), np.arange(columns), X)
    gp.condition(y)
    return gp, X, y


def failures(X):
    gp = GaussianProcess(Hyperparameters(np.full(2, 0.4), 1.0, 0.1), np.arange(2), X)
    gp.condition(np.where(X[:, 0] > 0.5, -1.0, 1.0))
    return Feasibility(gp)


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("with_failures", [False, True])
def test_gradient_of_the_acquisition_is_a_finite_difference(name, with_failures):
    gp, X, y = surrogate()
    acquisition = POINTWISE[name](gp, y.min(), failures(X) if with_failures else None)
    points = np.random.default_rng(3).random((9, 2))
    value, gradient = acquisition.with_gradient(points)
    assert np.allclose(value, acquisition(points), rtol=1e-12)
    for j in range(2):
        step = np.zeros(2)
        step[j] = 1e-6
        slope = (acquisition(points + step) - acquisition(points - step)) / 2e-6
        assert np.allclose(gradient[:, j], slope, rtol=1e-3, atol=1e-4)


def test_feasibility_is_low_among_failures_and_high_among_successes():
    _, X, _ = surrogate(n=40)
    feasibility = failures(X)
    assert feasibility(np.array([[0.9, 0.5]]))[0] < np.log(0.1)
    assert feasibility(np.array([[0.1, 0.5]]))[0] > np.log(0.9)


def test_each_acquisition_function_is_what_its_name_says():
    gp, X, y = surrogate()
    points = np.random.default_rng(4).random((200, 2))
    mean, std = gp.predict(points)
    best = float(y.min())
    rng = np.random.default_rng(8)
    draws = mean + std * rng.standard_normal((20000, 200))
    improvement = ExpectedImprovement(gp, best)(points)
    assert np.allclose(improvement, np.maximum(best - draws, 0).mean(axis=0), atol=5e-3)
    assert np.allclose(improvement, np.exp(LogExpectedImprovement(gp, best)(points)))
    probability = np.exp(LogProbabilityOfImprovement(gp, best)(points))
    assert np.allclose(probability, (draws < best - MARGIN).mean(axis=0), atol=2e-2)
    assert np.allclose(ConfidenceBound(gp, best)(points), best - (mean - 2 * std))
    succeeds = failures(X)
    risky = ExpectedImprovement(gp, best, succeeds)(points)
    assert np.allclose(risky, improvement * np.exp(succeeds(points)) ** CAUTION)


@pytest.mark.parametrize("name", POINTWISE)
@given(exponent=st.floats(-12, 8), sign=st.sampled_from([-1, 1]))
def test_scores_and_slopes_are_finite(name, exponent, sign):
    acquisition = POINTWISE[name](surrogate(n=2)[0], 0.0)
    mean = np.full(3, sign * 10.0**exponent)
    std = np.array([1e-6, 1.0, 10.0])
    value, by_mean, by_std = acquisition.slopes(mean, std)
    assert np.isfinite([value, by_mean, by_std]).all()
    assert np.array_equal(value, acquisition.score(mean, std))
    assert (by_mean <= 0).all()


def test_slopes_of_the_probability_meet_where_their_form_changes():
    acquisition = LogProbabilityOfImprovement(surrogate(n=2)[0], MARGIN)
    mean = np.array([0.999e5, 1.001e5])
    _, by_mean, by_std = acquisition.slopes(mean, np.ones(2))
    assert np.allclose(by_mean, -mean, rtol=1e-5)
    assert np.allclose(by_std, mean**2, rtol=1e-5)
