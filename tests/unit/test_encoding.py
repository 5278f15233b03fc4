import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.encoding import FAR, Dimension, Space
from phs_mpi.errors import DefinitionError

FINITE = st.floats(-1e308, 1e308)


@st.composite
def dimensions(draw, name="x"):
    kind = draw(st.sampled_from(["float", "log", "digits", "int", "logint", "one", "choice"]))
    if kind == "choice":
        categories = draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True))
        return Dimension(name, "categorical", categories=categories, ordered=draw(st.booleans()))
    if kind == "one":
        low = draw(FINITE)
        return Dimension(name, low=low, high=low)
    if kind in ("log", "logint"):
        low, high = sorted([draw(st.floats(1e-300, 1e15)), draw(st.floats(1e-300, 1e15))])
        if kind == "log":
            return Dimension(name, low=low, high=high, log=True)
        return Dimension(name, low=max(1, math.floor(low)), high=math.ceil(high) + 1, log=True,
                         integer=True)  # fmt: skip
    if kind == "int":
        low, high = sorted([draw(st.integers(-(10**12), 10**12)) for _ in range(2)])
        return Dimension(name, low=low, high=high, integer=True)
    if kind == "digits":
        low, high = sorted([draw(st.floats(-1e6, 1e6)) for _ in range(2)])
        digits = draw(st.integers(-2, 8))
        return Dimension(name, low=low, high=high + 10.0**-digits, digits=digits)
    low, high = sorted([draw(FINITE), draw(FINITE)])
    return Dimension(name, low=low, high=high)


@st.composite
def spaces(draw, most=4):
    count = draw(st.integers(1, most))
    return Space([draw(dimensions(f"x{k}")) for k in range(count)])


def is_legal(d, value):
    if d.kind == "categorical":
        return value in d.categories
    if d.integer:
        return type(value) is int and d.low <= value <= d.high
    rounded = value if d.digits is None else round(value, d.digits)
    return type(value) is float and d.low <= value <= d.high and value == rounded


@given(spaces(), st.integers(0, 2**32))
def test_every_point_decodes_to_a_legal_value_and_back(space, seed):
    X = np.random.default_rng(seed).uniform(-0.5, 1.5, (5, space.width))
    snapped = space.snap(X)
    for x, s in zip(X, snapped, strict=True):
        values = space.decode(x)
        assert all(is_legal(d, values[d.name]) for d in space.dimensions)
        assert space.encode([values])[0].tobytes() == s.tobytes()
    assert ((snapped >= 0) & (snapped <= 1)).all()


@given(spaces(), st.integers(0, 2**32))
def test_snapping_twice_moves_rounded_points_no_more(space, seed):
    once = space.snap(np.random.default_rng(seed).uniform(0, 1, (5, space.width)))
    # A float on a continuous scale may move by rounding errors of the scale.
    assert np.allclose(space.snap(once), once, rtol=0, atol=1e-9)


@given(spaces(), st.integers(0, 2**32))
def test_spread_points_are_legal_and_snapped(space, seed):
    U = np.random.default_rng(seed).random((20, len(space.free_dimensions)))
    X = space.spread(U, np.zeros(space.width))
    assert X.shape == (20, space.width)
    for x in X:
        assert all(is_legal(d, v) for d, v in zip(space.dimensions, space.decode(x).values(),
                                                  strict=True))  # fmt: skip


def test_spread_gives_every_allowed_value_the_same_share():
    space = Space(
        [
            Dimension("i", low=0, high=2, integer=True),
            Dimension("r", low=0.0, high=0.5, digits=1),
            Dimension("c", "categorical", categories="abc"),
            Dimension("o", "categorical", categories="abcd", ordered=True),
        ]
    )
    U = np.random.default_rng(1).random((6000, 4))
    rows = [tuple(space.decode(x).values()) for x in space.spread(U, np.zeros(space.width))]
    for k, count in enumerate((3, 6, 3, 4)):
        _, shares = np.unique([str(row[k]) for row in rows], return_counts=True)
        assert len(shares) == count
        assert abs(shares / 6000 - 1 / count).max() < 0.03


@given(st.floats(-1e5, 1e5), st.integers(-3, 10))
def test_rounded_values_are_those_of_round(value, digits):
    d = Dimension("x", low=-2e5, high=2e5, digits=digits)
    assert d.legal(value) == round(value, digits)
    first, last = d.grid
    assert d.multiple(first) >= d.low > d.multiple(first - 1)
    assert d.multiple(last) <= d.high < d.multiple(last + 1)


def test_rounding_stays_inside_bounds_that_are_no_multiples():
    d = Dimension("x", low=0.04, high=0.36, digits=1)
    assert (d.legal(0.04), d.legal(0.36), d.count, d.step) == (0.1, 0.3, 3, 0.1)


def test_integers_are_python_ints_and_floats_python_floats():
    space = Space(
        [
            Dimension("i", low=1, high=9, integer=True),
            Dimension("f", low=1, high=9),
            Dimension("g", low=1, high=9, digits=0),
        ]
    )
    values = space.decode(np.array([0.5, 0.5, 0.5]))
    assert values == {"i": 5, "f": 5.0, "g": 5.0}
    assert [type(v) for v in values.values()] == [int, float, float]


