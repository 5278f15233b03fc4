"""Whatever results come back: no exception, no warning, and no proposal out of bounds.

Every acquisition function with every surrogate, told and asked as a library and in the run of an
experiment.
"""

import itertools
import math
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_methods import check
from test_proposal import AWKWARD, awkward_spaces, drawn

from phs_mpi import Bayesian, Experiment, Random, read, run
from phs_mpi.encoding import Dimension, Space
from phs_mpi.search import Proposer
from phs_mpi.search.proposal import SpaceExhausted
from phs_mpi.strategies.bayesian import ACQUISITIONS, SURROGATES

GAUSSIAN = [("gp", acquisition) for acquisition in ACQUISITIONS]
FORESTS = list(itertools.product(SURROGATES[1:], ACQUISITIONS))
every_method = pytest.mark.parametrize(("surrogate", "acquisition"), [*GAUSSIAN, *FORESTS])

#: Numbers of any size and either sign, all decades equally likely.
DECADES = st.builds(
    lambda sign, power: sign * 10.0**power,
    st.sampled_from([-1.0, 1.0]),
    st.floats(-300, 300),
)
RESULTS = st.one_of(
    st.builds(lambda result, n: [result] * n, AWKWARD, st.integers(2, 30)),  # constant
    st.lists(DECADES, min_size=2, max_size=2),
    st.lists(DECADES, min_size=3, max_size=30),
    st.lists(st.one_of(st.just(math.nan), DECADES), min_size=2, max_size=30),
    st.lists(AWKWARD, max_size=30),
)
#: Number of different sets among those evaluated; the others are duplicates.
DIFFERENT = st.sampled_from([1, 2, 3, 1000])


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Those of files left open come when the garbage collector does, whoever opened them.
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def tell_and_ask(method, space, results, different, pending, maximize):
    """Three proposals, of which the last knows the result of the one before."""
    given_values = {d.name: 0.5 for d in space.dimensions if not d.free}
    surrogate, acquisition = method
    search = Proposer(
        space, seed=3, maximize=maximize, surrogate=surrogate, acquisition=acquisition
    )
    rows = drawn(space, min(max(len(results), 1), different))
    for k, result in enumerate(results):
        search.tell(rows[k % len(rows)], result)
    waiting = drawn(space, pending, seed=1)
    first = search.ask(waiting, given=given_values)
    second = search.ask([*waiting, {**given_values, **first.values}], given=given_values)
    search.tell({**given_values, **second.values}, results[0] if results else math.nan)
    for suggestion in (first, second, search.ask(given=given_values)):
        check(space, suggestion)


@settings(max_examples=60)
@given(st.sampled_from(GAUSSIAN), awkward_spaces(), RESULTS, DIFFERENT, st.integers(0, 8),
       st.booleans())  # fmt: skip
def test_a_gaussian_process_told_anything(method, space, results, different, pending, maximize):
    tell_and_ask(method, space, results, different, pending, maximize)


@settings(max_examples=5)
@given(st.sampled_from(FORESTS), awkward_spaces(), RESULTS, DIFFERENT, st.integers(0, 8),
       st.booleans())  # fmt: skip
def test_a_forest_told_anything(method, space, results, different, pending, maximize):
    tell_and_ask(method, space, results, different, pending, maximize)


@every_method
def test_fifty_dimensions_with_duplicates_failures_and_pending_sets(surrogate, acquisition):
    space = Space([Dimension(f"x{k}") for k in range(50)])
    rows = drawn(space, 20) + drawn(space, 5)
    results = [sum(v * v for v in r.values()) for r in rows]
    results[3:6] = [math.nan, 1e300, -1e300]
    search = Proposer(space, seed=0, surrogate=surrogate, acquisition=acquisition)
    for row, result in zip(rows, results, strict=True):
        search.tell(row, result)
    asked = [search.ask() for _ in range(2)]
    for suggestion in asked:
        check(space, suggestion)
    assert asked[0].values != asked[1].values


