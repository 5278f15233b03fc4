"""Names and types of an experiment's parameters, as the user declares them."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phs_mpi.conversion import refuse, shown
from phs_mpi.errors import DefinitionError
from phs_mpi.parameters import (
    BoolType,
    CategoricalType,
    ExprType,
    FloatType,
    IntType,
    NumpyType,
    ParameterType,
    StrType,
    expr,
)


def parameter_types(parameters: Any) -> dict[str, ParameterType]:
    """The types of an experiment's parameters.

    Parameters
    ----------
    parameters : mapping of str to type, or sequence of (str, type)
        A type is ``float``, ``int``, ``bool``, ``str``, :data:`expr`, a NumPy dtype, or a list
        of categories.

    Returns
    -------
    dict of str to ParameterType
        In declared order.

    Raises
    ------
    DefinitionError
        If a name is none that Python could use, is there twice, or a type is unknown.
    """
    pairs = list(parameters.items()) if isinstance(parameters, Mapping) else parameters
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        remedy = "write parameters={'x': float, 'n': int}"
        refuse(f"parameters={shown(parameters)} does not map names to types", parameters, remedy)
    if not pairs:
        refuse("the experiment has no parameters", parameters, "declare at least one")
    names = [pair[0] for pair in pairs]
    types = {}
    for number, (name, spec) in enumerate(pairs):
        _check_name(name)
        try:
            if name in types:
                refuse("it is declared twice", name, "rename one of them")
            types[name] = _parameter_type(name, spec, names[number + 1 :])
        except DefinitionError as error:
            error.parameter = name
            raise
    return types


def _normal(name: str) -> str:
    """An identifier as Python reads it."""
    if name.isascii():
        return name
    import unicodedata

    return unicodedata.normalize("NFKC", name)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        refuse(f"the parameter name {shown(name)} is not text", name, "put it in quotes")
    if not name.isidentifier():
        reason = "no Python identifier"
    elif keyword.iskeyword(name):
        reason = "a Python keyword"
    elif name != (normal := _normal(name)):
        # Python normalises identifiers: the target could never be called with this name.
        reason = f"read by Python as {normal!r}"
    else:
        return
    raise DefinitionError(
        f"the name is {reason}",
        parameter=name,
        value=name,
        remedy="use letters, digits and underscores, as for a variable",
    )


_SIMPLE: dict[Any, type[Any]] = {
    float: FloatType,
    int: IntType,
    bool: BoolType,
    str: StrType,
    "float": FloatType,
    "int": IntType,
    "bool": BoolType,
    "str": StrType,
}


def _parameter_type(name: str, spec: Any, later: Sequence[str]) -> ParameterType:
    if spec is expr or (isinstance(spec, str) and spec == "expr"):
        return ExprType(name, later)
    if isinstance(spec, list | tuple):
        return CategoricalType(name, spec)
    if isinstance(spec, str | type) and spec in _SIMPLE:
        return _SIMPLE[spec](name)
    dtype = _numpy_dtype(spec)
    if dtype is None:
        refuse(
            f"{shown(spec)} is no type of parameter",
            spec,
            "use float, int, bool, str, expr, a NumPy dtype or a list of categories",
        )
    return NumpyType(name, dtype)


def _numpy_dtype(spec: Any) -> np.dtype | None:
    if not isinstance(spec, np.dtype | str | type):
        return None  # np.dtype would make a record of a dict, and float64 of None
    try:
        return np.dtype(spec)
    except (TypeError, ValueError):
        return None
