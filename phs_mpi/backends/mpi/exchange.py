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
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

from ...log import Log, LogEntry
from . import messages, ulfm
from .waiting import MEETING_SECONDS, Backoff, wait_until


class MasterDied(Exception):
    """Rank 0 is gone: nobody can go on."""


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

    Attributes
    ----------
    on_entry : callable, optional
        Called with each entry after it has entered the log.
    comm : mpi4py.MPI.Intracomm
        The communicator, of living ranks if some have died (see :mod:`.ulfm`).
    deaths : int
        How often ranks have died so far.
    bytes_received : int
        Payload of all broadcasts so far.
    seconds : float
        Spent on taking what has come, in whichever thread; looking in vain does not count.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        log: Log,
        row: np.dtype,
    ):
        self.comm = comm
        self.deaths = 0
        self._mortal = ulfm.enabled()
        self._receives = comm.Get_rank() != 0
        self._log = log
        self._row = row
        self.on_entry: Callable[[LogEntry], None] | None = None
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
        self.seconds = 0.0

    # -- what rank 0 puts in -----------------------------------------------------------

    @property
    def unsent(self) -> tuple[int, int]:
        """Own broadcasts that some rank has not taken yet: light ones, and longer ones."""
        return len(self._sending) - self._heavy, self._heavy

    def announce(self, entries: Sequence[LogEntry] | None) -> None:
        """Rank 0 broadcasts entries and appends them to its own log; None ends the exchange."""
        if entries is None:
            self._ended = True
        else:
            self._enter(entries)
        try:
            for buffer in messages.encode(entries, self._row):
                if len(buffer):
                    self._sending.append((self._broadcast(buffer), buffer))
                    self._heavy += len(buffer) > messages.LIGHT_BYTES
        except MPI.Exception as error:
            self._recover_from(error)

    def exclude_dead(self) -> None:
        """Rank 0 has heard of a death: go on without that rank (collective)."""
        if self.comm.Get_failed().Get_size():
            self._recover_from(MPI.Exception(MPI.ERR_PROC_FAILED))

    def share(self, status: int | None) -> int:
        """Rank 0's exit status, on all ranks that live (collective, once the exchange is over)."""
        shared = np.array([status or 0], np.int64)
        while True:
            try:
                arrived = self.comm.Ibcast([shared, MPI.INT64_T], root=0)
                wait_until(arrived.Test, lambda: False, Backoff(MEETING_SECONDS))
                return int(shared[0])
            except MPI.Exception as error:
                self._recover_from(error)

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
            if self._mortal and self.comm.Is_revoked():
                # Who sends nothing at the moment hears of a death in no other way.
                raise MPI.Exception(MPI.ERR_REVOKED)
            return self._step()
        except MPI.Exception as error:
            self._recover_from(error)
            return True
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

    def _step(self) -> bool:
        moved = False
        begun = time.perf_counter()
        while self._receives and not self._ended and self._request.Test():
            moved = True
            self._take()
        while self._sending and self._sending[0][0].Test():
            moved = True
            _, buffer = self._sending.popleft()
            self._heavy -= len(buffer) > messages.LIGHT_BYTES
        if moved:
            self.seconds += time.perf_counter() - begun
        return moved

    def _recover_from(self, error: MPI.Exception) -> None:
        """Go on without ranks that have died: everybody gets what rank 0 has in its log."""
        while self._mortal and ulfm.is_death(error):
            self.comm = ulfm.survivors(self.comm)
            self.deaths += 1
            try:
                self._catch_up()
                return
            except MPI.Exception as another:  # one more has died meanwhile
                error = another
        raise error

    def _catch_up(self) -> None:
        self._sending.clear()
        self._heavy, self._head = 0, None
        length = len(self._log)
        # Least length of a log; of rank 0: that it lives, length, whether the exchange has ended.
        state = np.array([-length, 0, 0, 0], np.int64)
        if not self._receives:
            state[1:] = 1, length, self._ended
        self.comm.Allreduce(MPI.IN_PLACE, state, op=MPI.MAX)
        if not state[1]:
            raise MasterDied
        for start in range(-int(state[0]), int(state[2]), messages.BATCH_ENTRIES):
            self._pass_on(start)
        self._ended = bool(state[3])
        if self._receives and not self._ended:
            self._request = self._broadcast(self._header)

    def _pass_on(self, start: int) -> None:
        """One batch of rank 0's log, from `start` on, into those logs that lack it."""
        if not self._receives:
            entries = self._log.entries(start, start + messages.BATCH_ENTRIES)
            for buffer in messages.encode(entries, self._row):
                if len(buffer):
                    self.comm.Bcast([buffer, MPI.BYTE], root=0)
            return
        self.comm.Bcast([self._header, MPI.BYTE], root=0)
        head = messages.decode_header(self._header)
        assert head is not None
        payload = messages.payload_for(head, self._row)
        if len(payload):
            self.comm.Bcast([payload, MPI.BYTE], root=0)
        self._enter(messages.decode(head, payload, self._row)[max(len(self._log) - start, 0) :])

    def _broadcast(self, buffer: np.ndarray) -> MPI.Request:
        return self.comm.Ibcast([buffer, MPI.BYTE], root=0)

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
            if self.on_entry is not None:
                self.on_entry(entry)
