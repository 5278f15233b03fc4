"""Ranks 1 and up: ask, propose, evaluate, commit, report."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from ...log import Log, Outcome, Proposal, Status
from ...retries import Retries
from ...table import Table
from ...worker import Worker
from . import messages
from .exchange import Exchange
from .waiting import Backoff, wait_until

#: How long a Bayesian set waits for the log length it was promised, in seconds. The entry
#: it waits for may be stuck behind a rank that is busy in a C extension; then the proposal
#: uses what is there, and its row says how much that was.
PROMISE_SECONDS = 1.0

#: Workers that ask within a proposal's time have logs of different lengths, and yet may want the
#: same: on a bound, or where there are few values. So the later one waits for the earlier ones'
#: announcements, at most as long as its own proposal took and this many seconds, and proposes
#: anew, at most so often, if its values have been announced by another.
ANNOUNCE_SECONDS = 0.5
REVISIONS = 3


class WorkerLoop:
    """The loop of a worker rank.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The schedule communicator.
    exchange : Exchange
        Brings the others' results.
    log : Log
        Filled by `exchange`.
    table : Table
        The parameter sets.
    worker : Worker
        Proposes and evaluates.
    commit : callable or None
        ``commit(proposal, outcome)`` writes this worker's row; None where h5py has no MPI:
        then the row travels to rank 0 ahead of DONE.
    retries : Retries
        Which failed evaluations are tried again.
    wait_for_all : bool
        Whether a Bayesian set needs all it was promised, however long that takes.
    longest_pause : float
        Longest sleep while idle, in seconds.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        exchange: Exchange,
        log: Log,
        table: Table,
        worker: Worker,
        commit: Callable[[Proposal, Outcome], None] | None,
        *,
        retries: Retries,
        wait_for_all: bool = False,
        longest_pause: float = 2e-3,
    ):
        self._comm = comm
        self._exchange = exchange
        self._log = log
        self._table = table
        self._worker = worker
        self._commit = commit
        self._retries = retries
        self._wait_for_all = wait_for_all
        self._backoff = Backoff(longest_pause)
        self._out = messages.to_master(table.dtype)
        self._words = self._out[: messages.WORD_BYTES].view(np.int64)
        self._in = messages.to_worker()
        self._request = self._receive()
        self._status = MPI.Status()
        self._stopped = False
        self._starts: deque[tuple[int, int, messages.How]] = deque()  # index, log length, how

    def run(self) -> None:
        """Work until rank 0 says stop, then see the exchange to its end."""
        idle_since = time.perf_counter()
        exchanged = 0.0
        self._send(messages.READY)
        while self._has_next():
            index, log_length, how = self._starts.popleft()
            proposal, proposing = self._propose(index, log_length, how.chosen, how.known)
            waiting = time.perf_counter() - idle_since - proposing
            outcome = self._worker.evaluate(proposal)
            idle_since = time.perf_counter()
            outcome.proposing, outcome.waiting = proposing, waiting
            so_far = self._exchange.seconds
            outcome.exchanging, exchanged = so_far - exchanged, so_far
            self._report(proposal, outcome, how.attempt)
            if outcome.status != Status.DONE:
                self._look()
                self._give_back()
        self._exchange.finish(self._backoff)

    def fail(self, text: str) -> None:
        """Tell rank 0 that this worker cannot go on."""
        self._send(messages.FATAL)
        self._comm.send(text, dest=0, tag=messages.TAG_TEXT)

    # -- inside ------------------------------------------------------------------------

    def _propose(
        self, index: int, log_length: int, chosen: bool, known: bool
    ) -> tuple[Proposal, float]:
        if not self._table.bayesian(index):
            return self._worker.drawn(index), 0.0
        wait_until(
            lambda: len(self._log) >= log_length,
            self._exchange.progress,
            self._backoff,
            None if self._wait_for_all or chosen else PROMISE_SECONDS,
        )
        begun = time.perf_counter()
        length = log_length if self._wait_for_all else len(self._log)
        proposal = self._worker.propose(index, self._log, length)
        row = self._table.pack(index, proposal.values)
        if not (self._wait_for_all or chosen):
            self._let_others_announce(index, length, time.perf_counter() - begun)
            for _ in range(REVISIONS):
                if not self._taken(row, length):
                    break
                length = len(self._log)
                proposal = self._worker.propose(index, self._log, length)
                row = self._table.pack(index, proposal.values)
        proposing = time.perf_counter() - begun
        if not known:
            self._send(messages.PROPOSED, index, row=row)
        return proposal, proposing

    def _let_others_announce(self, index: int, length: int, seconds: float) -> None:
        """Wait for sets handed out just before, as long as this proposal took at most."""
        missing = self._worker.unannounced(index)
        most = self._table.repeats.most
        wait_until(
            lambda: missing <= {entry.index // most for entry in self._log.entries(length)},
            self._exchange.progress,
            self._backoff,
            min(seconds, ANNOUNCE_SECONDS),
        )

    def _taken(self, row: np.ndarray, length: int) -> bool:
        """Whether others have announced these very values since the log had this length."""
        self._exchange.progress()
        raw = row.tobytes()
        return any(
            entry.row is not None and entry.row.tobytes() == raw
            for entry in self._log.entries(length)
        )

    def _report(self, proposal: Proposal, outcome: Outcome, attempt: int) -> None:
        again = self._retries.mark(outcome, attempt)
        row = None
        if self._commit is not None:
            # First the disk, then the others: what any rank acts on survives a crash.
            self._commit(proposal, outcome)
        else:
            # A long row leaves only when rank 0 asks for it, which it does after the next message.
            row = self._comm.isend((proposal, outcome), dest=0, tag=messages.TAG_ROW)
        seconds = outcome.end - outcome.start + outcome.proposing
        self._send(
            messages.DONE,
            outcome.index,
            messages.result_to_word(outcome.result),
            messages.encode_done(again, seconds),
        )
        if row is not None:
            wait_until(row.Test, self._exchange.progress, self._backoff)

    def _send(
        self,
        kind: int,
        number: int = 0,
        result: int = 0,
        how: int = 0,
        row: np.ndarray | None = None,
    ) -> None:
        self._words[:] = kind, number, result, how
        size = messages.WORD_BYTES
        if row is not None:
            self._out[size:] = np.frombuffer(row.tobytes(), np.uint8)
            size = len(self._out)
        self._comm.Send([self._out, size, MPI.BYTE], dest=0, tag=messages.TAG_TO_MASTER)

    def _has_next(self) -> bool:
        """Whether there is a set to begin; waits until that is known."""
        self._look()
        while not self._stopped and not self._starts:
            # Polled: a blocking receive would spin on a core for as long as it waits.
            come = lambda: self._request.Test(self._status)  # noqa: E731
            wait_until(come, self._exchange.progress, self._backoff)
            self._take()
        return bool(self._starts)

    def _receive(self) -> MPI.Request:
        return self._comm.Irecv([self._in, MPI.INT64_T], source=0, tag=messages.TAG_TO_WORKER)

    def _look(self) -> None:
        """Take what rank 0 has sent."""
        while not self._stopped and self._request.Test(self._status):
            self._take()

    def _take(self) -> None:
        """A message of rank 0 is there."""
        count = self._status.Get_count(MPI.INT64_T) // messages.MESSAGE_WORDS
        for kind, index, log_length, how in self._in[:count].tolist():
            if kind == messages.START:
                self._starts.append((index, log_length, messages.decode_how(how)))
            elif kind == messages.RECALL:
                self._give_back()
            elif kind == messages.STOP:
                self._stopped = True
                return  # nothing follows
        self._request = self._receive()

    def _give_back(self) -> None:
        """Let rank 0 have what was ahead, and not what it has sent in answer to DONE."""
        indices = [index for index, _, how in self._starts if how.ahead]
        if indices:
            self._starts = deque(start for start in self._starts if not start[2].ahead)
            self._send(messages.BACK, len(indices))
            self._comm.send(indices, dest=0, tag=messages.TAG_INDICES)


def same_log_everywhere(comm: MPI.Comm, log: Log) -> bool:
    """Whether all ranks hold the same log (collective)."""
    mine = np.frombuffer(bytes.fromhex(log.digest()), np.uint8).copy()
    theirs = mine.copy()
    comm.Bcast([theirs, MPI.BYTE], root=0)
    return bool(comm.allreduce(bool((mine == theirs).all()), op=MPI.LAND))
