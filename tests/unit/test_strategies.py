"""Strategies: options checked against the parameter's type, and what they draw."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from phs_mpi.declaration import parameter_types
from phs_mpi.errors import DefinitionError
from phs_mpi.parameters import expr
from phs_mpi.strategies import Bayesian, Choice, Explicit, Grid, Random

unhurried = settings(deadline=None)  # the machine may be shared

U = np.random.default_rng(1).random(2000)
ENDS = np.array([0.0, 0.5, 1 - 2.0**-53])


def bind(strategy, spec=float):
    return strategy.bind(parameter_types({"x": spec})["x"])


def draw(strategy, spec=float, u=U):
    declared = parameter_types({"x": spec})["x"]
    return [declared.from_column(cell) for cell in strategy.bind(declared).quantile(u)]


def refusal(call, *arguments, **options):
    """What `call` gives, and an empty text; or None, and why it refused."""
    try:
        return call(*arguments, **options), ""
    except DefinitionError as error:
        return None, str(error)


# -- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "spec", "words"),
    [
        (Random(5, 1), float, "lower bound 5 is not below the upper bound 1; swap them"),
        (Random(5, 5), float, "not below.*widen them, or give the value itself"),
        (Random(), float, "needs two bounds"),
        (Random(0), float, "needs two bounds"),
        (Random(math.nan, 1), float, "the lower bound is nan; give a finite number"),
        (Random(0, math.inf), float, "the upper bound is inf; give a finite number"),
        (Random("0", 1), float, "the lower bound is '0', not a number"),
        (Random(True, 2), float, "the lower bound is True, not a number"),
        (Random([1, 2], 3), float, "not a number"),
        (Random(0, 1, log=True), float, "logarithmic scale cannot start at 0"),
        (Random(-1, 1, distribution="log-uniform"), float, "cannot start at -1"),
        (Random(0, 1, log=1), float, "log=1 is not True or False"),
        (
            Random(0, 1, distribution="gauss"),
            float,
            "no distribution 'gauss'; use one of 'uniform'",
        ),
        (Random(0, 1, distribution=[]), float, "no distribution"),
        (Random(1, 2, distribution="normal", log=True), float, "contradicts"),
        (Random(0, 1, mean=0), float, "mean belongs to the normal distribution"),
        (Random(0, 1, std=1), float, "std belongs to the normal distribution"),
        (Random(distribution="normal", std=1), float, "has no mean"),
        (Random(distribution="normal", mean=1), float, "has no std"),
        (Random(distribution="normal", mean=0, std=0), float, "std=0.0 is not positive"),
        (Random(distribution="normal", mean=math.nan, std=1), float, "mean is nan"),
        (Random(5, 1, distribution="normal", mean=0, std=1), float, "not below"),
        (Random(50, 60, distribution="normal", mean=0, std=1), float, "practically nothing"),
        (Random(0.11, 0.14, digits=1), float, "no value with 1 digits lies between"),
        (Random(0.1, 0.9), int, "no value with 0 digits"),
        (Random(0, 1, digits=1.5), float, "digits=1.5 is not a whole number"),
        (Random(0, 1, digits=True), float, "digits=True is not a whole number"),
        (Random(0, 1, digits=10**6), float, "digits=1000000 is out of range"),
        (Random(0, 9, digits=2), int, "whole numbers cannot have digits=2"),
        (Random(0, 9, integer="yes"), float, "integer='yes' is not True or False"),
        (Random(0, 300), "int8", "upper bound 300 is out of the range of int8"),
        (Random(-1, 3), "uint8", "lower bound -1 is out of the range of uint8"),
        (Random(0, 1e6), "float16", "out of the range of float16"),
        (Random(0, 1), str, "needs real numbers, not str; list its values"),
        (Random(0, 1), "datetime64[D]", "needs real numbers, not datetime64"),
        (Random(0, 1), complex, "needs real numbers, not complex128"),
        (Random(0, 1), expr, "give the text of an expression"),
        (Random(0, 1), ["a", "b"], "needs real numbers"),
        (Random(0, 1, ordered=True), float, "Random has no option 'ordered'.*one of Bayesian"),
        (Random(0, 1, digts=1), float, "Random has no option 'digts'; did you mean 'digits'"),
        (Choice([]), float, "empty list of values; list at least one"),
        (Choice(), float, "has no list of values"),
        (Choice("abc"), str, "is not a list of values"),
        (Choice({1, 2}), int, "has no order"),
        (Choice({"a": 1}), str, "is not a list"),
        (Choice(5), int, "is not a list"),
        (Choice([1, math.nan]), float, "NaN is not a value"),
        (Choice([1, "b"]), int, "'b' is not a whole number"),
        (Choice([lambda: 1]), str, "is not text"),
        (Choice([1, 2], weights=[1]), int, "are not 2 numbers"),
        (Choice([1, 2], weights="ab"), int, "are not 2 numbers"),
        (Choice([1, 2], weights=[1, -1]), int, "no probabilities"),
        (Choice([1, 2], weights=[0, 0]), int, "no probabilities"),
        (Choice([1, 2], weights=[1, math.inf]), int, "no probabilities"),
        (Choice([1, 2], log=True), int, "Choice has no option 'log'"),
        (Choice(["x +"]), expr, "not valid Python"),
        (Grid([]), float, "empty list"),
        (Grid(), float, "has no list"),
        (Grid(1), float, "is not a list"),
        (Grid(0, 1), float, r"does not say how many values; write Grid\(0, 1, num=...\)"),
        (Grid(0, 1, num=1), float, "num=1 is out of range"),
        (Grid(0, 1, num=2.5), float, "num=2.5 is not a whole number"),
        (Grid(0, 1, num=10**9), float, "num=1000000000 is out of range"),
        (Grid(1, 0, num=3), float, "not below"),
        (Grid(0, 1, num=3, log=True), float, "cannot start at 0"),
        (Grid(1, 3, num=5), int, "not all different in int; lower num"),
        (Grid([1, 2], log=True), float, "log needs bounds"),
        (Grid([1, 2], num=3), float, "needs two bounds"),
        (Grid(0, 1, num=3), str, "needs real numbers"),
        (Grid(["a"], ordered=True), str, "Grid has no option 'ordered'.*one of Bayesian"),
        (Bayesian(5, 1), float, "not below"),
        (Bayesian(), float, "has no list of values"),
        (Bayesian(3), float, "needs two bounds"),
        (Bayesian(0, 1, log=True), float, "cannot start at 0"),
        (Bayesian(math.nan, 1), float, "the lower bound is nan"),
        (Bayesian(0, 1), str, r"list the categories to choose from: Bayesian\(\[...\]\)"),
        (Bayesian(0, 1), "datetime64[D]", "list the categories"),
        (Bayesian(0, 1), expr, "cannot be proposed"),
        (Bayesian(["1"]), expr, "cannot be proposed"),
        (Bayesian(0, 1, ordered=True), float, "ordered needs a list"),
        (Bayesian(["a"], log=True), str, "log needs bounds"),
        (Bayesian([1.5], digits=1), float, "digits needs bounds"),
        (Bayesian([]), str, "empty list"),
        (Bayesian(["a", "a"]), str, "lists 'a' twice"),
        (Bayesian(["c"]), ["a", "b"], "none of the categories"),
        (Bayesian(["a"], ordered=2), str, "ordered=2 is not True or False"),
        (Bayesian(0.11, 0.14, digits=1), float, "no value with 1 digits"),
        (Bayesian(0, 2**63), int, "out of the range of int"),
        (Bayesian(0, 1, weights=[1]), float, "Bayesian has no option 'weights'.*one of Choice"),
        (Explicit(2.5), int, "not a whole number"),
        (Explicit(None), float, "None is not a number"),
    ],
    ids=lambda value: re.sub(" at 0x.*", "", str(value)),
)
def test_bad_options_name_the_parameter(strategy, spec, words):
    with pytest.raises(DefinitionError, match=words) as caught:
        bind(strategy, spec)
    assert caught.value.parameter == "x"


def test_binding_leaves_the_strategy_alone():
    strategy = Random(0, 1, log=False)
    assert bind(strategy) is not strategy
    assert strategy.distribution is None
    assert bind(strategy, "float32")._dtype == np.float32


# -- values that are listed -------------------------------------------------------------------


def test_grids():
    assert bind(Grid([1, 2.5])).values == (1.0, 2.5)
    assert bind(Grid(0, 1, num=5)).values == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert bind(Grid(low=0, high=1, num=2)).values == (0.0, 1.0)
    assert bind(Grid(1, 100, num=3, log=True)).values == pytest.approx((1, 10, 100))
    assert bind(Grid(1, 1000, num=4, log=True), int).values == (1, 10, 100, 1000)
    assert bind(Grid(0.5, 3.5, num=3), int).values == (1, 2, 3)
    assert bind(Grid(range(3)), "int8").values == (0, 1, 2)
    assert bind(Grid(np.array([1, 2])), int).values == (1, 2)
    assert bind(Grid(), bool).values == (False, True)
    assert bind(Grid(), ["a", None]).values == ("a", None)
    low, high = -(2**63), 2**63 - 1
    assert bind(Grid(low, high, num=3), int).values[::2] == (low, high)


@unhurried
@given(
    st.floats(-1e300, 1e300), st.floats(-1e300, 1e300), st.integers(2, 20), st.sampled_from("fd")
)
def test_grids_stay_within_their_bounds(a, b, num, dtype):
    low, high = sorted((a, b))
    assume(max(abs(low), abs(high)) < 3e38 or dtype == "d")
    grid, reason = refusal(bind, Grid(low, high, num=num), np.dtype(dtype))
    if grid is None:
        assert any(words in reason for words in ("different", "not below", "too small"))
        return
    values = grid.values
    kind = np.dtype(dtype).type
    assert (values[0], values[-1]) == (kind(low), kind(high))
    assert all(kind(low) <= v <= kind(high) for v in values)


def test_choice_follows_its_weights():
    values = draw(Choice(["a", "b", "c"], weights=[1, 0, 3]), str)
    assert values.count("b") == 0
    assert values.count("c") / len(values) == pytest.approx(0.75, abs=0.03)
    assert draw(Choice(["a", "b"], weights=[0, 1e-300]), str, ENDS) == ["b"] * 3


def test_choice_counts_different_values():
    assert bind(Choice([1, 1, 2]), int).size == 2
    assert bind(Choice([1, 2, 3], weights=[1, 0, 1]), int).support().tolist() == [1, 3]
    assert bind(Choice([1, 1.0, True]), [1, 1.0, True]).size == 3


def test_random_of_a_finite_type_chooses_among_its_values():
    assert set(draw(Random(), bool)) == {False, True}
    assert set(draw(Random(), ["a", None, 3])) == {"a", None, 3}


# -- numbers that are drawn -------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
small = st.floats(-1e6, 1e6)
u_arrays = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20).map(np.array)


@unhurried
@given(finite, finite, u_arrays)
def test_uniform_draws_stay_within_their_bounds(a, b, u):
    assume(a != b)
    low, high = sorted((a, b))
    values = draw(Random(low, high), float, u)
    assert all(low <= v <= high and type(v) is float for v in values)
    assert not any(v == 0 and math.copysign(1, v) < 0 for v in values)


@unhurried
@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), u_arrays)
def test_log_uniform_draws_stay_within_their_bounds(a, b, u):
    assume(a != b)
    low, high = sorted((a, b))
    assert all(low <= v <= high for v in draw(Random(low, high, log=True), float, u))


@unhurried
@given(small, small, small, st.floats(1e-3, 1e6), u_arrays)
def test_normal_draws_stay_within_their_bounds(a, b, mean, std, u):
    assume(a != b)
    low, high = sorted((a, b))
    strategy = Random(low, high, distribution="normal", mean=mean, std=std)
    values, reason = refusal(draw, strategy, float, u)
    if values is None:
        assert "practically nothing" in reason
        assert not low <= mean <= high or high - low < 1e-9 * std
        return
    assert all(low <= v <= high for v in values)


@unhurried
@given(
    small,
    small,
    st.integers(-3, 9),
    st.sampled_from(["uniform", "log-uniform", "normal"]),
    u_arrays,
)
def test_rounded_draws_stay_on_the_grid_and_within_their_bounds(a, b, digits, distribution, u):
    assume(a != b)
    low, high = sorted((a, b))
    options = {"mean": low, "std": high - low} if distribution == "normal" else {}
    assume(distribution != "log-uniform" or low > 0)
    strategy = Random(low, high, digits=digits, distribution=distribution, **options)
    values, reason = refusal(draw, strategy, float, u)
    if values is None:
        assert "digits lies between" in reason
        return
    assert all(low <= v <= high and v == round(v, digits) for v in values)


@unhurried
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.booleans(), u_arrays)
def test_whole_numbers_include_both_bounds(a, b, log, u):
    assume(a != b)
    low, high = sorted((a, b))
    log = log and low > 0
    values = draw(Random(low, high, log=log), int, np.append(u, 0.0))
    assert all(low <= v <= high and type(v) is int for v in values)
    # exp(log(low)) is low to about 1e-14 only.
    assert values[-1] == low or (log and low > 10**12)


@unhurried
@given(st.sampled_from(["int8", "uint8", "int16", "uint32", "int64", "uint64"]), st.data())
def test_draws_of_integer_dtypes_stay_in_range(name, data):
    info = np.iinfo(name)
    whole = st.integers(int(info.min), int(info.max))
    low, high = sorted((data.draw(whole), data.draw(whole)))
    assume(low < high)
    values = draw(Random(low, high), name, data.draw(u_arrays))
    assert all(type(v) is np.dtype(name).type and low <= int(v) <= high for v in values)


@unhurried
@given(st.sampled_from(["float16", "float32", "longdouble"]), st.data())
def test_draws_of_float_dtypes_stay_within_their_bounds(name, data):
    kind = np.dtype(name).type
    number = st.floats(-6e4, 6e4)
    low, high = sorted((data.draw(number), data.draw(number)))
    assume(low < high)
    values = draw(Random(low, high), name, data.draw(u_arrays))
    assert all(type(v) is kind and kind(low) <= v <= kind(high) for v in values)


def test_a_normal_distribution_needs_no_bounds():
    values = np.array(draw(Random(distribution="normal", mean=5, std=2)))
    assert values.mean() == pytest.approx(5, abs=0.2)
    assert values.std() == pytest.approx(2, rel=0.05)
    assert np.isfinite(draw(Random(distribution="normal", mean=5, std=2), u=ENDS)).all()


def test_a_normal_distribution_may_have_one_bound():
    values = np.array(draw(Random(low=0, distribution="normal", mean=0, std=1)))
    assert values.min() >= 0
    assert values.mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.05)
    assert max(draw(Random(high=-9, distribution="normal", mean=0, std=1))) <= -9


def test_a_normal_distribution_far_out_in_its_tail():
    values = np.array(draw(Random(10, 20, distribution="normal", mean=0, std=1)))
    assert values.min() >= 10
    # The tail beyond z falls off as exp(-z x): its mean lies about 1/z above z.
    assert values.mean() == pytest.approx(10.098, abs=0.01)
    assert len(set(values.tolist())) == len(values)


def test_unbounded_normal_whole_numbers_saturate_at_the_type():
    values = draw(Random(distribution="normal", mean=0, std=1e6), "int8")
    assert set(map(int, values)) <= set(range(-128, 128))
    assert all(isinstance(v, int) for v in draw(Random(distribution="normal", mean=0, std=3), int))


def test_the_uniform_distribution_is_uniform():
    values = np.array(draw(Random(-2, 4)))
    assert values.mean() == pytest.approx(1, abs=0.15)
    assert values.std() == pytest.approx(6 / math.sqrt(12), rel=0.05)
    counts = np.bincount(draw(Random(0, 3), int), minlength=4)
    assert counts / len(U) == pytest.approx(0.25, abs=0.03)


def test_the_log_uniform_distribution_is_uniform_in_the_logarithm():
    values = np.log10(draw(Random(1e-4, 1e4, log=True)))
    assert values.mean() == pytest.approx(0, abs=0.2)
    assert values.std() == pytest.approx(8 / math.sqrt(12), rel=0.05)
    assert bind(Random(1, 2, distribution="log-uniform")).describe() == (
        bind(Random(1, 2, log=True)).describe()
    )


def test_rounded_ends_get_their_share():
    values = draw(Random(1, 10, log=True), int)
    # Cell of k: from k - 1/2 to k + 1/2.
    total = math.log(10.5 / 0.5)
    assert values.count(1) / len(values) == pytest.approx(math.log(1.5 / 0.5) / total, abs=0.04)
    assert values.count(10) / len(values) == pytest.approx(math.log(10.5 / 9.5) / total, abs=0.02)


def test_sizes_and_supports():
    assert bind(Random(0, 1)).size is None
    assert bind(Random(0, 1, digits=1)).size == 11
    assert bind(Random(0, 0.3, digits=1)).support().tolist() == [0.0, 0.1, 0.2, 0.3]
    assert bind(Random(-3, 3), "int8").support().tolist() == list(range(-3, 4))
    assert bind(Random(0, 1000, digits=-2)).size == 11
    assert bind(Random(0, 5, integer=True)).support().dtype == float


# -- Bayesian ---------------------------------------------------------------------------------


def test_dimensions_of_the_search():
    dimension = bind(Bayesian(1, 100, log=True), int).dimension("x")
    assert (dimension.kind, dimension.integer, dimension.log) == ("numeric", True, True)
    dimension = bind(Bayesian(0, 1, digits=2)).dimension("x")
    assert (dimension.digits, dimension.count) == (2, 101)
    dimension = bind(Bayesian(["a", "b"], ordered=True), str).dimension("x")
    assert (dimension.categories, dimension.ordered) == (("a", "b"), True)
    assert bind(Bayesian(), bool).dimension("x").categories == (False, True)
    assert bind(Bayesian(), ["a", None]).categories == ("a", None)
    assert bind(Bayesian([3, 1, 2]), float).categories == (3.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("strategy", "spec"),
    [
        (Explicit(3), "float32"),
        (Grid([1, 2]), "int8"),
        (Choice(["2020-01-01"]), "datetime64[D]"),
        (Choice([1, 2], weights=[1, 2]), int),
        (Random(np.float32(0), np.int64(1), digits=2), float),
        (Random(distribution="normal", mean=np.float64(1), std=2), float),
        (Bayesian(0, np.int8(5)), int),
        (Bayesian([1j, 2]), complex),
    ],
    ids=lambda value: re.sub(" at 0x.*", "", str(value)),
)
def test_descriptions_are_json(strategy, spec):
    described = bind(strategy, spec).describe()
    assert json.loads(json.dumps(described)) == described
    assert described["strategy"] == type(strategy).__name__.lower()


def test_summaries():
    assert bind(Bayesian(-5, 5)).summary() == "~[-5, 5]"
    assert bind(Bayesian(["a", "b"]), str).summary() == "~{a, b}"
    assert bind(Bayesian(list(range(9))), int).summary() == "~{0, 1, 2, 3, ...}"
