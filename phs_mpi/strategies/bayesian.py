"""Values proposed by Bayesian search."""

from __future__ import annotations

import numbers
from typing import Any

from phs_mpi.conversion import refuse
from phs_mpi.dimension import Dimension
from phs_mpi.parameters import ParameterType, plain
from phs_mpi.strategies import checks
from phs_mpi.strategies.base import Strategy, listed

#: Names of the acquisition functions and surrogates of the search, the default first.
ACQUISITIONS = ("logei", "ei", "ucb", "pi", "ts")
SURROGATES = ("gp", "random_forest", "extra_trees")


class Bayesian(Strategy):
    """Proposed by Bayesian search, from the results there are.

    Parameters
    ----------
    low, high : float
        Bounds, both included.
    values : list
        ``Bayesian(["adam", "sgd"])``: categories instead of bounds; may be left out for a bool
        or categorical parameter: all of them.
    log : bool
        Search the logarithm; with bounds only.
    digits : int, optional
        Round to that many digits after the decimal point; with bounds only.
    integer : bool
        Whole numbers only; implied by an integer parameter.
    ordered : bool
        Neighbours in the list are alike; with a list only.

    Attributes
    ----------
    categories : tuple or None
        Once bound: the values to choose from, None if it has bounds.
    """

    options = ("low", "high", "log", "digits", "integer", "ordered")

    def __init__(
        self,
        low: Any = None,
        high: Any = None,
        *,
        log: Any = False,
        digits: Any = None,
        integer: Any = False,
        ordered: Any = False,
        **unknown: Any,
    ):
        super().__init__(unknown)
        self.low, self.high = low, high
        self.log = log
        self.digits = digits
        self.integer = integer
        self.ordered = ordered
        self.categories: tuple | None = None

    def _bind(self, parameter: ParameterType) -> Bayesian:
        if parameter.kind == "expr":
            refuse(
                "an expression cannot be proposed by Bayesian search",
                self.low,
                "make a number Bayesian and use it in the expression",
            )
        if self.high is None and not _is_number(self.low):
            return self._bind_categories(parameter)
        self.low, self.high = checks.bounds("Bayesian", parameter, self.low, self.high)
        self.log = checks.flag("log", self.log)
        if checks.flag("ordered", self.ordered):
            refuse("ordered needs a list of values", True, "write Bayesian([...], ordered=True)")
        if self.log:
            checks.log_scale(self.low)
        self.digits, self.integer = checks.rounding(parameter, self.digits, self.integer)
        self.dimension(parameter.name)  # refuses bounds without a rounded value between them
        self.cells = parameter.column([])
        return self

    def _bind_categories(self, parameter: ParameterType) -> Bayesian:
        for option, default in (("log", False), ("digits", None), ("integer", False)):
            if getattr(self, option) is not default:
                refuse(
                    f"{option} needs bounds, not a list of values",
                    getattr(self, option),
                    f"write Bayesian(low, high, {option}=...), or leave it out",
                )
        self.ordered = checks.flag("ordered", self.ordered)
        self.categories = checks.values("Bayesian", parameter, self.low)
        for number, value in enumerate(self.categories):
            if any(type(v) is type(value) and v == value for v in self.categories[:number]):
                refuse(f"Bayesian lists {value!r} twice", value, "list each value once")
        self.low = None
        self.cells = parameter.column(self.categories)
        return self

    def dimension(self, name: str) -> Dimension:
        """What the search sees of it, once bound."""
        if self.categories is not None:
            return Dimension(
                name, kind="categorical", categories=self.categories, ordered=self.ordered
            )
        return Dimension(
            name,
            low=self.low,
            high=self.high,
            log=self.log,
            digits=self.digits,
            integer=self.integer,
        )

    def describe(self) -> dict[str, Any]:
        if self.categories is not None:
            categories = [plain(v) for v in self.categories]
            return {"strategy": "bayesian", "categories": categories, "ordered": self.ordered}
        return {
            "strategy": "bayesian",
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "digits": self.digits,
            "integer": self.integer,
        }

    def summary(self) -> str:
        if self.categories is not None:
            return f"~{{{listed(self.categories)}}}"
        return f"~[{self.low}, {self.high}]"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)
