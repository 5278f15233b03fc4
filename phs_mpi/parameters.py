"""Parameter types: which values a parameter may have, and how a column of cells holds them.

A *value* is what the target gets (canonical: exactly one Python or NumPy type per parameter
type); a *cell* is the same value in a structured array that HDF5 can store, where text is UTF-8
of fixed length.
"""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from phs_mpi import conversion
from phs_mpi.conversion import refuse, shown
from phs_mpi.errors import DefinitionError

TEXT: np.dtype = np.dtype(
    "S"
)  # no width: the table gives a text column the width of its longest cell


class _ExpressionMarker:
    """Type of :data:`expr`."""

    def __repr__(self) -> str:
        return "expr"

    def __reduce__(self) -> str:
        return "expr"


#: Type of a parameter whose value is the text of a Python expression, evaluated for each
#: parameter set in declared order; it may use parameters declared before it.
expr = _ExpressionMarker()


class ParameterType(ABC):
    """What values a parameter may have.

    Attributes
    ----------
    name : str
        Name of the parameter.
    kind : {"float", "int", "bool", "str", "numpy", "categorical", "expr"}
    dtype : numpy.dtype
        Of the column; ``S`` without a width for text.
    real : bool
        Whether values are real numbers, so that bounds make sense.
    integral : bool
        Whether they are whole numbers.
    """

    kind: ClassVar[str]
    real = False
    integral = False

    def __init__(self, name: str, dtype: np.dtype):
        self.name = name
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"<parameter {self.name}: {self.label}>"

    @property
    def label(self) -> str:
        """The type as a user would write it."""
        return self.kind

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest number a cell can hold; real types only."""
        if self.integral:
            info = np.iinfo(self.dtype)
            return int(info.min), int(info.max)
        # A longdouble reaches further, but bounds and draws are made as Python floats.
        highest = min(np.finfo(self.dtype).max, np.finfo(float).max)
        return -float(highest), float(highest)

    @property
    def choices(self) -> tuple | None:
        """All values, if the type itself lists them."""
        return None

    def convert(self, value: Any) -> Any:
        """The canonical value.

        Raises
        ------
        DefinitionError
            If that would lose something, or is no value of this type.
        """
        try:
            return self._convert(value)
        except DefinitionError as error:
            error.parameter = self.name
            raise

    @abstractmethod
    def _convert(self, value: Any) -> Any:
        """The canonical value, or a DefinitionError that need not name the parameter."""

    def to_column(self, value: Any) -> Any:
        """Cell of a canonical value."""
        return value

    def from_column(self, cell: Any) -> Any:
        """Canonical value of a cell."""
        return cell.item()

    def column(self, values: Sequence[Any]) -> np.ndarray:
        """Cells of canonical values, shape (n,); text as wide as its longest."""
        cells = [self.to_column(value) for value in values]
        if self.dtype == TEXT:
            return np.array(cells, dtype=f"S{max([1, *map(len, cells)])}")
        return np.array(cells, dtype=self.dtype)

    def describe(self) -> dict[str, Any]:
        """JSON-able description."""
        return {"name": self.name, "kind": self.kind, "type": self.label}


class FloatType(ParameterType):
    """``float``."""

    kind = "float"
    real = True

    def __init__(self, name: str):
        super().__init__(name, np.dtype(float))

    def _convert(self, value: Any) -> float:
        return float(conversion.real_number(value, self.dtype))


class IntType(ParameterType):
    """``int``, within 64 bits."""

    kind = "int"
    real = True
    integral = True

    def __init__(self, name: str):
        super().__init__(name, np.dtype(np.int64))

    def _convert(self, value: Any) -> int:
        return conversion.whole_number(value, self.dtype)


class BoolType(ParameterType):
    """``bool``."""

    kind = "bool"

    def __init__(self, name: str):
        super().__init__(name, np.dtype(bool))

    @property
    def choices(self) -> tuple:
        return (False, True)

    def _convert(self, value: Any) -> bool:
        return conversion.truth(value)


class StrType(ParameterType):
    """``str``."""

    kind = "str"

    def __init__(self, name: str):
        super().__init__(name, TEXT)

    def _convert(self, value: Any) -> str:
        return conversion.text(value)

    def to_column(self, value: str) -> bytes:
        return value.encode()

    def from_column(self, cell: Any) -> str:
        return bytes(cell).decode()


class ExprType(StrType):
    """Text of a Python expression.

    Parameters
    ----------
    name : str
    later : sequence of str
        Parameters declared after this one, which the expression cannot use.
    """

    kind = "expr"

    def __init__(self, name: str, later: Sequence[str] = ()):
        super().__init__(name)
        self.later = frozenset(later)

    def _convert(self, value: Any) -> str:
        if not isinstance(value, str):
            refuse(f"{shown(value)} is not the text of an expression", value, "put it in quotes")
        text = conversion.text(value).strip()
        try:
            tree = ast.parse(text, mode="eval")
            compile(tree, "<expr>", "eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error) or type(error).__name__
            refuse(
                f"the expression {shown(value)} is not valid Python: {reason}",
                value,
                "give the text of one expression, such as 'x * 2'",
            )
        used = _free_names(tree)
        if self.name in used:
            refuse(f"the expression {shown(value)} uses the parameter itself", value)
        for name in sorted(used & self.later):
            refuse(
                f"the expression {shown(value)} uses {name!r}, which is declared after it",
                value,
                f"declare {name!r} before {self.name!r} in Experiment(parameters=...)",
            )
        return text


def _free_names(tree: ast.AST) -> set[str]:
    loaded: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return loaded - bound


class CategoricalType(ParameterType):
    """One of a fixed list of plain values.

    Parameters
    ----------
    name : str
    categories : sequence of str, int, float, bool or None
    """

    kind = "categorical"

    def __init__(self, name: str, categories: Sequence[Any]):
        super().__init__(name, TEXT)
        self.categories = tuple(_category(category) for category in categories)
        if not self.categories:
            refuse("the list of categories is empty", (), "list at least one")
        # 1, 1.0 and True are equal in Python but different choices here.
        self._number = {(type(c), c): k for k, c in enumerate(self.categories)}
        for k, c in enumerate(self.categories):
            if self._number[type(c), c] != k:
                refuse(f"the category {c!r} is listed twice", c, "list it once")
        labels = [c if isinstance(c, str) else repr(c) for c in self.categories]
        if len(set(labels)) < len(labels):
            labels = [repr(c) for c in self.categories]
        self._cells = [label.encode() for label in labels]
        self._values = dict(zip(self._cells, self.categories, strict=True))

    @property
    def label(self) -> str:
        return repr(list(self.categories))

    @property
    def choices(self) -> tuple:
        return self.categories

    def _convert(self, value: Any) -> Any:
        given = value.item() if isinstance(value, np.generic) else value
        candidates = [(type(given), given)]
        if type(given) in (int, float):
            candidates.append((float if type(given) is int else int, given))
        try:
            found = [self._number[c] for c in candidates if c in self._number]
        except TypeError:  # not hashable, so no category
            found = []
        if not found:
            listed = shown(self.categories) if len(self.categories) > 8 else self.label
            refuse(f"{shown(value)} is none of the categories", value, f"use one of {listed}")
        return self.categories[found[0]]

    def to_column(self, value: Any) -> bytes:
        return self._cells[self._number[type(value), value]]

    def from_column(self, cell: Any) -> Any:
        return self._values[bytes(cell)]

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "categories": [plain(c) for c in self.choices],
        }


def _category(category: Any) -> Any:
    value = category.item() if isinstance(category, np.generic) else category
    if isinstance(value, str):
        return conversion.text(value)
    if isinstance(value, float) and math.isnan(value):
        refuse("NaN cannot be a category", value, "use None")
    if value is None or type(value) in (int, float, bool):
        return value
    refuse(
        f"the category {shown(category)} is not plain",
        category,
        "use text, numbers, True, False or None, and look the object up in the target",
    )


class NumpyType(ParameterType):
    """A NumPy dtype; values are NumPy scalars of just that dtype.

    Parameters
    ----------
    name : str
    dtype : numpy.dtype
        Of the values. Columns differ where HDF5 has no such type: Unicode text is stored as
        UTF-8, dates as ISO 8601 text, time differences as the whole number of their units.
    """

    kind = "numpy"

    def __init__(self, name: str, dtype: np.dtype):
        _check_dtype(dtype)
        self.value_dtype = dtype.newbyteorder("=")
        kind = dtype.kind
        column: np.dtype = self.value_dtype
        if kind in "UM":
            column = TEXT
        elif kind == "m":
            column = np.dtype(np.int64)
        super().__init__(name, column)
        self.real = kind in "iuf"
        self.integral = kind in "iu"

    @property
    def label(self) -> str:
        return str(self.value_dtype)

    @property
    def choices(self) -> tuple | None:
        return (np.False_, np.True_) if self.value_dtype.kind == "b" else None

    def _convert(self, value: Any) -> Any:
        return conversion.numpy_scalar(value, self.value_dtype)

    def to_column(self, value: Any) -> Any:
        kind = self.value_dtype.kind
        if kind in "UM":
            return str(value).encode()
        return value.astype(np.int64) if kind == "m" else value

    def from_column(self, cell: Any) -> Any:
        kind = self.value_dtype.kind
        if kind == "U":
            return np.str_(bytes(cell).decode())
        if kind == "M":
            return np.array(bytes(cell).decode(), self.value_dtype)[()]
        if kind == "m":
            return np.array(cell, np.int64).view(self.value_dtype)[()]
        return np.array(cell, self.value_dtype)[()]


def _check_dtype(dtype: np.dtype) -> None:
    if dtype.names:
        for field in dtype.names:
            if dtype[field].kind not in "biufcSV" or dtype[field] == TEXT:
                refuse(
                    f"the field {field!r} of the record is a {dtype[field]}",
                    dtype,
                    "declare it as a parameter of its own",
                )
            _check_dtype(dtype[field])
    elif dtype.kind not in "biufcSUmM":
        refuse(
            f"values of dtype {dtype!s} cannot be stored",
            dtype,
            "use another dtype, or a list of categories and look the object up in the target",
        )
    elif dtype.kind in "mM" and np.datetime_data(dtype)[0] == "generic":
        refuse(f"the dtype {dtype} has no unit", dtype, f"write '{dtype}[s]', for example")


def plain(value: Any) -> Any:
    """A canonical value in the types of Python's json; text where it has none for it."""
    if isinstance(value, bytes):
        return bytes(value).decode("ascii", "backslashreplace")
    if isinstance(value, np.generic):
        exact = value.dtype.kind in "biuU" or value.dtype in (np.float16, np.float32, np.float64)
        return value.item() if exact else str(value)
    return value
