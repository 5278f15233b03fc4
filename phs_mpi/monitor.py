"""Monitor functions: what they are given, and how the user's are called."""

from __future__ import annotations

import io
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from .experiment import qualified_name
from .log import Status
from .progress import Progress
from .store.schema import without_attempt
from .store.snapshot import metrics_of, read
from .store.tail import Tail

#: Failures of one function that are reported as they happen; more are only counted.
MOST_REPORTS = 3


@dataclass(frozen=True, slots=True)
class Completion:
    """One evaluation that is over, as a monitor function is given it.

    Attributes
    ----------
    index : int
        The parameter set.
    repeat : int
        Which of its repeats, from 0; always 0 without repeats.
    values : mapping of str to object
        In declared order; text for a parameter of type ``expr``.
    status : Status
        DONE, FAILED or TIMED_OUT.
    result : float
        NaN unless `status` is DONE.
    error : str
        One line: why it failed; empty if it did not.
    metrics : mapping of str to float
    worker : int
        Number of the worker (its rank under MPI).
    host : str
        Its machine.
    start, end : float
        Seconds since 1970-01-01 UTC.
    finished : int
        Evaluations up to this one, those of earlier runs included.
    best, best_index : float, int
        Best result up to this one, and its set; NaN and -1 without any. With repeats the best
        mean.
    """

    index: int
    repeat: int
    values: Mapping[str, Any]
    status: Status
    result: float
    error: str
    metrics: Mapping[str, float]
    worker: int
    host: str
    start: float
    end: float
    finished: int
    best: float
    best_index: int

    @property
    def is_best(self) -> bool:
        """Whether its set is the best so far."""
        return self.index == self.best_index


class Follower:
    """The evaluations of a running search, as they complete.

    Parameters
    ----------
    path : Path
        The results file.
    start : int
        Entries of its log that belong to earlier runs.
    found : mapping of int to float
        Results of evaluations of earlier runs, NaN of failed ones.
    """

    def __init__(self, path: Path, start: int = 0, found: Mapping[int, float] | None = None):
        head = read(path)
        self._types, self._repeats = head.types, head.repeats
        self._tail = Tail(path, start)
        self._progress = Progress(
            0, quiet=True, maximize=head.maximize, stream=io.StringIO(), repeats=head.repeats
        )
        for index, result in (found or {}).items():
            self._progress.resume(index, result)

    def new(self) -> Iterator[Completion]:
        """Those that have completed since the last call, in their order."""
        for index, row in self._tail.new():
            yield self._completion(index, row)

    @property
    def behind(self) -> bool:
        """Whether there is an evaluation whose row has not arrived yet."""
        return self._tail.behind

    def _completion(self, index: int, row: np.void) -> Completion:
        status = Status(int(row["status"]))
        result = float(row["result"]) if status == Status.DONE else math.nan
        error = bytes(row["error"]).decode("utf-8", "replace")
        self._progress.completed(index, result)
        values = {name: kind.from_column(row["values"][name]) for name, kind in self._types.items()}
        return Completion(
            index=self._repeats.set_of(index),
            repeat=self._repeats.repeat_of(index),
            values=MappingProxyType(values),
            status=status,
            result=result,
            error=without_attempt(error) if status == Status.DONE else error,
            metrics=MappingProxyType(metrics_of(row)),
            worker=int(row["worker"]),
            host=bytes(row["host"]).decode("utf-8", "replace"),
            start=float(row["start"]),
            end=float(row["end"]),
            finished=self._progress.finished,
            best=self._progress.best,
            best_index=self._progress.best_index,
        )


class Monitors:
    """Calls the user's functions; what they raise is counted, and reported a few times.

    Parameters
    ----------
    functions : sequence of callable
    report : callable
        Takes one line for the user.

    Attributes
    ----------
    called : int
        Evaluations that all functions have been called with.
    raised : int
        Calls that raised.
    last : str
        What the last of them raised.
    """

    def __init__(self, functions: Sequence[Callable], report: Callable[[str], None]):
        self._functions = functions
        self._report = report
        self._reports = [0] * len(functions)
        self.called = self.raised = 0
        self.last = ""

    def __call__(self, completion: Completion) -> None:
        """Call each function in turn; returns whatever they do."""
        for number, function in enumerate(self._functions):
            try:
                function(completion)
            except (Exception, SystemExit) as error:
                self._note(number, function, completion, error)
        self.called += 1

    def _note(
        self, number: int, function: Callable, completion: Completion, error: BaseException
    ) -> None:
        self.raised += 1
        what = " ".join(f"{type(error).__name__}: {error}".split())
        self.last = (
            f"the monitor {qualified_name(function)!r} on set {completion.index}: {what[:200]}"
        )
        self._reports[number] += 1
        if self._reports[number] > MOST_REPORTS:
            return
        frames = traceback.extract_tb(error.__traceback__)[1:]
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        more = "; more failures are only counted" if self._reports[number] == MOST_REPORTS else ""
        self._report(f"{self.last}{where}; the search goes on{more}")
