"""What a user gives to exactly the value the target gets: lossless or refused."""

import datetime
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phs_mpi import conversion
from phs_mpi.errors import DefinitionError

unhurried = settings(deadline=None)  # the machine may be shared

INT64 = np.dtype(np.int64)
FLOAT = np.dtype(float)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (3, "i8", 3),
        (3.0, "i8", 3),
        (np.uint8(3), "i1", 3),
        (Fraction(6, 2), "i8", 3),
        (2**64 - 1, "u8", 2**64 - 1),
        (-(2**63), "i8", -(2**63)),
    ],
)
def test_whole_numbers(value, dtype, expected):
    converted = conversion.whole_number(value, np.dtype(dtype))
    assert converted == expected
    assert type(converted) is int


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (2.5, "i8", "not a whole number.*round it"),
        (math.nan, "i8", "not a whole number"),
        (math.inf, "i8", "not a whole number"),
        (300, "i1", "out of the range of int8 .-128 to 127."),
        (-1, "u4", "out of the range of uint32"),
        (2**63, "i8", "out of the range of int64"),
        ("5", "i8", "declare the parameter as str"),
        (True, "i8", "declare the parameter as bool"),
        (None, "i8", "None is not a whole number"),
        ([1, 2], "i8", r"put several values in Grid\(\[...\]\) or Choice"),
        (1 + 0j, "i8", "not a whole number"),
    ],
)
def test_what_is_no_whole_number(value, dtype, words):
    with pytest.raises(DefinitionError, match=words):
        conversion.whole_number(value, np.dtype(dtype))


@unhurried
@given(st.floats(allow_nan=False))
def test_floats_are_kept(value):
    assert conversion.real_number(value, FLOAT) == value


@unhurried
@given(st.integers())
def test_a_whole_number_becomes_just_that_float_or_is_refused(value):
    try:
        converted = float(conversion.real_number(value, FLOAT))
    except DefinitionError:
        with pytest.raises((OverflowError, AssertionError)):
            assert int(float(value)) == value
    else:
        assert int(converted) == value


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (math.nan, "f8", "NaN is not a value"),
        (1e300, "f4", "out of the range of float32"),
        (10**400, "f8", "out of the range of float64"),
        (-(10**400), "f8", "out of the range of float64"),
        (70000.0, "f2", "out of the range of float16"),
        (1e-10, "f2", "too small for float16"),
        (2**53 + 1, "f8", "not exact in float64"),
        ("0.5", "f8", "declare the parameter as str or expr"),
        (False, "f8", "declare the parameter as bool"),
        (np.True_, "f4", "declare the parameter as bool"),
        (object(), "f8", "not a number"),
        (lambda: 1, "f8", "not a number"),
    ],
)
def test_what_is_no_real_number(value, dtype, words):
    with pytest.raises(DefinitionError, match=words):
        conversion.real_number(value, np.dtype(dtype))


def test_infinity_is_a_value():
    assert conversion.real_number(-math.inf, np.dtype("f4")) == -math.inf


@pytest.mark.parametrize("value", [True, 1, 1.0, np.True_, np.int8(1)])
def test_truth(value):
    assert conversion.truth(value) is True


@pytest.mark.parametrize("value", [2, "True", None, [], 0.5, math.nan])
def test_what_is_no_truth(value):
    with pytest.raises(DefinitionError, match="is not a bool"):
        conversion.truth(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [(5, "not text"), (b"a", "not text"), ("a\0b", "NUL"), ("\ud800", "not valid Unicode")],
)
def test_what_is_no_text(value, words):
    with pytest.raises(DefinitionError, match=words):
        conversion.text(value)


def test_text_subclasses_become_plain():
    assert type(conversion.text(np.str_("a"))) is str


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1 + 2j, "c8", np.complex64(1 + 2j)),
        (3, "c16", np.complex128(3)),
        ("abc", "U3", np.str_("abc")),
        ("abc", "U", np.str_("abc")),
        ("abc", "S3", np.bytes_(b"abc")),
        (b"a\0b", "S5", np.bytes_(b"a\0b")),
        ("2020-02-29", "M8[D]", np.datetime64("2020-02-29", "D")),
        (datetime.date(2020, 1, 2), "M8[s]", np.datetime64("2020-01-02T00:00:00", "s")),
        (np.datetime64("2020-01-01T00:00", "m"), "M8[D]", np.datetime64("2020-01-01", "D")),
        (5, "m8[h]", np.timedelta64(5, "h")),
        (datetime.timedelta(hours=2), "m8[m]", np.timedelta64(120, "m")),
        (1, "bool", np.True_),
    ],
)
def test_numpy_scalars(value, dtype, expected):
    converted = conversion.numpy_scalar(value, np.dtype(dtype))
    assert converted == expected
    assert type(converted) is type(expected)
    if expected.dtype.kind in "mM":
        assert converted.dtype == expected.dtype


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        ("abcd", "U3", "longer than the 3"),
        (b"abcd", "S3", "longer than the 3"),
        ("ü", "S3", "not a byte string"),
        (b"a\0", "S3", "ends with a NUL"),
        (5, "S3", "not a byte string"),
        ("2020-01-01T12:00", "M8[D]", "not exact"),
        ("tomorrow", "M8[D]", "tomorrow"),
        ("NaT", "M8[D]", "NaT is not a value"),
        (5, "M8[D]", "give a np.datetime64"),
        (np.timedelta64(90, "m"), "m8[h]", "not exact"),
        (1.5, "m8[h]", "give a np.timedelta64"),
        (True, "m8[h]", "give a np.timedelta64"),
        (complex(math.nan, 0), "c8", "NaN is not a value"),
        ("1j", "c8", "not a number"),
        (1e300j, "c8", "out of the range"),
    ],
)
def test_what_is_no_numpy_scalar(value, dtype, words):
    with pytest.raises(DefinitionError, match=words):
        conversion.numpy_scalar(value, np.dtype(dtype))


def test_records():
    dtype = np.dtype([("a", "f4"), ("b", [("n", "i1")])])
    record = conversion.numpy_scalar((0.5, (3,)), dtype)
    assert record["a"] == 0.5
    assert record["b"]["n"] == 3
    assert conversion.numpy_scalar(record, dtype) == record
    with pytest.raises(DefinitionError, match="out of the range of int8"):
        conversion.numpy_scalar((0.5, (300,)), dtype)
    with pytest.raises(DefinitionError, match=r"give a tuple of 2 values \(a, b\)"):
        conversion.numpy_scalar((0.5,), dtype)
