"""The totally ordered list of proposals and outcomes that all workers share."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from .repeats import ONCE, Repeats, Summary, summarise


class Source(IntEnum):
    """Where the values of a parameter set came from."""

    EXPLICIT = 0
    GRID = 1
    RANDOM = 2
    CHOICE = 3
    SOBOL = 4
    BAYESIAN = 5
    REPEATED = 6  # the values that an earlier repeat, or attempt, at this Bayesian set has chosen


class Status(IntEnum):
    """State of one evaluation, as stored in the results file."""

    EMPTY = 0
    RUNNING = 1  # an attempt has failed, and another one follows
    DONE = 2
    FAILED = 3
    TIMED_OUT = 4


class Cause(IntEnum):
    """What made an evaluation fail."""

    NONE = 0  # it did not, or it was refused
    EXCEPTION = 1  # the target raised
    RESULT = 2  # what it returned or printed cannot be used
    EXIT = 3  # it ended its process, or called sys.exit
    SIGNAL = 4  # its process was killed by a signal
    TIMEOUT = 5  # it took longer than it may
    MEMORY = 6  # it used more memory than it may, or than there was
    LOST = 7  # the worker, or the way to it, was lost


@dataclass(slots=True)
class Proposal:
    """The values of one parameter set, and what they rest on.

    Attributes
    ----------
    index : int
        The evaluation they are for: the parameter set, or one of its repeats.
    values : dict of str to object
        Value of each parameter in declared order; text for a parameter of type ``expr``.
    source : Source
        How the values came about.
    log_length : int
        Length of the log prefix the proposal is a function of; 0 where it used none.
    mean, std : float
        The surrogate's prediction of the result, in units of the result; NaN without one.
    acquisition : float
        Value of the acquisition function at the proposed point; NaN without one.
    refused : str
        Why the set is not to be evaluated; empty if it is.
    """

    index: int
    values: dict[str, Any]
    source: Source
    log_length: int = 0
    mean: float = math.nan
    std: float = math.nan
    acquisition: float = math.nan
    refused: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of one evaluation.

    Attributes
    ----------
    index : int
        The evaluation: the parameter set, or one of its repeats.
    status : Status
        DONE, FAILED or TIMED_OUT.
    result : float
        What the target returned; NaN unless DONE.
    metrics : dict of str to float
        Further named figures the target returned.
    error : str
        One line: the reason of a failure, else empty.
    traceback : str
        The target's traceback, if it raised.
    start, end : float
        Seconds since 1970-01-01 UTC, around the call of the target.
    proposing, waiting : float
        Seconds this worker spent on the proposal, and idle, before this evaluation.
    exchanging : float
        Seconds since the evaluation before this one in which the worker took from the exchange
        what had come; they lie within the other times.
    worker : int
        Number of the worker (its rank under MPI).
    host : str
        Name of the worker's machine.
    cause : Cause
        What kind of failure it was; not stored.
    """

    index: int
    status: Status
    result: float = math.nan
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    start: float = 0.0
    end: float = 0.0
    proposing: float = 0.0
    waiting: float = 0.0
    exchanging: float = 0.0
    worker: int = 0
    host: str = ""
    cause: Cause = Cause.NONE


class EntryKind(IntEnum):
    """What a log entry says about its evaluation."""

    STARTED = 1  # its values are fixed and it is being evaluated: pending
    COMPLETED = 2  # its row is on disk, done or failed
    LOST = 3  # its worker is gone, or its row is void: as if never started


class LogEntry(NamedTuple):
    """One entry of the shared log.

    Attributes
    ----------
    kind : EntryKind
        What happened.
    index : int
        The evaluation: the parameter set, or one of its repeats.
    worker : int
        The worker it happened on.
    result : float
        COMPLETED only: the result, NaN if the evaluation failed.
    row : object
        STARTED, and COMPLETED after a resume: the values of a Bayesian set, packed as
        ``Table.pack`` does; None where the table itself has all values.
    """

    kind: EntryKind
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    worker: int = 0
    result: float = math.nan
    row: Any = None


_ENTRY = np.dtype([("kind", "u1"), ("index", "i8"), ("worker", "i8"), ("result", "f8")])
_CHUNK = 1024
_KINDS = {int(kind): kind for kind in EntryKind}


