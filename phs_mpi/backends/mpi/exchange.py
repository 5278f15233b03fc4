"""Worker-rooted broadcasts that fill the same log, in the same order, on every rank.

Rank 0 fixes the order and broadcasts a *header*: a batch of log entries that name a
parameter set and the worker it ran on. Each worker named there is then the root of the
broadcast of its own records (results, values it proposed). All broadcasts are non-blocking
and every rank posts them in the same order: header k, its payloads in order of first
appearance, header k+1. A round enters the log when all its payloads are there and all
earlier rounds have entered.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI

from ...log import EntryKind, Log, LogEntry
from . import messages
from .waiting import Backoff


class ExchangeError(Exception):
    """Ranks disagree on what is broadcast: a defect, never the user's fault."""


@dataclass
class _Round:
    entries: list[LogEntry]
    receiving: list[MPI.Request] = field(default_factory=list)
    payloads: dict[int, np.ndarray] = field(default_factory=dict)


class Exchange:
    """One rank's part of the exchange.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        A communicator used for nothing else.
    log : Log
        Where entries go, in the common order.
    record : numpy.dtype
        Layout of a record (:func:`messages.record_dtype`).
    is_bayesian : callable
        ``is_bayesian(index) -> bool``: whether a set's values are announced by its worker.
    on_entry : callable, optional
        Called with each entry after it has entered the log.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        log: Log,
        record: np.dtype,
        is_bayesian: Callable[[int], bool],
        on_entry: Callable[[LogEntry], None] | None = None,
    ):
        self._comm = comm
        self._rank = comm.Get_rank()
        self._log = log
        self._record = record
        self._is_bayesian = is_bayesian
        self._on_entry = on_entry
        self._outbox: deque[np.ndarray] = deque()
        self._rounds: deque[_Round] = deque()
        # Own broadcasts on their way, with the buffers that MPI still reads. Nothing waits
        # for them: a rank that is busy in a C extension takes its copy when it gets to it.
        self._sending: deque[tuple[MPI.Request, np.ndarray]] = deque()
        self._lock = threading.Lock()
        self._header = messages.header()
        self._ended = False
        self._thread: threading.Thread | None = None
        self.rounds_done = 0
        self.bytes_received = 0
        self._header_request = self._post_header() if self._rank != 0 else MPI.REQUEST_NULL

    # -- what a worker puts in ---------------------------------------------------------

    def put(self, index: int, result: float = np.nan, row: Any = None) -> None:
        """Put one record in the outbox; to be called before rank 0 is told of it."""
        record = np.zeros(1, self._record)
        record["index"] = index
        record["result"] = result
        if row is not None:
            record["row"] = row
        self._outbox.append(record)

    @property
    def outbox_empty(self) -> bool:
        """Whether the broadcast of everything put in has been started."""
        return not self._outbox

    # -- what rank 0 puts in -----------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Number of own broadcasts that some rank has not taken yet."""
        return len(self._sending)

    def announce(self, entries: Sequence[LogEntry] | None) -> None:
        """Rank 0 broadcasts a header; None ends the exchange."""
        buffer = messages.encode_header(entries)
        self._sending.append((self._comm.Ibcast([buffer, MPI.INT64_T], root=0), buffer))
        self._open_round(list(entries or ()))
        self._ended = entries is None

    # -- progress ----------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the exchange has been ended and everything has entered the log."""
        return self._ended and not self._rounds and not self._sending

    def progress(self) -> bool:
        """Drive the broadcasts a step further, from whichever thread.

        Returns
        -------
        bool
            Whether anything moved.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            moved = False
            while self._rank != 0 and not self._ended and self._header_request.Test():
                moved = True
                entries = messages.decode_header(self._header)
                self._ended = entries is None
                if entries is not None:
                    self._open_round(entries)
                    self._header_request = self._post_header()
            while self._rounds and MPI.Request.Testall(self._rounds[0].receiving):
                moved = True
                self._enter(self._rounds.popleft())
            while self._sending and self._sending[0][0].Test():
                moved = True
                self._sending.popleft()
            return moved
        finally:
            self._lock.release()

    def start_thread(self, longest_pause: float, on_error: Callable[[BaseException], None]) -> None:
        """Drive the exchange from a thread while the main thread is in the target."""

        def drive() -> None:
            # No spinning here: the core belongs to the target.
            backoff = Backoff(longest_pause, shortest=longest_pause / 4, spins=0)
            try:
                while not self.over:
                    if self.progress():
                        backoff.reset()
                    backoff.pause()
            except BaseException as error:  # a thread's traceback alone would leave ranks hanging
                on_error(error)

        self._thread = threading.Thread(target=drive, daemon=True, name="phs-exchange")
        self._thread.start()

    def finish(self, backoff: Backoff) -> None:
        """Drive the exchange until it is over."""
        while not self.over:
            if self.progress():
                backoff.reset()
            else:
                backoff.pause()
        if self._thread is not None:
            self._thread.join()

    # -- inside ------------------------------------------------------------------------

    def _post_header(self) -> MPI.Request:
        return self._comm.Ibcast([self._header, MPI.INT64_T], root=0)

    def _needs_payload(self, entry: LogEntry) -> bool:
        if entry.kind == EntryKind.STARTED:
            return self._is_bayesian(entry.index)
        return entry.kind == EntryKind.COMPLETED

    def _open_round(self, entries: list[LogEntry]) -> None:
        opened = _Round(entries)
        for worker, count in messages.payload_counts(entries, self._needs_payload).items():
            mine = worker == self._rank
            if mine:
                payload = np.concatenate([self._outbox.popleft() for _ in range(count)])
            else:
                payload = np.empty(count, self._record)
                self.bytes_received += payload.nbytes
            opened.payloads[worker] = payload
            request = self._comm.Ibcast([payload.view(np.uint8), MPI.BYTE], root=worker)
            if mine:
                self._sending.append((request, payload))
            else:
                opened.receiving.append(request)
        self._rounds.append(opened)

    def _enter(self, done: _Round) -> None:
        used = dict.fromkeys(done.payloads, 0)
        has_rows = "row" in (self._record.names or ())
        for entry in done.entries:
            if self._needs_payload(entry):
                position = used[entry.worker]
                used[entry.worker] += 1
                record = done.payloads[entry.worker][position]
                if int(record["index"]) != entry.index:
                    raise ExchangeError(
                        f"rank 0 announced set {entry.index} of worker {entry.worker}, "
                        f"which broadcast set {int(record['index'])}"
                    )
                if entry.kind == EntryKind.COMPLETED:
                    entry = entry._replace(result=float(record["result"]))
                elif has_rows:
                    entry = entry._replace(row=record["row"])
            self._log.append(entry)
            if self._on_entry is not None:
                self._on_entry(entry)
        self.rounds_done += 1
