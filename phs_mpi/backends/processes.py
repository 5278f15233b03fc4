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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BackendError
from ..loading import load_experiment
from ..log import Log, LogEntry, Outcome, Proposal, Status
from ..table import Table
from . import base, client

#: Deaths in a row before its first words after which a worker is given up.
MOST_DEATHS = 3


# -- in a worker process -------------------------------------------------------------------


@dataclass
class _State:
    worker: Any
    log: Log


_state: _State | None = None


def _prepare(path: str, seed: int, table: Table, output: Path, number: int) -> None:
    """Load the experiment; runs once in each worker process."""
    global _state
    # Ctrl-C goes to the whole process group; when to stop is the client's business. A handler,
    # not SIG_IGN, since that would be inherited by programs that the target starts.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, lambda number, frame: None)
    experiment = load_experiment(path, seed)
    _state = _State(base.make_worker(experiment, table, output, number), Log())


def _propose(index: int, length: int, news: list[LogEntry]) -> tuple[Proposal, float]:
    """The values of a Bayesian set, from the log after the news, and the seconds it took."""
    assert _state is not None
    for entry in news:
        _state.log.append(entry)
    begun = time.perf_counter()
    proposal = _state.worker.propose(index, _state.log, length)
    return proposal, time.perf_counter() - begun


def _evaluate(proposal: Proposal) -> Outcome:
    assert _state is not None
    return _state.worker.evaluate(proposal)


def _drawn(index: int) -> tuple[Proposal, Outcome]:
    """Evaluate a set whose values stand in the table."""
    assert _state is not None
    proposal = _state.worker.drawn(index)
    return proposal, _state.worker.evaluate(proposal)


def _leave() -> None:
    if _state is not None:
        _state.worker.close()


# -- in the client -------------------------------------------------------------------------


class _Slot:
    """One worker: its executor, and what the client knows of it."""

    def __init__(self, number: int, start: Callable[[int], None]):
        self.number = number
        self.executor: ProcessPoolExecutor | None = None
        self.told = 0  # entries of the log that its process has
        self.idle_since = time.perf_counter()
        self.began = 0.0  # when it was last given an evaluation, UTC
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


class ProcessTransport:
    """Worker processes; see :class:`phs_mpi.backends.client.Transport`.

    Parameters
    ----------
    workers : int
        Number of worker processes.
    job : Job
        What to run.
    log : Log
        The client's log, which the loop appends to.
    """

    def __init__(self, workers: int, job: base.Job, log: Log):
        self.workers = workers
        self._job = job
        self._log = log
        self._done: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._slots = [_Slot(number, self._set_up) for number in range(workers)]
        self._closed = False

    def start(self, worker: int, index: int, log_length: int) -> None:
        """Submit the proposal of a Bayesian set, or the evaluation of a drawn one."""
        slot = self._slots[worker]
        if self._job.table.bayesian(index):
            try:
                self._ask(slot, index, log_length)
            except BrokenProcessPool:  # it died while it was idle
                slot.kill()
                self._ask(slot, index, log_length)
        else:
            slot.began = time.time()
            try:
                future = slot.submit(_drawn, index)
            except BrokenProcessPool:
                slot.kill()
                future = slot.submit(_drawn, index)
            self._when_done(future, partial(self._evaluated, slot, index, None, 0.0))

    def events(self) -> Iterator[client.Announced | client.Completed | client.Gone]:
        """What happened since the last call; waits until there is something."""
        yield from self._done.get()()

    def close(self) -> None:
        """Let idle workers clean up and leave; kill those that are busy."""
        self._closed = True
        for slot in self._slots:
            if slot.executor is not None:
                with contextlib.suppress(BrokenProcessPool, TimeoutError):
                    slot.executor.submit(_leave).result(timeout=1)
        for slot in self._slots:
            slot.kill()

    # -- inside ------------------------------------------------------------------------

    def _set_up(self, number: int) -> None:
        experiment = self._job.experiment
        slot = self._slots[number]
        assert slot.executor is not None
        future = slot.executor.submit(
            _prepare,
            experiment.path,
            experiment.seed,
            self._job.table,
            self._job.output,
            number + 1,
        )
        self._when_done(future, partial(self._is_ready, slot))

    def _ask(self, slot: _Slot, index: int, log_length: int) -> None:
        # Submitting may start a new process, which knows nothing of the log yet.
        slot.submit(int)
        news = self._log.entries(slot.told, log_length)
        slot.told = log_length
        future = slot.submit(_propose, index, log_length, news)
        self._when_done(future, partial(self._proposed, slot, index))

    def _when_done(self, future: Future, handle: Callable[[Future], Iterator]) -> None:
        future.add_done_callback(lambda done: self._done.put(partial(handle, done)))

    def _is_ready(self, slot: _Slot, future: Future) -> Iterator:
        error = future.exception()
        if error is not None and not isinstance(error, BrokenProcessPool):
            raise BackendError(f"worker process {slot.number + 1} cannot start: {error}")
        return iter(())

    def _proposed(self, slot: _Slot, index: int, future: Future) -> Iterator:
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            slot.deaths += 1
            if slot.deaths == MOST_DEATHS:
                raise BackendError(
                    f"worker process {slot.number + 1} died {MOST_DEATHS} times before it "
                    "could evaluate anything",
                    remedy="look for messages of the system (memory?), or use fewer --workers",
                )
            slot.kill()
            yield client.Gone(slot.number)
            return
        proposal, seconds = future.result()
        yield client.Announced(slot.number, proposal)
        slot.began = time.time()
        try:
            evaluation = slot.submit(_evaluate, proposal)
        except BrokenProcessPool:
            yield self._died(slot, proposal)
            return
        self._when_done(evaluation, partial(self._evaluated, slot, index, proposal, seconds))

    def _evaluated(
        self, slot: _Slot, index: int, proposal: Proposal | None, proposing: float, future: Future
    ) -> Iterator:
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            if proposal is None:
                table = self._job.table
                proposal = Proposal(index, table.defined(index), table.source(index))
            yield self._died(slot, proposal)
            return
        result = future.result()
        if proposal is None:
            proposal, outcome = result
        else:
            outcome = result
        slot.deaths = 0
        now = time.perf_counter()
        outcome.proposing = proposing
        duration = outcome.end - outcome.start
        outcome.waiting = max(0.0, now - slot.idle_since - duration - proposing)
        slot.idle_since = now
        yield client.Completed(slot.number, proposal, outcome)

    def _died(self, slot: _Slot, proposal: Proposal) -> client.Completed:
        slot.kill()
        slot.idle_since = time.perf_counter()
        outcome = Outcome(
            proposal.index,
            Status.FAILED,
            error="the worker process died during this evaluation",
            start=slot.began,
            end=time.time(),
            worker=slot.number + 1,
        )
        return client.Completed(slot.number, proposal, outcome)


def run(path: Path, options: base.Options) -> int:
    """Run experiment.py on worker processes; returns the exit status."""
    experiment = load_experiment(path, options.seed)
    workers = options.workers or len(os.sched_getaffinity(0))
    return client.run_client(
        experiment, path, options, "processes", partial(ProcessTransport, workers)
    )
