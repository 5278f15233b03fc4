"""What of a results file can be trusted: the checks, without the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from ..log import EntryKind, Status
from . import schema


class RowState(IntEnum):
    """What the bytes of one row are."""

    EMPTY = 0  # all zero: not evaluated
    WHOLE = 1  # finished, its checksum is right
    TORN = 2  # anything else: cut short, or changed since
    ATTEMPT = 3  # an attempt that failed, its checksum is right: another one is to follow


_UNFINISHED: dict[int, str] = {
    RowState.EMPTY: "empty",
    RowState.TORN: "torn",
    RowState.ATTEMPT: "of an attempt that another one follows",
}

_INDICES = ("whole", "empty", "torn", "attempts")


@dataclass
class Verification:
    """What was found out about a results file.

    Attributes
    ----------
    path : Path
    rows : int
        Evaluations that the file has room for.
    whole, empty, torn, attempts : ndarray of int
        Their indices: finished, not evaluated, damaged, failed and to be tried again.
    log_entries : int
        Entries of the log.
    contradictions : dict of int to str
        By the number of a log entry, what is wrong with it.
    unlogged : int
        Whole rows that the log does not call completed, as when a run is killed: no damage.
    problems : list of str
        What else is damaged, a line each.
    unchecked : list of str
        Parts that carry no checksum: files of earlier versions.
    """

    path: Path
    rows: int = 0
    whole: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    empty: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    torn: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    attempts: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    log_entries: int = 0
    contradictions: dict[int, str] = field(default_factory=dict)
    unlogged: int = 0
    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not (len(self.torn) or self.contradictions or self.problems)

    def to_json(self) -> dict[str, Any]:
        """As plain lists and texts; :meth:`from_json` undoes it."""
        plain = dict(vars(self), path=str(self.path))
        plain |= {name: getattr(self, name).tolist() for name in _INDICES}
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Verification:
        """What :meth:`to_json` made plain."""
        arrays = {name: np.array(plain[name], int) for name in _INDICES}
        wrong = {int(position): text for position, text in plain["contradictions"].items()}
        return cls(**plain | arrays | {"path": Path(plain["path"]), "contradictions": wrong})


def row_states(raw: np.ndarray) -> np.ndarray:
    """What each row of ``/evaluations`` is.

    Parameters
    ----------
    raw : ndarray of uint8, shape (n, bytes of a row)

    Returns
    -------
    ndarray of uint8, shape (n,)
        Of :class:`RowState`.
    """
    states = np.full(len(raw), np.uint8(RowState.TORN))
    states[~raw.any(axis=1)] = RowState.EMPTY
    written = np.isin(raw[:, -1], schema.WRITTEN)
    stored = np.ascontiguousarray(raw[:, -5:-1]).view("<u4").reshape(-1)
    for i in np.flatnonzero(written).tolist():
        if schema.checksum(raw[i].data) == stored[i]:
            tried = raw[i, -1] == Status.RUNNING
            states[i] = RowState.ATTEMPT if tried else RowState.WHOLE
    return states


def contradictions(log: np.ndarray, states: np.ndarray) -> dict[int, str]:
    """Entries of the log that cannot be right.

    Parameters
    ----------
    log : ndarray of LOG_DTYPE, shape (capacity,)
        The whole dataset.
    states : ndarray of uint8, shape (evaluations,)
        Of :class:`RowState`, of the rows.

    Returns
    -------
    dict of int to str
        By the number of the entry, what is wrong with it.
    """
    wrong: dict[int, str] = {}
    length = schema.log_length(log, len(states))
    for position in (length + np.flatnonzero(used(log[length:]))).tolist():
        kind, index = int(log["kind"][position]), int(log["index"][position])
        wrong[position] = (
            f"is of kind {kind} and set {index}, of which there is none"
            if not (1 <= kind <= max(EntryKind) and 0 <= index < len(states))
            else "follows entries that are none"
        )
    completed: dict[int, int] = {}
    for position, (index, kind) in enumerate(log[:length].tolist()):
        if kind == EntryKind.LOST:
            completed.pop(index, None)
        elif index in completed:
            said = EntryKind(kind).name.lower()
            wrong[position] = f"calls evaluation {index} {said}, which was completed before"
        elif kind == EntryKind.COMPLETED:
            completed[index] = position
    for index, position in completed.items():
        what = _UNFINISHED.get(int(states[index]))
        if what is not None:
            wrong[position] = f"calls evaluation {index} completed, whose row is {what}"
    return wrong


def used(log: np.ndarray) -> np.ndarray:
    """Which entries of a log are not free; bool, shape (n,)."""
    # An entry that was cut short has its index and no kind: it reads as free.
    return (log["kind"] != 0).astype(bool)


def ranges(indices: Sequence[int]) -> str:
    """Indices in words.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
