import doctest
import math

import numpy as np
import pytest

from phs_mpi.encoding import Dimension, Space
from phs_mpi.errors import DefinitionError
from phs_mpi.log import Source
from phs_mpi.search import Proposer, proposer

SPACE = Space([Dimension("x", low=-5, high=5), Dimension("y", low=-5, high=5)])


def bowl(x, y):
    return (x - 1) ** 2 + (y + 2) ** 2


def test_the_example_of_the_docstring():
    assert doctest.testmod(proposer).attempted > 0
    assert doctest.testmod(proposer).failed == 0


@pytest.mark.parametrize("maximize", [False, True])
def test_telling_and_asking_finds_the_optimum(maximize):
    search = Proposer(SPACE, seed=1, maximize=maximize)
    assert search.best is None
    for _ in range(25):
        values = search.ask().values
        search.tell(values, -bowl(**values) if maximize else bowl(**values))
    values, result = search.best
    assert abs(result) < 1e-3
    assert values == pytest.approx({"x": 1, "y": -2}, abs=0.05)


def test_points_asked_for_are_pending_until_told():
    search = Proposer([Dimension("n", low=1, high=6, integer=True)], seed=1)
    asked = [search.ask().values for _ in range(6)]
    assert sorted(v["n"] for v in asked) == [1, 2, 3, 4, 5, 6]
    search.tell(asked[0], 1.0)
    again = Proposer([Dimension("n", low=1, high=6, integer=True)], seed=1)
    first = again.ask().values
    again.tell(first, 2.0)
    again.tell({"n": first["n"] % 6 + 1}, 1.0)
    assert again.ask(pending=[]).source is Source.BAYESIAN


def test_same_seed_same_points():
    def run():
        search = Proposer(SPACE, seed=4)
        for _ in range(12):
            values = search.ask().values
            search.tell(values, bowl(**values))
        return search.ask()

    assert repr(run()) == repr(run())


def test_failures_and_given_values():
    search = Proposer([Dimension("x"), Dimension("t", free=False)], seed=0)
    with pytest.raises(DefinitionError, match="may not choose"):
        search.ask()
    for k, result in enumerate([None, math.nan, 2.0, 1.0, 3.0]):
        values = search.ask(given={"t": k}).values
        search.tell({**values, "t": k}, result)
    assert search.best[1] == 1.0
    assert search.best[0]["t"] == 3
    assert search.ask(given={"t": 9}).source is Source.BAYESIAN


def test_several_results_of_a_point_are_one_uncertain_result():
    noise = np.random.default_rng(2)
    search = Proposer(SPACE, seed=1)
    for _ in range(25):
        values = search.ask().values
        search.tell(values, [bowl(**values) + noise.normal(0, 2) for _ in range(4)])
    values, _ = search.best
    assert bowl(**values) < 3
    search.tell({"x": 1.0, "y": -2.0}, [-100.0, -102.0, None])
    assert search.best == ({"x": 1.0, "y": -2.0}, -101.0)
    search.tell({"x": 1.5, "y": -2.0}, [])  # nothing came back: failed
    assert search.ask().source is Source.BAYESIAN
