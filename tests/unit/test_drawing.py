"""Drawn sets: distinct, reproducible, and independent of what follows them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phs_mpi import drawing
from phs_mpi.errors import DefinitionError
from phs_mpi.experiment import Experiment
from phs_mpi.strategies import Bayesian, Choice, Grid, Random


def table(*groups, parameters=None, **options):
    parameters = parameters or {"x": float, "y": int}
    experiment = Experiment(lambda **values: 0, parameters, **options)
    for count, strategies in groups:
        experiment.add(count, **strategies)
    return experiment.table()


def rows(drawn):
    return [tuple(drawn.unpack(row).values()) for row in drawn.values]


DRAWN = {"x": Random(0, 1, digits=1), "y": Choice([1, 2, 3])}  # 33 different sets


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**70), st.integers(1, 32), st.integers(1, 33))
def test_growing_the_last_group_keeps_earlier_rows(seed, count, more):
    fewer = table((count, DRAWN), seed=seed)
    grown = table((max(count, more), DRAWN), seed=seed)
    assert rows(grown)[:count] == rows(fewer)


def test_growth_across_blocks():
    strategies = {"x": Random(0, 1, digits=2), "y": Random(0, 99)}  # 10,100 different sets
    long = table((10_100, strategies))
    for count in (1, drawing.BLOCK, drawing.BLOCK + 1, 9_000):
        assert (table((count, strategies)).values == long.values[:count]).all()
    assert len(set(rows(long))) == 10_100


def test_an_appended_group_changes_nothing():
    first = table((20, DRAWN))
    second = table((20, DRAWN), (13, DRAWN))
    assert rows(second)[:20] == rows(first)
    assert len(set(rows(second))) == 33


def test_the_seed_decides():
    continuous = {"x": Random(0, 1), "y": Random(0, 10**9)}
    assert rows(table((50, continuous), seed=3)) == rows(table((50, continuous), seed=3))
    assert not set(rows(table((50, continuous), seed=3))) & set(
        rows(table((50, continuous), seed=4))
    )


def test_groups_draw_different_numbers():
    both = table((50, {"x": Random(0, 1), "y": 1}), (50, {"x": Random(0, 1), "y": 1}))
    assert len(set(rows(both))) == 100


def test_parameters_are_independent():
    both = table((2000, {"x": Random(0, 1), "y": Random(0, 10**6)})).values
    assert abs(np.corrcoef(both["x"], both["y"])[0, 1]) < 0.06


def test_all_possibilities_are_found():
    assert len(set(rows(table((33, DRAWN))))) == 33


def test_unlikely_possibilities_are_found():
    rare = {"x": Choice([1, 2, 3], weights=[1, 1e-12, 1e-12]), "y": Choice([1, 2])}
    assert len(set(rows(table((6, rare))))) == 6


@pytest.mark.parametrize("seed", range(5))
def test_an_exhausted_space_says_how_many_sets_are_possible(seed):
    with pytest.raises(DefinitionError) as caught:
        table((1, {"x": 0, "y": 0}), (34, DRAWN), seed=seed)
    message = str(caught.value)
    assert "add() number 2 asks for 34 parameter sets, but only 33 of them can differ" in message
    assert "duplicates=True" in message


def test_explicit_sets_count_as_earlier_sets():
    explicit = [(1, {"x": 0.1 * k, "y": 1}) for k in (0, 1, 2)]
    found = rows(table(*explicit, (2, {"x": Choice([0.0, 0.1, 0.2]), "y": Choice([1, 2])})))
    assert len(set(found)) == 5
    with pytest.raises(DefinitionError, match="number 4 asks for 4 parameter sets, but only 3"):
        table(*explicit, (4, {"x": Choice([0.0, 0.1, 0.2]), "y": Choice([1, 2])}))


def test_grids_and_choices_together():
    mixed = {"x": Grid([0, 1]), "y": Choice([1, 2, 3])}
    found = rows(table((6, mixed)))
    assert [row[0] for row in found] == [0, 1] * 3
    assert len(set(found)) == 6
    with pytest.raises(DefinitionError, match="only 6"):
        table((8, mixed))


def test_a_continuum_that_rounding_exhausts():
    tiny = {"x": Random(0, 6e-8), "y": 1}
    with pytest.raises(DefinitionError, match="100 draws found none that differs"):
        table((50, tiny), parameters={"x": "float16", "y": int})


def test_duplicates_where_asked_for():
    assert len(rows(table((100, DRAWN), duplicates=True))) == 100
    explicit = {"x": 0, "y": 1}
    assert rows(table((3, explicit))) == [(0.0, 1)] * 3


def test_bayesian_sets_may_repeat_their_drawn_values():
    found = table((5, {"x": Bayesian(0, 1), "y": Choice([1])}))
    assert found.values["y"].tolist() == [1] * 5
    assert found.values["x"].tolist() == [0.0] * 5


def test_padding_of_long_doubles_does_not_matter():
    strategies = {"x": Choice([0.1, 0.2]), "y": Choice([1, 2])}
    found = table((4, strategies), parameters={"x": "longdouble", "y": int})
    assert len(set(rows(found))) == 4
    with pytest.raises(DefinitionError, match="only 4"):
        table((5, strategies), parameters={"x": "longdouble", "y": int})


def test_the_last_declared_grid_varies_fastest():
    found = rows(table((None, {"x": Grid([1, 2]), "y": Grid([5, 6, 7])})))
    assert found == [(1, 5), (1, 6), (1, 7), (2, 5), (2, 6), (2, 7)]
    again = rows(table((12, {"y": Grid([5, 6, 7]), "x": Grid([1, 2])})))
    assert again == found * 2


def test_many_drawn_sets_take_little_time():
    found = table((100_000, {"x": Random(0, 1), "y": Random(0, 10**6)}))
    assert len(np.unique(found.values)) == 100_000
