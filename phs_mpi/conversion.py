"""What a user gives to exactly the value the target gets: lossless or refused.

All functions raise :class:`~phs_mpi.errors.DefinitionError` without a parameter's name; the
caller, who knows it, adds it.
"""

from __future__ import annotations

import datetime
import math
import numbers
import operator
import reprlib
from typing import Any, NoReturn

import numpy as np

from phs_mpi.errors import DefinitionError


def refuse(message: str, value: Any, remedy: str | None = None) -> NoReturn:
    """Raise a DefinitionError about `value`."""
    raise DefinitionError(message, value=value, remedy=remedy)


def text(value: Any) -> str:
    """A ``str`` that UTF-8 of fixed length can hold."""
    if not isinstance(value, str):
        refuse(f"{shown(value)} is not text", value, _container_remedy(value) or "quote it")
    if "\0" in value:
        refuse(f"the text {shown(value)} contains a NUL character", value, "leave it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(f"the text {shown(value)} is not valid Unicode", value, "leave surrogates out")
    return str(value)


def truth(value: Any) -> bool:
    """A ``bool``, also from 0 and 1."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if _is_number(value) and value in (0, 1):
        return bool(value)
    refuse(f"{shown(value)} is not a bool", value, _container_remedy(value) or "use True or False")


def whole_number(value: Any, dtype: np.dtype) -> int:
    """A whole number within the range of an integer dtype, as ``int``."""
    if not _is_number(value):
        refuse(f"{shown(value)} is not a whole number", value, _number_remedy(value))
    if not isinstance(value, numbers.Integral):
        if not math.isfinite(value) or value != math.floor(value):
            refuse(
                f"{shown(value)} is not a whole number", value, "round it, or declare it as float"
            )
        value = math.floor(value)
    value = operator.index(value)
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max:
        refuse(
            f"{shown(value)} is out of the range of {dtype} ({info.min} to {info.max})",
            value,
            "use a wider type",
        )
    return value


def real_number(value: Any, dtype: np.dtype) -> np.floating:
    """A number that is not NaN, rounded to a floating dtype, as its scalar."""
    if not _is_number(value):
        refuse(f"{shown(value)} is not a number", value, _number_remedy(value))
    scalar_type = dtype.type
    try:
        with np.errstate(over="ignore", under="ignore"):
            number = scalar_type(value)
    except (OverflowError, TypeError):
        number = _from_float(value, scalar_type)
    if np.isnan(number):
        refuse("NaN is not a value", value, "leave the set out, or encode it as a category")
    if np.isinf(number) and value not in (math.inf, -math.inf):
        refuse(f"{shown(value)} is out of the range of {dtype}", value, "use a wider type")
    if number == 0 and value != 0:
        refuse(f"{shown(value)} is too small for {dtype}", value, "use a wider type")
    if isinstance(value, numbers.Integral) and int(number) != int(value):
        refuse(
            f"the whole number {shown(value)} is not exact in {dtype} (it becomes {number})",
            value,
            "use a wider type, or int",
        )
    return number


def numpy_scalar(value: Any, dtype: np.dtype) -> Any:
    """A NumPy scalar of just this dtype."""
    kind = dtype.kind
    if kind == "f":
        return real_number(value, dtype)
    if kind in "iu":
        return dtype.type(whole_number(value, dtype))
    if kind == "b":
        return np.bool_(truth(value))
    if kind == "c":
        return _complex_number(value, dtype)
    if kind == "U":
        return np.str_(_fitting(text(value), dtype.itemsize // 4, dtype))
    if kind == "S":
        return _byte_string(value, dtype)
    if kind in "mM":
        return _time(value, dtype)
    return _record(value, dtype)


def shown(value: Any) -> str:
    """Short text of any object, for messages."""
    text = reprlib.repr(value)
    if isinstance(value, np.generic | int | float | complex | str | bytes) or value is None:
        return text
    return f"{text} (a {type(value).__name__})"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _from_float(value: Any, scalar_type: Any) -> Any:
    try:
        return scalar_type(float(value))
    except OverflowError:
        return scalar_type(math.inf if value > 0 else -math.inf)


def _container_remedy(value: Any) -> str | None:
    if isinstance(value, list | tuple | range | np.ndarray):
        return "put several values in Grid([...]) or Choice([...])"
    return None


def _number_remedy(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "declare the parameter as bool"
    if isinstance(value, str):
        return "give a number, or declare the parameter as str or expr"
    return _container_remedy(value) or "give a number"


def _complex_number(value: Any, dtype: np.dtype) -> Any:
    if not isinstance(value, numbers.Complex) or isinstance(value, bool | np.bool_):
        refuse(f"{shown(value)} is not a number", value, _number_remedy(value))
    part = np.empty(0, dtype).real.dtype
    number = np.zeros((), dtype)
    number.real = real_number(value.real, part)
    number.imag = real_number(value.imag, part)
    return number[()]


def _fitting(value: Any, length: int, dtype: np.dtype) -> Any:
    if 0 < length < len(value):
        refuse(f"{shown(value)} is longer than the {length} of {dtype}", value, "use a longer type")
    return value


def _byte_string(value: Any, dtype: np.dtype) -> np.bytes_:
    if isinstance(value, str) and value.isascii():
        value = value.encode()
    if not isinstance(value, bytes):
        refuse(f"{shown(value)} is not a byte string", value, "write it as b'...'")
    if value.endswith(b"\0"):
        refuse(f"{shown(value)} ends with a NUL, which NumPy drops", value, "leave it out")
    return np.bytes_(_fitting(value, dtype.itemsize, dtype))


def _time(value: Any, dtype: np.dtype) -> Any:
    accepted: tuple[type, ...] = (np.datetime64, datetime.date, str)
    if dtype.kind == "m":
        accepted = (np.timedelta64, datetime.timedelta, int, np.integer)
    if not isinstance(value, accepted) or isinstance(value, bool):
        refuse(f"{shown(value)} is no {dtype}", value, f"give a np.{dtype.type.__name__}")
    try:
        exact = np.array(value) if isinstance(value, np.generic) else np.array(dtype.type(value))
        if exact.dtype.str[2:] == "8":  # without a unit
            exact = exact.astype(dtype)
        number = exact.astype(dtype, casting="same_kind")
    except (ValueError, TypeError, OverflowError) as error:
        refuse(f"{shown(value)} is no {dtype}: {error}", value)
    if np.isnat(number):
        refuse("NaT is not a value", value, "leave the set out")
    if number.astype(exact.dtype) != exact:
        refuse(f"{shown(value)} is not exact in {dtype}", value, "use a finer unit")
    return number[()]


def _record(value: Any, dtype: np.dtype) -> Any:
    names = dtype.names or ()
    fields = value.item() if isinstance(value, np.void | np.ndarray) else value
    if not isinstance(fields, tuple) or len(fields) != len(names):
        refuse(
            f"{shown(value)} is no record of {dtype}",
            value,
            f"give a tuple of {len(names)} values ({', '.join(names)})",
        )
    record = np.zeros((), dtype)
    for name, field in zip(names, fields, strict=True):
        record[name] = numpy_scalar(field, dtype[name])
    return record[()]
