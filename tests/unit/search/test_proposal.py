import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phs_mpi.encoding import Dimension, Space
from phs_mpi.errors import DefinitionError
from phs_mpi.log import Source
from phs_mpi.search.proposal import Engine, SpaceExhausted, propose

SQUARE = Space([Dimension("x", low=-5, high=5), Dimension("y", low=-5, high=5)])
MIXED = Space(
    [
        Dimension("x", low=-5, high=5),
        Dimension("n", low=1, high=40, integer=True),
        Dimension("c", "categorical", categories=("a", "b", "c")),
        Dimension("d", low=0, high=1, digits=2),
        Dimension("t", low=0, high=2, free=False),
    ]
)


def griewank(x, y):
    return (x * x + y * y) / 4000 - math.cos(x) * math.cos(y / math.sqrt(2)) + 1


def drawn(space, n, seed=0):
    """Rows with values of all dimensions."""
    rng = np.random.default_rng(seed)
    rows = []
    for x in space.spread(rng.random((n, len(space.free_dimensions))), np.zeros(space.width)):
        row = space.decode(x)
        rows.append({d.name: row.get(d.name, rng.uniform(0, 2)) for d in space.dimensions})
    return rows


def mixed_result(row):
    return row["x"] ** 2 + row["n"] / 7 + (row["c"] == "b") - row["d"] * row["t"]


def state(n=25, pending=3):
    rows = drawn(MIXED, n + pending)
    results = np.array([mixed_result(r) for r in rows[:n]])
    results[5] = math.nan
    return {
        "evaluated": rows[:n],
        "results": results,
        "pending": rows[n:],
        "given": {"t": 1.5},
    }


def exact(suggestion):
    # repr tells NaN from NaN no further than bits do, and float from int.
    return repr(suggestion)


def test_without_results_points_are_a_sobol_sequence_within_bounds():
    suggestions = [
        propose(SQUARE, seed=3, index=k, evaluated=[], results=np.empty(0)) for k in range(16)
    ]
    assert {s.source for s in suggestions} == {Source.SOBOL}
    assert math.isnan(suggestions[0].mean)
    cells = {
        (int((s.values["x"] + 5) // 2.5), int((s.values["y"] + 5) // 2.5)) for s in suggestions
    }
    assert len(cells) == 16  # one point in each cell of a 4 by 4 grid
    assert exact(suggestions[5]) == exact(
        propose(SQUARE, seed=3, index=5, evaluated=[], results=np.empty(0))
    )


@pytest.mark.parametrize("results", [[1.0], [math.nan] * 6, [math.nan, 2.0, math.inf]])
def test_too_few_successes_are_no_basis_for_a_surrogate(results):
    rows = drawn(SQUARE, len(results))
    suggestion = propose(SQUARE, seed=0, index=9, evaluated=rows, results=np.array(results))
    assert suggestion.source is Source.SOBOL


def test_bayesian_proposals_beat_random_points_on_griewank():
    found, chance = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        points = rng.uniform(-5, 5, (60, 2)).tolist()
        chance.append(min(griewank(*p) for p in points))
        rows = [{"x": x, "y": y} for x, y in points[:20]]
        results = [griewank(**r) for r in rows]
        engine = Engine(SQUARE, seed=seed)
        for index in range(20, 60):
            suggestion = engine.propose(index=index, evaluated=rows, results=np.array(results))
            assert suggestion.source is Source.BAYESIAN
            rows.append(suggestion.values)
            results.append(griewank(**suggestion.values))
        found.append(min(results))
    assert np.median(found) < 1e-3 * np.median(chance)
    assert max(found) < np.median(chance)


def test_maximising_is_minimising_the_negative():
    rows = drawn(SQUARE, 20)
    y = np.array([griewank(**r) for r in rows])
    low = propose(SQUARE, seed=1, index=20, evaluated=rows, results=y)
    high = propose(SQUARE, seed=1, index=20, evaluated=rows, results=-y, maximize=True)
    assert low.values == high.values
    assert low.mean == pytest.approx(-high.mean)
    assert low.std == pytest.approx(high.std)


def test_predictions_are_in_units_of_the_result():
    rows = drawn(SQUARE, 40)
    y = np.array([1000 + 50 * griewank(**r) for r in rows])
    suggestion = propose(SQUARE, seed=1, index=40, evaluated=rows, results=y)
    truth = 1000 + 50 * griewank(**suggestion.values)
    assert suggestion.std > 0
    assert abs(suggestion.mean - truth) < 4 * suggestion.std + 1


def test_remembering_engine_and_fresh_one_agree_bit_for_bit():
    rows = drawn(MIXED, 50, seed=4)
    results = np.array([mixed_result(r) for r in rows])
    results[[3, 17, 18]] = math.nan
    engine = Engine(MIXED, seed=9)
    # Forward, with gaps, back again, and with other pending sets in between.
    for n, q in [(4, 0), (5, 2), (9, 0), (30, 3), (31, 0), (44, 1), (12, 2), (44, 0), (45, 4)]:
        question = {
            "evaluated": rows[:n],
            "results": results[:n],
            "pending": rows[n : n + q],
            "given": {"t": 0.25 * q},
        }
        remembered = engine.propose(index=n, **question)
        assert exact(remembered) == exact(propose(MIXED, seed=9, index=n, **question))


def test_another_log_of_the_same_length_is_noticed():
    rows, others = drawn(SQUARE, 12, seed=1), drawn(SQUARE, 12, seed=2)
    y = np.array([griewank(**r) for r in rows])
    engine = Engine(SQUARE, seed=0)
    engine.propose(index=12, evaluated=rows, results=y)
    for evaluated, results in ((others, y), (others, -y)):
        question = {"index": 12, "evaluated": evaluated, "results": results}
        assert exact(engine.propose(**question)) == exact(propose(SQUARE, seed=0, **question))


@pytest.mark.parametrize("threads", ["1", "2"])
def test_other_processes_and_numbers_of_threads_give_the_same_bits(threads, monkeypatch):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_proposal import MIXED, state, exact\n"
        "from phs_mpi.search.proposal import propose\n"
        "print(exact(propose(MIXED, seed=5, index=28, **state(120))))"
    )
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, threads)
    folder = __file__.rsplit("/", 1)[0]
    run = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == exact(propose(MIXED, seed=5, index=28, **state(120)))


