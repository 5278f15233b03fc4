"""A search in words: how far it is, what it found, the best set as Python."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from .analysis import (
    Counts,
    best,
    by_set,
    counts,
    metrics,
    rate,
    results,
    set_status,
    standard_errors,
    utilisation,
    wall_time,
)
from .hyperpar import literal
from .log import Status
from .store.snapshot import Snapshot

_WORKER_LINES = 16  # more workers than this are summed up


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
    return set_text(snapshot, index, "best: ", as_dict=as_dict)


def set_text(snapshot: Snapshot, index: int, label: str = "", *, as_dict: bool = False) -> str:
    """A parameter set that has a result as Python, below a comment with its result."""
    values = snapshot.values(index)
    expressions = {name for name, kind in snapshot.types.items() if kind.kind == "expr"}
    result = float(results(snapshot)[index])
    figures = ", ".join(f"{name} {x:.6g}" for name, x in metrics(snapshot, index).items())
    target = target_name(snapshot)
    lines = [
        f"# {label}set {index}, result {result!r}{_plus_minus(snapshot, index)}"
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
    lines += _attempt_lines(snapshot)
    return "\n".join([*lines, *_worker_lines(snapshot)])


def summary(snapshot: Snapshot) -> str:
    """What a run ends with: best set, counts, time, and where the workers' time went."""
    count = counts(snapshot)
    lines = [best_text(snapshot, as_dict=False), _states(count)]
    failed = np.flatnonzero(snapshot.finished & ~snapshot.done)
    if len(failed):
        first = int(failed[0])
        lines.append(
            f"first failure: {evaluation_name(snapshot, first)}: {snapshot.error(first)[:150]}"
        )
    lines += _attempt_lines(snapshot)
    use = utilisation(snapshot)
    if len(use.worker):
        lines.append(
            f"{duration(wall_time(snapshot))} on {len(use.worker)} "
            f"worker{'s' if len(use.worker) > 1 else ''}, {_shares(use.overall())}"
        )
    return "\n".join(lines)


def _attempt_lines(snapshot: Snapshot) -> list[str]:
    """How many evaluations had to be tried again, and what became of the last of them."""
    found = np.flatnonzero(snapshot.failed_before)
    if not len(found):
        return []
    tried = found[snapshot.finished[found]]
    lines = []
    if len(tried):
        what = "evaluation was" if len(tried) == 1 else "evaluations were"
        good = int(np.count_nonzero(snapshot.done[tried]))
        lines.append(f"{len(tried)} {what} tried again, {good} of them with success")
    else:
        lines.append(f"{len(found)} to be tried again")
    if len(tried) and len(found) > len(tried):
        lines[0] += f", and {len(found) - len(tried)} to be tried again"
    last = int(found[np.argmax(snapshot.columns["end"][found])])
    why = snapshot.earlier_failure(last) or snapshot.error(last)
    if why.strip():
        lines.append(f"  {evaluation_name(snapshot, last)}: {why.strip().splitlines()[-1][:150]}")
    return lines


def _unit(snapshot: Snapshot) -> str:
    if snapshot.repeats.most == 1:
        return "parameter sets evaluated"
    sets = int(np.count_nonzero(set_status(snapshot) != Status.EMPTY))
    return f"evaluations made, {sets} of {len(snapshot)} parameter sets evaluated"


def evaluation_name(snapshot: Snapshot, index: int) -> str:
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
