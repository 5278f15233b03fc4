"""A discrete-event model of a run: the real schedule, log and batching, on modelled messages.

Rank 0 is one server. It serves messages in the order of their arrival, at most as many in a row as
the real one, asks the real :class:`~phs_mpi.schedule.Schedule` what to do, and broadcasts when the
real :class:`~phs_mpi.backends.mpi.batching.Batching` says so; what a worker gets ahead is up to the
real :class:`~phs_mpi.backends.mpi.ahead.Ahead`; idle, it looks as often as
:class:`~phs_mpi.backends.mpi.waiting.Backoff` would. Its time goes into messages and broadcasts, at
measured costs (see simulation_setting.py). All workers share one log; what each has of it is the
number of broadcasts that have reached it, worked out when it is asked for.

Not modelled: contention in the network and memory of the connections, targets that hold Python's
lock, evaluations that fail, several ranks on one core (except how often they look).
"""

from __future__ import annotations

import bisect
import heapq
import math
from typing import NamedTuple

import numpy as np
from durations import SIGMA, utilisation
from simulation_setting import Costs, Setting

from phs_mpi.backends.mpi import messages
from phs_mpi.backends.mpi.ahead import Ahead
from phs_mpi.backends.mpi.batching import Batching, announce_seconds
from phs_mpi.backends.mpi.master import MESSAGES_A_TURN
from phs_mpi.backends.mpi.waiting import Backoff
from phs_mpi.backends.mpi.worker_side import PROMISE_SECONDS
from phs_mpi.events import Finished, Proposed, Ready, Start
from phs_mpi.log import EntryKind, Log
from phs_mpi.schedule import Schedule

#: Values of a Bayesian set: four parameters.
ROW = np.dtype([(name, "f8") for name in "abcd"])

#: What a look of rank 0 in vain takes while it only yields its core.
LOOK_SECONDS = 1e-5


class OutOfPatience(NamedTuple):
    """A worker has waited long enough for the log that it was promised."""

    worker: int
    index: int  # type: ignore[assignment]
    since: float


class Outcome(NamedTuple):
    """What a simulated run was like.

    Attributes
    ----------
    utilisation : float
        Share of the workers' time in evaluations and proposals, while all are at work.
    delay, last : float
        Median seconds from the end of an evaluation into the log of a worker in the middle, and
        into the last one.
    worst : float
        99th hundredth of the latter.
    stale : float
        Share of proposals made without a result that rank 0 had ordered before it handed out the
        set (it is waited for, for a second).
    lacking : float
        Mean number of results that existed, and that a proposal did not have.
    busy : float
        Share of rank 0's time with messages and broadcasts.
    thread : float
        Share of a core that a worker takes for broadcasts.
    backlog : int
        Entries that waited when the last evaluation was handed out.
    seconds : float
        What the run would take.
    """

    utilisation: float
    delay: float
    last: float
    worst: float
    stale: float
    lacking: float
    busy: float
    thread: float
    backlog: int
    seconds: float


class Way(NamedTuple):
    """How a broadcast travels: destinations of rank 0, and when it is where."""

    destinations: int
    travel: np.ndarray  # seconds from its beginning to each worker, shape (workers,)
    looks: np.ndarray  # from there into the worker's log: its thread has to look


def way_of(setting: Setting, costs: Costs, generator: np.random.Generator) -> Way:
    """Times of one broadcast; a rank sees it when its thread looks next."""
    count, pause = setting.workers, setting.pause
    looks = generator.uniform(0.0, pause, count)
    number = np.arange(1, count + 1)
    if setting.algorithm == "linear":
        return Way(count, number * costs.destination + costs.latency, looks)
    if setting.algorithm == "binomial":
        hops = np.array([int(n).bit_count() for n in number])
        # Each rank in between passes it on when it looks, which is half a pause later.
        on_the_way = (hops - 1) * (pause / 2 + costs.take) + hops * costs.latency
        return Way(math.ceil(math.log2(count + 1)), on_the_way, looks)
    nodes = math.ceil(setting.ranks / setting.node)
    node, within = number // setting.node, number % setting.node
    # The relaying rank has no target: it looks as often as rank 0.
    relayed = node * costs.destination + costs.latency + Backoff().longest / 2 + costs.take
    return Way(nodes, relayed + within * costs.destination + costs.latency, looks)


