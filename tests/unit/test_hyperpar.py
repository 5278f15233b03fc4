"""Parameter sets as code."""

import math

import numpy as np
import pytest

from phs_mpi.hyperpar import hyperpar, literal


@pytest.mark.parametrize(
    "value",
    [
        1,
        0.1,
        math.inf,
        -math.inf,
        True,
        None,
        "a'b\n\"",
        np.float32(0.1),
        np.float32(np.inf),
        np.int8(-3),
        np.bool_(True),
        np.complex64(1 + 2j),
        np.longdouble("0.1"),
        np.str_("ab"),
        np.bytes_(b"ab"),
        np.datetime64("2024-02-29T12:00", "m"),
        np.timedelta64(-5, "h"),
        np.array((1, 2.5), np.dtype([("a", "i4"), ("b", "f8")]))[()],
    ],
)
def test_literal_gives_the_value_and_the_type_back(value):
    back = eval(literal(value))
    assert type(back) is type(value)
    assert back == value
    if isinstance(value, np.generic):
        assert back.dtype == value.dtype


def test_hyperpar_keeps_order_and_leaves_expressions_alone():
    assert hyperpar({"x": 2, "y": "x ** 2"}, frozenset({"y"})) == "x = 2\ny = x ** 2\n"
