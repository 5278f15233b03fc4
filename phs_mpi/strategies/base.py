"""What all strategies have in common."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from phs_mpi.conversion import refuse
from phs_mpi.errors import DefinitionError
from phs_mpi.parameters import ParameterType


class Strategy(ABC):
    """How one parameter of a parameter set gets its value.

    Attributes
    ----------
    cells : ndarray
        Once bound: cells of the values it lists; empty if it has bounds instead.
    """

    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, unknown: Mapping[str, Any]):
        self._unknown = dict(unknown)
        self.cells: np.ndarray = np.empty(0)

    def bind(self, parameter: ParameterType) -> Strategy:
        """A copy of this strategy for a parameter of that type, its options checked.

        Raises
        ------
        DefinitionError
            If an option is wrong, or a value is none of the parameter's type.
        """
        try:
            for option in self._unknown:
                self._refuse_option(option)
            return copy.copy(self)._bind(parameter)
        except DefinitionError as error:
            error.parameter = parameter.name
            raise

    @abstractmethod
    def _bind(self, parameter: ParameterType) -> Strategy:
        """Check the options against the type, in place, and return the strategy to use."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON-able description, once bound."""

    @abstractmethod
    def summary(self) -> str:
        """A few characters for a table, once bound."""

    def _refuse_option(self, option: str) -> None:
        name = type(self).__name__
        owners = [c.__name__ for c in Strategy.__subclasses__() if option in c.options]
        remedy = f"its options are {', '.join(self.options)}"
        if owners:
            remedy += f" ({option!r} is one of {' and '.join(owners)})"
        else:
            import difflib  # what is spelled right needs no suggestion

            for close in difflib.get_close_matches(option, self.options, 1):
                remedy = f"did you mean {close!r}? {remedy}"
        refuse(f"{name} has no option {option!r}", self._unknown[option], remedy)


def listed(values: tuple, most: int = 4) -> str:
    """The first few of a list of values, for a table."""
    shown = [str(value) for value in values[:most]]
    return ", ".join(shown + ["..."] * (len(values) > most))