def test_simultaneous_askers_get_different_points():
    question = state(30, pending=2)
    suggestions = [propose(MIXED, seed=5, index=k, **question) for k in range(32, 37)]
    assert len({repr(s.values) for s in suggestions}) == 5


def test_pending_points_are_kept_away_from():
    rows = drawn(SQUARE, 20)
    y = np.array([griewank(**r) for r in rows])
    alone = propose(SQUARE, seed=1, index=20, evaluated=rows, results=y)
    beside = propose(SQUARE, seed=1, index=20, evaluated=rows, results=y, pending=[alone.values])
    assert math.dist(alone.values.values(), beside.values.values()) > 0.05


def test_given_values_inform_the_model_and_stay_as_they_are():
    space = Space([Dimension("x", low=0, high=1), Dimension("t", low=0, high=1, free=False)])
    rng = np.random.default_rng(0)
    rows = [{"x": a, "t": b} for a, b in rng.random((40, 2)).tolist()]
    y = np.array([(r["x"] - r["t"]) ** 2 for r in rows])
    for t in (0.2, 0.8):
        suggestion = propose(space, seed=0, index=40, evaluated=rows, results=y, given={"t": t})
        assert set(suggestion.values) == {"x"}
        assert suggestion.values["x"] == pytest.approx(t, abs=0.05)


def test_given_values_far_outside_their_bounds_do_no_harm():
    space = Space([Dimension("x"), Dimension("t", low=1, high=2, log=True, free=False)])
    rows = [
        {"x": k / 9, "t": v} for k, v in enumerate([1e300, -1, 0, math.nan, 2, 1, 1.5, 9, 3, 1])
    ]
    suggestion = propose(
        space, seed=0, index=10, evaluated=rows, results=np.arange(10.0), given={"t": -7}
    )
    assert 0 <= suggestion.values["x"] <= 1


@pytest.mark.parametrize(
    ("optimum", "least", "failing"),
    [
        (1.0, 0.5, 0.65),  # inside the forbidden half: the best allowed point is on its edge
        (-1.0, 0.0, 0.15),  # far from it
    ],
)
def test_a_forbidden_region_is_avoided(optimum, least, failing):
    def bowl(x, y):
        return math.nan if x + y > 1 else (x - optimum) ** 2 + (y - optimum) ** 2

    rows = drawn(SQUARE, 15, seed=3)
    results = [bowl(**r) for r in rows]
    engine = Engine(SQUARE, seed=0)
    for index in range(15, 50):
        values = engine.propose(index=index, evaluated=rows, results=np.array(results)).values
        rows.append(values)
        results.append(bowl(**values))
    assert np.isnan(results[15:]).mean() < failing
    assert np.nanmin(results) < least + 0.05


