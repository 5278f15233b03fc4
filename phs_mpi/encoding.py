"""Parameter values to points of the unit cube, and back.

| symbol | meaning                                              | shape   |
|--------|------------------------------------------------------|---------|
| D      | columns: one per numeric, ordered or two-valued dimension, else one per category | |
| X      | encoded rows; free columns lie in [0, 1]             | (n, D)  |
| U      | uniform coordinates, one per *free* dimension        | (n, F)  |

The surrogate only ever sees *snapped* points, the code of the value the target really gets, so
that rounding and categories cannot mislead it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .dimension import Dimension
from .errors import DefinitionError

__all__ = ["FAR", "Dimension", "Space"]

#: Largest distance from the unit cube, in widths of the bounds, that a given value is encoded at.
FAR = 1000.0


class Space:
    """The dimensions of a search and their common encoding.

    Parameters
    ----------
    dimensions : sequence of Dimension

    Attributes
    ----------
    width : int
        Number of columns D.
    group : ndarray of shape (D,)
        Number of the dimension each column belongs to; columns of one dimension share a
        lengthscale.
    free : ndarray of shape (D,)
        Columns the search may move.
    smooth : ndarray of shape (D,)
        Free columns along which a gradient makes sense.

    Raises
    ------
    DefinitionError
        If two dimensions bear the same name.
    """

    def __init__(self, dimensions: Sequence[Dimension]):
        self.dimensions = tuple(dimensions)
        names = [d.name for d in self.dimensions]
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(
                    "is there twice",
                    parameter=name,
                    value=name,
                    remedy="give each dimension its own name",
                )
        starts = np.cumsum([0, *(d.width for d in self.dimensions)])
        self.width = int(starts[-1])
        self.columns = {
            d.name: slice(int(a), int(b))
            for d, a, b in zip(self.dimensions, starts[:-1], starts[1:], strict=True)
        }
        widths = [d.width for d in self.dimensions]
        self.group = np.repeat(np.arange(len(self.dimensions)), widths)
        self.free = np.repeat([d.free for d in self.dimensions], widths).astype(bool)
        self.free_dimensions = tuple(d for d in self.dimensions if d.free)
        continuous = [d.free and d.kind == "numeric" and d.count != 1 for d in self.dimensions]
        self.smooth = np.repeat(continuous, widths).astype(bool)

    @cached_property
    def size(self) -> int | None:
        """Number of distinct free points; None if some free dimension is a continuum."""
        counts = [d.count for d in self.free_dimensions]
        return None if None in counts else math.prod(c for c in counts if c is not None)

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Rows of named values to points.

        A value that cannot be placed never raises: one that is not positive on a logarithmic
        scale lies one width below the lower bound, one that is infinite or very far away `FAR`
        widths outside, NaN in the middle, and an unknown category is equally far from all others
        (half way up the scale if categories are ordered).

        Returns
        -------
        ndarray of shape (n, D)
        """
        X = np.empty((len(rows), self.width))
        for d in self.dimensions:
            values = [row[d.name] for row in rows]
            column = self.columns[d.name]
            if d.kind == "numeric":
                X[:, column.start] = _unit(d, np.array([_number(v) for v in values], dtype=float))
            else:
                X[:, column] = _category_codes(d)[_category_numbers(d, values)]
        return X

    def snap(self, X: np.ndarray) -> np.ndarray:
        """The points nearest to `X` that have a value; columns that are not free stay as they are.

        Returns
        -------
        ndarray of shape (n, D)
            Equal, bit for bit, to the encoding of the decoded values.
        """
        X = np.array(X, dtype=float)
        for d in self.free_dimensions:
            column = self.columns[d.name]
            if d.kind == "numeric":
                X[:, column.start] = _unit(
                    d, np.array(_numbers(d, X[:, column.start]), dtype=float)
                )
            else:
                X[:, column] = _category_codes(d)[_nearest_category(d, X[:, column])]
        return X

    def decode(self, x: np.ndarray) -> dict[str, Any]:
        """Value of each free dimension at the point `x` of shape (D,); always within bounds."""
        values: dict[str, Any] = {}
        for d in self.free_dimensions:
            column = self.columns[d.name]
            if d.kind == "numeric":
                values[d.name] = _numbers(d, x[column])[0]
            else:
                values[d.name] = d.categories[int(_nearest_category(d, x[None, column])[0])]
        return values

    def spread(self, U: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Uniform coordinates to snapped points, every allowed value equally likely.

        Parameters
        ----------
        U : ndarray of shape (n, F)
            Coordinates in [0, 1), one per free dimension.
        base : ndarray of shape (D,)
            Supplies the columns that are not free.

        Returns
        -------
        ndarray of shape (n, D)
        """
        X = np.tile(base, (len(U), 1))
        for u, d in zip(U.T, self.free_dimensions, strict=True):
            column = self.columns[d.name]
            if d.kind == "categorical":
                number = np.minimum(u * len(d.categories), len(d.categories) - 1).astype(int)
                X[:, column] = _category_codes(d)[number]
            elif d.stepped:
                # Half a step beyond the ends, else the first and last value get half their share.
                first, last = _unit_of_cells(d)
                X[:, column.start] = first + u * (last - first)
            else:
                X[:, column.start] = u
        return self.snap(X)

    def enumerate(self, numbers: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Points of a space of finite size by number, the last dimension counting fastest.

        Parameters
        ----------
        numbers : ndarray of int, shape (n,)
            In ``range(size)``.
        base : ndarray of shape (D,)
            Supplies the columns that are not free.

        Returns
        -------
        ndarray of shape (n, D)
        """
        X = np.tile(base, (len(numbers), 1))
        numbers = np.asarray(numbers)
        for d in reversed(self.free_dimensions):
            assert d.count is not None
            numbers, place = np.divmod(numbers, d.count)
            column = self.columns[d.name]
            if d.kind == "categorical":
                X[:, column] = _category_codes(d)[place]
            else:
                first = d.grid[0] if d.stepped else 0
                legal = [d.multiple(first + k) if d.stepped else d.low for k in place.tolist()]
                X[:, column.start] = _unit(d, np.array(legal, dtype=float))
        return X

    def neighbours(self, x: np.ndarray) -> np.ndarray:
        """Points that differ from the snapped point `x` by another category or one step.

        Returns
        -------
        ndarray of shape (m, D)
            Without `x` itself.
        """
        found = []
        for d in self.free_dimensions:
            column = self.columns[d.name]
            if d.kind == "categorical":
                codes = _category_codes(d)[:-1]
            elif d.stepped:
                value = _numbers(d, x[column])[0]
                around = [d.legal(value - (d.step or 0)), d.legal(value + (d.step or 0))]
                codes = _unit(d, np.array(around, dtype=float))[:, None]
            else:
                continue
            for code in codes:
                if (code != x[column]).any():
                    other = x.copy()
                    other[column] = code
                    found.append(other)
        return np.array(found).reshape(len(found), self.width)


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _scale(d: Dimension, v: np.ndarray) -> np.ndarray:
    # Halves keep the difference of two bounds near the largest float finite; halving is exact.
    return np.log(v) if d.log else v / 2


def _unit(d: Dimension, v: np.ndarray) -> np.ndarray:
    low, high = _scale(d, np.array([float(d.low), float(d.high)]))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        width = high - low if high > low else 1.0
        u = (_scale(d, np.where(v > 0, v, d.low) if d.log else v) - low) / width
    if d.log:
        u = np.where(v > 0, u, -1.0)
        u = np.where(np.isnan(v), 0.5, u)
    return np.clip(np.where(np.isnan(u), 0.5, u), -FAR, FAR)


def _numbers(d: Dimension, u: np.ndarray) -> list[float | int]:
    if d.count == 1:
        only = d.multiple(d.grid[0]) if d.stepped else float(d.low)
        return [only] * len(u)
    u = np.clip(u, 0.0, 1.0)
    low, high = float(d.low), float(d.high)
    if d.log:
        v = np.exp(math.log(low) * (1 - u) + math.log(high) * u)
        # The bounds themselves, without the rounding error of the logarithm.
        v = np.where(u == 0, low, np.where(u == 1, high, v))
    else:
        v = low * (1 - u) + high * u
    if not d.stepped:
        return np.clip(v, low, high).tolist()
    return [d.legal(value) for value in v.tolist()]


def _unit_of_cells(d: Dimension) -> tuple[float, float]:
    half = 0.5 * (d.step or 0.0)
    ends = [float(d.multiple(k)) for k in d.grid]
    if d.log:
        # The lower half of the first cell must stay positive.
        ends = [max(ends[0] - half, ends[0] / 2), ends[1] + half]
    else:
        ends = [ends[0] - half, ends[1] + half]
    first, last = _unit(d, np.array(ends))
    return float(first), float(last)


def _category_codes(d: Dimension) -> np.ndarray:
    """Code of each category, and in the last row that of an unknown one."""
    n = len(d.categories)
    if d.width == 1:
        return np.append(np.arange(n) / max(n - 1, 1), 0.5)[:, None]
    # Two different categories are at distance 1, as the ends of a numeric dimension are.
    return np.vstack([np.eye(n) * math.sqrt(0.5), np.zeros(n)])


def _category_numbers(d: Dimension, values: Sequence[Any]) -> list[int]:
    # 1, 1.0 and True are equal in Python but different choices here.
    table = {(type(c), c): k for k, c in enumerate(d.categories)}
    loose = {c: k for k, c in reversed(list(enumerate(d.categories)))}
    unknown = len(d.categories)
    return [table.get((type(v), v), loose.get(v, unknown)) for v in values]


def _nearest_category(d: Dimension, codes: np.ndarray) -> np.ndarray:
    if d.width == 1:
        steps = max(len(d.categories) - 1, 1)
        number = np.rint(np.clip(codes[:, 0], 0.0, 1.0) * steps).astype(int)
        return np.minimum(number, len(d.categories) - 1)
    return np.argmax(codes, axis=1)