@st.composite
def small_spaces(draw):
    makers = [
        lambda name: Dimension(name, low=0, high=2, integer=True),
        lambda name: Dimension(name, low=0.38, high=0.44, digits=1),  # one value, 0.4
        lambda name: Dimension(name, low=2.0, high=2.0),
        lambda name: Dimension(name, low=0.01, high=0.03, digits=2, log=True),
        lambda name: Dimension(name, "categorical", categories=("only",)),
        lambda name: Dimension(name, "categorical", categories=(True, False)),
        lambda name: Dimension(name, "categorical", categories=("a", "b", "c")),
    ]
    chosen = draw(st.lists(st.sampled_from(makers), min_size=1, max_size=3))
    return Space([make(f"x{k}") for k, make in enumerate(chosen)])


def exhaust(method, space, results, width):
    """Ask with up to `width` points pending until nothing is left."""
    surrogate, acquisition = method
    search = Proposer(space, seed=1, surrogate=surrogate, acquisition=acquisition)
    found, waiting = [], []
    for k in range(space.size):
        suggestion = search.ask()
        check(space, suggestion)
        assert suggestion.values not in found
        found.append(suggestion.values)
        waiting.append(suggestion.values)
        if len(waiting) > width:
            search.tell(waiting.pop(0), results[k % len(results)] if results else math.nan)
    for _ in range(2):
        with pytest.raises(SpaceExhausted, match=f"all {space.size} combinations"):
            search.ask()


@settings(max_examples=20)
@given(st.sampled_from(GAUSSIAN), small_spaces(), RESULTS, st.integers(0, 3))
def test_a_gaussian_process_proposes_every_point_of_a_small_space_once(
    method, space, results, width
):
    exhaust(method, space, results, width)


@settings(max_examples=3)
@given(st.sampled_from(FORESTS), small_spaces(), RESULTS, st.integers(0, 3))
def test_a_forest_proposes_every_point_of_a_small_space_once(method, space, results, width):
    exhaust(method, space, results, width)


#: What is proposed in the run of an experiment; ``c`` has one category and ``d`` one value, 0.4.
SEARCHED = [
    {"x": Bayesian(-5, 5), "n": Bayesian(1, 4)},
    {"x": Bayesian(1e-300, 1e300, log=True), "c": Bayesian()},
    {"x": Bayesian(-1e308, 1e308), "d": Bayesian(0.38, 0.44, digits=1)},
]


def evaluated(method, strategies, others, results):
    """The table of a run of three drawn and seven Bayesian sets that returns these in turn."""
    calls = itertools.count()

    def target(x, n, c, d):
        return results[next(calls) % len(results)]

    experiment = Experiment(
        target,
        {"x": float, "n": int, "c": ["only"], "d": float},
        surrogate=method[0],
        acquisition=method[1],
        capture=False,
    )
    experiment.add(3, x=Random(-5, 5), n=Random(1, 4), c="only", d=0.4)
    experiment.add(7, **others, **strategies)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "found.h5")
        run(experiment, backend="serial", output=file, quiet=True)
        return read(file)


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(st.sampled_from([*GAUSSIAN, *GAUSSIAN, FORESTS[0], FORESTS[-1]]),
       st.sampled_from(SEARCHED), RESULTS.filter(bool))  # fmt: skip
def test_a_run_of_an_experiment_that_returns_anything(method, strategies, results):
    others = {"x": Random(-5, 5), "n": 2, "c": "only", "d": 0.4}
    others = {name: value for name, value in others.items() if name not in strategies}
    found = evaluated(method, strategies, others, results)
    assert len(found) == 10
    for name, strategy in strategies.items():
        for value in found[name][3:]:
            assert value == "only" if name == "c" else strategy.low <= value <= strategy.high
    unusable = sum(not math.isfinite(results[k % len(results)]) for k in range(10))
    assert found["error"].notna().sum() == unusable


@every_method
def test_an_experiment_whose_discrete_space_is_exhausted_says_so_and_goes_no_further(
    surrogate, acquisition
):
    strategies = {"n": Bayesian(1, 4), "c": Bayesian(), "d": Bayesian(0.38, 0.44, digits=1)}
    found = evaluated((surrogate, acquisition), strategies, {"x": 7.0}, [1e300, -1e-300, 2.0])
    assert sorted(found["n"][3:7]) == [1, 2, 3, 4]
    assert found["error"][:7].isna().all()
    says = "not evaluated: all 4 combinations of the values that the search may choose"
    assert found["error"][7:].str.startswith(says).all()
