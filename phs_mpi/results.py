"""What :func:`phs_mpi.run` gives back: the evaluations of one results file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from . import analysis
from .log import Status

if TYPE_CHECKING:
    from .store import Snapshot


@dataclass(frozen=True)
class Evaluation:
    """One parameter set and what became of it.

    Attributes
    ----------
    index : int
    values : dict of str to object
        In declared order.
    status : Status
        EMPTY if it has not been evaluated yet.
    result : float
        NaN unless `status` is DONE; with repeats the mean of those that succeeded.
    metrics : dict of str to float
        With repeats their means.
    error : str
        One line: why it failed; with repeats, why one of them did.
    standard_error : float
        Of the result, from its repeats; NaN with fewer than two.
    repeats : tuple of float
        Results of the finished evaluations of this set, NaN where one failed.
    """

    index: int
    values: dict[str, Any]
    status: Status
    result: float
    metrics: dict[str, float]
    error: str
    standard_error: float
    repeats: tuple[float, ...]


class Results(Sequence[Evaluation]):
    """The parameter sets of a results file that have been evaluated, in their order.

    The file is read when first asked for, so that a rank that asks nothing reads nothing.

    Parameters
    ----------
    path : Path
        The results file.
    """

    def __init__(self, path: Path):
        self.path = path

    def __repr__(self) -> str:
        return f"<Results of {self.path}: {len(self)} of {len(self.snapshot)} sets evaluated>"

    @cached_property
    def snapshot(self) -> Snapshot:
        """Everything the file says."""
        from .store import read

        return read(self.path)

    @cached_property
    def _indices(self) -> list[int]:
        return analysis.set_status(self.snapshot).nonzero()[0].tolist()

    @cached_property
    def _found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        snapshot = self.snapshot
        return (
            analysis.set_status(snapshot),
            analysis.results(snapshot),
            analysis.standard_errors(snapshot),
        )

    @property
    def complete(self) -> bool:
        """Whether every parameter set has been evaluated."""
        return self.snapshot.complete

    @property
    def best(self) -> Evaluation | None:
        """The set with the best result; None if there is no result."""
        index = analysis.best(self.snapshot)
        return None if index is None else self._evaluation(index)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> Evaluation: ...
    @overload
    def __getitem__(self, place: slice) -> list[Evaluation]: ...
    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self._evaluation(index) for index in self._indices[place]]
        return self._evaluation(self._indices[place])

    def __iter__(self) -> Iterator[Evaluation]:
        return map(self._evaluation, self._indices)

    def _evaluation(self, index: int) -> Evaluation:
        snapshot = self.snapshot
        status, results, errors = self._found
        rows = [i for i in snapshot.repeats.evaluations(index) if snapshot.finished[i]]
        found = np.where(snapshot.done[rows], snapshot.columns["result"][rows], np.nan)
        return Evaluation(
            index,
            snapshot.values(index),
            Status(int(status[index])),
            float(results[index]),
            analysis.metrics(snapshot, index),
            analysis.error(snapshot, index),
            float(errors[index]),
            tuple(found.tolist()),
        )
