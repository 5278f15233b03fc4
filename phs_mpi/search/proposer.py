"""The search as a library: tell it results, ask it for points, run nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phs_mpi.encoding import Dimension, Space
from phs_mpi.repeats import Summary, summarise
from phs_mpi.search.proposal import Engine, Suggestion


class Proposer:
    """Tell and ask, for people with a loop of their own.

    Parameters
    ----------
    space : Space or sequence of Dimension
    seed : int
        The same seed, results and questions give the same points, bit for bit.
    maximize : bool
        Whether high results are good.
    acquisition : {"logei", "ei", "ucb", "pi", "ts"}
        What is best to evaluate next: log expected improvement, expected improvement, upper
        confidence bound, probability of improvement, Thompson sampling.
    surrogate : {"gp", "random_forest", "extra_trees"}
        What predicts results.

    Raises
    ------
    DefinitionError
        If a method is unknown or no dimension is free.

    Examples
    --------
    >>> from phs_mpi.encoding import Dimension
    >>> proposer = Proposer([Dimension("x", low=-5, high=5), Dimension("n", low=1, high=9,
    ...                      integer=True)], seed=7)
    >>> for _ in range(15):
    ...     values = proposer.ask().values
    ...     proposer.tell(values, (values["x"] - 1) ** 2 + values["n"])
    >>> proposer.best[0]["n"]
    1
    """

    def __init__(
        self,
        space: Space | Sequence[Dimension],
        *,
        seed: int = 0,
        maximize: bool = False,
        acquisition: str = "logei",
        surrogate: str = "gp",
    ):
        self.space = space if isinstance(space, Space) else Space(space)
        self.maximize = maximize
        self._engine = Engine(
            self.space,
            seed=seed,
            maximize=maximize,
            acquisition=acquisition,
            surrogate=surrogate,
        )
        self._asked = 0
        self._open: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._results: list[Summary] = []

    def ask(
        self,
        pending: Sequence[Mapping[str, Any]] | None = None,
        *,
        given: Mapping[str, Any] | None = None,
    ) -> Suggestion:
        """The next point to evaluate.

        Parameters
        ----------
        pending : sequence of mapping, optional
            Points being evaluated; by default those asked for and not told about yet.
        given : mapping, optional
            Values of the dimensions that are not free.

        Raises
        ------
        SpaceExhausted
            If a finite space has no point left.
        DefinitionError
            If a given value is missing.
        """
        suggestion = self._engine.propose(
            index=self._asked,
            evaluated=self._rows,
            results=np.array([found.mean for found in self._results]),
            repeats=np.array([(s.succeeded, s.variance) for s in self._results]).reshape(-1, 2),
            pending=self._open if pending is None else pending,
            given=given,
        )
        self._asked += 1
        self._open.append({**(given or {}), **suggestion.values})
        return suggestion

    def tell(self, values: Mapping[str, Any], result: float | Sequence[float] | None) -> None:
        """Add an evaluation, of a point asked for or any other.

        Parameters
        ----------
        values : mapping
            Of all dimensions.
        result : float, None or sequence of float
            None or NaN if the evaluation failed. Several results of the same point count as
            their mean, known with its standard error.
        """
        row = {d.name: values[d.name] for d in self.space.dimensions}
        if row in self._open:
            self._open.remove(row)
        self._rows.append(row)
        repeats = list(result) if isinstance(result, Sequence | np.ndarray) else [result]
        found = {r: math.nan if x is None else float(x) for r, x in enumerate(repeats)}
        self._results.append(summarise(found))

    @property
    def best(self) -> tuple[dict[str, Any], float] | None:
        """Values and result of the best evaluation; None if none has succeeded."""
        results = np.array([found.mean for found in self._results])
        if not np.isfinite(results).any():
            return None
        results[~np.isfinite(results)] = -math.inf if self.maximize else math.inf
        place = int(np.argmax(results) if self.maximize else np.argmin(results))
        return dict(self._rows[place]), self._results[place].mean
