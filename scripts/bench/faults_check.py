"""What a run with a fault, and the runs after it, have made of the evaluations.

Pure but for reading the files, and without phs_mpi: rows are read with plain h5py and checked with
zlib, as `docs/file-format.md` has it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

DONE, FAILED, TIMED_OUT = 2, 3, 4
COMPLETED, LOST = 2, 3


@dataclass
class Calls:
    """What the target's own log says of one run (or of several, one after the other).

    Attributes
    ----------
    started : list of int
        Evaluations in the order in which they began.
    results : dict of int to float
        Of those whose function returned.
    left : set of int
        Evaluations that their worker has left behind: it began another one after them. A worker
        does so only after the row is committed.
    """

    started: list[int] = field(default_factory=list)
    results: dict[int, float] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)


def calls(lines: list[str]) -> Calls:
    """Read the lines that one run has written."""
    found, at_work = Calls(), {}
    for line in lines:
        what, index, worker, *rest = line.split()
        if what == "start":
            found.started.append(int(index))
            if worker in at_work:
                found.left.add(at_work[worker])
            at_work[worker] = int(index)
        else:
            found.results[int(index)] = float.fromhex(rest[0])
    return found


def rows(path: Path) -> dict[int, bytes]:
    """Bytes of the whole rows of a results file, by index; none if there is no file yet."""
    if not path.exists():
        return {}
    with h5py.File(path, locking=False) as file:
        table = file["evaluations"]
        offset, size, length = table.id.get_offset(), table.dtype.itemsize, table.shape[0]
    raw = path.read_bytes()[offset : offset + size * length]
    found = {}
    for index in range(length):
        row = raw[index * size : (index + 1) * size]
        if row[-1] in (DONE, FAILED, TIMED_OUT):
            if zlib.crc32(row[-1:], zlib.crc32(row[:-5])) == int.from_bytes(row[-5:-1], "little"):
                found[index] = row
    return found


def outcomes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Status and result of every row."""
    with h5py.File(path, locking=False) as file:
        table = file["evaluations"][:]
    return table["status"], table["result"]


def failed(path: Path) -> list[int]:
    """Evaluations that the file calls failed or timed out."""
    return np.flatnonzero(np.isin(outcomes(path)[0], (FAILED, TIMED_OUT))).tolist()


def completed_twice(path: Path) -> list[int]:
    """Evaluations that /log calls completed twice, not lost in between."""
    with h5py.File(path, locking=False) as file:
        log = file["log"][:]
    standing: set[int] = set()
    twice = []
    for index, kind in zip(log["index"].tolist(), log["kind"].tolist(), strict=True):
        if kind == COMPLETED:
            twice += [index] if index in standing else []
            standing.add(index)
        elif kind == LOST:
            standing.discard(index)
    return twice


def lost(before: Calls, then: dict[int, bytes], now: dict[int, bytes]) -> list[int]:
    """Completed evaluations that did not stay what they were.

    Parameters
    ----------
    before : Calls
        Of the run with the fault.
    then, now : dict of int to bytes
        Whole rows after the fault, and at the very end.
    """
    missing = before.left - set(then)
    changed = {index for index, row in then.items() if now.get(index) != row}
    return sorted(missing | changed)


def evaluated_again(then: dict[int, bytes], after: Calls) -> list[int]:
    """Evaluations that were begun although their row was whole."""
    return sorted(set(then) & set(after.started))


def contradicting(path: Path, returned: dict[int, float], harmed: set[int]) -> list[int]:
    """Rows that say something else than the target's log.

    Parameters
    ----------
    path : Path
        The results file at the very end.
    returned : dict of int to float
        Results that the target's log has, the last of each evaluation.
    harmed : set of int
        Evaluations that may have failed.
    """
    status, result = outcomes(path)
    wrong = []
    for index in range(len(status)):
        if status[index] == DONE:
            fine = returned.get(index) == result[index]
        else:
            fine = status[index] in (FAILED, TIMED_OUT) and index in harmed
        wrong += [] if fine else [index]
    return wrong