class Log:
    """Append-only list of entries, in the same order on every rank.

    One thread appends while another reads: a reader takes a length first and then only
    looks at entries below it, which never change. An entry takes 25 bytes, and its row if it has
    one; as objects they would be several times as large, on each of the ranks of a node.
    """

    def __init__(self, entries: Iterable[LogEntry] = ()):
        self._chunks: list[np.ndarray] = []
        self._rows: dict[int, Any] = {}  # by position in the log
        self._length = 0
        for entry in entries:
            self.append(entry)

    def __len__(self) -> int:
        return self._length

    def append(self, entry: LogEntry) -> None:
        """Add one entry at the end."""
        place = self._length % _CHUNK
        if place == 0:
            self._chunks.append(np.empty(_CHUNK, _ENTRY))
        self._chunks[-1][place] = entry[:4]
        if entry.row is not None:
            self._rows[self._length] = entry.row
        self._length += 1  # last: only now a reader may look at it

    def entries(self, start: int = 0, stop: int | None = None) -> list[LogEntry]:
        """Entries ``start`` to ``stop`` (default: all there are now)."""
        start, stop, _ = slice(start, stop).indices(self._length)
        found = []
        while start < stop:
            first = start % _CHUNK
            count = min(stop - start, _CHUNK - first)
            part = self._chunks[start // _CHUNK][first : first + count].tolist()
            for position, (kind, index, worker, result) in enumerate(part, start):
                row = self._rows.get(position)
                found.append(LogEntry(_KINDS[kind], index, worker, result, row))
            start += count
        return found

    def digest(self, length: int | None = None) -> str:
        """A hash over the first `length` entries, to compare the logs of two ranks."""
        import hashlib

        digest = hashlib.sha256()
        for entry in self.entries(0, length):
            row = b"" if entry.row is None else bytes(entry.row.tobytes())
            digest.update(struct.pack("<bqqd", entry.kind, entry.index, entry.worker, entry.result))
            digest.update(row)
        return digest.hexdigest()


class LogReader:
    """What a growing prefix of a log says: which sets are evaluated, which are pending.

    With repeats, a set is completed when its least number of them has finished, and its result
    is their mean; further ones change that result. Until then it is pending.

    Parameters
    ----------
    log : Log
        The log to follow.
    repeats : Repeats
        How evaluations are numbered.

    Attributes
    ----------
    length : int
        Length of the prefix read so far.
    completed : dict of int to float
        Result of each completed set (NaN: failed), in log order.
    summaries : dict of int to Summary
        Of each completed set; empty without repeats.
    pending : dict of int to None
        Sets started and not completed, in log order.
    rows : dict of int to object
        Packed values of the Bayesian sets in `completed` or `pending`.
    recent : int
        COMPLETED entries since the last STARTED one: so many evaluations have finished since
        values were last announced.
    """

    def __init__(self, log: Log, repeats: Repeats = ONCE):
        self._log = log
        self._repeats = repeats
        self._begun: dict[int, dict[int, float | None]] = {}  # by set and repeat; None: runs
        self.length = 0
        self.completed: dict[int, float] = {}
        self.summaries: dict[int, Summary] = {}
        self.pending: dict[int, None] = {}
        self.rows: dict[int, Any] = {}
        self.recent = 0

    def advance(self, length: int) -> None:
        """Read on to a prefix of `length` entries; shorter than now is an error."""
        if length < self.length or length > len(self._log):
            raise ValueError(
                f"cannot go from log length {self.length} to {length} of {len(self._log)}"
            )
        take = self._take if self._repeats.most == 1 else self._take_repeat
        for entry in self._log.entries(self.length, length):
            take(entry)
            if entry.kind == EntryKind.STARTED:
                self.recent = 0
            elif entry.kind == EntryKind.COMPLETED:
                self.recent += 1
        self.length = length

    def _take(self, entry: LogEntry) -> None:
        index = entry.index
        if entry.row is not None:
            self.rows[index] = entry.row
        if entry.kind == EntryKind.STARTED:
            self.completed.pop(index, None)
            self.pending[index] = None
        elif entry.kind == EntryKind.COMPLETED:
            self.pending.pop(index, None)
            self.completed[index] = entry.result
        else:
            self.pending.pop(index, None)
            self.completed.pop(index, None)
            self.rows.pop(index, None)

    def _take_repeat(self, entry: LogEntry) -> None:
        number = self._repeats.set_of(entry.index)
        repeat = self._repeats.repeat_of(entry.index)
        begun = self._begun.setdefault(number, {})
        if entry.row is not None:
            self.rows[number] = entry.row
        if entry.kind == EntryKind.LOST:
            begun.pop(repeat, None)
        else:
            begun[repeat] = entry.result if entry.kind == EntryKind.COMPLETED else None
        finished = {r: result for r, result in begun.items() if result is not None}
        if len(finished) >= self._repeats.least:
            found = summarise(finished)
            self.pending.pop(number, None)
            self.completed[number] = found.mean
            self.summaries[number] = found
            return
        self.completed.pop(number, None)
        self.summaries.pop(number, None)
        # The values of a Bayesian set stay what they are once they have been announced: a repeat
        # that was lost will be evaluated again, at the same place.
        if begun or number in self.rows:
            self.pending[number] = None
        else:
            self.pending.pop(number, None)
