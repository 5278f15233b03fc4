"""From an index to a proposal to an outcome; opens no file and sends no message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .experiment import Experiment
from .log import Log, LogReader, Outcome, Proposal, Source
from .table import Table

if TYPE_CHECKING:
    from .search.history import TableProposer


#: Sets before one that may still be being proposed.
LOOK_BACK = 16


class Evaluates(Protocol):
    """Something that turns a proposal into an outcome, here or in another process."""

    def __call__(self, proposal: Proposal) -> Outcome:
        """Evaluate one parameter set; returns whatever becomes of it."""

    def close(self) -> None:
        """Remove temporary files, and end what was started."""


class Worker:
    """Proposes and evaluates parameter sets.

    Parameters
    ----------
    experiment : Experiment
        The definition.
    table : Table
        Its parameter sets.
    evaluator : Evaluates
        Calls the target.
    """

    def __init__(self, experiment: Experiment, table: Table, evaluator: Evaluates):
        self._experiment = experiment
        self._table = table
        self._evaluator = evaluator
        self._reader: LogReader | None = None
        self._proposer: TableProposer | None = None

    def drawn(self, index: int) -> Proposal:
        """The proposal of a set whose values all stand in the table."""
        return Proposal(index, self._table.defined(index), self._table.source(index))

    def propose(self, index: int, log: Log, length: int) -> Proposal:
        """Choose the values of a Bayesian set from the first `length` entries of `log`.

        A pure function of the experiment, the index and that prefix; with ``wait_for_all``
        of the outcomes of all lower indices alone, so that it does not depend on the order
        in which workers happened to finish. What an earlier repeat of the set has chosen is
        taken over, and so is what an earlier attempt has.
        """
        repeats = self._table.repeats
        if self._reader is None or self._reader.length > length:
            self._reader = LogReader(log, repeats)
        self._reader.advance(length)
        row = self._reader.rows.get(repeats.set_of(index))
        if row is not None:
            return Proposal(index, self._table.unpack(row), Source.REPEATED, length)
        # Only now: a worker that never proposes never imports scipy.
        from .search.history import TableProposer

        if self._proposer is None:
            self._proposer = TableProposer(self._experiment, self._table)
        return self._proposer.propose(index, self._reader)

    def unannounced(self, index: int) -> set[int]:
        """Bayesian sets handed out shortly before this one, of which the log says nothing yet.

        The log as far as the latest proposal has read it; at most as many sets as are looked at.
        """
        if self._reader is None:
            return set()
        number = self._table.repeats.set_of(index)
        known = self._reader.completed.keys() | self._reader.pending.keys()
        before = range(max(0, number - LOOK_BACK), number)
        groups, group_of = self._table.groups, self._table.group_of
        return {i for i in before if groups[group_of[i]].bayesian and i not in known}

    def evaluate(self, proposal: Proposal) -> Outcome:
        """Call the target; returns whatever it does."""
        return self._evaluator(proposal)

    def close(self) -> None:
        """Remove temporary files."""
        self._evaluator.close()