class Simulation:
    """Drives the real schedule through one run."""

    def __init__(self, setting: Setting, costs: Costs, seed: int = 0):
        self.setting, self.costs = setting, costs
        generator = np.random.default_rng(seed)
        count = setting.evaluations
        normal = generator.standard_normal(count)
        self.lengths = setting.mean * np.exp(SIGMA * normal - SIGMA**2 / 2)
        self.drawn = count - round(setting.searched * count)
        self.schedule = Schedule(range(count), count, lambda index: index >= self.drawn)
        self.ahead = Ahead(self.schedule, setting.workers)
        self.free = np.zeros(setting.workers + 1)  # when each worker ends what it has begun
        self.log = Log()
        seconds = setting.seconds
        if seconds is None:
            seconds = announce_seconds(setting.ranks)
        self.batching = Batching(seconds)
        self.way = way_of(setting, costs, generator)
        self.offsets = self.way.travel + self.way.looks
        # Ranks do not come in the same instant.
        self.arrivals = [
            (float(t), n, Ready(n))
            for n, t in enumerate(generator.uniform(0, 0.1, setting.workers), start=1)
        ]
        heapq.heapify(self.arrivals)
        self.begin = np.zeros(count)  # of proposing, or of evaluating
        self.end = np.zeros(count)
        self.broadcasts: list[float] = []  # when each began
        self.lengths_after: list[int] = []  # of the log
        self.completed_after: list[int] = []  # results in it
        self.entered = np.zeros(count, np.int64)  # broadcast that brought each result
        self.promised: list[tuple[int, float, int, int]] = []  # log length, since, worker, index
        self.waiting: set[int] = set()  # indices in `promised` that still wait
        self.proposals: list[tuple[float, int]] = []  # when, results it had
        self.stale = 0
        self.busy = 0.0
        self.announced = -math.inf
        self.backlog = 0
        self._completed = 0

    def run(self) -> Outcome:
        """To the end."""
        now = idle_since = 0.0
        while self.arrivals or self.schedule.waiting_entries:
            served = 0
            while self.arrivals and self.arrivals[0][0] <= now and served < MESSAGES_A_TURN:
                event = heapq.heappop(self.arrivals)[2]
                if not isinstance(event, OutOfPatience):  # a worker's business, not rank 0's
                    served += 1
                    now += self.costs.serve
                self._serve(now, event)
            waiting = self.schedule.waiting_entries
            announced = self.batching.due(now, waiting) or (waiting and not self.arrivals)
            if announced:
                now = self._announce(now)
            if served or announced:
                idle_since = now
                continue
            if not self.arrivals:
                break
            now = _next_look(now, idle_since, self._next_event())
        return self._outcome()

    def _next_event(self) -> float:
        arrival = self.arrivals[0][0]
        if not self.schedule.waiting_entries:
            return arrival
        return min(arrival, self.announced + self.batching.pause())

    # -- rank 0 ------------------------------------------------------------------------

    def _serve(self, now: float, event) -> None:
        if isinstance(event, OutOfPatience):
            if event.index in self.waiting:
                self.waiting.discard(event.index)
                self._propose(math.inf, event.since, event.worker, event.index)
            return
        self.busy += self.costs.serve
        instructions = self.schedule.handle(event)
        if isinstance(event, Finished) and self.setting.ahead:
            took = float(self.lengths[event.index])
            instructions += self.ahead.after(event.worker, took, failed=False)
        for instruction in instructions:
            if isinstance(instruction, Start):
                self.backlog = self.schedule.waiting_entries
                self._begin(now, instruction)

    def _announce(self, now: float) -> float:
        entries = self.schedule.take_entries(self.setting.batch)
        number = len(self.broadcasts)
        for entry in entries:
            self.log.append(entry)
            if entry.kind == EntryKind.COMPLETED:
                self.entered[entry.index] = number
                self._completed += 1
        rows = sum(entry.row is not None for entry in entries)
        once, took = self._broadcast(len(entries), rows)
        self.batching.announced(now, took if self.setting.paced else 0.0)
        self.announced = now
        self.broadcasts.append(now + took - once)  # the last of header and payload
        self.lengths_after.append(len(self.log))
        self.completed_after.append(self._completed)
        self.busy += took
        while self.promised and self.promised[0][0] <= len(self.log):
            _, since, worker, index = heapq.heappop(self.promised)
            if index in self.waiting:
                self.waiting.discard(index)
                here = self._reaches(len(self.broadcasts) - 1, worker)
                self._propose(max(since, here), since, worker, index)
        return now + took

    def _broadcast(self, entries: int, rows: int) -> tuple[float, float]:
        """Seconds of rank 0 for the last of the messages, and for all: a header, and a payload."""
        costs, header = self.costs, len(messages.header())
        more = max(entries - messages.HEADER_ENTRIES, 0)
        payload = more * messages.ENTRY_DTYPE.itemsize + rows * ROW.itemsize
        once = self.way.destinations * (costs.destination + costs.byte * (payload or header))
        took = costs.announce + entries * costs.entry + once
        if payload:
            took += self.way.destinations * (costs.destination + costs.byte * header)
        return once, took

    # -- workers -----------------------------------------------------------------------

    def _begin(self, now: float, start: Start) -> None:
        costs = self.costs
        # What a worker needs between two evaluations, but for what has passed already.
        passed = costs.commit + costs.serve + costs.latency
        ready = now + max(costs.between - passed, costs.latency)
        worker, index = start.worker, start.index
        if now + costs.latency <= self.free[worker]:  # it has that one ahead
            self._evaluate(float(self.free[worker]) + costs.between_ahead, worker, index)
        elif index < self.drawn:
            self._evaluate(ready, worker, index)
        elif start.log_length <= len(self.log):
            place = bisect.bisect_left(self.lengths_after, start.log_length)
            here = self._reaches(place, worker) if start.log_length else ready
            self._propose(max(ready, here), ready, worker, index)
        else:
            heapq.heappush(self.promised, (start.log_length, ready, worker, index))
            self.waiting.add(index)
            event = OutOfPatience(worker, index, ready)
            heapq.heappush(self.arrivals, (ready + PROMISE_SECONDS, worker, event))

    def _reaches(self, broadcast: int, worker: int) -> float:
        return self.broadcasts[broadcast] + self.offsets[worker - 1]

    def _propose(self, here: float, since: float, worker: int, index: int) -> None:
        """It has the log that it was promised at `here`, and waits for that for a second."""
        if here > since + PROMISE_SECONDS:
            self.stale += 1
            here = since + PROMISE_SECONDS
        offset = self.offsets[worker - 1]
        arrived = bisect.bisect_right(self.broadcasts, here - offset)
        self.proposals.append((here, self.completed_after[arrived - 1] if arrived else 0))
        proposed = here + self.costs.propose
        heapq.heappush(
            self.arrivals, (proposed + self.costs.latency, worker, Proposed(worker, index, ROW))
        )
        self._evaluate(proposed, worker, index)
        self.begin[index] = here

    def _evaluate(self, begin: float, worker: int, index: int) -> None:
        end = begin + float(self.lengths[index])
        self.begin[index], self.end[index] = begin, end
        self.free[worker] = end
        told = end + self.costs.commit + self.costs.latency
        heapq.heappush(self.arrivals, (told, worker, Finished(worker, index, result=0.5)))

    # -- the account -------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        setting = self.setting
        began = np.array(self.broadcasts)[self.entered]
        middle = float(np.median(self.way.travel)) + setting.pause / 2
        # The longest of as many looks as there are workers.
        last = float(self.way.travel.max()) + setting.pause * (1 - 1 / setting.ranks)
        delays = began - self.end
        finished = np.sort(self.end)
        lacking = [np.searchsorted(finished, when) - had for when, had in self.proposals]
        seconds = float(self.end.max())
        taking = len(self.broadcasts) * self.costs.take + len(self.log) * self.costs.take_entry
        return Outcome(
            utilisation=utilisation(self.begin, self.end, setting.workers),
            delay=float(np.median(delays)) + middle,
            last=float(np.median(delays)) + last,
            worst=float(np.quantile(delays, 0.99)) + last,
            stale=self.stale / max(len(self.proposals), 1),
            lacking=float(np.mean(lacking)) if lacking else 0.0,
            busy=self.busy / max(seconds, self.announced),
            thread=taking / seconds,
            backlog=self.backlog,
            seconds=seconds,
        )


def _looks_when_idle() -> list[float]:
    """Seconds from when rank 0 becomes idle to each of its looks, until they are evenly spaced."""
    backoff, looks = Backoff(), [0.0]
    while True:
        pause = backoff.next_pause() or LOOK_SECONDS
        looks.append(looks[-1] + pause)
        if pause >= backoff.longest:
            return looks


LOOKS = _looks_when_idle()


def _next_look(now: float, idle_since: float, event: float) -> float:
    """When rank 0, idle since then, looks next after `event`."""
    after = event - idle_since
    if after <= LOOKS[-1]:
        look = LOOKS[bisect.bisect_left(LOOKS, after)]
    else:
        pause = LOOKS[-1] - LOOKS[-2]
        look = LOOKS[-1] + math.ceil((after - LOOKS[-1]) / pause) * pause
    return max(idle_since + look, now + LOOK_SECONDS)  # it has looked now, in vain
