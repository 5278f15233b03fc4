import numpy as np
import pytest
from threadpoolctl import threadpool_info

from phs_mpi.encoding import Dimension, Space
from phs_mpi.search.maximiser import maximise
from phs_mpi.search.model import HELD, Model, held, last_fit, one_thread

SPACE = Space([Dimension("x"), Dimension("y")])


def data(n, seed=0):
    X = np.random.default_rng(seed).random((n, 2))
    return X, np.sum((X - 0.3) ** 2, axis=1)


def test_refits_grow_rarer():
    ends = sorted({last_fit(n) for n in range(2, 3000)})
    assert ends[:5] == [2, 3, 4, 5, 6]
    gaps = np.diff(ends)
    assert (np.diff(gaps) >= 0).all()
    assert gaps.max() == 64
    assert all(last_fit(n) <= n for n in range(2, 100))


def test_small_logs_are_held_completely():
    assert held(np.arange(9.0), 9).tolist() == list(range(9))


def test_of_large_logs_the_best_and_an_even_share_are_held():
    y = np.random.default_rng(0).random(3000)
    rows = held(y, 100)
    assert len(rows) == len(set(rows.tolist())) == 100
    assert set(np.argsort(y)[:50].tolist()) <= set(rows.tolist())
    assert rows.max() > 2900
    assert (np.diff(rows) > 0).all()


def test_model_holds_a_bounded_number_of_results():
    X, y = data(1200)
    model = Model(SPACE, maximize=False)
    with one_thread():
        model.update(X, y, np.empty((0, 2)))
    assert HELD <= model.gp.n <= HELD + 64
    assert np.argmin(y) in np.argsort(np.linalg.norm(X - model.incumbents(1), axis=1))[:3]


def test_growing_model_and_fresh_one_agree_bit_for_bit():
    X, y = data(90)
    y[[7, 40]] = np.nan
    grown = Model(SPACE, maximize=True)
    points = np.random.default_rng(5).random((20, 2))
    for n in (10, 11, 37, 38, 60, 88):
        fresh = Model(SPACE, maximize=True)
        pending = points[: n % 3]
        for model in (grown, fresh):
            model.update(X[:n], y[:n], pending)
        assert grown.acquisition(points).tobytes() == fresh.acquisition(points).tobytes()
        assert grown.prediction(points[0]) == fresh.prediction(points[0])


def test_feasibility_enters_only_after_failures():
    X, y = data(20)
    model = Model(SPACE, maximize=False)
    model.update(X, y, np.empty((0, 2)))
    assert model.acquisition.feasibility is None
    y[3] = np.nan
    model.update(X, y, np.empty((0, 2)))
    assert model.acquisition.feasibility(X[3:4])[0] < model.acquisition.feasibility(X[4:5])[0]


def test_prediction_at_an_evaluated_point_is_its_result():
    X, y = data(30)
    model = Model(SPACE, maximize=False)
    model.update(X, y, np.empty((0, 2)))
    mean, std = model.prediction(X[4])
    assert mean == pytest.approx(y[4], abs=0.05)
    assert 0 < std < 0.05


def test_a_point_is_known_within_a_ten_thousandth_of_a_standard_deviation():
    X, y = data(30)
    y[3] = np.nan
    pending = np.array([[0.77, 0.77]])
    model = Model(SPACE, maximize=False)
    model.update(X, y, pending)
    # Var[f(x) - f(x')] = 2 scale (1 - k(r)) with r² = δ² / l², for a small r 5/3 scale r².
    away = 1e-4 * np.sqrt(0.6 / model.scale) * model.lengthscales[0]
    for x in (X[3], X[4], pending[0]):
        assert model.indistinct(x)
        assert model.indistinct(x + [0.99 * away, 0])
        assert not model.indistinct(x + [1.01 * away, 0])


def test_a_model_that_is_too_sure_of_itself_comes_to_doubt():
    X, y = data(30)
    candidates = np.random.default_rng(4).random((300, 2))
    model = Model(SPACE, maximize=False)
    for _ in range(20):
        model.update(X, y, np.empty((0, 2)))
        sure = maximise(model.acquisition, SPACE, candidates, model.gp.inverse_lengthscales)[0]
        if model.indistinct(sure[0]):
            break
        X = np.vstack([X, sure[:1]])
        y = np.append(y, np.sum((sure[0] - 0.3) ** 2))
    assert model.indistinct(sure[0])
    assert not model.indistinct(model.maximise(candidates)[0][0])


def test_linear_algebra_runs_on_one_thread():
    with one_thread():
        assert {p["num_threads"] for p in threadpool_info()} == {1}
