"""From rows to figures of a search: the best set, counts, rates, where the workers' time went.

Pure: arrays of a :class:`~phs_mpi.store.snapshot.Snapshot` in, arrays and numbers out. Serves the
status command, the summary at the end of a run, and the plots.
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np

from .log import EntryKind, Source, Status
from .store.schema import last_kinds
from .store.snapshot import Snapshot

_RECENT = 64  # completions over which the rate is taken


class Counts(NamedTuple):
    """How many evaluations are in which state; without repeats, how many parameter sets."""

    total: int
    done: int
    failed: int
    timed_out: int
    running: int

    @property
    def finished(self) -> int:
        """Evaluated, successfully or not."""
        return self.done + self.failed + self.timed_out

    @property
    def left(self) -> int:
        """Not yet evaluated, running ones included."""
        return self.total - self.finished


def counts(snapshot: Snapshot) -> Counts:
    """Count the evaluations by state; running are those started and not heard of since."""
    by_status = np.bincount(snapshot.status, minlength=max(Status) + 1)
    return Counts(
        int(np.count_nonzero(snapshot.finished)) + len(snapshot.outstanding),
        int(by_status[Status.DONE]),
        int(by_status[Status.FAILED]),
        int(by_status[Status.TIMED_OUT]),
        int(np.count_nonzero(running(snapshot))),
    )


def running(snapshot: Snapshot) -> np.ndarray:
    """Which evaluations have started and were not heard of since; bool, shape (evaluations,)."""
    started = last_kinds(snapshot.log, len(snapshot.status)) == EntryKind.STARTED
    return started & ~snapshot.finished


def by_set(snapshot: Snapshot, what: np.ndarray) -> np.ndarray:
    """Something of each evaluation, of shape (evaluations,), as (sets, most repeats)."""
    return what.reshape(len(snapshot), snapshot.repeats.most)


def set_status(snapshot: Snapshot) -> np.ndarray:
    """State of each parameter set, shape (sets,); EMPTY until its least repeats have finished.

    DONE if any of its repeats succeeded, else the state of its last one.
    """
    status = by_set(snapshot, snapshot.status)
    finished = status != Status.EMPTY
    last = status[np.arange(len(status)), status.shape[1] - 1 - finished[:, ::-1].argmax(axis=1)]
    found = np.where((status == Status.DONE).any(axis=1), np.uint8(Status.DONE), last)
    return np.where(finished.sum(axis=1) >= snapshot.repeats.least, found, np.uint8(Status.EMPTY))


def results(snapshot: Snapshot) -> np.ndarray:
    """Result of each parameter set, NaN where there is none; shape (sets,).

    With repeats their mean, once the least number of them has finished.
    """
    if snapshot.repeats.most == 1:
        return np.where(snapshot.done, snapshot.columns["result"], np.nan)
    done = by_set(snapshot, snapshot.done)
    found = by_set(snapshot, np.where(snapshot.done, snapshot.columns["result"], 0.0))
    count = done.sum(axis=1)
    mean = (found / np.maximum(count, 1)[:, None]).sum(axis=1)
    return np.where(set_status(snapshot) == Status.DONE, mean, np.nan)


def standard_errors(snapshot: Snapshot) -> np.ndarray:
    """Of each set's result, shape (sets,); NaN with fewer than two successful repeats."""
    done = by_set(snapshot, snapshot.done)
    count = done.sum(axis=1)
    found = by_set(snapshot, snapshot.columns["result"])
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.where(done, found - results(snapshot)[:, None], 0.0)
        error = np.sqrt((off * off).sum(axis=1) / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return np.where(count > 1, error, np.nan)


def metrics(snapshot: Snapshot, number: int) -> dict[str, float]:
    """Metrics of a parameter set: with repeats the means of those that succeeded."""
    rows = [i for i in snapshot.repeats.evaluations(number) if snapshot.done[i]]
    if len(rows) <= 1:
        return snapshot.metrics(rows[0] if rows else int(snapshot.standing_for[number]))
    found = [snapshot.metrics(i) for i in rows]
    return {
        name: float(np.mean([m[name] for m in found]))
        for name in found[0]
        if all(name in m for m in found)
    }


def metric(snapshot: Snapshot, name: str) -> np.ndarray:
    """Mean of a declared metric over the repeats that succeeded, shape (sets,)."""
    values = np.full(len(snapshot.status), np.nan)
    done = np.flatnonzero(snapshot.done)
    values[done] = snapshot.rows(done)["metrics"][name]
    found = by_set(snapshot, values)
    count = np.isfinite(found).sum(axis=1)
    total = np.where(np.isfinite(found), found, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def error(snapshot: Snapshot, number: int) -> str:
    """Why a parameter set has failed, in a line: the first reason of its repeats."""
    errors = (snapshot.error(i) for i in snapshot.repeats.evaluations(number))
    return next((text for text in errors if text), "")


def best(snapshot: Snapshot) -> int | None:
    """Index of the best parameter set, the first of equals; None without any result."""
    found = results(snapshot)
    if np.isnan(found).all():
        return None
    return int(np.nanargmax(found) if snapshot.maximize else np.nanargmin(found))


def without_seed(snapshot: Snapshot) -> str:
    """The definition but for its seed, as text: equal for runs that differ in nothing else."""
    same = {k: v for k, v in snapshot.definition.items() if k != "seed"}
    return json.dumps(same, sort_keys=True)


def ranking(snapshot: Snapshot) -> np.ndarray:
    """Sets that have a result, from best to worst, equals in their order; shape (n,)."""
    found = results(snapshot)
    order = np.argsort(-found if snapshot.maximize else found, kind="stable")
    return order[~np.isnan(found[order])]


def best_so_far(found: np.ndarray, maximize: bool = False) -> np.ndarray:
    """Best of each prefix; NaN until there is a result.

    Parameters
    ----------
    found : ndarray of shape (n,)
        Results in the order that counts, NaN where there is none.
    """
    return (np.fmax if maximize else np.fmin).accumulate(found)


def rate(snapshot: Snapshot) -> float:
    """Evaluations a second lately; NaN where too little is known.

    Over the last `_RECENT` completions, or the last two rounds of all workers if that is
    more: a long pause between two runs stops to count as soon as it can.
    """
    ends = snapshot.columns["end"][snapshot.finished]
    workers = len(np.unique(snapshot.columns["worker"][snapshot.finished]))
    recent = min(len(ends), max(_RECENT, 2 * workers) + 1)
    if recent < 2:
        return math.nan
    latest = np.partition(ends, len(ends) - recent)[-recent:]
    elapsed = float(latest.max() - latest.min())
    return (recent - 1) / elapsed if elapsed > 0 else math.nan


def seconds_left(snapshot: Snapshot) -> float:
    """Time the rest takes at the recent rate; NaN where that is unknown."""
    left = counts(snapshot).left
    return left / rate(snapshot) if left else 0.0


class Utilisation(NamedTuple):
    """Where each worker's time went.

    Attributes
    ----------
    worker : ndarray of int, shape (workers,)
        Numbers of the workers.
    evaluations : ndarray of int, shape (workers,)
        How many each finished.
    evaluating, proposing, waiting : ndarray of shape (workers,)
        Seconds.
    """

    worker: np.ndarray
    evaluations: np.ndarray
    evaluating: np.ndarray
    proposing: np.ndarray
    waiting: np.ndarray

    def shares(self) -> np.ndarray:
        """Fractions evaluating, proposing and waiting, shape (workers, 3); they sum to 1."""
        parts = np.stack([self.evaluating, self.proposing, self.waiting], axis=1)
        total = parts.sum(axis=1, keepdims=True)
        return np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)

    def overall(self) -> np.ndarray:
        """Fractions evaluating, proposing and waiting of all workers' time, shape (3,)."""
        parts = np.array([self.evaluating.sum(), self.proposing.sum(), self.waiting.sum()])
        return parts / parts.sum() if parts.sum() > 0 else parts


def utilisation(snapshot: Snapshot) -> Utilisation:
    """Sum up the workers' time from the rows of finished evaluations."""
    finished = snapshot.finished
    column = {name: values[finished] for name, values in snapshot.columns.items()}
    workers, position = np.unique(column["worker"], return_inverse=True)

    def total(seconds: np.ndarray) -> np.ndarray:
        return np.bincount(position, np.maximum(seconds, 0.0), minlength=len(workers))

    return Utilisation(
        workers,
        np.bincount(position, minlength=len(workers)),
        total(column["end"] - column["start"]),
        total(column["proposing"]),
        total(column["waiting"]),
    )


def wall_time(snapshot: Snapshot) -> float:
    """Seconds in which at least one worker was at work; pauses between runs do not count."""
    finished = snapshot.finished
    column = {name: values[finished] for name, values in snapshot.columns.items()}
    if not finished.any():
        return 0.0
    begins = column["start"] - np.maximum(column["proposing"] + column["waiting"], 0.0)
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], np.maximum.accumulate(column["end"][order])
    # A gap opens where the next worker begins after all before it have ended.
    gaps = np.maximum(begins[1:] - ends[:-1], 0.0)
    return float(ends[-1] - begins[0] - gaps.sum())


def sources(snapshot: Snapshot) -> np.ndarray:
    """Where the values of each set come from, as in `Source`; shape (sets,)."""
    found = snapshot.columns["source"][snapshot.standing_for]
    return np.where(found == Source.REPEATED, np.uint8(Source.BAYESIAN), found)


def searched(snapshot: Snapshot) -> np.ndarray:
    """Which sets were proposed by the search (Bayesian, or Sobol in its place); (sets,)."""
    return np.isin(sources(snapshot), (Source.SOBOL, Source.BAYESIAN))
