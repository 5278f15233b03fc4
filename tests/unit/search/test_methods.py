"""Every acquisition function with every surrogate: bad data, determinism, what is imported."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_proposal import AWKWARD, MIXED, SQUARE, awkward_spaces, drawn, exact, state

from phs_mpi.encoding import Dimension, Space
from phs_mpi.errors import DefinitionError
from phs_mpi.log import Source
from phs_mpi.search import Engine, Proposer, propose
from phs_mpi.strategies.bayesian import ACQUISITIONS, SURROGATES

# logei with gp is what the other tests are about.
METHODS = list(itertools.product(SURROGATES, ACQUISITIONS))[1:]
every_method = pytest.mark.parametrize(("surrogate", "acquisition"), METHODS)


def check(space, suggestion):
    for d in space.free_dimensions:
        value = suggestion.values[d.name]
        assert value in d.categories if d.categories else d.low <= value <= d.high
    if suggestion.source is Source.BAYESIAN:
        assert np.isfinite([suggestion.mean, suggestion.std, suggestion.acquisition]).all()


@settings(max_examples=50)
@given(st.sampled_from(METHODS[:4]), awkward_spaces(), st.lists(AWKWARD, max_size=14),
       st.integers(0, 3), st.booleans(), st.booleans())  # fmt: skip
def test_whatever_came_back_a_gaussian_process_stays_within_bounds(
    method, space, results, q, maximize, doubled
):
    whatever_came_back(method, space, results, q, maximize, doubled)


@settings(max_examples=20)
@given(st.sampled_from(METHODS[4:]), awkward_spaces(), st.lists(AWKWARD, max_size=14),
       st.integers(0, 3), st.booleans(), st.booleans())  # fmt: skip
def test_whatever_came_back_a_forest_stays_within_bounds(
    method, space, results, q, maximize, doubled
):
    whatever_came_back(method, space, results, q, maximize, doubled)


def whatever_came_back(method, space, results, q, maximize, doubled):
    rows = drawn(space, len(results) + q)
    if doubled:
        rows = rows[:1] * len(rows)
    n = len(results)
    suggestion = propose(
        space,
        seed=0,
        index=n,
        evaluated=rows[:n],
        results=np.array(results, dtype=float),
        pending=rows[n:],
        given={d.name: 0.5 for d in space.dimensions if not d.free},
        maximize=maximize,
        surrogate=method[0],
        acquisition=method[1],
    )
    check(space, suggestion)


@every_method
@pytest.mark.parametrize(
    "results",
    [
        [1.0, 2.0],
        [3.0] * 6,
        [math.nan, 2.0, math.nan, 1.0],
        [1e-300, 1e300, -1e300, 0.0, 1e-300, 1e308],
    ],
    ids=["two", "constant", "failures", "huge"],
)
def test_bad_data(surrogate, acquisition, results):
    for space in (MIXED, Space([Dimension("x", "categorical", categories=("only",)),
                                Dimension("y", low=-1e308, high=1e308)])):  # fmt: skip
        suggestion = propose(
            space,
            seed=1,
            index=9,
            evaluated=drawn(space, len(results)),
            results=np.array(results),
            given={"t": 1e300},
            surrogate=surrogate,
            acquisition=acquisition,
        )
        check(space, suggestion)


@every_method
def test_fifty_dimensions(surrogate, acquisition):
    space = Space([Dimension(f"x{k}") for k in range(50)])
    rows = drawn(space, 20)
    y = np.array([sum(v * v for v in r.values()) for r in rows])
    suggestion = propose(
        space,
        seed=0,
        index=20,
        evaluated=rows,
        results=y,
        surrogate=surrogate,
        acquisition=acquisition,
    )
    check(space, suggestion)


@every_method
def test_remembering_engine_and_fresh_one_agree_bit_for_bit(surrogate, acquisition):
    methods = {"surrogate": surrogate, "acquisition": acquisition}
    engine = Engine(MIXED, seed=9, **methods)
    for n, q in [(12, 0), (20, 2), (12, 1)]:
        question = state(n, pending=q)
        remembered = engine.propose(index=n, **question)
        assert exact(remembered) == exact(propose(MIXED, seed=9, index=n, **question, **methods))


@pytest.mark.parametrize(("surrogate", "acquisition"), [("gp", "ts"), ("extra_trees", "ts")])
def test_other_processes_give_the_same_bits(surrogate, acquisition, monkeypatch):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:2]\n"
        "from test_proposal import MIXED, state, exact\n"
        "from phs_mpi.search.proposal import propose\n"
        "print(exact(propose(MIXED, seed=5, index=28, surrogate=sys.argv[2],\n"
        "                    acquisition=sys.argv[3], **state(60))))"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    folder = __file__.rsplit("/", 1)[0]
    run = subprocess.run(
        [sys.executable, "-c", program, folder, surrogate, acquisition],
        capture_output=True,
        text=True,
        check=True,
    )
    here = propose(
        MIXED, seed=5, index=28, surrogate=surrogate, acquisition=acquisition, **state(60)
    )
    assert run.stdout.strip() == exact(here)


@every_method
def test_simultaneous_askers_get_different_points(surrogate, acquisition):
    question = state(20, pending=1)
    pending = question.pop("pending")
    engine = Engine(MIXED, seed=5, surrogate=surrogate, acquisition=acquisition)
    values = []
    for index in range(21, 24):
        values.append(engine.propose(index=index, pending=pending, **question).values)
        pending = [*pending, {**values[-1], **question["given"]}]
    assert len({repr(v) for v in values}) == 3


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_each_acquisition_function_finds_a_minimum(acquisition):
    search = Proposer(SQUARE, seed=0, acquisition=acquisition)
    for _ in range(30):
        values = search.ask().values
        search.tell(values, (values["x"] - 1) ** 2 + (values["y"] + 2) ** 2)
    assert search.best[1] < 0.05


@pytest.mark.parametrize("surrogate", SURROGATES[1:])
def test_each_forest_finds_better_points_than_chance(surrogate):
    search = Proposer(SQUARE, seed=1, surrogate=surrogate)
    for _ in range(40):
        values = search.ask().values
        search.tell(values, (values["x"] - 1) ** 2 + (values["y"] + 2) ** 2)
    assert search.best[1] < 0.3  # a point in a circle of a 106th of the area


@pytest.mark.parametrize("make", [Engine, Proposer])
def test_unknown_methods_are_named(make):
    with pytest.raises(DefinitionError, match=r"acquisition='best' is unknown; .* 'logei', 'ei'"):
        make(SQUARE, seed=0, acquisition="best")
    with pytest.raises(DefinitionError, match=r"surrogate=None is unknown; .*'gp', 'ran") as e:
        make(SQUARE, seed=0, surrogate=None)
    assert e.value.value is None


def test_only_forests_need_scikit_learn():
    program = (
        "import sys, numpy as np\n"
        "from phs_mpi.encoding import Dimension, Space\n"
        "from phs_mpi.search import propose\n"
        "for surrogate in ('gp', 'extra_trees'):\n"
        "    propose(Space([Dimension('x')]), seed=0, index=0, surrogate=surrogate,\n"
        "            evaluated=[{'x': 0.1}, {'x': 0.5}], results=np.ones(2))\n"
        "    print('sklearn' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "True"]
