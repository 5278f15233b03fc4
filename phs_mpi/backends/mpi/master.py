"""Rank 0: receive, ask the schedule, send. Nothing heavy happens here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from ...errors import PhsError
from ...log import LogEntry
from ...schedule import (
    Drain,
    Event,
    Finished,
    Instruction,
    Lost,
    Proposed,
    Ready,
    Returned,
    Schedule,
    Start,
    Wait,
)
from . import messages, ulfm
from .ahead import Ahead
from .batching import Batching
from .exchange import Exchange
from .waiting import Backoff, Rhythm

#: Seconds between two writes of the log's order. Results do not hang on it: a row that is
#: on disk and not in the log is found again at resume.
LOG_WRITE_SECONDS = 0.1


#: Messages served before the exchange gets its turn, however many more are there.
MESSAGES_A_TURN = 64

#: How long what a worker has sent before it died may be on its way.
LAST_WORDS_SECONDS = 0.1


class WorkerFailed(PhsError):
    """A worker cannot go on; the message is its own."""


class Master:
    """The loop of rank 0.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The schedule communicator.
    schedule : Schedule
        Decides.
    exchange : Exchange
        Broadcasts the order of completions.
    row : numpy.dtype
        Packed values of a parameter set.
    hosts : sequence of str
        Host of each rank.
    write_log : callable
        ``write_log(kinds, indices)``: writes the order to the results file.
    batching : Batching
        Says when what has been ordered is broadcast.
    rhythm : Rhythm
        Says how often to look for messages.
    commit : callable, optional
        ``commit(proposal, outcome)``, where h5py has no MPI and rank 0 writes all rows.
    on_tick : callable, optional
        Called now and then; returns True to ask for draining.
    on_death : callable, optional
        ``on_death(worker, index)``: called when a worker has died and its set, if it had one,
        will be handed out again.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        schedule: Schedule,
        exchange: Exchange,
        row: np.dtype,
        hosts: Sequence[str],
        write_log: Callable[[list[int], list[int]], None],
        batching: Batching,
        rhythm: Rhythm,
        *,
        commit: Callable[[Any, Any], None] | None = None,
        on_tick: Callable[[], bool] | None = None,
        on_death: Callable[[int, int | None], None] = lambda worker, index: None,
    ):
        self._comm = comm
        self._schedule = schedule
        self._exchange = exchange
        self._row = row
        self._hosts = hosts
        self._write_log = write_log
        self._commit = commit
        self._batching = batching
        self._backoff = Backoff()
        self._rhythm = rhythm
        self._on_tick = on_tick
        self._on_death = on_death
        self._workers = set(range(1, comm.Get_size()))  # that have not been told to stop
        # Where rank 0 writes the rows, its next START says that the last one is on disk.
        self._ahead = Ahead(schedule, len(self._workers)) if commit is None else None
        self._recalled = False
        self._out = messages.to_worker()
        self._dying: set[int] = set()  # dead, but something of theirs may still be on its way
        self._died = 0.0
        self._deaths = 0  # as the exchange counts them
        self._dead: set[int] = set()
        self._kinds: list[int] = []
        self._indices: list[int] = []
        self._log_written = time.monotonic()

    def run(self) -> None:
        """Serve the workers until each has been told to stop.

        Raises
        ------
        WorkerFailed
            If a worker reports that it cannot go on.
        """
        buffer = messages.to_master(self._row)
        words = buffer[: messages.WORD_BYTES].view(np.int64)
        status = MPI.Status()
        request = self._receive(buffer)
        while self._workers:
            busy = False
            for _ in range(MESSAGES_A_TURN):
                if not self._workers or not self._has_come(request, status):
                    break
                busy = True
                self._serve(status.Get_source(), words.tolist(), buffer)
                request = self._receive(buffer)
            if self._exchange.deaths > self._deaths:
                self._deaths = self._exchange.deaths
                self._dies(ulfm.dead(self._comm))
            if self._dying and not busy and time.monotonic() > self._died + LAST_WORDS_SECONDS:
                self._bury()
            busy |= self._exchange_step()
            if self._on_tick is not None and self._on_tick():
                self._drain()
            if self._schedule.draining and not self._recalled:
                self._recall()
            if busy:
                self._backoff.reset()
            else:
                self._backoff.pause()
        if not self._dead:  # else it is not certain to end
            request.Cancel()
            request.Wait()
        while self._schedule.waiting_entries:
            if not self._exchange_step(at_once=True):
                self._backoff.pause()
        self._exchange.announce(None)
        self._exchange.finish(self._backoff)
        self._flush_log(at_once=True)

    def log_entry(self, entry: LogEntry) -> None:
        """Remember one entry of the log for the results file."""
        self._kinds.append(int(entry.kind))
        self._indices.append(entry.index)

    # -- inside ------------------------------------------------------------------------

    def _receive(self, buffer):
        return self._comm.Irecv(
            [buffer, MPI.BYTE], source=MPI.ANY_SOURCE, tag=messages.TAG_TO_MASTER
        )

    def _serve(self, worker: int, words: list[int], buffer: np.ndarray) -> None:
        if worker in self._dead:
            return  # it is late: what it did has been given to another
        kind, index = words[0], words[1]
        event: Event
        if kind == messages.DONE:
            if self._commit is not None and not self._commit_row(worker):
                return
            result = messages.word_to_result(words[2])
            again, seconds = messages.decode_done(words[3])
            event = Finished(worker, index, result=result, again=again)
            self._rhythm.ended(time.monotonic())
            self._backoff.longest = self._rhythm.pause(len(self._workers))
            instructions = self._schedule.handle(event)
            if self._ahead is not None:
                instructions += self._ahead.after(worker, seconds, math.isnan(result))
            self._carry_out(instructions)
            return
        elif kind == messages.PROPOSED:
            event = Proposed(worker, index, messages.row_in(buffer, self._row))
        elif kind == messages.READY:
            event = Ready(worker, self._hosts[worker])
        elif kind == messages.BACK:
            indices = self._receive_from(worker, messages.TAG_INDICES)
            if indices is None:
                return
            event = Returned(worker, indices)
        else:
            raise WorkerFailed(self._comm.recv(source=worker, tag=messages.TAG_TEXT))
        self._carry_out(self._schedule.handle(event))

    def _commit_row(self, worker: int) -> bool:
        """Write the row that a worker sends; False if it has died before the end of it."""
        assert self._commit is not None
        row = self._receive_from(worker, messages.TAG_ROW)
        if row is None:
            return False
        self._commit(*row)
        return True

    def _receive_from(self, worker: int, tag: int) -> Any:
        """What belongs to a worker's message; None if it has died before the end of it."""
        try:
            return self._comm.recv(source=worker, tag=tag)
        except MPI.Exception as error:
            if not (ulfm.enabled() and ulfm.is_death(error)):
                raise
            self._dies({worker})
            return None

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        place = 0
        while place < len(instructions):
            instruction = instructions[place]
            count = 1
            if isinstance(instruction, Start):
                for other in instructions[place + 1 : place + messages.MOST_STARTS]:
                    if not (isinstance(other, Start) and other.worker == instruction.worker):
                        break
                    count += 1
                for k in range(count):
                    start = cast("Start", instructions[place + k])
                    how = messages.encode_how(start)
                    self._out[k] = messages.START, start.index, start.log_length, how
            elif isinstance(instruction, Wait):
                self._out[0, 0] = messages.WAIT
            else:
                self._out[0, 0] = messages.STOP
                self._workers.discard(instruction.worker)
            self._send(instruction.worker, self._out[:count])
            place += count

    def _recall(self) -> None:
        """The run drains: workers give back what they have not begun."""
        self._recalled = True
        self._out[0, 0] = messages.RECALL
        for worker in list(self._schedule.ahead):
            self._send(worker, self._out[:1])

    def _send(self, worker: int, reply: np.ndarray) -> None:
        try:
            # So few bytes leave at once (eager); a Send of that size waits for nobody.
            self._comm.Send([reply, MPI.INT64_T], dest=worker, tag=messages.TAG_TO_WORKER)
        except MPI.Exception as error:
            if not (ulfm.enabled() and ulfm.is_death(error)):
                raise
            self._dies({worker})

    def _has_come(self, request: MPI.Request, status: MPI.Status) -> bool:
        """Whether a message is there; hears of workers that have died."""
        try:
            return request.Test(status)
        except MPI.Exception as error:
            if not (ulfm.enabled() and ulfm.is_death(error)):
                raise
            self._dies(ulfm.dead(self._comm))
            # Open MPI 5.0 calls a receive failed for ever if a message has come for it in the
            # moment in which a death shut it; the message is there all the same.
            come = request.Get_status(status)
            if come:
                request.Free()
            return come

    def _dies(self, workers: set[int]) -> None:
        if workers - self._dying - self._dead:
            self._dying |= workers - self._dead
            self._died = time.monotonic()

    def _bury(self) -> None:
        """Workers have died, and all that they had sent has been served: do without them."""
        for worker in sorted(self._dying):
            index = self._schedule.running.get(worker)
            self._dead.add(worker)
            self._workers.discard(worker)
            self._carry_out(self._schedule.handle(Lost(worker)))
            self._on_death(worker, index)
        self._dying -= self._dead
        self._exchange.exclude_dead()

    def _drain(self) -> None:
        if not self._schedule.draining:
            self._carry_out(self._schedule.handle(Drain()))

    def _exchange_step(self, at_once: bool = False) -> bool:
        now = time.monotonic()
        waiting = self._schedule.waiting_entries
        if self._batching.due(now, waiting, self._exchange.unsent) or (waiting and at_once):
            begun = time.thread_time()
            self._exchange.announce(self._schedule.take_entries(messages.BATCH_ENTRIES))
            self._batching.announced(now, time.thread_time() - begun)
        self._flush_log()
        return self._exchange.progress()

    def _flush_log(self, at_once: bool = False) -> None:
        if not self._kinds:
            return
        now = time.monotonic()
        if at_once or now - self._log_written >= LOG_WRITE_SECONDS:
            self._write_log(self._kinds, self._indices)
            self._kinds, self._indices = [], []
            self._log_written = now
