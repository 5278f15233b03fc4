"""Dynamic self-scheduling as a state machine: events in, instructions out.

Pure: no message is sent here and nothing is waited for. The MPI master and the loop of the
client-driven backends feed the events that happened to :meth:`Schedule.handle` and carry out
the instructions that come back, so that the decision exists once.

The events and instructions are those of :mod:`phs_mpi.events`.

An index is that of an evaluation: of a parameter set, or of one of its repeats (see
:mod:`phs_mpi.repeats`). The repeats of a Bayesian set are held back until one of them has
announced the values, which from then on are those of the set.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .attempts import Attempts
from .deadline import Deadline
from .events import Drain, Finished, Lost, More, Proposed, Ready, Returned, Start, Stop, Wait
from .hosts import Hosts
from .log import EntryKind, LogEntry
from .pool import Pool
from .repeats import ONCE, Contenders, Repeats

Event = Ready | Proposed | Finished | More | Returned | Lost | Drain
Instruction = Start | Wait | Stop


class InvalidEvent(Exception):
    """An event that cannot have happened: a defect in a backend, never the user's fault."""


class Schedule:
    """Who evaluates which parameter set next, and in which order things enter the log.

    Parameters
    ----------
    missing : iterable of int
        Indices still to be evaluated.
    total : int
        Number of evaluations that there may be; those not in `missing` are finished, or not
        wanted so far.
    is_bayesian : callable
        ``is_bayesian(index) -> bool``.
    wait_for_all : bool
        Whether a Bayesian set waits until all lower indices have finished.
    log_length : int
        Length of the log replayed from an earlier run.
    repeats : Repeats
        How often each set is evaluated.
    chosen : iterable of int
        Bayesian sets whose values are known from an earlier run; with repeats only.
    contenders : Contenders, optional
        Chooses sets that get more repeats than the least; knows what earlier runs found.
    deadline : Deadline, optional
        Says when nothing more can be started that would be over in time; the schedule drains then.
    hosts : Hosts, optional
        Knows hosts that get nothing more.

    Attributes
    ----------
    remarks : list of str
        What the user should be told; whoever does so clears it.
    out_of_time : bool
        Whether it drains because of the deadline.
    attempts : Attempts
        Evaluations that failed and are to be tried again.
    extras : int
        Repeats that contenders have been given beyond those in `missing`.

    Notes
    -----
    At any time each index is in exactly one of four states: to do, running on one worker, ahead
    of one that runs another, or finished. :meth:`check` verifies it; tests call it after every
    event.
    """

    def __init__(
        self,
        missing: Iterable[int],
        total: int,
        is_bayesian: Callable[[int], bool],
        *,
        wait_for_all: bool = False,
        log_length: int = 0,
        repeats: Repeats = ONCE,
        chosen: Iterable[int] = (),
        contenders: Contenders | None = None,
        deadline: Deadline | None = None,
        hosts: Hosts | None = None,
    ):
        self.total = total
        self.remarks: list[str] = []
        self.out_of_time = False
        self.log_length = log_length
        self.draining = False
        self.extras = 0
        self.running: dict[int, int] = {}  # worker -> index
        self.ahead: dict[int, deque[int]] = {}  # worker -> what it begins after that, in order
        self.waiting: list[int] = []  # workers told to Wait, longest first
        self._is_bayesian = is_bayesian
        self._wait_for_all = wait_for_all
        self._announced: set[int] = set()  # running indices whose start is in the log
        self._repeats = repeats
        self._contenders = contenders
        self._deadline = deadline
        self._hosts = hosts or Hosts()
        self.attempts = Attempts(self._hosts)
        self._finished = bytearray(b"\x01") * total
        self._n_finished = total
        self._pool = Pool(is_bayesian, repeats, chosen)
        self._lowest_unfinished = 0
        self._entries: deque[LogEntry] = deque()
        for index in sorted(missing):
            self._open(index)

    @property
    def complete(self) -> bool:
        """Whether every parameter set has finished."""
        return self._n_finished == self.total

    @property
    def drawn_left(self) -> int:
        """How many evaluations that need no proposal nobody has been given yet."""
        return self._pool.drawn

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing more will be started."""
        return not self.running and (self.draining or self.complete)

    def take_entries(self, at_most: int | None = None) -> list[LogEntry]:
        """Log entries whose order is fixed but which nobody has been told yet.

        They stay counted in ``log_length``; the caller must broadcast them in this order.
        """
        count = len(self._entries) if at_most is None else min(at_most, len(self._entries))
        return [self._entries.popleft() for _ in range(count)]

    @property
    def waiting_entries(self) -> int:
        """How many entries :meth:`take_entries` would return."""
        return len(self._entries)

    def handle(self, event: Event) -> list[Instruction]:
        """Take in one event.

        Returns
        -------
        list of Start, Wait or Stop
            To be carried out in order.

        Raises
        ------
        InvalidEvent
            If the event contradicts the state.
        """
        if isinstance(event, Finished):
            self._finish(event)
            if event.leaves:
                self._give_up_ahead(event.worker)
                self._hosts.leave(event.worker)
                return self._wake()
            if self._goes_on(event.worker):
                return self._wake()
            return self._next_for(event.worker) + self._wake()
        if isinstance(event, More):
            return self._one_ahead(event.worker)
        if isinstance(event, Proposed):
            if self.running.get(event.worker) != event.index or event.index in self._announced:
                raise InvalidEvent(f"{event} in state {self._describe()}")
            self._announce(event.worker, event.index, event.row)
            return self._release(event.index)
        if isinstance(event, Ready):
            if event.worker in self.running or event.worker in self.waiting:
                raise InvalidEvent(f"{event} in state {self._describe()}")
            self._hosts.join(event.worker, event.host)
            following = self._next_for(event.worker)
            return following + self._wake() if self.draining else following
        if isinstance(event, Returned):
            return self._take_back(event)
        if isinstance(event, Lost):
            return self._lose(event.worker)
        self.draining = True
        return self._wake()

    def announced(self, index: int) -> bool:
        """Whether the log has what a running or failed attempt evaluates."""
        return index in self._announced

    def check(self) -> None:
        """Raise AssertionError unless each index is in exactly one state."""
        to_do = [*self._pool, *self.attempts]
        running = sorted(self.running.values())
        running += [i for ahead in self.ahead.values() for i in ahead]
        finished = [i for i in range(self.total) if self._finished[i]]
        if sorted(to_do + running + finished) != list(range(self.total)):
            raise AssertionError(f"an index is in no state or in two: {self._describe()}")
        if self._n_finished != len(finished):
            raise AssertionError(f"{self._n_finished} counted, {len(finished)} finished")
        if self.ahead.keys() - self.running.keys() or not all(self.ahead.values()):
            raise AssertionError(f"a worker has sets ahead and runs none: {self._describe()}")
        if set(self.waiting) & set(self.running):
            raise AssertionError(f"a worker waits and runs: {self._describe()}")

    # -- transitions -------------------------------------------------------------------

    def _finish(self, event: Finished) -> None:
        worker, index = event.worker, event.index
        if self.running.get(worker) != index:
            raise InvalidEvent(f"{event} in state {self._describe()}")
        del self.running[worker]
        if self._deadline is not None:
            self._deadline.ended(worker)
        drained = self._hosts.ended(worker, failed=math.isnan(event.result))
        if drained:
            self.remarks.append(drained)
        if event.again:
            # Its values stay what they are, and pending: the log says nothing of this attempt.
            self.attempts.failed(index, worker)
            return
        self.attempts.over(index)
        self._announced.discard(index)
        self._finished[index] = 1
        self._n_finished += 1
        self._order(LogEntry(EntryKind.COMPLETED, index, worker, event.result))
        if self._contenders is not None:
            self._contenders.add(index, event.result)
            for extra in self._contenders.extras():
                self._open(extra)
                self.extras += 1

    def _open(self, index: int) -> None:
        """Count an evaluation as one to be done."""
        self._finished[index] = 0
        self._n_finished -= 1
        self._lowest_unfinished = min(self._lowest_unfinished, index)
        self._pool.put(index)

    def _release(self, index: int) -> list[Instruction]:
        """The values of a Bayesian set have been announced: its repeats may start."""
        if self._repeats.most == 1:
            return []
        self._pool.announced(index)
        return self._wake()

    def _lose(self, worker: int) -> list[Instruction]:
        if worker in self.waiting:
            self.waiting.remove(worker)
        self._hosts.leave(worker)
        self._lose_running(worker)
        self._give_up_ahead(worker)
        return self._wake()

    def _lose_running(self, worker: int) -> None:
        if self._deadline is not None:
            self._deadline.lost(worker)
        index = self.running.pop(worker, None)
        if index is not None:
            if index in self._announced:
                self._announced.discard(index)
                self._order(LogEntry(EntryKind.LOST, index, worker))
            self._pool.put(index)

    def _give_up_ahead(self, worker: int) -> None:
        for index in self.ahead.pop(worker, ()):
            self._pool.put(index)

    def _take_back(self, event: Returned) -> list[Instruction]:
        """A worker does not begin these: the first may count as running, others be on their way."""
        worker, running = event.worker, self.running.get(event.worker)
        ahead = self.ahead.get(worker, deque())
        has = [*ahead] if running not in event.indices else [running, *ahead]
        if [*event.indices] != has[: len(event.indices)]:
            raise InvalidEvent(f"{event} in state {self._describe()}, ahead {ahead}")
        for index in event.indices:
            if index == running:
                # By what it had finished, it should have gone on with this one.
                self._lose_running(worker)
            else:
                self._pool.put(ahead.popleft())
        if not ahead:
            self.ahead.pop(worker, None)
        if worker in self.running or self._goes_on(worker):
            return self._wake()
        return self._next_for(worker) + self._wake()

    def _one_ahead(self, worker: int) -> list[Instruction]:
        """One more drawn set for a worker that runs another; nothing if none is to be had."""
        if (
            worker not in self.running
            or self.draining
            or self.attempts
            or self._hosts.is_drained(worker)
            or (self._wait_for_all and self._pool.next_bayesian is not None)
            or not (self._deadline is None or self._deadline.far)
        ):
            return []
        index = self._startable()
        if index is None or self._is_bayesian(index):
            return []
        self._pool.take(index)
        self.ahead.setdefault(worker, deque()).append(index)
        attempt = self.attempts.number(index)
        return [Start(worker, index, self.log_length, attempt=attempt, ahead=True)]

    def _goes_on(self, worker: int) -> bool:
        """Whether a worker that has finished a set had another one ahead, which it begins."""
        ahead = self.ahead.get(worker)
        if not ahead:
            return False
        self._begin(worker, ahead.popleft())
        if not ahead:
            del self.ahead[worker]
        return True

    def _begin(self, worker: int, index: int) -> None:
        self.running[worker] = index
        if self._deadline is not None:
            self._deadline.began(worker)
        self._hosts.began(worker)
        if not self._is_bayesian(index) and index not in self._announced:
            # Its values stand in everybody's table: no worker needs to announce them.
            self._announce(worker, index)

    def _next_for(self, worker: int) -> list[Instruction]:
        if self.draining or self.complete:
            return [Stop(worker)]
        index = None if self._hosts.is_drained(worker) else self._take_for(worker)
        if index is None:
            if not self.draining:
                self.waiting.append(worker)
            return [Stop(worker) if self.draining else Wait(worker)]
        bayesian, known = self._is_bayesian(index), index in self._announced
        self._begin(worker, index)
        chosen = self._pool.chosen(index) or (bayesian and known)
        attempt = self.attempts.number(index)
        return [Start(worker, index, self.log_length, chosen, attempt, known)]

    def _take_for(self, worker: int) -> int | None:
        """The evaluation that this worker starts now; None if it cannot start any."""
        fresh = self._startable()
        if (fresh is None and not self.attempts) or self._too_late():
            return None
        index = self.attempts.take(worker) if self.attempts else None
        if index is None and fresh is not None:
            index = fresh
            self._pool.take(index)
        return index

    def _too_late(self) -> bool:
        """Whether what starts now would not be over in time; then nothing more is started."""
        refusal = self._deadline.refusal() if self._deadline is not None else ""
        if refusal:
            self.draining = self.out_of_time = True
            self.remarks.append(f"nothing more is started: {refusal}")
        return self.draining

    def _wake(self) -> list[Instruction]:
        # One that cannot start anything speaks for all, but where it depends on the worker.
        alike = not self.attempts and not self._hosts.drained
        if not self.waiting or (
            alike and not self.draining and not self.complete and self._startable() is None
        ):
            return []
        instructions: list[Instruction] = []
        waiting, self.waiting = self.waiting, []
        for place, worker in enumerate(waiting):
            step = self._next_for(worker)
            if not isinstance(step[0], Wait):
                instructions += step
            elif alike and not self.attempts:
                self.waiting += waiting[place + 1 :]
                break
        return instructions

    def _startable(self) -> int | None:
        """The evaluation that starts next; None if none can now."""
        drawn, bayesian = self._pool.next_drawn, self._pool.next_bayesian
        if bayesian is not None and self._wait_for_all:
            while self._lowest_unfinished < self.total and self._finished[self._lowest_unfinished]:
                self._lowest_unfinished += 1
            if self._lowest_unfinished < bayesian:
                bayesian = None
        if drawn is not None and (bayesian is None or drawn < bayesian):
            return drawn
        return bayesian

    def _announce(self, worker: int, index: int, row: Any = None) -> None:
        self._announced.add(index)
        self._order(LogEntry(EntryKind.STARTED, index, worker, row=row))

    def _order(self, entry: LogEntry) -> None:
        self._entries.append(entry)
        self.log_length += 1

    def _describe(self) -> str:
        return (
            f"(running {self.running}, waiting {self.waiting}, "
            f"{self._n_finished} of {self.total} finished, draining {self.draining})"
        )
