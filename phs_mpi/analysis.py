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
    started = last_kinds(snapshot.log, len(snapshot.status)) == EntryKind.STARTED
    return Counts(
        int(np.count_nonzero(snapshot.finished)) + len(snapshot.outstanding),
        int(by_status[Status.DONE]),
        int(by_status[Status.FAILED]),
        int(by_status[Status.TIMED_OUT]),
        int(np.count_nonzero(started & ~snapshot.finished)),
    )


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
    result = float(results(snapshot)[index])
    figures = ", ".join(f"{name} {x:.6g}" for name, x in metrics(snapshot, index).items())
    target = target_name(snapshot)
    lines = [
        f"# best: set {index}, result {result!r}{_plus_minus(snapshot, index)}"
        + (f" ({figures})" if figures else ""),
        as_python(values, target, expressions),
    ]
    if as_dict and not expressions and target != "dict":
        lines.append(as_python(values))
    return "\n".join(lines)


def _plus_minus(snapshot: Snapshot, number: int) -> str:
    """Standard error and number of repeats of a set's result; empty without repeats."""
    if snapshot.repeats.most == 1:
        return ""
    count = int(by_set(snapshot, snapshot.done)[number].sum())
    spread = float(standard_errors(snapshot)[number])
    repeats = f"mean of {count} repeats" if count > 1 else "one repeat"
    return f" ± {spread:.2g} ({repeats})" if count > 1 else f" ({repeats})"


def target_name(snapshot: Snapshot) -> str:
    """Name of the target function, without its module."""
    name = str(snapshot.definition.get("target", "dict")).rpartition(":")[2].rpartition(".")[2]
    return name if name.isidentifier() else "dict"


def status_text(snapshot: Snapshot) -> str:
    """How far a search is, in a few lines."""
    count = counts(snapshot)
    percent = 100 * count.finished / count.total if count.total else 100.0
    lines = [
        f"{snapshot.path}: {count.finished} of {count.total} {_unit(snapshot)} ({percent:.0f} %)",
        _states(count),
    ]
    index = best(snapshot)
    if index is not None:
        best_result = float(results(snapshot)[index])
        lines.append(f"best {best_result:.9g}{_plus_minus(snapshot, index)} (set {index})")
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
        lines.append(f"first failure: {_name(snapshot, first)}: {snapshot.error(first)[:150]}")
    use = utilisation(snapshot)
    if len(use.worker):
        lines.append(
            f"{duration(wall_time(snapshot))} on {len(use.worker)} "
            f"worker{'s' if len(use.worker) > 1 else ''}, {_shares(use.overall())}"
        )
    return "\n".join(lines)


def _unit(snapshot: Snapshot) -> str:
    if snapshot.repeats.most == 1:
        return "parameter sets evaluated"
    sets = int(np.count_nonzero(set_status(snapshot) != Status.EMPTY))
    return f"evaluations made, {sets} of {len(snapshot)} parameter sets evaluated"


def _name(snapshot: Snapshot, index: int) -> str:
    """What an evaluation is called."""
    repeats = snapshot.repeats
    name = f"set {repeats.set_of(index)}"
    return name if repeats.most == 1 else f"{name}, repeat {repeats.repeat_of(index)}"


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
