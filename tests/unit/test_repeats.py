"""Repeats: numbering, summaries, and which sets get more of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.repeats import Contenders, Repeats, outstanding, summarise


def test_numbers_go_through_a_set_before_the_next():
    repeats = Repeats(1, 3)
    assert [(repeats.set_of(i), repeats.repeat_of(i)) for i in range(6)] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
    ]
    assert list(repeats.evaluations(2)) == [6, 7, 8]
    assert repeats.required(2).tolist() == [True, False, False] * 2


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9), st.randoms())
def test_a_summary_is_that_of_numpy_whatever_the_order(values, random):
    results = list(enumerate(values))
    ordered = summarise(dict(results))
    random.shuffle(results)
    assert summarise(dict(results)) == ordered
    assert ordered.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert ordered.variance == pytest.approx(np.var(values, ddof=1), abs=1e-3)
    assert ordered.standard_error == pytest.approx(
        math.sqrt(np.var(values, ddof=1) / len(values)), abs=1e-2
    )


def test_failed_repeats_do_not_count():
    found = summarise({0: 1.0, 1: math.nan, 2: 3.0})
    assert (found.mean, found.succeeded) == (2.0, 2)
    alone = summarise({0: 5.0, 1: math.nan})
    assert (alone.mean, alone.succeeded) == (5.0, 1)
    assert math.isnan(alone.variance)
    assert math.isnan(alone.standard_error)
    none = summarise({0: math.nan})
    assert math.isnan(none.mean)
    assert none.succeeded == 0
    assert math.isnan(none.standard_error)


def test_huge_results_do_not_overflow_the_mean():
    found = summarise({0: 1.5e308, 1: 1.7e308})
    assert found.mean == pytest.approx(1.6e308)
    assert math.isnan(found.variance)  # unknown rather than infinite


def test_the_first_best_set_is_evaluated_again():
    contenders = Contenders(3, Repeats(1, 3))
    contenders.add(0, 5.0)
    assert contenders.extras() == [1]
    contenders.add(3, 7.0)
    assert contenders.extras() == []  # nothing is known of the noise: only the best contends


def test_sets_within_the_noise_contend_and_others_do_not():
    contenders = Contenders(3, Repeats(2, 5))
    for index, result in ((0, 0.0), (1, 2.0), (5, 2.5), (6, 1.5), (10, 90.0), (11, 91.0)):
        contenders.add(index, result)
    # Pooled variance of one evaluation (2 + 0.5 + 0.5) / 3 = 1, so standard errors of 0.71: the
    # means 1 and 2 differ by less than two of them.
    assert contenders.extras() == [2, 7]
    assert contenders.extras() == []
    contenders.add(2, 1.0)
    assert contenders.extras() == [3]  # set 1 waits for its third repeat
    contenders.add(7, 8.0)
    assert contenders.extras() == []  # its mean of 4 is out of reach now


def test_the_highest_contends_if_results_are_maximised():
    contenders = Contenders(2, Repeats(1, 2), maximize=True)
    contenders.add(0, 1.0)
    assert contenders.extras() == [1]
    contenders.add(2, 3.0)
    assert contenders.extras() == [3]


def test_failures_do_not_contend_and_count_as_evaluated():
    contenders = Contenders(2, Repeats(1, 3))
    contenders.add(0, math.nan)
    assert contenders.extras() == []
    contenders.add(3, 1.0)
    assert contenders.extras() == [4]
    contenders.add(4, math.nan)
    assert contenders.extras() == [5]
    contenders.add(5, math.nan)
    assert contenders.extras() == []


def test_what_is_outstanding_follows_from_the_finished():
    repeats = Repeats(1, 3)
    finished, results = np.zeros(9, bool), np.full(9, np.nan)
    assert outstanding(repeats, finished, results).tolist() == [0, 3, 6]
    finished[[0, 3, 6]], results[[0, 3, 6]] = True, (2.0, 1.0, 5.0)
    assert outstanding(repeats, finished, results).tolist() == [4]
    # A repeat before a finished one is missing, as after a row that was damaged.
    finished[5], results[5] = True, 1.2
    assert outstanding(repeats, finished, results).tolist() == [4]
    assert outstanding(Repeats(3, 3), finished, results).tolist() == [1, 2, 4, 7, 8]


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 2**32))
def test_what_is_outstanding_does_not_depend_on_when_one_looks(least, more, seed):
    """Evaluating what is outstanding, whatever the order, ends with every set within its limits."""
    repeats = Repeats(least, least + more)
    rng = np.random.default_rng(seed)
    sets = 5
    finished, results = np.zeros(sets * repeats.most, bool), np.full(sets * repeats.most, np.nan)
    contenders = Contenders(sets, repeats)
    todo = set(outstanding(repeats, finished, results).tolist())
    while todo:
        index = int(rng.choice(sorted(todo)))
        todo.discard(index)
        finished[index], results[index] = True, rng.normal(index // repeats.most, 2.0)
        contenders.add(index, float(results[index]))
        todo.update(contenders.extras())
    assert outstanding(repeats, finished, results).tolist() == []
    counts = finished.reshape(sets, -1).sum(axis=1)
    assert counts.min() >= least
    assert counts.max() <= repeats.most
    best = int(np.nanargmin(np.nanmean(results.reshape(sets, -1), axis=1)))
    assert counts[best] == repeats.most  # nothing can beat it, and it has been looked at well
