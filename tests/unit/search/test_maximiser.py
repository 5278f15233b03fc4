import numpy as np
import pytest

from phs_mpi.encoding import Dimension, Space
from phs_mpi.search.acquisition import LogExpectedImprovement
from phs_mpi.search.gaussian_process import GaussianProcess, Hyperparameters
from phs_mpi.search.maximiser import maximise, maximise_without_gradient, refine, spread_out, walk


def surrogate(columns=2, n=15, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.random((n, columns))
    y = np.sum((X - 0.6) ** 2, axis=1) * 6 - 1
    gp = GaussianProcess(Hyperparameters(np.full(columns, 0.6), 1.0, 1e-4), np.arange(columns), X)
    gp.condition(y)
    return gp, X, y


def test_refining_climbs_and_stays_inside():
    gp, _, y = surrogate()
    acquisition = LogExpectedImprovement(gp, y.min())
    starts = np.random.default_rng(5).random((5, 2))
    ends = refine(acquisition, starts, np.array([True, True]))
    assert acquisition(ends).sum() > acquisition(starts).sum()
    assert ((ends >= 0) & (ends <= 1)).all()
    fixed = refine(acquisition, starts, np.array([True, False]))
    assert np.array_equal(fixed[:, 1], starts[:, 1])
    assert np.array_equal(refine(acquisition, starts, np.array([False, False])), starts)


def test_maximiser_finds_what_a_fine_grid_finds():
    gp, _, y = surrogate()
    acquisition = LogExpectedImprovement(gp, y.min())
    space = Space([Dimension("a"), Dimension("b")])
    axis = np.linspace(0, 1, 201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    points, values = maximise(
        acquisition, space, np.random.default_rng(6).random((200, 2)), gp.inverse_lengthscales
    )
    assert values[0] >= acquisition(grid).max() - 1e-6
    assert (np.diff(values) <= 0).all()
    assert np.allclose(acquisition(points[:20]), values[:20], atol=1e-9)


def test_maximiser_of_mixed_space_returns_snapped_points():
    letters = Dimension("c", "categorical", categories="abc")
    space = Space([Dimension("i", low=0, high=9, integer=True), letters])
    gp, _, y = surrogate(columns=4)
    acquisition = LogExpectedImprovement(gp, y.min())
    everything = space.enumerate(np.arange(30), np.zeros(4))
    few = everything[[0, 7, 14]]
    points, values = maximise(acquisition, space, few, gp.inverse_lengthscales)
    assert np.array_equal(space.snap(points), points)
    assert values[0] == pytest.approx(acquisition(everything).max(), abs=1e-9)


def test_spread_out_takes_the_best_of_each_cluster():
    Z = np.array([[0.0], [0.01], [1.0], [1.01], [2.0]])
    value = np.array([5.0, 4.0, 1.0, 3.0, 2.0])
    assert spread_out(Z, value, 3, apart=0.1) == [0, 3, 4]
    assert spread_out(Z, value, 10, apart=0.1) == [0, 3, 4]
    assert spread_out(np.zeros((4, 1)), np.zeros(4), 3, apart=0.1) == [0]


def test_walking_goes_uphill_step_by_step_and_no_further():
    space = Space([Dimension("i", low=0, high=10, integer=True), Dimension("x")])

    def hill(X):
        return -np.abs(X[:, 0] - 0.7)

    points, values = walk(hill, space, np.array([[0.2, 0.5]]), np.array([-0.5]))
    assert points[:, 1].tolist() == [0.5] * len(points)
    assert values.max() == 0.0
    # One start, two neighbours a step: five steps up and one that finds nothing better.
    assert len(points) == 1 + 2 * 6


def test_without_gradient_the_candidates_and_steps_from_the_best_are_all():
    space = Space([Dimension("i", low=0, high=10, integer=True), Dimension("x")])
    candidates = space.snap(np.random.default_rng(1).random((30, 2)))
    points, values = maximise_without_gradient(
        lambda X: -((X[:, 0] - 0.5) ** 2) - X[:, 1], space, candidates
    )
    assert set(points[:, 1].tolist()) <= set(candidates[:, 1].tolist())
    assert points[0, 0] == 0.5
    assert (np.diff(values) <= 0).all()
