"""Names and types of parameters, as the user declares them."""

import numpy as np
import pytest

from phs_mpi.declaration import parameter_types
from phs_mpi.errors import DefinitionError
from phs_mpi.parameters import expr


@pytest.mark.parametrize(
    ("spec", "kind", "dtype"),
    [
        (float, "float", "f8"),
        ("float", "float", "f8"),
        (int, "int", "i8"),
        (bool, "bool", "?"),
        (str, "str", "S"),
        (expr, "expr", "S"),
        ("expr", "expr", "S"),
        (["a", 1, None], "categorical", "S"),
        (("a",), "categorical", "S"),
        (np.float32, "numpy", "f4"),
        (np.float64, "numpy", "f8"),
        ("float32", "numpy", "f4"),
        (np.dtype("int8"), "numpy", "i1"),
        (">i4", "numpy", "i4"),
        (np.longdouble, "numpy", "longdouble"),
        (complex, "numpy", "c16"),
        ("U12", "numpy", "S"),
        ("S5", "numpy", "S5"),
        (bytes, "numpy", "S"),
        ("datetime64[D]", "numpy", "S"),
        ("timedelta64[h]", "numpy", "i8"),
        (np.bool_, "numpy", "?"),
        (np.dtype([("a", "f4")]), "numpy", [("a", "f4")]),
    ],
)
def test_types(spec, kind, dtype):
    declared = parameter_types({"x": spec})["x"]
    assert declared.name == "x"
    assert declared.kind == kind
    assert declared.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("flaot", "'flaot' is no type of parameter; use float, int"),
        (None, "no type of parameter"),
        (3.5, "no type of parameter"),
        ({"a": "f4"}, "no type of parameter"),
        (object, "cannot be stored; use another dtype, or a list of categories"),
        (dict, "cannot be stored"),
        ("V8", "cannot be stored"),
        (np.dtype(("f4", (2,))), "cannot be stored"),
        ("datetime64", r"has no unit; write 'datetime64\[s\]'"),
        (np.dtype([("a", "O")]), "field 'a'"),
        (np.dtype([("a", "U3")]), "field 'a'.*parameter of its own"),
        ([], "list of categories is empty"),
        (["a", "b", "a"], "'a' is listed twice"),
        ([1.0, float("nan")], "NaN cannot be a category"),
        ([len, max], "not plain.*look the object up in the target"),
        ([lambda: 0], "not plain"),
        ([("a", 1)], "not plain"),
    ],
)
def test_bad_types_name_the_parameter(spec, words):
    with pytest.raises(DefinitionError, match=words) as caught:
        parameter_types({"good": float, "x": spec})
    assert caught.value.parameter == "x"
    assert str(caught.value).startswith("parameter 'x': ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("learning rate", "no Python identifier"),
        ("2x", "no Python identifier"),
        ("", "no Python identifier"),
        ("lambda", "a Python keyword"),
        ("None", "a Python keyword"),
        ("ﬁ", "read by Python as 'fi'"),
        (3, "the parameter name 3 is not text"),
    ],
)
def test_bad_names(name, words):
    with pytest.raises(DefinitionError, match=words):
        parameter_types({name: float})


def test_a_duplicate_name():
    with pytest.raises(DefinitionError, match="parameter 'x': it is declared twice"):
        parameter_types([("x", float), ("y", int), ("x", int)])


@pytest.mark.parametrize("parameters", [None, "x", ["x", "y"], 5, {"x"}, [("x", float, 1)]])
def test_what_is_no_mapping(parameters):
    with pytest.raises(DefinitionError, match="does not map names to types; write parameters="):
        parameter_types(parameters)


def test_no_parameters():
    with pytest.raises(DefinitionError, match="has no parameters"):
        parameter_types({})


def test_order_is_kept_and_other_alphabets_work():
    assert list(parameter_types([("β", float), ("a", int)])) == ["β", "a"]
