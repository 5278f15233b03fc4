"""Types of parameters: canonical values, and their cells in a column."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phs_mpi.declaration import parameter_types
from phs_mpi.errors import DefinitionError
from phs_mpi.parameters import expr, plain

unhurried = settings(deadline=None)  # the machine may be shared

CATEGORIES = ["1", 1, 1.0, True, None, "None", "", 0.1, -0.0, "ü"]

VALUES = [
    (float, [0.1, -1e300, math.inf, 5e-324]),
    (int, [0, -(2**63), 2**63 - 1]),
    (bool, [True, False]),
    (str, ["", "a b", "ünï—", "'quoted'\n"]),
    (expr, ["x_1 * 2", "[i for i in range(3)]"]),
    (CATEGORIES, CATEGORIES),
    ("float16", [np.float16(0.1)]),
    ("float32", [np.float32(0.1), np.float32(-np.inf)]),
    ("longdouble", [np.longdouble(1) / 3]),
    ("int8", [np.int8(-128)]),
    ("uint64", [np.uint64(2**64 - 1)]),
    ("bool_", [np.True_]),
    ("complex64", [np.complex64(1 - 2j)]),
    ("clongdouble", [np.clongdouble(1 - 2j) / 3]),
    ("U12", [np.str_("ünï"), np.str_("")]),
    ("S5", [np.bytes_(b"a\0\xff")]),
    ("datetime64[D]", [np.datetime64("-0044-03-15", "D"), np.datetime64("12345-01-01", "D")]),
    ("datetime64[as]", [np.datetime64("1970-01-01T00:00:01.000000000000000001", "as")]),
    ("timedelta64[h]", [np.timedelta64(-5, "h")]),
    ("timedelta64[25s]", [np.timedelta64(75, "s")]),
    (np.dtype([("a", "f4"), ("b", "S2")]), [(0.5, b"x")]),
]


@pytest.mark.parametrize(("spec", "values"), VALUES, ids=lambda v: str(v)[:30])
def test_values_survive_their_column(spec, values):
    declared = parameter_types({"x": spec})["x"]
    canonical = [declared.convert(value) for value in values]
    column = declared.column(canonical)
    back = [declared.from_column(cell) for cell in column]
    assert back == canonical
    assert list(map(type, back)) == list(map(type, canonical))
    assert [declared.convert(value) for value in back] == canonical
    if isinstance(back[0], np.generic):
        assert [b.dtype for b in back] == [c.dtype for c in canonical]


@pytest.mark.parametrize(("spec", "values"), VALUES, ids=lambda v: str(v)[:30])
def test_columns_can_be_stored_in_hdf5(spec, values, tmp_path):
    h5py = pytest.importorskip("h5py")
    declared = parameter_types({"x": spec})["x"]
    column = declared.column([declared.convert(value) for value in values])
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = column
    with h5py.File(tmp_path / "f.h5") as file:
        stored = file["x"][:]
    assert stored.tolist() == column.tolist()


@pytest.mark.parametrize(("spec", "values"), VALUES, ids=lambda v: str(v)[:30])
def test_descriptions_are_json(spec, values):
    declared = parameter_types({"x": spec})["x"]
    described = declared.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == "x"
    json.dumps([plain(declared.convert(value)) for value in values])


@unhurried
@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_survives_its_column(text):
    declared = parameter_types({"x": str})["x"]
    assert declared.from_column(declared.column([text, "longer" * 5])[0]) == text


@unhurried
@given(st.floats(width=32, allow_nan=False))
def test_any_float32_survives_its_column(value):
    declared = parameter_types({"x": "float32"})["x"]
    assert declared.from_column(declared.column([declared.convert(value)])[0]) == value


def test_equal_categories_of_different_type_are_told_apart():
    declared = parameter_types({"x": [1, 1.0, True, "1"]})["x"]
    assert [type(declared.convert(v)) for v in (1, 1.0, True, "1")] == [int, float, bool, str]


def test_a_category_may_be_given_as_another_number_type():
    assert type(parameter_types({"x": [1.0, 2.0]})["x"].convert(1)) is float
    assert type(parameter_types({"x": [1, 2]})["x"].convert(np.int8(2))) is int


@pytest.mark.parametrize("value", ["c", 1, None, True, [], {}, math.nan, object()])
def test_what_is_no_category(value):
    declared = parameter_types({"x": ["a", "b"]})["x"]
    with pytest.raises(DefinitionError, match=r"none of the categories; use one of \['a', 'b'\]"):
        declared.convert(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x +", "not valid Python"),
        ("x = 3", "not valid Python"),
        ("", "not valid Python"),
        ("import os", "not valid Python"),
        ("1\n2", "not valid Python"),
        ("yield 3", "not valid Python"),
        (5, "put it in quotes"),
        ("b * 2", "uses 'b', which is declared after it; declare 'b' before 'a'"),
        ("a * 2", "uses the parameter itself"),
    ],
)
def test_bad_expressions(text, words):
    declared = parameter_types({"x": float, "a": expr, "b": float})["a"]
    with pytest.raises(DefinitionError, match=words) as caught:
        declared.convert(text)
    assert caught.value.parameter == "a"


@pytest.mark.parametrize(
    "text",
    ["x * 2", "math.sin(x)", " x", "[b for b in range(3)]", "lambda b: b", "(x,\n 1)", "undefined"],
)
def test_good_expressions(text):
    declared = parameter_types({"x": float, "a": expr, "b": float})["a"]
    assert declared.convert(text) == text.strip()


def test_an_error_names_the_parameter_and_keeps_the_value():
    with pytest.raises(DefinitionError) as caught:
        parameter_types({"n": int})["n"].convert(2.5)
    assert caught.value.parameter == "n"
    assert caught.value.value == 2.5
    assert str(caught.value).startswith("parameter 'n': 2.5 is not a whole number; ")
