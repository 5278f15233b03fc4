import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.search.outputs import Standardisation

RESULTS = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30)


@given(RESULTS, st.booleans())
def test_outputs_are_finite_and_keep_the_order(results, maximize):
    y = np.array(results)
    outputs = Standardisation.of(y, maximize).forward(y)
    assert np.isfinite(outputs).all()
    order = np.argsort(-y if maximize else y)
    assert (np.diff(outputs[order]) >= 0).all()


@given(RESULTS, st.floats(-10, 10), st.floats(1e-6, 10))
def test_predictions_are_finite(results, mean, std):
    low, high = Standardisation.of(np.array(results)).prediction(mean, std)
    assert np.isfinite([low, high]).all()
    assert high >= 0


def test_outputs_are_standardised():
    y = np.random.default_rng(0).lognormal(3, 2, 100)
    outputs = Standardisation.of(y).forward(y)
    assert outputs.mean() == pytest.approx(0, abs=1e-12)
    assert outputs.std() == pytest.approx(1)


def test_backward_undoes_forward():
    y = np.random.default_rng(0).standard_cauchy(200)
    for maximize in (False, True):
        s = Standardisation.of(y, maximize)
        assert np.allclose(s.backward(s.forward(y)), y, rtol=1e-9, atol=1e-9)


def test_an_outlier_leaves_resolution_to_the_rest():
    y = np.append(np.linspace(0, 1, 50), 1e12)
    outputs = Standardisation.of(y).forward(y)
    assert outputs[49] - outputs[0] > 0.3


def test_prediction_is_exact_where_nothing_is_compressed():
    y = np.linspace(-1, 1, 51)
    s = Standardisation.of(y)
    mean, std = s.prediction(float(s.forward(np.array(-0.3))), 0.1)
    assert mean == pytest.approx(-0.3)
    assert std == pytest.approx(0.1 * s.deviation * s.spread)


def test_equal_results_are_predicted_as_they_are():
    s = Standardisation.of(np.full(5, 3.25), maximize=True)
    assert np.array_equal(s.forward(np.full(5, 3.25)), np.zeros(5))
    assert s.prediction(0.3, 1.0)[0] == 3.25


@given(RESULTS, st.booleans())
def test_slope_is_a_finite_difference(results, maximize):
    y = np.clip(np.array(results), -1e9, 1e9)
    s = Standardisation.of(y, maximize)
    step = 1e-6 * max(s.spread, 1e-3)
    # On one side of what is compressed: the slope is continuous, its slope is not.
    difference = (s.forward(y + step) - s.forward(y - step)) / (2 * step)
    near = s.spread > 1e-3
    if near:
        assert np.allclose(np.abs(difference), s.slope(y), rtol=1e-3)


def test_no_spread_has_no_slope():
    assert Standardisation.of(np.ones(3)).slope(np.ones(3)).tolist() == [0, 0, 0]