def test_size_and_enumeration_agree():
    space = Space(
        [
            Dimension("i", low=-1, high=1, integer=True),
            Dimension("fixed", free=False),
            Dimension("c", "categorical", categories=("a", "b", "c", "d")),
            Dimension("b", "categorical", categories=(False, True)),
            Dimension("one", low=2.5, high=2.5),
        ]
    )
    assert space.size == 3 * 4 * 2
    base = np.full(space.width, 7.0)
    X = space.enumerate(np.arange(space.size), base)
    assert len({x.tobytes() for x in X}) == space.size
    assert (X[:, space.columns["fixed"]] == 7).all()
    assert space.snap(X).tobytes() == X.tobytes()
    assert Space([Dimension("x")]).size is None


def test_columns_free_and_smooth():
    space = Space(
        [
            Dimension("x"),
            Dimension("c", "categorical", categories="abc"),
            Dimension("g", free=False),
            Dimension("o", "categorical", categories="abc", ordered=True),
        ]
    )
    assert space.width == 6
    assert space.group.tolist() == [0, 1, 1, 1, 2, 3]
    assert space.free.tolist() == [True, True, True, True, False, True]
    assert space.smooth.tolist() == [True, False, False, False, False, False]


def test_different_categories_are_one_apart():
    space = Space([Dimension("c", "categorical", categories=("a", 1, 1.0, True))])
    a, b, c, d = space.encode([{"c": v} for v in ("a", 1, 1.0, True)])
    assert np.linalg.norm(a - b) == pytest.approx(1)
    assert b.tolist() != c.tolist() != d.tolist()
    assert space.decode(c)["c"] == 1.0
    assert type(space.decode(c)["c"]) is float


def test_logarithmic_scale():
    space = Space([Dimension("x", low=1e-4, high=1.0, log=True)])
    assert space.encode([{"x": 1e-2}])[0, 0] == pytest.approx(0.5)
    assert space.decode(np.array([0.0])) == {"x": 1e-4}
    assert space.decode(np.array([1.0])) == {"x": 1.0}


@pytest.mark.parametrize(
    ("log", "value", "code"),
    [
        (True, 0.0, -1.0),
        (True, -3.0, -1.0),
        (True, math.nan, 0.5),
        (False, math.nan, 0.5),
        (False, math.inf, FAR),
        (False, -math.inf, -FAR),
        (False, 10**400, FAR),
        (False, 21.0, 2.0),
        (False, -9.0, -1.0),
    ],
)
def test_values_that_cannot_be_placed_do_not_raise(log, value, code):
    space = Space([Dimension("x", low=1, high=11, log=log, free=False)])
    assert space.encode([{"x": value}])[0, 0] == code


def test_unknown_categories_are_equally_far_from_all_others():
    one_hot = Space([Dimension("c", "categorical", categories="abc")])
    x, *known = one_hot.encode([{"c": v} for v in ("z", "a", "b", "c")])
    assert len({np.linalg.norm(x - k) for k in known}) == 1
    ordered = Space([Dimension("c", "categorical", categories="abc", ordered=True)])
    assert ordered.encode([{"c": "z"}])[0, 0] == 0.5


def test_neighbours_are_single_steps():
    space = Space(
        [
            Dimension("i", low=0, high=3, integer=True),
            Dimension("x"),
            Dimension("c", "categorical", categories="abc"),
        ]
    )
    x = space.encode([{"i": 0, "x": 0.25, "c": "b"}])[0]
    found = [space.decode(row) for row in space.neighbours(x)]
    assert found == [
        {"i": 1, "x": 0.25, "c": "b"},
        {"i": 0, "x": 0.25, "c": "a"},
        {"i": 0, "x": 0.25, "c": "c"},
    ]
    assert Space([Dimension("x")]).neighbours(np.array([0.5])).shape == (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 2, "high": 1}, "bounds 2 and 1"),
        ({"low": math.nan, "high": 1}, "bounds nan"),
        ({"low": 0, "high": math.inf}, "bounds 0 and inf"),
        ({"low": 0, "high": 1, "log": True}, "logarithmic scale cannot start at 0"),
        ({"low": 0.41, "high": 0.44, "digits": 1}, "no value with 1 digits"),
        ({"low": 0.2, "high": 0.8, "integer": True}, "no value with 0 digits"),
        ({"integer": True, "digits": 2}, "an integer cannot have digits=2"),
        ({"kind": "categorical"}, "no category"),
        ({"kind": "fuzzy"}, "unknown kind of dimension 'fuzzy'"),
    ],
)
def test_impossible_dimensions_are_refused(options, message):
    with pytest.raises(DefinitionError, match=message) as caught:
        Dimension("x", **options)
    assert caught.value.parameter == "x"
    assert caught.value.remedy


def test_two_dimensions_of_one_name_are_refused():
    with pytest.raises(DefinitionError, match="twice"):
        Space([Dimension("x"), Dimension("x")])
