"""From an experiment's table and log to the arguments of a proposal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phs_mpi.encoding import Dimension, Space
from phs_mpi.log import LogReader, Proposal, Source
from phs_mpi.parameters import NumpyType, ParameterType
from phs_mpi.search.proposal import (
    ENUMERABLE,
    MIN_RESULTS,
    Engine,
    SpaceExhausted,
    Suggestion,
)
from phs_mpi.strategies import Bayesian

if TYPE_CHECKING:
    from phs_mpi.experiment import Experiment
    from phs_mpi.table import Table


def search_space(experiment: Experiment, table: Table, group: int) -> Space | None:
    """What the search of one group looks like.

    Free dimensions are the group's Bayesian parameters. Parameters that have another strategy
    in this group still inform the model where they vary over the table; an ``expr`` does not,
    since it follows from the others.

    Returns
    -------
    Space or None
        None if the group has no Bayesian parameter.
    """
    strategies = table.groups[group].strategies
    dimensions = []
    for name, kind in experiment.types.items():
        strategy = strategies[name]
        if isinstance(strategy, Bayesian):
            dimensions.append(strategy.dimension(name))
        elif kind.kind != "expr":
            given = _given_dimension(table, name, kind)
            if given is not None:
                dimensions.append(given)
    return Space(dimensions) if any(d.free for d in dimensions) else None


def _given_dimension(table: Table, name: str, kind: ParameterType) -> Dimension | None:
    """A dimension that the search cannot choose but should know; None if it never varies."""
    proposed = {
        number: strategy.dimension(name)
        for number, group in enumerate(table.groups)
        if isinstance(strategy := group.strategies[name], Bayesian)
    }
    bayesian = list(proposed.values())
    drawn = ~np.isin(table.group_of, list(proposed))
    if isinstance(kind, NumpyType) and kind.value_dtype.kind not in "biufUS":
        return None  # dates, complex numbers, records: no notion of near and far
    values = [kind.from_column(cell) for cell in np.unique(table.values[name][drawn])]
    if kind.real and all(d.kind == "numeric" for d in bayesian):
        bounds = [float(v) for v in values if np.isfinite(v)]
        bounds += [float(b) for d in bayesian for b in (d.low, d.high)]
        if not bounds or min(bounds) == max(bounds):
            return None
        log = bool(bayesian) and all(d.log for d in bayesian) and min(bounds) > 0
        return Dimension(name, low=min(bounds), high=max(bounds), log=log, free=False)
    categories = list(dict.fromkeys([*values, *(c for d in bayesian for c in d.categories)]))
    if len(categories) < 2:
        return None
    return Dimension(name, kind="categorical", categories=tuple(categories), free=False)


#: Sets handed out at the same instant as this one: so many of their proposals are worked out here,
#: at most, so that they differ from its own.
SIMULTANEOUS = 8


@dataclass
class Explanation:
    """A proposal, and what speaks for it.

    Attributes
    ----------
    proposal : Proposal
    completed : dict of int to float
        Results of the sets that were evaluated, NaN if they had failed, in log order.
    pending : list of int
        Sets that were being evaluated.
    simultaneous : list of int
        Sets that other workers were proposing, whose values were guessed.
    lengthscales : dict of str to float
        Of each dimension of the surrogate, in widths of its bounds; empty without a surrogate.
    runners_up : list of Suggestion
        The next best points, by falling acquisition.
    """

    proposal: Proposal
    completed: dict[int, float]
    pending: list[int]
    simultaneous: list[int]
    lengthscales: dict[str, float]
    runners_up: list[Suggestion]


@dataclass
class _Known:
    """What is evaluated: values, results, and with repeats their numbers and variances."""

    rows: list[dict[str, Any]]
    results: np.ndarray
    repeats: np.ndarray | None


def _spread(completed: list[int], reader: LogReader) -> np.ndarray:
    found = [reader.summaries[i] for i in completed]
    return np.array([(s.succeeded, s.variance) for s in found], dtype=float).reshape(-1, 2)


class TableProposer:
    """Proposals for the Bayesian sets of one table.

    Parameters
    ----------
    experiment : Experiment
        The definition.
    table : Table
        Its parameter sets.
    """

    def __init__(self, experiment: Experiment, table: Table):
        self._experiment = experiment
        self._table = table
        self._engines: dict[int, Engine] = {}
        self._rows: dict[int, tuple[Any, dict[str, Any]]] = {}

    def propose(self, index: int, reader: LogReader) -> Proposal:
        """The proposal for the set of one evaluation, from what `reader` has read of the log.

        With ``wait_for_all`` only outcomes of lower indices count, in the order of their
        indices: that is the same wherever and in whatever order they were evaluated.

        Where nothing is left that has not been evaluated or is not pending, the proposal
        says so in ``refused``.
        """
        number = self._table.repeats.set_of(index)
        if self._experiment.wait_for_all:
            completed = sorted(i for i in reader.completed if i < number)
            pending: list[int] = []
        else:
            completed = list(reader.completed)
            pending = [i for i in reader.pending if i != number]
        known = _Known(
            [self._row(i, reader) for i in completed],
            np.array([reader.completed[i] for i in completed], dtype=float),
            _spread(completed, reader) if self._table.repeats.most > 1 else None,
        )
        rows = [self._row(i, reader) for i in pending]
        given = self._table.defined(index)
        refused = ""
        try:
            for other in self._silent(number, reader):
                # What that worker is proposing at this moment, if it sees what we see.
                guess = self._suggest(other, known, rows)
                rows.append(self._defined(other) | guess.values)
            suggestion = self._suggest(number, known, rows)
        except SpaceExhausted as error:
            refused = f"not evaluated: {error}"
            suggestion = Suggestion((known.rows + rows)[-1], Source.SOBOL)
        values = {
            name: self._value(name, suggestion.values[name]) if name not in given else given[name]
            for name in self._experiment.names
        }
        return Proposal(
            index,
            values,
            suggestion.source,
            log_length=reader.length,
            mean=suggestion.mean,
            std=suggestion.std,
            acquisition=suggestion.acquisition,
            refused=refused,
        )

    def explain(self, index: int, reader: LogReader, count: int) -> Explanation:
        """The proposal for one set, and what speaks for it; `count` runners-up at most."""
        proposal = self.propose(index, reader)
        number = self._table.repeats.set_of(index)
        engine = self._engine(int(self._table.group_of[number]))
        return Explanation(
            proposal,
            {
                i: result
                for i, result in reader.completed.items()
                if i < number or not self._experiment.wait_for_all
            },
            [i for i in reader.pending if i != number] if not self._experiment.wait_for_all else [],
            self._silent(number, reader),
            engine.lengthscales,
            engine.runners_up(proposal.values, count),
        )

    def _defined(self, number: int) -> dict[str, Any]:
        return self._table.defined(number * self._table.repeats.most)

    def _suggest(self, number: int, known: _Known, pending: list[dict]) -> Suggestion:
        return self._engine(int(self._table.group_of[number])).propose(
            index=number,
            evaluated=known.rows,
            results=known.results,
            repeats=known.repeats,
            pending=pending,
            given=self._defined(number),
        )

    def _silent(self, number: int, reader: LogReader) -> list[int]:
        """Bayesian sets that other workers are proposing at this instant, from what we see.

        Sets are handed out in ascending order, one for each evaluation that finishes, and a drawn
        set enters the log when it is handed out: what is missing below `number` is being proposed
        by another worker. Set j was handed out `number` - j evaluations ago (with repeats, so many
        times their number). If values have been announced since, its worker has seen a shorter
        log: what it would propose from ours is not what it evaluates, and the best place would be
        left to nobody. Only where values can be used up, or are no more than points of a sequence,
        all are worked out.
        """
        if self._experiment.wait_for_all:
            return []
        finite = sum(map(math.isfinite, reader.completed.values()))
        space = self._engine(int(self._table.group_of[number])).space
        every = finite < MIN_RESULTS or (space.size is not None and space.size <= ENUMERABLE)
        each = self._table.repeats.least
        silent: list[int] = []
        for i in range(number - 1, -1, -1):
            if (
                len(silent) == SIMULTANEOUS
                or not self._table.groups[self._table.group_of[i]].bayesian
                or not (every or each * (number - i) < reader.recent)
            ):
                break
            if i not in reader.completed and i not in reader.pending:
                silent.append(i)
        return silent[::-1]

    def _engine(self, group: int) -> Engine:
        if group not in self._engines:
            space = search_space(self._experiment, self._table, group)
            if space is None:
                raise ValueError(f"group {group} has no Bayesian parameter")
            self._engines[group] = Engine(
                space,
                seed=self._experiment.seed,
                maximize=self._experiment.maximize,
                acquisition=self._experiment.acquisition,
                surrogate=self._experiment.surrogate,
            )
        return self._engines[group]

    def _row(self, number: int, reader: LogReader) -> dict[str, Any]:
        """Values of one set in the log; a set evaluated again may have new ones."""
        packed = reader.rows.get(number)
        known = self._rows.get(number)
        if known is not None and known[0] is packed:
            return known[1]
        values = self._defined(number) if packed is None else self._table.unpack(packed)
        self._rows[number] = packed, values
        return values

    def _value(self, name: str, value: Any) -> Any:
        kind = self._experiment.types[name]
        if isinstance(kind, NumpyType) and kind.value_dtype.kind in "biuf":
            return kind.value_dtype.type(value)
        return kind.convert(value)
