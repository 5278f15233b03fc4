"""Several evaluations of one parameter set: how they are numbered, and which sets get more.

The evaluations of a set have successive numbers, so that an experiment that grows at its end, or
has no repeats at all, keeps its numbers: evaluation ``index`` is repeat ``index % most`` of the
parameter set ``index // most``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np


class Repeats(NamedTuple):
    """How often each parameter set is evaluated.

    Attributes
    ----------
    least : int
        Evaluations that every set gets.
    most : int
        Evaluations that a contender for the best set may get.
    """

    least: int = 1
    most: int = 1

    def set_of(self, index: int) -> int:
        """The parameter set of an evaluation."""
        return index // self.most

    def repeat_of(self, index: int) -> int:
        """Which repeat of its set an evaluation is, from 0."""
        return index % self.most

    def evaluations(self, number: int) -> range:
        """All evaluations that the parameter set `number` may get."""
        return range(number * self.most, (number + 1) * self.most)

    def required(self, sets: int) -> np.ndarray:
        """Which evaluations every set gets; bool, shape (sets * most,)."""
        return np.arange(sets * self.most) % self.most < self.least


#: Without repeats.
ONCE = Repeats()


class Summary(NamedTuple):
    """What the finished repeats of one set say.

    Attributes
    ----------
    mean : float
        Of those that succeeded; NaN if none did.
    variance : float
        Of one evaluation, unbiased; NaN if fewer than two succeeded.
    succeeded : int
        How many did.
    """

    mean: float
    variance: float
    succeeded: int

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN if fewer than two succeeded."""
        return math.sqrt(self.variance / self.succeeded) if self.succeeded else math.nan


def summarise(results: Mapping[int, float]) -> Summary:
    """Mean and variance of the repeats of one set, the same whatever order they finished in.

    Parameters
    ----------
    results : mapping of int to float
        By repeat; NaN where it failed.
    """
    good = [results[r] for r in sorted(results) if math.isfinite(results[r])]
    n = len(good)
    if not n:
        return Summary(math.nan, math.nan, 0)
    mean = math.fsum(value / n for value in good)  # their sum might overflow
    if n == 1:
        return Summary(good[0], math.nan, 1)
    variance = sum((value - mean) * (value - mean) for value in good) / (n - 1)
    return Summary(mean, variance if math.isfinite(variance) else math.nan, n)


class Contenders:
    """Which sets may yet turn out the best, and so deserve another repeat.

    A set whose repeats so far have all finished is a contender if its mean is no worse than the
    best mean by more than the standard errors of the two together. These come from the variance
    within sets, pooled over all that have been evaluated twice; until there is one, only the best
    set is a contender.

    Parameters
    ----------
    sets : int
        Number of parameter sets.
    repeats : Repeats
    maximize : bool

    References
    ----------
    Hutter, Hoos and Leyton-Brown 2011, LION 5: sets race, and only those that hold out against
    the incumbent get more runs (SMAC's intensification). Here one at a time.
    """

    def __init__(self, sets: int, repeats: Repeats, maximize: bool = False):
        self._repeats = repeats
        self._sign = -1.0 if maximize else 1.0
        self._results: dict[int, dict[int, float]] = {}
        self._finished = np.zeros(sets, np.int64)
        self._opened = np.full(sets, repeats.least, np.int64)
        self._mean = np.full(sets, np.nan)
        self._count = np.zeros(sets)
        self._squares = np.zeros(sets)

    def add(self, index: int, result: float) -> None:
        """Take in a finished evaluation; NaN if it failed."""
        number, repeat = divmod(index, self._repeats.most)
        results = self._results.setdefault(number, {})
        results[repeat] = result
        found = summarise(results)
        self._finished[number] = len(results)
        self._opened[number] = max(self._opened[number], repeat + 1)
        self._mean[number] = self._sign * found.mean
        self._count[number] = found.succeeded
        self._squares[number] = 0.0
        if found.succeeded > 1 and not math.isnan(found.variance):
            self._squares[number] = found.variance * (found.succeeded - 1)

    @property
    def opened(self) -> np.ndarray:
        """How many evaluations of each set have been asked for, shape (sets,)."""
        return self._opened

    def open(self, indices: Iterable[int]) -> None:
        """Count evaluations as asked for."""
        for index in indices:
            number, repeat = divmod(index, self._repeats.most)
            self._opened[number] = max(self._opened[number], repeat + 1)

    def extras(self) -> list[int]:
        """Evaluations to start in addition; each is returned once."""
        judged = (self._finished >= self._repeats.least) & ~np.isnan(self._mean)
        if not judged.any():
            return []
        error = self._standard_errors()
        best = int(np.argmin(np.where(judged, self._mean, np.inf)))
        limit = self._mean[best] + error[best]
        idle = (self._finished >= self._opened) & (self._opened < self._repeats.most)
        # Comparisons with the NaN of a set without a result are false.
        numbers = np.flatnonzero(judged & idle & (self._mean - error <= limit))
        extra = numbers * self._repeats.most + self._opened[numbers]
        self._opened[numbers] += 1
        return extra.tolist()

    def _standard_errors(self) -> np.ndarray:
        freedom = float(np.maximum(self._count - 1, 0).sum())
        variance = float(self._squares.sum()) / freedom if freedom else 0.0
        if not math.isfinite(variance):
            variance = 0.0
        return np.sqrt(variance / np.maximum(self._count, 1))


def outstanding(
    repeats: Repeats, finished: np.ndarray, results: np.ndarray, maximize: bool = False
) -> np.ndarray:
    """Evaluations that are still to be made, as far as that is known.

    Parameters
    ----------
    repeats : Repeats
    finished : ndarray of bool, shape (sets * most,)
    results : ndarray of shape (sets * most,)
        NaN where an evaluation failed.
    maximize : bool

    Returns
    -------
    ndarray of int
        In rising order.
    """
    sets = len(finished) // repeats.most
    wanted = repeats.required(sets)
    if repeats.least < repeats.most:
        contenders = Contenders(sets, repeats, maximize)
        for index in np.flatnonzero(finished).tolist():
            contenders.add(index, float(results[index]))
        contenders.extras()
        wanted = np.arange(len(finished)) % repeats.most < np.repeat(
            contenders.opened, repeats.most
        )
    return np.flatnonzero(wanted & ~finished)
