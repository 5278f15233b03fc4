"""The processes backend: worker processes on this machine, through ``concurrent.futures``.

Each worker is an executor of one process of its own. So it keeps its log and its surrogate from
one proposal to the next, gets only what is new in the log, and if it dies takes no other worker
with it, as it would in a common pool.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..depth import Depth, Level
from ..errors import BackendError, PhsError
from ..experiment import Experiment
from ..log import Log, Proposal
from . import base, client, placement, remote, shipping
from .job import Job

#: Deaths in a row before its first words after which a worker is given up.
MOST_DEATHS = 3

#: Sets that a worker gets in one message when all are so short.
BATCH, SHORT = 16, 1e-3


def _prepare(shipment: shipping.Shipment, number: int, place: placement.Place) -> None:
    remote.ignore_interrupts()
    placement.apply(place)  # before the target's module is imported
    remote.prepare(shipment, number)


@dataclass(eq=False)
class _Task:
    """What a worker process was given in one message, by lane; and when, UTC."""

    indices: dict[int, int]
    proposal: Proposal | None = None
    evaluates: bool = False
    began: float = field(default_factory=time.time)


class _Slot:
    """One worker: its executor, and what the client knows of it.

    Attributes
    ----------
    number : int
        Also the number of its first lane. A lane is what the schedule takes for a worker;
        a slot has several of them while its evaluations are very short.
    batch : dict of int to int
        Drawn sets by lane that leave together.
    tasks : list of _Task
        In the order in which the process sees to them.
    life : int
        How often its process was replaced.
    """

    def __init__(self, number: int, start: Callable[[int], None]):
        self.number = number
        self.lanes = {number}
        self.depth = Depth(Level(BATCH, SHORT))
        self.batch: dict[int, int] = {}
        self.tasks: list[_Task] = []
        self.executor: ProcessPoolExecutor | None = None
        self.life = 0
        self.ready = False  # whether its process has loaded the experiment
        self.told = 0  # entries of the log that its process has
        self.idle_since = time.perf_counter()
        self.deaths = 0
        self._start = start

    def submit(self, function: Callable, *arguments: Any) -> Future:
        if self.executor is None:
            context = multiprocessing.get_context("spawn")
            self.executor = ProcessPoolExecutor(1, mp_context=context)
            self.told = 0
            self._start(self.number)
        return self.executor.submit(function, *arguments)

    def kill(self) -> None:
        """Let the process go, whatever it is doing."""
        if self.executor is None:
            return
        processes = list((getattr(self.executor, "_processes", None) or {}).values())
        self.executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(process.pid, signal.SIGKILL)
        self.executor = None
        self.ready = False
        self.life += 1


class ProcessTransport:
    """Worker processes; see :class:`phs_mpi.backends.client.Transport`.

    Parameters
    ----------
    places : sequence of Place
        Of the worker processes.
    job : Job
        What to run.
    log : Log
        The client's log, which the loop appends to.
    """

    def __init__(self, places: Sequence[placement.Place], job: Job, log: Log):
        self.workers = len(places)
        self._places = places
        self._job = job
        self._log = log
        self._shipment = shipping.pack(job.experiment, job.table, job.output)
        self._done: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._slots = [_Slot(number, self._set_up) for number in range(self.workers)]
        self._left = len(job.missing)

    def start(self, worker: int, index: int, log_length: int) -> None:
        """Submit the proposal of a Bayesian set; drawn ones leave with :meth:`events`."""
        slot = self._slots[worker % self.workers]
        if self._job.table.bayesian(index):
            self._submit(slot, partial(self._ask, slot, worker, index, log_length))
        else:
            slot.batch[worker] = index

    def events(self) -> Iterator[client.TransportEvent]:
        """What happened since the last call; waits until there is something."""
        for slot in self._slots:
            if slot.batch:
                task = _Task(slot.batch, evaluates=True)
                what = list(slot.batch.values())
                slot.batch = {}
                self._submit(slot, partial(self._evaluate, slot, task, what, 0.0))
        yield from self._done.get()()

    def close(self) -> None:
        """Let idle workers clean up and leave; kill those that are busy."""
        for slot in self._slots:
            if slot.executor is not None and not slot.tasks:
                with contextlib.suppress(BrokenProcessPool, FutureTimeout):
                    slot.executor.submit(remote.leave, self._shipment.run).result(timeout=1)
        for slot in self._slots:
            slot.kill()

    # -- inside ------------------------------------------------------------------------

    def _set_up(self, number: int) -> None:
        slot = self._slots[number]
        assert slot.executor is not None
        place = self._places[number]
        future = slot.executor.submit(_prepare, self._shipment, number + 1, place)
        self._when_done(slot, future, partial(self._is_ready, slot))

    def _submit(self, slot: _Slot, submit: Callable[[], None]) -> None:
        try:
            submit()
        except BrokenProcessPool:
            if len(slot.tasks) == 1:  # the process had died while it was idle
                slot.kill()
                slot.tasks.clear()
                submit()
            # else the death of what it had before is about to be reported, and this with it

    def _ask(self, slot: _Slot, worker: int, index: int, log_length: int) -> None:
        task = _Task({worker: index})
        slot.tasks.append(task)
        # Submitting may start a new process, which knows nothing of the log yet.
        slot.submit(int)
        news = remote.encode(self._log.entries(slot.told, log_length))
        future = slot.submit(remote.propose, self._shipment.run, index, log_length, news)
        slot.told = log_length
        self._when_done(slot, future, partial(self._proposed, slot, task))

    def _evaluate(
        self, slot: _Slot, task: _Task, what: Sequence[Proposal | int], proposing: float
    ) -> None:
        slot.tasks.append(task)
        future = slot.submit(remote.evaluate, self._shipment.run, what, SHORT)
        self._when_done(slot, future, partial(self._evaluated, slot, task, proposing))

    def _when_done(self, slot: _Slot, future: Future, handle: Callable[[Future], Iterator]) -> None:
        take = partial(self._handle, slot, slot.life, handle)
        future.add_done_callback(lambda done: self._done.put(partial(take, done)))

    def _handle(
        self, slot: _Slot, life: int, handle: Callable[[Future], Iterator], future: Future
    ) -> Iterator[client.TransportEvent]:
        if life != slot.life:
            return iter(())  # of a process that is known to have died
        if isinstance(future.exception(), BrokenProcessPool):
            return self._died(slot)
        return handle(future)

    def _is_ready(self, slot: _Slot, future: Future) -> Iterator[client.TransportEvent]:
        error = future.exception()
        if error is not None:
            reason = error.message if isinstance(error, PhsError) else error
            raise BackendError(f"worker process {slot.number + 1} cannot start: {reason}")
        slot.ready = True
        return iter(())

    def _proposed(
        self, slot: _Slot, task: _Task, future: Future
    ) -> Iterator[client.TransportEvent]:
        proposal, seconds = future.result()
        (worker,) = task.indices
        yield client.Announced(worker, proposal)
        slot.tasks.remove(task)
        then = _Task(task.indices, proposal, evaluates=True)
        try:
            self._evaluate(slot, then, [proposal], seconds)
        except BrokenProcessPool:
            if slot.tasks == [then]:
                yield from self._died(slot)

    def _evaluated(
        self, slot: _Slot, task: _Task, proposing: float, future: Future
    ) -> Iterator[client.TransportEvent]:
        deliveries = future.result()
        slot.tasks.remove(task)
        slot.deaths = 0
        now = time.perf_counter()
        durations = [d.outcome.end - d.outcome.start for d in deliveries]
        idle = max(0.0, now - slot.idle_since - sum(durations) - proposing)
        slot.idle_since = now
        self._left -= len(deliveries)
        depth = slot.depth.after([d + proposing for d in durations], self._left // self.workers)
        lanes = list(task.indices)
        for worker, delivery in zip(lanes, deliveries, strict=False):
            delivery.outcome.proposing = proposing
            delivery.outcome.waiting = idle / len(deliveries)
            leaves = depth == 1 and worker != slot.number
            if leaves:
                slot.lanes.discard(worker)
            yield client.Completed(worker, delivery.proposal, delivery.outcome, leaves)
        for worker in lanes[len(deliveries) :]:  # one before them took its time
            slot.lanes.discard(worker)
            yield client.Left(worker)
        for lane in range(slot.number, slot.number + depth * self.workers, self.workers):
            if lane not in slot.lanes:
                slot.lanes.add(lane)
                yield client.Joined(lane)

    def _died(self, slot: _Slot) -> Iterator[client.TransportEvent]:
        """The process died of the first set it had, if it evaluated that; the others go back.

        Of several that it had in one message all are evaluated again, one by one.
        """
        ready = slot.ready
        slot.kill()
        slot.idle_since = time.perf_counter()
        slot.depth = Depth(Level(BATCH, SHORT))
        tasks, slot.tasks = slot.tasks, []
        lanes, slot.lanes, slot.batch = slot.lanes, {slot.number}, {}
        first = tasks[0] if tasks else None
        if first is None or not first.evaluates or not ready:
            slot.deaths += 1
            if slot.deaths == MOST_DEATHS:
                raise BackendError(
                    f"worker process {slot.number + 1} died {MOST_DEATHS} times before it "
                    "could evaluate anything",
                    remedy="look for messages of the system (memory?), or use fewer --workers",
                )
        elif len(first.indices) == 1:
            ((lane, index),) = first.indices.items()
            error = "the worker process died during this evaluation"
            what = client.died(
                self._job, index, first.proposal, error, first.began, slot.number + 1
            )
            lanes.discard(lane)
            yield client.Completed(lane, *what, leaves=True)
        for lane in lanes:
            yield client.Left(lane)
        yield client.Joined(slot.number)


def run(path: Path | Experiment, options: base.Options) -> int:
    """Run an experiment on worker processes; returns the exit status."""
    workers = options.workers or len(os.sched_getaffinity(0))
    places = placement.of_processes(workers, options.gpus_per_worker)
    experiment = base.load_for(path, options)
    start = partial(ProcessTransport, places)
    remarks = placement.remark([("", place) for place in places])
    return client.run_client(experiment, options, "processes", start, remarks)
