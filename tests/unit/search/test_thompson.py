import numpy as np
import pytest

from phs_mpi.search.acquisition import Feasibility
from phs_mpi.search.gaussian_process import GaussianProcess, Hyperparameters
from phs_mpi.search.thompson import SamplePath


def process(n=8, noise=1e-6):
    X = np.random.default_rng(1).random((n, 2))
    y = np.sin(5 * X[:, 0]) + X[:, 1]
    gp = GaussianProcess(
        Hyperparameters(np.array([0.4, 0.8]), 1.5, noise), np.arange(2), X, capacity=n + 3
    )
    gp.condition(y)
    return gp, X, y


def test_paths_scatter_as_the_posterior_does():
    gp, X, y = process()
    points = np.vstack([X[:2], np.random.default_rng(2).random((20, 2))])
    paths = -np.array([SamplePath(gp, y, np.random.default_rng(k))(points) for k in range(600)])
    mean, std = gp.predict(points)
    assert np.abs(paths.mean(axis=0) - mean).max() < 0.1
    assert np.allclose(paths.std(axis=0), std, rtol=0.15, atol=0.01)


def test_paths_are_smooth():
    gp, _, y = process()
    points = np.array([[0.1, 0.9], [0.101, 0.9], [0.9, 0.1]])
    paths = -np.array([SamplePath(gp, y, np.random.default_rng(k))(points) for k in range(100)])
    apart = (paths - paths.mean(axis=0)).std(axis=0)
    assert (paths[:, 0] - paths[:, 1]).std() < 0.05 * apart[0]
    assert (paths[:, 0] - paths[:, 2]).std() > apart[0]


@pytest.mark.parametrize("feasible", [False, True])
def test_gradient_is_a_finite_difference(feasible):
    gp, X, y = process()
    labels = GaussianProcess(Hyperparameters(np.full(2, 0.4), 1.0, 0.1), np.arange(2), X)
    labels.condition(np.where(X[:, 0] > 0.5, -1.0, 1.0))
    path = SamplePath(gp, y, np.random.default_rng(3), Feasibility(labels) if feasible else None)
    points = np.random.default_rng(4).random((9, 2))
    value, gradient = path.with_gradient(points)
    assert np.allclose(value, path(points), rtol=1e-12)
    for j in range(2):
        step = np.zeros(2)
        step[j] = 1e-6
        slope = (path(points + step) - path(points - step)) / 2e-6
        assert np.allclose(gradient[:, j], slope, rtol=1e-3, atol=1e-4)


def test_the_same_generator_gives_the_same_path_and_fantasies_change_nothing():
    gp, _, y = process()
    points = np.random.default_rng(5).random((7, 2))
    before = SamplePath(gp, y, np.random.default_rng(6))(points)
    gp.append(np.random.default_rng(7).random((3, 2)))
    gp.condition(y)
    assert np.allclose(SamplePath(gp, y, np.random.default_rng(6))(points), before, rtol=1e-9)
    assert not np.allclose(SamplePath(gp, y, np.random.default_rng(8))(points), before)
