"""A parameter set as Python code: for targets in the one-argument style, and for people."""

from __future__ import annotations

import ast
import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def literal(value: Any) -> str:
    """Python code that gives `value` back, type included.

    >>> literal(0.5), literal(float("inf")), literal("a")
    ('0.5', "float('inf')", "'a'")
    """
    if isinstance(value, np.generic):
        if value.dtype.kind == "V":
            code = f"np.array({value.item()!r}, np.dtype({value.dtype.descr!r}))[()]"
        elif value.dtype.kind in "mM":
            unit = np.datetime_data(value.dtype)[0]  # type: ignore[arg-type]
            inner = repr(str(value)) if value.dtype.kind == "M" else int(value.astype(np.int64))
            code = f"np.{type(value).__name__}({inner!s}, {unit!r})"
        elif value.dtype.kind in "US":
            code = f"np.{type(value).__name__}({value.item()!r})"
        elif value.dtype == np.longdouble or value.dtype == np.clongdouble:
            code = f"np.{type(value).__name__}({str(value)!r})"
        else:
            code = f"np.{type(value).__name__}({literal(value.item())})"
        return code.replace("np.", "__import__('numpy').", 1).replace(
            ", np.dtype(", ", __import__('numpy').dtype("
        )
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return repr(value)


def hyperpar(values: Mapping[str, Any], expressions: frozenset[str] = frozenset()) -> str:
    """The parameter set as code, one assignment a line, for the one-argument style.

    Parameters
    ----------
    values : mapping of str to object
        The parameter set in declared order.
    expressions : frozenset of str
        Names of the parameters whose value is the text of an expression.
    """
    return "".join(
        f"{name} = {value if name in expressions else literal(value)}\n"
        for name, value in values.items()
    )


_ABSENT = object()


@contextlib.contextmanager
def names_restored(namespace: dict[str, Any], code: str) -> Iterator[None]:
    """Undo what ``exec(code, namespace, namespace)`` set, once the evaluation is over.

    Only names that the code assigns: a module that keeps its own state between evaluations
    (a loaded data set, say) must find it again.
    """
    names = {
        node.id
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    before = {name: namespace.get(name, _ABSENT) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _ABSENT:
                namespace.pop(name, None)
            else:
                namespace[name] = value