@pytest.mark.parametrize("steps", [7, 3000])
def test_a_discrete_space_is_searched_without_repetition_until_it_is_exhausted(steps):
    space = Space([Dimension("n", low=1, high=steps, integer=True)])
    engine = Engine(space, seed=2)
    rows, results = [], []
    if steps > 7:  # all but seven
        rows = [{"n": k} for k in range(8, steps + 1)]
        results = [float(r["n"]) for r in rows]
    for index in range(7):
        pending = rows[-1:] if steps == 7 and rows else []
        keep = len(rows) - len(pending)
        values = engine.propose(
            index=index, evaluated=rows[:keep], results=np.array(results[:keep]), pending=pending
        ).values
        assert values not in rows
        rows.append(values)
        results.append(float(values["n"]))
    with pytest.raises(SpaceExhausted, match=f"all {steps} combinations"):
        engine.propose(index=9, evaluated=rows, results=np.array(results))
    with pytest.raises(SpaceExhausted):
        engine.propose(
            index=9, evaluated=rows[:-1], results=np.array(results[:-1]), pending=rows[-1:]
        )


def test_points_of_another_given_value_do_not_count_as_seen():
    space = Space([Dimension("n", low=1, high=2, integer=True), Dimension("t", free=False)])
    rows = [{"n": 1, "t": 0.0}, {"n": 2, "t": 0.0}]
    suggestion = propose(
        space, seed=0, index=2, evaluated=rows, results=np.ones(2), given={"t": 1.0}
    )
    assert suggestion.values["n"] in (1, 2)


def test_bounds_of_zero_width_have_one_point():
    space = Space([Dimension("x", low=0.4, high=0.44, digits=1), Dimension("y", low=2, high=2)])
    rows = []
    suggestion = propose(space, seed=0, index=0, evaluated=rows, results=np.empty(0))
    assert suggestion.values == {"x": 0.4, "y": 2.0}
    with pytest.raises(SpaceExhausted):
        propose(space, seed=0, index=1, evaluated=[suggestion.values], results=np.ones(1))


AWKWARD = st.one_of(
    st.sampled_from([0.0, 1.0, 1e-300, 1e300, -1e300, 1e308, -1e308, math.nan, math.inf]),
    st.floats(),
)


@st.composite
def awkward_spaces(draw):
    makers = [
        lambda name: Dimension(name, low=-1e308, high=1e308),
        lambda name: Dimension(name, low=1e-300, high=1e300, log=True),
        lambda name: Dimension(name, low=0.3, high=0.3),
        lambda name: Dimension(name, low=0.38, high=0.44, digits=1),
        lambda name: Dimension(name, low=0, high=3, integer=True),
        lambda name: Dimension(name, low=-1, high=1, digits=3),
        lambda name: Dimension(name, "categorical", categories=("only",)),
        lambda name: Dimension(name, "categorical", categories=("a", "b", "c")),
        lambda name: Dimension(name, "categorical", categories=(1, 10, 100), ordered=True),
        lambda name: Dimension(name, low=0, high=1, free=False),
    ]
    chosen = draw(st.lists(st.sampled_from(makers), min_size=1, max_size=4))
    return Space([Dimension("x"), *(make(f"x{k}") for k, make in enumerate(chosen))])


@settings(deadline=None, max_examples=60)
@given(awkward_spaces(), st.lists(AWKWARD, max_size=14), st.integers(0, 3), st.booleans(),
       st.booleans())  # fmt: skip
def test_whatever_came_back_the_proposal_is_within_bounds(space, results, q, maximize, doubled):
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
    )
    for d in space.free_dimensions:
        value = suggestion.values[d.name]
        assert value in d.categories if d.categories else d.low <= value <= d.high
    if suggestion.source is Source.BAYESIAN:
        assert np.isfinite([suggestion.mean, suggestion.std, suggestion.acquisition]).all()


def test_fifty_dimensions():
    space = Space([Dimension(f"x{k}") for k in range(50)])
    rows = drawn(space, 20)
    y = np.array([sum(v * v for v in r.values()) for r in rows])
    suggestion = propose(space, seed=0, index=20, evaluated=rows, results=y)
    assert len(suggestion.values) == 50
    assert all(0 <= v <= 1 for v in suggestion.values.values())


def test_unusable_arguments_are_named():
    with pytest.raises(DefinitionError, match="2 evaluated sets have results of shape"):
        propose(SQUARE, seed=0, index=0, evaluated=drawn(SQUARE, 2), results=np.ones(3))
    with pytest.raises(DefinitionError, match="may not choose one") as caught:
        propose(MIXED, seed=0, index=0, evaluated=[], results=np.empty(0))
    assert caught.value.parameter == "t"
    with pytest.raises(DefinitionError, match="free to choose nothing"):
        propose(Space([Dimension("x", free=False)]), seed=0, index=0, evaluated=[],
                results=np.empty(0))  # fmt: skip


def test_sobol_proposals_need_no_scipy():
    program = (
        "import sys, numpy as np\n"
        "from phs_mpi.encoding import Dimension, Space\n"
        "from phs_mpi.search import propose\n"
        "propose(Space([Dimension('x')]), seed=0, index=0, evaluated=[], results=np.empty(0))\n"
        "print([m for m in ('scipy', 'sklearn', 'threadpoolctl') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
