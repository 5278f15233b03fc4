"""The run loop of backends that are driven from one client process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from ..experiment import Experiment
from ..hosts import this_host
from ..log import Cause, Log, LogEntry, Outcome, Proposal, Status
from ..progress import Progress
from ..schedule import Drain, Event, Finished, Instruction, Lost, Proposed, Ready, Start
from ..store import open_store
from .base import Options
from .job import Job, announce, conclude, make_job, make_progress
from .jobtime import ENDLESS, JobTime, requeue_if_due
from .monitoring import monitored
from .signals import GraceOver, TimeOver, interrupts


@dataclass
class Joined:
    """There is a new worker, and it is ready; without a host it is on this machine."""

    worker: int
    host: str = ""


@dataclass
class Left:
    """A worker is gone, and what it ran must be run again."""

    worker: int


@dataclass
class Announced:
    """A worker has chosen the values of its Bayesian set and begins to evaluate it."""

    worker: int
    proposal: Proposal


@dataclass
class Completed:
    """An evaluation is over; with `leaves` its worker gets no other."""

    worker: int
    proposal: Proposal
    outcome: Outcome
    leaves: bool = False


@dataclass
class Remark:
    """Something the user should know."""

    text: str


TransportEvent = Joined | Left | Announced | Completed | Remark


class Transport(Protocol):
    """One way to reach workers: start an index, yield completions, close.

    Attributes
    ----------
    workers : int
        Workers 0 to ``workers - 1`` are there from the start; others announce themselves.
    """

    workers: int

    def start(self, worker: int, index: int, log_length: int) -> None:
        """Let `worker` evaluate the set `index`; returns without waiting for it."""

    def events(self) -> Iterator[TransportEvent]:
        """What happened since the last call; may wait until there is something."""

    def close(self) -> None:
        """Let the workers go."""


def died(
    job: Job, index: int, proposal: Proposal | None, error: str, began: float, worker: int
) -> tuple[Proposal, Outcome]:
    """What is recorded of a set whose worker died; `proposal` is None if it was a drawn one."""
    if proposal is None:
        proposal = Proposal(index, job.table.defined(index), job.table.source(index))
    outcome = Outcome(index, Status.FAILED, error=error, start=began, end=time.time())
    outcome.worker, outcome.cause = worker, Cause.LOST
    return proposal, outcome


class ClientLoop:
    """The run loop of client-driven backends: events to the schedule, instructions to workers.

    Parameters
    ----------
    job : Job
        What to run.
    log : Log
        Grows in the order of completions; transports hand its prefixes to workers.
    transport : Transport
        Reaches the workers.
    commit, write_log : callable
        Write one row, and the order of completions, to the results file.
    progress : Progress
        Shows how far the run is.
    """

    def __init__(
        self,
        job: Job,
        log: Log,
        transport: Transport,
        commit: Callable[[Proposal, Outcome], None],
        write_log: Callable[[list[int], list[int]], None],
        progress: Progress,
    ):
        self._job = job
        self._log = log
        self._transport = transport
        self._commit = commit
        self._write_log = write_log
        self._progress = progress
        self._schedule = job.schedule()
        self._retries = job.experiment.retries
        self._first: dict[int, Proposal] = {}  # of what is tried again
        self._here = this_host()
        self._unwritten: list[LogEntry] = []
        self._interrupted = False
        self.received: list[int] = []

    @property
    def out_of_time(self) -> bool:
        """Whether the end of the run's time made it stop."""
        return self._schedule.out_of_time

    def run(self, grace: float, time: JobTime = ENDLESS) -> None:
        """Run until everything is evaluated, or the user stops it.

        Parameters
        ----------
        grace : float
            Seconds that running evaluations have to finish once the user has asked to stop.
        time : JobTime
            Until when it may go on.
        """
        flag = partial(self._interrupt, grace, time)
        with interrupts(flag, grace, end=time.latest) as self.received:
            try:
                for worker in range(self._transport.workers):
                    self._handle(Ready(worker, self._here))
                while not self._schedule.over:
                    for event in self._transport.events():
                        self._take(event)
                    self._drain_if_asked()
                    self._flush_log()
            finally:
                self._flush_log()

    def _interrupt(self, grace: float, time: JobTime) -> None:
        self._interrupted = True
        self._progress.say(
            f"stopping: running evaluations have {time.in_reach(grace):.3g} s to finish; "
            "interrupt again to stop at once"
        )

    def _drain_if_asked(self) -> None:
        if self._interrupted and not self._schedule.draining:
            self._handle(Drain())

    def _take(self, event: TransportEvent) -> None:
        self._drain_if_asked()
        if isinstance(event, Remark):
            self._progress.say(event.text)
        elif isinstance(event, Joined):
            self._handle(Ready(event.worker, event.host or self._here))
        elif isinstance(event, Left):
            self._handle(Lost(event.worker))
        elif isinstance(event, Announced):
            index = event.proposal.index
            if self._schedule.announced(index):
                return  # by an earlier attempt
            self._first.pop(index, None)  # its values were given up with a worker
            row = self._job.table.pack(index, event.proposal.values)
            self._handle(Proposed(event.worker, index, row))
        else:
            self._complete(event)

    def _complete(self, event: Completed) -> None:
        index, result = event.proposal.index, event.outcome.result
        again = self._retries.mark(event.outcome, self._schedule.attempts.number(index))
        proposal = self._first.get(index, event.proposal)
        self._commit(proposal, event.outcome)
        self._handle(Finished(event.worker, index, event.leaves, result, again))
        if again:
            self._first[index] = proposal
            return
        self._first.pop(index, None)
        self._progress.extras = self._schedule.extras
        self._progress.completed(index, result)

    def _flush_log(self) -> None:
        """Write the order of events down, of several at once: no result hangs on it."""
        entries, self._unwritten = self._unwritten, []
        if entries:
            self._write_log([int(e.kind) for e in entries], [e.index for e in entries])

    def _handle(self, event: Event) -> None:
        instructions: list[Instruction] = self._schedule.handle(event)
        while self._schedule.remarks:
            self._progress.say(self._schedule.remarks.pop(0))
        entries = self._schedule.take_entries()
        for entry in entries:
            self._log.append(entry)
        self._unwritten += entries
        for instruction in instructions:
            if isinstance(instruction, Start):
                self._transport.start(instruction.worker, instruction.index, instruction.log_length)


