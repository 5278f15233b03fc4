"""Checks of the options of strategies and experiments, each with its own remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from phs_mpi.conversion import refuse, shown
from phs_mpi.parameters import ParameterType

_MOST_DIGITS = 300


def flag(option: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        refuse(f"{option}={shown(value)} is not True or False", value, "give one of the two")
    return bool(value)


def one_of(option: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of several names."""
    if not isinstance(value, str) or value not in choices:
        names = ", ".join(map(repr, choices))
        refuse(f"{option}={shown(value)} is unknown", value, f"give one of {names}")
    return value


def whole(option: str, value: Any, lowest: int, highest: int | None = None) -> int:
    """A whole number of at least `lowest`."""
    usable = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not usable:
        refuse(f"{option}={shown(value)} is not a whole number", value, f"give an int >= {lowest}")
    number = int(value)
    if number < lowest or (highest is not None and number > highest):
        limits = f">= {lowest}" if highest is None else f"between {lowest} and {highest}"
        refuse(f"{option}={shown(value)} is out of range", value, f"give an int {limits}")
    return number


def number(option: str, value: Any) -> float | int:
    """A finite number, as Python's."""
    value = value.item() if isinstance(value, np.generic) else value
    value = float(value) if isinstance(value, np.longdouble) else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        refuse(f"{option} is {shown(value)}, not a number", value, "give a number")
    if not isinstance(value, numbers.Integral):
        value = float(value)
        if not math.isfinite(value):
            refuse(f"{option} is {value}", value, "give a finite number")
    return value


def bounds(strategy: str, parameter: ParameterType, low: Any, high: Any) -> tuple[Any, Any]:
    """Two numbers within the range of the parameter's type, the lower one first."""
    require_real(strategy, parameter)
    if low is None or high is None:
        refuse(
            f"{strategy} needs two bounds, not {shown(low)} and {shown(high)}",
            (low, high),
            f"write {strategy}(low, high)",
        )
    low = bound(parameter, "the lower bound", low)
    high = bound(parameter, "the upper bound", high)
    if low >= high:
        remedy = "swap them" if low > high else "widen them, or give the value itself"
        refuse(f"the lower bound {low} is not below the upper bound {high}", (low, high), remedy)
    return low, high


def bound(parameter: ParameterType, which: str, value: Any) -> float | int:
    """A finite number within the range of the parameter's type."""
    value = number(which, value)
    lowest, highest = parameter.limits
    if not lowest <= value <= highest:
        refuse(
            f"{which} {value} is out of the range of {parameter.label} ({lowest} to {highest})",
            value,
            "use a wider type, or move the bound",
        )
    return value


def require_real(strategy: str, parameter: ParameterType) -> None:
    """Refuse bounds for a parameter that is no real number."""
    if parameter.real:
        return
    if parameter.kind == "expr":
        remedy = "give the text of an expression, or Grid or Choice of texts"
    elif strategy == "Bayesian":
        remedy = "list the categories to choose from: Bayesian([...])"
    else:
        remedy = "list its values: Grid([...]) or Choice([...])"
    refuse(f"{strategy} with bounds needs real numbers, not {parameter.label}", None, remedy)


def log_scale(low: Any) -> None:
    """Refuse a logarithmic scale that starts at or below zero."""
    if low <= 0:
        refuse(f"a logarithmic scale cannot start at {low}", low, "give a lower bound above zero")


def rounding(parameter: ParameterType, digits: Any, integer: Any) -> tuple[int | None, bool]:
    """The options `digits` and `integer`; integer parameters imply the latter."""
    integer = flag("integer", integer) or parameter.integral
    if digits is not None:
        digits = whole("digits", digits, -_MOST_DIGITS, _MOST_DIGITS)
        if integer and digits != 0:
            refuse(f"whole numbers cannot have digits={digits}", digits, "leave digits out")
    return (None if integer else digits), integer


def values(strategy: str, parameter: ParameterType, given: Any) -> tuple:
    """A list of values, canonical; all there are if none is given and the type lists them."""
    if given is None and parameter.choices is not None:
        return parameter.choices
    remedy = f"write {strategy}([...])"
    if given is None:
        refuse(f"{strategy} has no list of values", None, remedy)
    if isinstance(given, str | bytes | Mapping | Set) or not isinstance(given, Iterable):
        reason = "has no order" if isinstance(given, Set) else "is not a list of values"
        refuse(f"{strategy}({shown(given)}): {shown(given)} {reason}", given, remedy)
    # Iterating a NumPy array gives scalars, whose types say more than those of tolist().
    converted = tuple(parameter.convert(value) for value in given)
    if not converted:
        refuse(f"{strategy} has an empty list of values", given, "list at least one")
    return converted
