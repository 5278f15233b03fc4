"""The run loop of backends that are driven from one client process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..experiment import Experiment
from ..log import EntryKind, Log, LogEntry, Outcome, Proposal
from ..progress import Progress
from ..schedule import Drain, Event, Finished, Instruction, Lost, Proposed, Ready, Start
from ..store import open_store
from .base import Job, Options, announce, conclude, interrupts, make_job, make_progress


@dataclass
class Announced:
    """A worker has chosen the values of its Bayesian set and begins to evaluate it."""

    worker: int
    proposal: Proposal


@dataclass
class Completed:
    """An evaluation is over."""

    worker: int
    proposal: Proposal
    outcome: Outcome


@dataclass
class Gone:
    """A worker was lost before it said what it would evaluate; a new one is in its place."""

    worker: int


class Transport(Protocol):
    """One way to reach workers: start an index, yield completions, close."""

    workers: int

    def start(self, worker: int, index: int, log_length: int) -> None:
        """Let `worker` evaluate the set `index`; returns without waiting for it."""

    def events(self) -> Iterator[Announced | Completed | Gone]:
        """What happened since the last call; waits until there is something."""

    def close(self) -> None:
        """Let the workers go."""


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
        self._known: dict[tuple[EntryKind, int], LogEntry] = {}
        self._interrupted = False

    def run(self) -> bool:
        """Run until everything is evaluated or the user stops it.

        Returns
        -------
        bool
            Whether the user stopped it before everything was evaluated.
        """
        with interrupts(self._interrupt):
            for worker in range(self._transport.workers):
                self._handle(Ready(worker))
            while not self._schedule.over:
                for event in self._transport.events():
                    self._take(event)
        return not self._schedule.complete

    def _interrupt(self) -> None:
        self._interrupted = True
        self._progress.say(
            "stopping: running evaluations finish first; interrupt again to stop at once"
        )

    def _take(self, event: Announced | Completed | Gone) -> None:
        if isinstance(event, Gone):
            self._handle(Lost(event.worker))
            self._handle(Ready(event.worker))
            return
        proposal = event.proposal
        index = proposal.index
        if isinstance(event, Announced):
            row = self._job.table.pack(index, proposal.values)
            self._known[EntryKind.STARTED, index] = LogEntry(EntryKind.STARTED, index, row=row)
            self._handle(Proposed(event.worker, index))
            return
        self._commit(proposal, event.outcome)
        self._known[EntryKind.COMPLETED, index] = LogEntry(
            EntryKind.COMPLETED, index, result=event.outcome.result
        )
        self._progress.completed(index, event.outcome.result)
        if self._interrupted:
            self._handle(Drain())
        self._handle(Finished(event.worker, index))

    def _handle(self, event: Event) -> None:
        instructions: list[Instruction] = self._schedule.handle(event)
        entries = self._schedule.take_entries()
        for entry in entries:
            known = self._known.pop((entry.kind, entry.index), entry)
            self._log.append(known._replace(worker=entry.worker))
        if entries:
            self._write_log([int(e.kind) for e in entries], [e.index for e in entries])
        for instruction in instructions:
            if isinstance(instruction, Start):
                self._transport.start(*instruction)


def run_client(
    experiment: Experiment,
    path: Path,
    options: Options,
    backend: str,
    make_transport: Callable[[Job, Log], Transport],
) -> int:
    """Run an experiment on a client-driven backend.

    Parameters
    ----------
    experiment : Experiment
        The definition.
    path : Path
        Its file.
    options : Options
        From the command line.
    backend : str
        Name of the backend; kept in the results file.
    make_transport : callable
        ``make_transport(job, log) -> Transport``; called only if there is something to do.

    Returns
    -------
    int
        Exit status.
    """
    job = make_job(experiment, path, options, {"backend": backend, "mpi_library": ""})
    try:
        progress = make_progress(job, options)
        announce(job, progress)
        if job.missing:
            log = Log(job.replay)
            store = open_store(job.output, job.table) if options.store else None
            transport = make_transport(job, log)
            try:
                ClientLoop(
                    job,
                    log,
                    transport,
                    store.commit if store else lambda proposal, outcome: None,
                    store.append_log if store else lambda kinds, indices: None,
                    progress,
                ).run()
            finally:
                transport.close()
                progress.close()
                if store:
                    store.close()
        return conclude(job, options, progress)
    finally:
        job.close()
