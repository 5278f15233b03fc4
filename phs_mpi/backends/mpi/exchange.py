"""Broadcasts that fill the same log, in the same order, on every rank.

A worker's message to rank 0 brings what the others must know: the result of an evaluation, or
the values it has proposed. Rank 0 fixes the order and broadcasts it in batches: a *header* of
fixed size with the entries and their results and, where some of them have values, the *rows*
with these. All broadcasts have the same root and are posted everywhere in the same order:
header k, rows k if it says that there are any, header k+1.

Why not let each worker broadcast its own results: a worker whose target holds Python's lock
cannot take part in anything, so that everybody's log would stop at the first result that it
still has to send. Rank 0 runs no target; a worker that is stuck delays nobody but itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

from ...log import Log, LogEntry
from . import messages
from .waiting import Backoff


class Exchange:
    """One rank's part of the exchange.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        A communicator used for nothing else.
    log : Log
        Where entries go, in the common order.
    row : numpy.dtype
        Packed values of a parameter set.
    on_entry : callable, optional
        Called with each entry after it has entered the log.

    Attributes
    ----------
    bytes_received : int
        Payload of all broadcasts so far.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        log: Log,
        row: np.dtype,
        on_entry: Callable[[LogEntry], None] | None = None,
    ):
        self._comm = comm
        self._receives = comm.Get_rank() != 0
        self._log = log
        self._row = row
        self._on_entry = on_entry
        # Own broadcasts on their way, with the buffers that MPI still reads. Nothing waits
        # for them: a rank that is busy in a C extension takes its copy when it gets to it.
        self._sending: deque[tuple[MPI.Request, np.ndarray]] = deque()
        self._lock = threading.Lock()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._header = messages.header()
        self._entries: list[LogEntry] = []  # of the last header, waiting for their rows
        self._rows = np.empty(0, row)
        self._request = self._post_header() if self._receives else MPI.REQUEST_NULL
        self.bytes_received = 0

    # -- what rank 0 puts in -----------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Number of own broadcasts that some rank has not taken yet."""
        return len(self._sending)

    def announce(self, entries: Sequence[LogEntry] | None) -> None:
        """Rank 0 broadcasts entries and appends them to its own log; None ends the exchange."""
        buffer = messages.encode_header(entries)
        self._sending.append((self._comm.Ibcast([buffer, MPI.INT64_T], root=0), buffer))
        if entries is None:
            self._ended = True
            return
        rows = messages.encode_rows(entries, self._row)
        if len(rows):
            request = self._comm.Ibcast([rows.view(np.uint8), MPI.BYTE], root=0)
            self._sending.append((request, rows))
        self._enter(entries)

    # -- progress ----------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the exchange has been ended and everything has entered the log."""
        return self._ended and not self._sending

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
            while self._receives and not self._ended and self._request.Test():
                moved = True
                self._take()
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

    def _take(self) -> None:
        """The broadcast that was waited for is there: a header, or the rows of one."""
        if self._entries:
            self.bytes_received += self._rows.nbytes
            entries, self._entries = messages.with_rows(self._entries, self._rows), []
        else:
            self.bytes_received += self._header.nbytes
            decoded = messages.decode_header(self._header)
            if decoded is None:
                self._ended = True
                return
            entries, count = decoded
            if count:
                self._entries, self._rows = entries, np.empty(count, self._row)
                self._request = self._comm.Ibcast([self._rows.view(np.uint8), MPI.BYTE], root=0)
                return
        self._enter(entries)
        self._request = self._post_header()

    def _enter(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            self._log.append(entry)
            if self._on_entry is not None:
                self._on_entry(entry)
