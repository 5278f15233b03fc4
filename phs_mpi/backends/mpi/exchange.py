"""Broadcasts that fill the same log, in the same order, on every rank.

A worker's message to rank 0 brings what the others must know: the result of an evaluation, or
the values it has proposed. Rank 0 fixes the order and broadcasts it in batches: a *header* of
fixed size with the first entries and their results and, where that is not all, a *payload* with
the others and with the values. All broadcasts have the same root and are posted everywhere in the
same order: header k, payload k if the header says that there is one, header k+1.

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
        self._heavy = 0
        self._lock = threading.Lock()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._header = messages.header()
        self._head: messages.Header | None = None  # of the payload that is waited for
        self._payload = np.empty(0, np.uint8)
        self._request = self._broadcast(self._header) if self._receives else MPI.REQUEST_NULL
        self.bytes_received = 0

    # -- what rank 0 puts in -----------------------------------------------------------

    @property
    def unsent(self) -> tuple[int, int]:
        """Own broadcasts that some rank has not taken yet: light ones, and longer ones."""
        return len(self._sending) - self._heavy, self._heavy

    def announce(self, entries: Sequence[LogEntry] | None) -> None:
        """Rank 0 broadcasts entries and appends them to its own log; None ends the exchange."""
        for buffer in messages.encode(entries, self._row):
            if len(buffer):
                self._sending.append((self._broadcast(buffer), buffer))
                self._heavy += len(buffer) > messages.LIGHT_BYTES
        if entries is None:
            self._ended = True
        else:
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
                _, buffer = self._sending.popleft()
                self._heavy -= len(buffer) > messages.LIGHT_BYTES
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

    def _broadcast(self, buffer: np.ndarray) -> MPI.Request:
        return self._comm.Ibcast([buffer, MPI.BYTE], root=0)

    def _take(self) -> None:
        """The broadcast that was waited for is there: a header, or the payload of one."""
        if self._head is None:
            self.bytes_received += len(self._header)
            self._head = messages.decode_header(self._header)
            if self._head is None:
                self._ended = True
                return
            self._payload = messages.payload_for(self._head, self._row)
            if len(self._payload):
                self._request = self._broadcast(self._payload)
                return
        self.bytes_received += len(self._payload)
        head, self._head = self._head, None
        self._enter(messages.decode(head, self._payload, self._row))
        self._request = self._broadcast(self._header)

    def _enter(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            self._log.append(entry)
            if self._on_entry is not None:
                self._on_entry(entry)
