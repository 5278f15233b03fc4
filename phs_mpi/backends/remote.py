"""What runs in a worker process of the backends that are driven from one client.

Functions here are called by name in another process: by an executor of the standard library, or
as tasks of a Dask worker. What a process knows of a run is kept under the run's identifier,
since one Dask worker may serve several runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..evaluation import evaluation_folder
from ..log import EntryKind, Log, LogEntry, Outcome, Proposal
from ..table import Table
from ..worker import Worker
from . import base
from .shipping import Shipment, Unpacked, unpack

#: Runs that one process remembers: those of clients that were killed are never closed.
MOST_RUNS = 8

#: Bytes of an evaluation's own files that are sent to a client on another file system.
MOST_BYTES = 64 << 20

_HEAD = struct.Struct("<bqidi")  # kind, index, worker, result, bytes of the row


class NotPrepared(Exception):
    """This process knows nothing of the run: it has taken the place of one that died."""


@dataclass
class Delivery:
    """What comes back from an evaluation.

    Attributes
    ----------
    proposal : Proposal
    outcome : Outcome
    files : dict of str to bytes
        The evaluation's own files by their path in its folder, where the client cannot see it.
    left_behind : str
        Where files stayed that are too large to send; empty if none did.
    """

    proposal: Proposal
    outcome: Outcome
    files: dict[str, bytes] = field(default_factory=dict)
    left_behind: str = ""


@dataclass
class _Run:
    worker: Worker
    table: Table
    log: Log
    place: Unpacked
    exchanging: float = 0.0  # seconds, not told yet


_runs: dict[str, _Run] = {}
# A target may change the process (working folder, file descriptors 1 and 2): one at a time,
# also where a Dask worker has several threads.
_one_at_a_time = threading.Lock()


def prepare(shipment: Shipment, number: int) -> None:
    """Load the experiment; the first call in each process.

    Raises
    ------
    PhsError
        If it cannot be loaded here.
    """
    with _one_at_a_time:
        place = unpack(shipment)
        table = place.experiment.table() if shipment.table is None else shipment.table
        worker = base.make_worker(place.experiment, table, place.output, number)
        _runs[shipment.run] = _Run(worker, table, Log(), place)
        for old in list(_runs)[:-MOST_RUNS]:
            _runs.pop(old).place.remove()


def propose(run: str, index: int, length: int, news: bytes) -> tuple[Proposal, float]:
    """The values of a Bayesian set, from the log after the news, and the seconds it took."""
    state = _state(run)
    arrived = time.perf_counter()
    for entry in decode(news, state.table.dtype):
        state.log.append(entry)
    begun = time.perf_counter()
    state.exchanging += begun - arrived
    proposal = state.worker.propose(index, state.log, length)
    return proposal, time.perf_counter() - begun


def evaluate(run: str, sets: Sequence[Proposal | int], short: float) -> list[Delivery]:
    """Evaluate proposals, or sets whose values stand in the table, one after the other.

    After one that took `short` seconds or more the others are left to whoever has time for
    them: the result has an item for each set that was evaluated.
    """
    state = _state(run)
    deliveries: list[Delivery] = []
    for what in sets:
        deliveries.append(_deliver(state, what))
        outcome = deliveries[-1].outcome
        if outcome.end - outcome.start >= short:
            break
    return deliveries


def _deliver(state: _Run, what: Proposal | int) -> Delivery:
    proposal = state.worker.drawn(what) if isinstance(what, int) else what
    with _one_at_a_time, _working_in(state.place.working_folder):
        outcome = state.worker.evaluate(proposal)
    outcome.exchanging, state.exchanging = state.exchanging, 0.0
    delivery = Delivery(proposal, outcome)
    if not state.place.shared:
        parent = base.evaluations_folder(state.place.output)
        _collect(delivery, evaluation_folder(parent, proposal.index, state.table.repeats))
    return delivery


def leave(run: str) -> None:
    """Remove temporary files, and forget the run."""
    state = _runs.pop(run, None)
    if state is not None:
        state.worker.close()
        state.place.remove()


def ignore_interrupts() -> None:
    """Leave it to the client when to stop: Ctrl-C goes to the whole process group."""
    # A handler, not SIG_IGN, since that would be inherited by programs that the target starts.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, lambda number, frame: None)


# -- the log on its way ------------------------------------------------------------------


def encode(entries: Iterable[LogEntry]) -> bytes:
    """Log entries as bytes: 25 each, and the row of a Bayesian set when it starts."""
    parts = []
    for entry in entries:
        row = b"" if entry.row is None else entry.row.tobytes()
        parts.append(_HEAD.pack(entry.kind, entry.index, entry.worker, entry.result, len(row)))
        parts.append(row)
    return b"".join(parts)


def decode(raw: bytes, row_dtype: np.dtype) -> Iterator[LogEntry]:
    """Inverse of :func:`encode`."""
    place = 0
    while place < len(raw):
        kind, index, worker, result, size = _HEAD.unpack_from(raw, place)
        place += _HEAD.size
        row = np.frombuffer(raw, row_dtype, 1, place)[0] if size else None
        place += size
        yield LogEntry(EntryKind(kind), index, worker, result, row)


# -- inside ------------------------------------------------------------------------------


def _state(run: str) -> _Run:
    try:
        return _runs[run]
    except KeyError:
        raise NotPrepared(run) from None


@contextlib.contextmanager
def _working_in(folder: str) -> Iterator[None]:
    """Evaluate where the client is, as ranks that mpirun starts do."""
    if not folder:
        yield
        return
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _collect(delivery: Delivery, folder: Path) -> None:
    if not folder.is_dir():
        return
    room = MOST_BYTES
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        size = path.stat().st_size
        if size > room:
            delivery.left_behind = f"{delivery.outcome.host}:{folder}"
            continue
        room -= size
        name = str(path.relative_to(folder))
        delivery.files[name] = path.read_bytes()
        path.unlink()