def run_client(
    experiment: Experiment,
    options: Options,
    backend: str,
    make_transport: Callable[[Job, Log], Transport],
    remarks: Sequence[str] = (),
) -> int:
    """Run an experiment on a client-driven backend.

    Parameters
    ----------
    experiment : Experiment
        The definition.
    options : Options
        From the command line.
    backend : str
        Name of the backend; kept in the results file.
    make_transport : callable
        ``make_transport(job, log) -> Transport``; called only if there is something to do.
    remarks : sequence of str
        What to say of the workers.

    Returns
    -------
    int
        Exit status.
    """
    job = make_job(experiment, options, {"backend": backend, "mpi_library": ""})
    ending = _Ending()
    try:
        progress = make_progress(job, options)
        announce(job, progress)
        if job.missing:
            with monitored(job.monitoring, progress):
                ending = _run(job, options, backend, progress, make_transport, remarks)
        status = conclude(job, options, progress)
    finally:
        job.close()
    requeue_if_due(options, progress, ending.received, ending.out_of_time)
    return status


class _Ending(NamedTuple):
    """Which signals came in a run, and whether its time was too short."""

    received: Sequence[int] = ()
    out_of_time: bool = False


def _run(
    job: Job,
    options: Options,
    backend: str,
    progress: Progress,
    make_transport: Callable[[Job, Log], Transport],
    remarks: Sequence[str],
) -> _Ending:
    log = Log(job.replay)
    with contextlib.ExitStack() as stack:
        commit, write_log = _forget, _forget
        if options.store:
            store = open_store(job.output, job.table)
            stack.callback(store.close)
            commit, write_log = store.commit, store.append_log
        stack.callback(progress.close)
        transport = make_transport(job, log)
        stack.callback(transport.close)
        if not options.quiet:
            workers = f", {transport.workers} workers" if transport.workers > 1 else ""
            for line in [f"backend {backend}{workers}", *remarks]:
                progress.say(line)
        loop = ClientLoop(job, log, transport, commit, write_log, progress)
        try:
            loop.run(options.grace, job.time)
        except TimeOver:
            progress.say("the time of this run is over: what still runs is left")
            return _Ending(loop.received, True)
        except GraceOver:
            progress.say(f"{options.grace:g} s are over: what still runs is left")
        return _Ending(loop.received, loop.out_of_time)


def _forget(*what: Any) -> None:
    """Store nothing."""
