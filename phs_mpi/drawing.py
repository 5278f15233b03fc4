"""The values of all sets that no search proposes: a function of the groups and the seed.

Row r of a group, attempt a, uses row r of a stream of uniform numbers that is keyed by (seed,
group, block of rows, a): many rows are drawn at once, and none depends on how many follow it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from phs_mpi.errors import DefinitionError
from phs_mpi.strategies import Bayesian, Choice, Explicit, Grid, Random, Strategy

PURPOSE_TABLE = 1

BLOCK = 4096  # rows drawn together; part of the key: another value makes other tables
ATTEMPTS = 100  # draws of one row before its remaining possibilities are listed
MOST_LISTED = 1_000_000  # possibilities of one row that are worth listing


class GroupDrawer:
    """Draws the rows of one group.

    Parameters
    ----------
    number : int
        Number of the group in the experiment.
    strategies : mapping of str to Strategy
        Bound, in declared order.
    dtype : numpy.dtype
        Of a row.
    seed : int
        The experiment's seed.
    seen : set or None
        Keys of all complete sets so far, extended by this group's; None if duplicates do not
        matter. A group with Bayesian parameters has no complete sets and leaves it alone.
    """

    def __init__(
        self,
        number: int,
        strategies: Mapping[str, Strategy],
        dtype: np.dtype,
        seed: int,
        seen: set[Hashable] | None,
    ):
        self._number = number
        self._dtype = dtype
        self._seed = seed
        self._listed = {n: s for n, s in strategies.items() if isinstance(s, Explicit | Grid)}
        self._drawn = {n: s for n, s in strategies.items() if isinstance(s, Choice | Random)}
        complete = not any(isinstance(s, Bayesian) for s in strategies.values())
        self._seen = seen if complete else None
        self._keys = _keys_of(dtype)
        self._remaining: dict[Hashable, _Remaining] = {}

    def fill(self, rows: np.ndarray) -> None:
        """Draw all rows of the group, shape (count,), in place.

        Raises
        ------
        DefinitionError
            If there are not as many different sets.
        """
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            self._fill_listed(block, start)
            drawn = block.copy()
            self._draw(drawn, start, 0)
            block[:] = drawn
            if self._seen is None:
                continue
            if not self._drawn:
                self._seen.update(self._keys(block))
                continue
            self._make_distinct(block, start, len(rows))

    def _fill_listed(self, block: np.ndarray, start: int) -> None:
        row = np.arange(start, start + len(block))
        for name in reversed(self._listed):  # the grid declared last varies fastest
            row, place = np.divmod(row, len(self._listed[name].cells))
            block[name] = self._listed[name].cells[place]

    def _draw(self, block: np.ndarray, start: int, attempt: int) -> None:
        uniform = self._uniform(start, attempt, len(block), len(self._drawn))
        for column, (name, strategy) in zip(uniform.T, self._drawn.items(), strict=True):
            block[name] = strategy.quantile(column)

    def _uniform(self, start: int, attempt: int, rows: int, columns: int) -> np.ndarray:
        key = [self._seed, PURPOSE_TABLE, self._number, start // BLOCK, attempt]
        return np.random.default_rng(key).random((rows, columns))

    def _make_distinct(self, block: np.ndarray, start: int, count: int) -> None:
        """Redraw, in order, each row that equals an earlier one."""
        assert self._seen is not None
        attempts: list[tuple[np.ndarray, list]] = []
        for r, key in enumerate(self._keys(block)):
            attempt = 0
            while key in self._seen and attempt < ATTEMPTS:
                if attempt == len(attempts):
                    redrawn = block.copy()
                    self._draw(redrawn, start, attempt + 1)
                    attempts.append((redrawn, self._keys(redrawn)))
                key = attempts[attempt][1][r]
                attempt += 1
            if key in self._seen:
                key = self._choose_remaining(block, r, start, count)
            elif attempt:
                block[r] = attempts[attempt - 1][0][r]
            self._seen.add(key)

    def _choose_remaining(self, block: np.ndarray, r: int, start: int, count: int) -> Hashable:
        sizes = [strategy.size or math.inf for strategy in self._drawn.values()]
        possibilities = math.prod(sizes)
        if possibilities > MOST_LISTED:
            raise DefinitionError(
                f"add() number {self._number + 1} asks for {count} different parameter sets, but "
                f"{ATTEMPTS} draws found none that differs from those before set {start + r} of it",
                value=count,
                remedy=_REMEDY,
            )
        fixed = tuple(block[name][r].item() for name in self._listed)
        if fixed not in self._remaining:
            possible = np.repeat(block[r : r + 1], int(possibilities))
            number = np.arange(len(possible))
            for name in reversed(self._drawn):
                support = self._drawn[name].support()
                number, place = np.divmod(number, len(support))
                possible[name] = support[place]
            self._remaining[fixed] = _Remaining(possible, self._keys(possible))
        assert self._seen is not None
        u = float(self._uniform(start, ATTEMPTS + 1, r + 1, 1)[r, 0])
        found = self._remaining[fixed].take(u, self._seen)
        if found is None:
            raise DefinitionError(
                f"add() number {self._number + 1} asks for {count} parameter sets, but only "
                f"{start + r} of them can differ from each other and from earlier sets",
                value=count,
                remedy=_REMEDY,
            )
        block[r], key = found
        return key


_REMEDY = (
    "lower the number of sets, let a Random or Choice draw from more values, or allow repeated "
    "sets with Experiment(..., duplicates=True)"
)


class _Remaining:
    """Possibilities of a row, some of them already used."""

    def __init__(self, rows: np.ndarray, keys: list):
        self._rows = rows
        self._keys = keys
        self._left = list(range(len(rows)))

    def take(self, u: float, seen: set[Hashable]) -> tuple[Any, Hashable] | None:
        """Remove one that is not in `seen`, the choice made by `u` in [0, 1)."""
        while self._left:
            place = int(u * len(self._left))
            self._left[place], self._left[-1] = self._left[-1], self._left[place]
            number = self._left.pop()
            if self._keys[number] not in seen:
                return self._rows[number], self._keys[number]
        return None


def _keys_of(dtype: np.dtype) -> Callable[[np.ndarray], list]:
    """Function from rows to hashable keys, equal if and only if the rows are."""
    if _has_padding(dtype):
        return lambda rows: rows.tolist()
    return lambda rows: rows.view(f"V{dtype.itemsize}").tolist()


def _has_padding(dtype: np.dtype) -> bool:
    """Whether two equal cells may differ in bytes that mean nothing, as in a longdouble."""
    if dtype.names:
        packed = sum(dtype[name].itemsize for name in dtype.names) == dtype.itemsize
        return not packed or any(_has_padding(dtype[name]) for name in dtype.names)
    return dtype.char in "gG"
