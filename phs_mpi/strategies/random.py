"""Numbers drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from phs_mpi.conversion import refuse, shown
from phs_mpi.dimension import Dimension
from phs_mpi.parameters import ParameterType
from phs_mpi.strategies import checks
from phs_mpi.strategies.base import Strategy
from phs_mpi.strategies.distributions import LOG_UNIFORM, NORMAL, UNIFORM, NumberDistribution
from phs_mpi.strategies.listed import Choice


class Random(Strategy):
    """A number drawn at random; for a bool or categorical parameter one of its values.

    Parameters
    ----------
    low, high : float
        Bounds, both included. Optional if the distribution is normal, which they truncate.
    distribution : {"uniform", "log-uniform", "normal"}
    log : bool
        Short for ``distribution="log-uniform"``.
    mean, std : float
        Of the normal distribution, before truncation.
    digits : int, optional
        Round to that many digits after the decimal point (negative: before it), never out of
        bounds.
    integer : bool
        Whole numbers only; implied by an integer parameter.
    """

    options = ("low", "high", "distribution", "log", "mean", "std", "digits", "integer")

    def __init__(
        self,
        low: Any = None,
        high: Any = None,
        *,
        distribution: Any = None,
        log: Any = False,
        mean: Any = None,
        std: Any = None,
        digits: Any = None,
        integer: Any = False,
        **unknown: Any,
    ):
        super().__init__(unknown)
        self.low, self.high = low, high
        self.distribution = distribution
        self.log = log
        self.mean, self.std = mean, std
        self.digits = digits
        self.integer = integer

    def _bind(self, parameter: ParameterType) -> Strategy:
        if parameter.choices is not None and self.low is None and self.high is None:
            return Choice().bind(parameter)
        checks.require_real("Random", parameter)
        self._check_distribution()
        self.digits, self.integer = checks.rounding(parameter, self.digits, self.integer)
        if self.distribution == NORMAL:
            self._check_normal(parameter)
        else:
            self.low, self.high = checks.bounds("Random", parameter, self.low, self.high)
        if self.distribution == LOG_UNIFORM:
            checks.log_scale(self.low)
        lowest, highest = parameter.limits
        low = lowest if self.low is None else self.low
        high = highest if self.high is None else self.high
        dimension = Dimension(
            parameter.name, low=low, high=high, digits=self.digits, integer=self.integer
        )
        self._numbers = NumberDistribution(
            self.distribution, dimension, self.mean or 0.0, self.std or 1.0
        )
        self._dtype = parameter.dtype
        self.cells = parameter.column([])
        return self

    def _check_distribution(self) -> None:
        log = checks.flag("log", self.log)
        known = (UNIFORM, LOG_UNIFORM, NORMAL)
        if self.distribution is None:
            self.distribution = LOG_UNIFORM if log else UNIFORM
        if self.distribution not in known:
            names = ", ".join(map(repr, known))
            refuse(
                f"there is no distribution {shown(self.distribution)}",
                self.distribution,
                f"use one of {names}",
            )
        if log and self.distribution != LOG_UNIFORM:
            refuse(f"log=True contradicts distribution={self.distribution!r}", log, "leave one out")
        for option in ("mean", "std"):
            if self.distribution != NORMAL and getattr(self, option) is not None:
                refuse(
                    f"{option} belongs to the normal distribution",
                    getattr(self, option),
                    "add distribution='normal', or leave it out",
                )

    def _check_normal(self, parameter: ParameterType) -> None:
        for option in ("mean", "std"):
            if getattr(self, option) is None:
                remedy = "write Random(distribution='normal', mean=..., std=...)"
                refuse(f"the normal distribution has no {option}", None, remedy)
        self.mean = float(checks.number("mean", self.mean))
        self.std = float(checks.number("std", self.std))
        if self.std <= 0:
            refuse(f"std={self.std} is not positive", self.std, "give a number above zero")
        if self.low is not None and self.high is not None:
            self.low, self.high = checks.bounds("Random", parameter, self.low, self.high)
        elif self.low is not None:
            self.low = checks.bound(parameter, "the lower bound", self.low)
        elif self.high is not None:
            self.high = checks.bound(parameter, "the upper bound", self.high)

    @property
    def size(self) -> int | None:
        """Number of different values it can draw; None for a continuum."""
        return self._numbers.size

    def support(self) -> np.ndarray:
        """Cells of all different values it can draw."""
        return self._numbers.support().astype(self._dtype)

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Cells drawn by uniform numbers `u` in [0, 1)."""
        return self._numbers.quantile(u).astype(self._dtype)

    def describe(self) -> dict[str, Any]:
        described = {"strategy": "random", "distribution": self.distribution}
        for option in ("low", "high", "mean", "std", "digits"):
            if getattr(self, option) is not None:
                described[option] = getattr(self, option)
        return described | {"integer": self.integer}

    def summary(self) -> str:
        return f"[{self.low}, {self.high}]"
