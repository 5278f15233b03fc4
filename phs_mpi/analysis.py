"""From rows to figures of a search: the best set, counts, rates, where the workers' time went.

Pure: arrays of a :class:`~phs_mpi.store.snapshot.Snapshot` in, arrays, numbers and text out. It
serves the status command, the summary at the end of a run, and the plots.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any, NamedTuple

import numpy as np

from .hyperpar import literal
from .log import EntryKind, Source, Status
from .store.schema import last_kinds
from .store.snapshot import Snapshot

_RECENT = 64  # completions over which the rate is taken
_WORKER_LINES = 16  # more workers than this are summed up


class Counts(NamedTuple):
    """How many parameter sets are in which state."""

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
    """Count the parameter sets by state; running are those started and not heard of since."""
    by_status = np.bincount(snapshot.status, minlength=max(Status) + 1)
    started = last_kinds(snapshot.log, len(snapshot)) == EntryKind.STARTED
    return Counts(
        len(snapshot),
        int(by_status[Status.DONE]),
        int(by_status[Status.FAILED]),
        int(by_status[Status.TIMED_OUT]),
        int(np.count_nonzero(started & ~snapshot.finished)),
    )


def results(snapshot: Snapshot) -> np.ndarray:
    """Result of each parameter set, NaN where there is none; shape (sets,)."""
    return np.where(snapshot.done, snapshot.columns["result"], np.nan)


def best(snapshot: Snapshot) -> int | None:
    """Index of the best parameter set, the first of equals; None without any result."""
    found = results(snapshot)
    if np.isnan(found).all():
        return None
    return int(np.nanargmax(found) if snapshot.maximize else np.nanargmin(found))


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


def searched(snapshot: Snapshot) -> np.ndarray:
    """Which sets were proposed by the search (Bayesian, or Sobol in its place); (sets,)."""
    return np.isin(snapshot.columns["source"], (Source.SOBOL, Source.BAYESIAN))


# -- as text -------------------------------------------------------------------------------


def as_python(
    values: Mapping[str, Any], target: str = "dict", expressions: Container[str] = ()
) -> str:
    """Code that calls `target` with these values, to copy and paste.

    Parameters
    ----------
    values : mapping of str to object
        A parameter set.
    target : str
        Name of the function; ``dict`` gives the values themselves.
    expressions : container of str
        Parameters whose value is the text of an expression, which may use those before it:
        then each parameter is assigned first.

    >>> as_python({"x": 0.5, "name": "a"}, "f")
    "f(x=0.5, name='a')"
    """
    code = {n: v if n in expressions else _code(v) for n, v in values.items()}
    if any(name in expressions for name in values):
        assignments = "".join(f"{name} = {text}\n" for name, text in code.items())
        return f"{assignments}{target}({', '.join(f'{name}={name}' for name in code)})"
    return f"{target}({', '.join(f'{name}={text}' for name, text in code.items())})"


def _code(value: Any) -> str:
    return literal(value).replace("__import__('numpy').", "np.")


def best_text(snapshot: Snapshot, *, as_dict: bool = True) -> str:
    """The best parameter set as Python: a call and a dictionary; or that there is none."""
    index = best(snapshot)
    if index is None:
        return "no result yet"
    values = snapshot.values(index)
    expressions = {name for name, kind in snapshot.types.items() if kind.kind == "expr"}
    result = float(snapshot.columns["result"][index])
    metrics = ", ".join(f"{name} {value:.6g}" for name, value in snapshot.metrics(index).items())
    target = target_name(snapshot)
    lines = [
        f"# best: set {index}, result {result!r}" + (f" ({metrics})" if metrics else ""),
        as_python(values, target, expressions),
    ]
    if as_dict and not expressions and target != "dict":
        lines.append(as_python(values))
    return "\n".join(lines)


def target_name(snapshot: Snapshot) -> str:
    """Name of the target function, without its module."""
    name = str(snapshot.definition.get("target", "dict")).rpartition(":")[2].rpartition(".")[2]
    return name if name.isidentifier() else "dict"


def status_text(snapshot: Snapshot) -> str:
    """How far a search is, in a few lines."""
    count = counts(snapshot)
    percent = 100 * count.finished / count.total if count.total else 100.0
    lines = [
        f"{snapshot.path}: {count.finished} of {count.total} parameter sets evaluated "
        f"({percent:.0f} %)",
        _states(count),
    ]
    index = best(snapshot)
    if index is not None:
        best_result = float(snapshot.columns["result"][index])
        lines.append(f"best {best_result:.9g} (set {index})")
    speed = rate(snapshot)
    if not math.isnan(speed):
        line = f"{speed:.3g} evaluations/s lately"
        if count.left:
            line += f", {duration(count.left / speed)} left at that rate"
        latest = float(snapshot.columns["end"][snapshot.finished].max())
        lines.append(f"{line}; last result {duration(max(0.0, snapshot.taken - latest))} ago")
    return "\n".join([*lines, *_worker_lines(snapshot)])


def summary(snapshot: Snapshot) -> str:
    """What a run ends with: best set, counts, time, and where the workers' time went."""
    count = counts(snapshot)
    lines = [best_text(snapshot, as_dict=False), _states(count)]
    failed = np.flatnonzero(snapshot.finished & ~snapshot.done)
    if len(failed):
        first = int(failed[0])
        lines.append(f"first failure: set {first}: {snapshot.error(first)[:150]}")
    use = utilisation(snapshot)
    if len(use.worker):
        lines.append(
            f"{duration(wall_time(snapshot))} on {len(use.worker)} "
            f"worker{'s' if len(use.worker) > 1 else ''}, {_shares(use.overall())}"
        )
    return "\n".join(lines)


def _states(count: Counts) -> str:
    parts = [f"{count.done} done", f"{count.failed} failed"]
    if count.timed_out:
        parts.append(f"{count.timed_out} timed out")
    if count.running:
        parts.append(f"{count.running} running")
    if count.left - count.running:
        parts.append(f"{count.left - count.running} to do")
    return ", ".join(parts)


def _worker_lines(snapshot: Snapshot) -> list[str]:
    use = utilisation(snapshot)
    if not len(use.worker):
        return []
    lines = [f"all {len(use.worker)} workers: {_shares(use.overall())}"]
    if len(use.worker) == 1:
        return [f"1 worker: {_shares(use.overall())}"]
    if len(use.worker) <= _WORKER_LINES:
        shares = use.shares()
        lines += [
            f"  worker {number}: {evaluations} evaluations, {_shares(shares[i])}"
            for i, (number, evaluations) in enumerate(
                zip(use.worker.tolist(), use.evaluations.tolist(), strict=True)
            )
        ]
    else:
        low, high = use.shares()[:, 0].min(), use.shares()[:, 0].max()
        lines.append(f"  evaluating: {100 * low:.1f} % (least busy) to {100 * high:.1f} %")
    return lines


def _shares(shares: np.ndarray) -> str:
    names = ("evaluating", "proposing", "waiting")
    return ", ".join(f"{100 * s:.1f} % {n}" for s, n in zip(shares, names, strict=True))


def duration(seconds: float) -> str:
    """
    >>> duration(0.25), duration(75), duration(7260)
    ('0.25 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
