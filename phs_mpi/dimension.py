"""One dimension of a search space: its values, and which of them are legal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from .errors import DefinitionError


@dataclass(frozen=True)
class Dimension:
    """One parameter as the search sees it.

    Parameters
    ----------
    name : str
    kind : {"numeric", "categorical"}
    low, high : float or int
        Bounds of a numeric dimension, both included.
    log : bool
        Search the logarithm of the value; needs ``low > 0``.
    digits : int, optional
        Values are rounded as by ``round(value, digits)``; None leaves them alone.
    integer : bool
        Values are Python ints; `digits` is then 0.
    categories : tuple
        Choices of a categorical dimension, distinct in type and value.
    ordered : bool
        Neighbouring categories are alike.
    free : bool
        Proposed by the search; otherwise given from outside and only informing the model.

    Raises
    ------
    DefinitionError
        If bounds are not finite or not in order, if no rounded value lies between them, or if
        there is no category.
    """

    name: str
    kind: str = "numeric"
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    digits: int | None = None
    integer: bool = False
    categories: tuple = ()
    ordered: bool = False
    free: bool = True

    def __post_init__(self):
        if self.kind == "categorical":
            object.__setattr__(self, "categories", tuple(self.categories))
            if not self.categories:
                raise DefinitionError(
                    "there is no category to choose from",
                    parameter=self.name,
                    value=self.categories,
                    remedy="give at least one",
                )
            return
        if self.kind != "numeric":
            raise DefinitionError(
                f"unknown kind of dimension {self.kind!r}",
                parameter=self.name,
                value=self.kind,
                remedy="use 'numeric' or 'categorical'",
            )
        if self.integer and self.digits not in (None, 0):
            raise DefinitionError(
                f"an integer cannot have digits={self.digits}",
                parameter=self.name,
                value=self.digits,
                remedy="leave digits out",
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low > self.high:
            raise DefinitionError(
                f"bounds {self.low!r} and {self.high!r} do not enclose an interval",
                parameter=self.name,
                value=(self.low, self.high),
                remedy="give two finite numbers, the lower one first",
            )
        if self.log and self.low <= 0:
            raise DefinitionError(
                f"a logarithmic scale cannot start at {self.low!r}",
                parameter=self.name,
                value=self.low,
                remedy="give a lower bound above zero",
            )
        if self.stepped and self.grid[0] > self.grid[1]:
            raise DefinitionError(
                f"no value with {self.digits or 0} digits lies between "
                f"{self.low!r} and {self.high!r}",
                parameter=self.name,
                value=(self.low, self.high),
                remedy="widen the bounds or allow more digits",
            )

    @property
    def stepped(self) -> bool:
        """Whether values are rounded to a grid."""
        return self.integer or self.digits is not None

    @property
    def step(self) -> float | None:
        """Spacing of the allowed values; None if they are not rounded."""
        return 10.0 ** -(self.digits or 0) if self.stepped else None

    @cached_property
    def grid(self) -> tuple[int, int]:
        """First and last multiple of `step` whose rounded value lies within the bounds."""
        from fractions import Fraction  # loads decimal as well, and only rounded values need it

        scale = Fraction(10) ** (self.digits or 0)
        first = math.floor(Fraction(self.low) * scale)
        last = math.ceil(Fraction(self.high) * scale)
        # The float next to a decimal fraction may lie just outside a bound that is that fraction.
        while self.multiple(first) < self.low:
            first += 1
        while self.multiple(last) > self.high:
            last -= 1
        return first, last

    def multiple(self, k: int) -> float | int:
        """Value number `k` of the grid, the same number as ``round`` gives."""
        if self.integer:
            return k
        return float(f"{k}e{-self.digits}") if self.digits else float(k)

    @property
    def count(self) -> int | None:
        """Number of distinct values; None if they form a continuum."""
        if self.kind == "categorical":
            return len(self.categories)
        if self.stepped:
            return self.grid[1] - self.grid[0] + 1
        return 1 if self.low == self.high else None

    @property
    def width(self) -> int:
        """Number of columns."""
        one_column = self.kind == "numeric" or self.ordered or len(self.categories) <= 2
        return 1 if one_column else len(self.categories)

    def legal(self, value: float) -> float | int:
        """The allowed number next to `value`."""
        if not self.stepped:
            return float(min(max(value, self.low), self.high))
        first, last = self.grid
        rounded = round(value) if self.integer else round(value, self.digits)
        return min(max(rounded, self.multiple(first)), self.multiple(last))
