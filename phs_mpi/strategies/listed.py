"""Strategies that list values: an explicit one, a grid, a choice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phs_mpi.conversion import refuse, shown
from phs_mpi.parameters import ParameterType, plain
from phs_mpi.strategies import checks
from phs_mpi.strategies.base import Strategy, listed

_MOST_VALUES = 10**7


class Explicit(Strategy):
    """One value, the same in each set of its group."""

    def __init__(self, value: Any):
        super().__init__({})
        self.value = value

    def _bind(self, parameter: ParameterType) -> Explicit:
        self.value = parameter.convert(self.value)
        self.cells = parameter.column([self.value])
        return self

    def describe(self) -> dict[str, Any]:
        return {"strategy": "explicit", "value": plain(self.value)}

    def summary(self) -> str:
        return str(self.value)


class Grid(Strategy):
    """Each of a list of values, combined with those of the other grids of its group.

    Parameters
    ----------
    values : list
        ``Grid([1, 2, 4])``; may be left out for a bool or categorical parameter: all of them.
    low, high : float
        ``Grid(0, 1, num=11)``: instead of a list, both ends included.
    num : int
        Number of values, at least 2; with bounds only.
    log : bool
        Equal ratios instead of equal distances; with bounds only.
    """

    options = ("num", "log")

    def __init__(
        self,
        values: Any = None,
        high: Any = None,
        num: Any = None,
        log: Any = False,
        **unknown: Any,
    ):
        low = unknown.pop("low", values)
        super().__init__(unknown)
        self.values: Any = low
        self._bounds = (low, high)
        self._num, self._log = num, log

    def _bind(self, parameter: ParameterType) -> Grid:
        if self._bounds[1] is None and self._num is None:
            if self._log is not False:
                refuse("log needs bounds", self._log, "write Grid(low, high, num=..., log=True)")
            self.values = checks.values("Grid", parameter, self.values)
        else:
            self.values = self._spaced(parameter)
        self.cells = parameter.column(self.values)
        return self

    def _spaced(self, parameter: ParameterType) -> tuple:
        low, high = checks.bounds("Grid", parameter, *self._bounds)
        call = f"Grid({low}, {high}"
        if self._num is None:
            remedy = f"write {call}, num=...), or Grid([{low}, {high}]) for just these two"
            refuse(f"{call}) does not say how many values", None, remedy)
        num = checks.whole("num", self._num, 2, _MOST_VALUES)
        log = checks.flag("log", self._log)
        if log:
            checks.log_scale(low)
        spaced = (np.geomspace if log else np.linspace)(float(low), float(high), num)
        spaced = np.clip(spaced, low, high)
        # Ends are exact: 2**63 - 1, say, is no float.
        inner = [round(v) for v in spaced.tolist()] if parameter.integral else spaced.tolist()
        ends = (math.ceil(low), math.floor(high)) if parameter.integral else (low, high)
        numbers = [ends[0], *(min(max(v, ends[0]), ends[1]) for v in inner[1:-1]), ends[1]]
        values = tuple(parameter.convert(v) for v in numbers)
        if len(set(values)) < num:
            refuse(
                f"{call}, num={num}): the values are not all different in {parameter.label}",
                num,
                "lower num or widen the bounds",
            )
        return values

    def describe(self) -> dict[str, Any]:
        return {"strategy": "grid", "values": [plain(v) for v in self.values]}

    def summary(self) -> str:
        return listed(self.values)


class Choice(Strategy):
    """One of a list of values, drawn at random.

    Parameters
    ----------
    values : list
        May be left out for a bool or categorical parameter: all of them.
    weights : list of float, optional
        Relative probability of each value; default: equal.
    """

    options = ("weights",)

    def __init__(self, values: Any = None, weights: Any = None, **unknown: Any):
        super().__init__(unknown)
        self.values: Any = values
        self.weights: Any = weights

    def _bind(self, parameter: ParameterType) -> Choice:
        self.values = checks.values("Choice", parameter, self.values)
        weights = self._checked_weights(len(self.values))
        if self.weights is not None:
            self.weights = tuple(weights.tolist())
        self.cells = parameter.column(self.values)
        possible = np.flatnonzero(weights)
        self._drawn = self.cells[possible]
        cumulative = np.cumsum(weights[possible] / weights.max())
        self._cumulative = cumulative / cumulative[-1]
        distinct = {(type(v), v): k for k, v in enumerate(self.values) if weights[k] > 0}
        self._distinct = self.cells[sorted(distinct.values())]
        return self

    def _checked_weights(self, count: int) -> np.ndarray:
        if self.weights is None:
            return np.ones(count)
        try:
            weights = np.array(self.weights, dtype=float)
        except (TypeError, ValueError):
            weights = np.empty(0)
        if weights.shape != (count,):
            refuse(
                f"weights={shown(self.weights)} are not {count} numbers, one for each value",
                self.weights,
                "give as many weights as values",
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            refuse(
                f"weights={shown(self.weights)} are no probabilities",
                self.weights,
                "give finite numbers that are not negative, at least one above zero",
            )
        return weights

    @property
    def size(self) -> int:
        """Number of different values it can draw."""
        return len(self._distinct)

    def support(self) -> np.ndarray:
        """Cells of all different values it can draw."""
        return self._distinct

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Cells drawn by uniform numbers `u` in [0, 1)."""
        return self._drawn[np.searchsorted(self._cumulative, u, side="right")]

    def describe(self) -> dict[str, Any]:
        described = {"strategy": "choice", "values": [plain(v) for v in self.values]}
        if self.weights is not None:
            described["weights"] = list(self.weights)
        return described

    def summary(self) -> str:
        return listed(self.values)
