"""No proposal repeats what is known, and the search goes on once an optimum is found."""

import math

import numpy as np
import pytest

from phs_mpi.encoding import Dimension, Space
from phs_mpi.search.proposal import Engine

LINE = Space([Dimension("x", low=-10, high=10)])
UNIT = Space([Dimension("x")])
CUBE = Space([Dimension("x"), Dimension("y"), Dimension("z")])
MIXED = Space(
    [Dimension("x", low=-5, high=5), Dimension("c", "categorical", categories=("a", "b", "c"))]
)


def peak(x):
    return -((x - 2) ** 2)


def run(space, target, *, workers, sets=16, first=6, maximize=False, seed=0):
    """Points in the order they were proposed, encoded, and all results.

    Of the sets being evaluated a random one ends when another is to start.
    """
    rng = np.random.default_rng(seed)
    U = rng.random((first, len(space.free_dimensions)))
    rows = [space.decode(x) for x in space.spread(U, np.zeros(space.width))]
    proposed = list(rows)
    results = [target(**row) for row in rows]
    pending = []
    engine = Engine(space, seed=seed, maximize=maximize)
    for index in range(first, first + sets):
        if len(pending) == workers:
            rows.append(pending.pop(int(rng.integers(workers))))
            results.append(target(**rows[-1]))
        suggestion = engine.propose(
            index=index, evaluated=rows, results=np.array(results), pending=pending
        )
        pending.append(suggestion.values)
        proposed.append(suggestion.values)
    return space.encode(proposed), [target(**row) for row in proposed]


def nearest(X, last):
    """Distance, in widths of the bounds, of each of the `last` points to all before it."""
    return [np.abs(X[:k] - X[k]).max(axis=1).min() for k in range(len(X) - last, len(X))]


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("seed", range(3))
def test_a_peak_is_reached_and_then_left(workers, seed):
    X, results = run(LINE, peak, workers=workers, maximize=True, seed=seed)
    assert max(results) > -1e-3
    assert min(nearest(X, last=10)) > 1e-6


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize(
    ("space", "target", "lowest"),
    [
        (UNIT, lambda x: x, 0.0),
        (UNIT, lambda x: -x, -1.0),
        (CUBE, lambda x, y, z: x + y + z, 0.0),
        (MIXED, lambda x, c: (x - 1) ** 2 + "bac".index(c), 0.0),
        (MIXED, lambda x, c: x + "bac".index(c), -5.0),
    ],
    ids=["lower bound", "upper bound", "corner", "mixed", "mixed on a bound"],
)
def test_an_optimum_on_a_bound_is_not_proposed_again_and_again(space, target, lowest, workers):
    X, results = run(space, target, workers=workers, sets=24)
    assert min(results) < lowest + 1e-3
    away = nearest(X, last=24)
    assert min(away) > 1e-6
    # Most of what follows goes somewhere else, not a hair's breadth away.
    assert np.mean(np.array(away) > 1e-3) > 0.6


def test_points_that_failed_are_not_proposed_again_either():
    def edge(x):
        return x if x > 0.3 else math.nan

    X, results = run(UNIT, edge, workers=1, sets=24)
    assert np.nanmin(results) < 0.301
    assert min(nearest(X, last=24)) > 1e-6


def test_another_basin_is_found_once_the_first_is_known():
    def basins(x):
        # A broad one at 0.2 and a narrow, deeper one at 0.83, beside which nothing was seen.
        return (x - 0.2) ** 2 - 0.6 * math.exp(-(((x - 0.83) / 0.03) ** 2))

    rows = [{"x": x} for x in (0.05, 0.2, 0.4, 0.6, 0.75, 0.95)]
    results = [basins(**row) for row in rows]
    engine = Engine(UNIT, seed=1)
    for index in range(6, 40):
        values = engine.propose(index=index, evaluated=rows, results=np.array(results)).values
        rows.append(values)
        results.append(basins(**values))
    assert min(results) < -0.1
