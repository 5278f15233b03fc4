"""The serial backend: everything in this process, one evaluation after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..experiment import Experiment
from ..log import Log
from . import base, client, placement
from .job import Job


class SerialTransport:
    """One worker: this process."""

    workers = 1

    def __init__(self, job: Job, log: Log):
        self._table = job.table
        self._log = log
        self._worker = base.make_worker(job.experiment, job.table, job.output, number=0)
        self._next: tuple[int, int, int] | None = None
        self._idle_since = time.perf_counter()

    def start(self, worker: int, index: int, log_length: int) -> None:
        """Remember what to do; it is done in :meth:`events`."""
        self._next = worker, index, log_length

    def events(self) -> Iterator[client.Announced | client.Completed]:
        """Propose and evaluate the set started last."""
        if self._next is None:
            return
        worker, index, log_length = self._next
        self._next = None
        proposing = 0.0
        if self._table.bayesian(index):
            begun = time.perf_counter()
            proposal = self._worker.propose(index, self._log, log_length)
            proposing = time.perf_counter() - begun
            yield client.Announced(worker, proposal)
        else:
            proposal = self._worker.drawn(index)
        waiting = time.perf_counter() - self._idle_since - proposing
        outcome = self._worker.evaluate(proposal)
        self._idle_since = time.perf_counter()
        outcome.proposing, outcome.waiting = proposing, waiting
        yield client.Completed(worker, proposal, outcome)

    def close(self) -> None:
        """Remove temporary files."""
        self._worker.close()


def run(path: Path | Experiment, options: base.Options) -> int:
    """Run an experiment in this process; returns the exit status."""
    (place,) = placement.of_processes(1, options.gpus_per_worker)
    with placement.applied(place._replace(threads=None)):  # it has the machine to itself
        experiment = base.load_for(path, options)
        return client.run_client(experiment, options, "serial", SerialTransport)
