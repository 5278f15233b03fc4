import numpy as np
import pytest

from phs_mpi.encoding import Dimension, Space
from phs_mpi.search.forest import FORESTS, HELD, TREES, Forest, ForestModel, Tree
from phs_mpi.search.proposal import Engine

SPACE = Space([Dimension("x"), Dimension("y")])


def data(n, seed=0):
    X = np.random.default_rng(seed).random((n, 2))
    return X, np.sum((X - 0.3) ** 2, axis=1)


@pytest.mark.parametrize("kind", FORESTS)
def test_a_forest_predicts_with_less_confidence_where_it_has_seen_nothing(kind):
    X, y = data(60)
    X[:, 0] *= 0.5  # nothing seen to the right
    forest = Forest(kind, X, y, seed=1)
    assert forest.values(X).shape == (TREES, 60)
    mean, std = forest.predict(X)
    assert np.corrcoef(mean, y)[0, 1] > 0.95
    between = Forest(kind, X, y, seed=1).predict(np.random.default_rng(3).random((50, 2)))
    assert (std > 0).all()
    assert between[1].mean() > std.mean()


@pytest.mark.parametrize("kind", FORESTS)
def test_the_model_is_a_function_of_data_and_generator(kind):
    X, y = data(30)
    y[4] = np.nan
    points = np.random.default_rng(5).random((20, 2))
    used, fresh = (ForestModel(SPACE, False, "logei", kind) for _ in range(2))
    used.update(X[:9], y[:9], points[:1], np.random.default_rng(0))
    for model in (used, fresh):
        model.update(X, y, points[:2], np.random.default_rng(7))
    assert used.acquisition(points).tobytes() == fresh.acquisition(points).tobytes()
    assert used.prediction(points[0]) == fresh.prediction(points[0])
    assert used.indistinct(X[4])
    assert not used.indistinct(points[9])


def test_a_pending_point_promises_nothing_any_more():
    X, y = data(30)
    candidates = np.random.default_rng(5).random((300, 2))
    model = ForestModel(SPACE, False, "logei", "extra_trees")
    model.update(X, y, np.empty((0, 2)), np.random.default_rng(7))
    best, values = model.maximise(candidates)
    model.update(X, y, best[:1], np.random.default_rng(7))
    assert model.acquisition(best[:1])[0] < values[0] - 1


def test_a_forest_holds_a_bounded_number_of_results_and_the_best_of_them():
    X, y = data(HELD + 300)
    model = ForestModel(SPACE, True, "ucb", "random_forest")
    model.update(X, y, np.empty((0, 2)), np.random.default_rng(7))
    assert len(model.X) == HELD
    assert X[np.argmax(y)].tolist() in model.X.tolist()


def test_thompson_sampling_takes_one_tree():
    X, y = data(30)
    forest = Forest("random_forest", X, y, seed=1)
    drawn = [-Tree(forest, np.random.default_rng(k))(X) for k in range(5)]
    assert len({values.tobytes() for values in drawn}) > 1
    trees = forest.values(X)
    assert all((trees == values).all(axis=1).any() for values in drawn)


def test_many_categories_are_searched():
    names = [f"c{k}" for k in range(6)]
    space = Space([Dimension(n, "categorical", categories=tuple("abcdefgh")) for n in names])
    good = "hagbfc"

    def wrong(row):
        return float(sum(row[n] != letter for n, letter in zip(names, good, strict=True)))

    rng = np.random.default_rng(0)
    rows = [space.decode(x) for x in space.spread(rng.random((20, 6)), np.zeros(space.width))]
    chance = min(wrong(row) for row in rows)
    results = [wrong(row) for row in rows]
    engine = Engine(space, seed=0, surrogate="extra_trees")
    for index in range(20, 70):
        values = engine.propose(index=index, evaluated=rows, results=np.array(results)).values
        assert values not in rows
        rows.append(values)
        results.append(wrong(values))
    assert min(results) <= 1 < chance
