"""One run from its preparation to its exit status: what rank 0, or the client, does besides."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..deadline import Deadline
from ..experiment import Experiment
from ..hosts import IN_A_ROW, Hosts
from ..log import EntryKind, LogEntry
from ..progress import Progress
from ..repeats import Contenders
from ..schedule import Schedule
from ..store import Lock, Resume, prepare
from ..table import Table
from ..terminal import printable
from . import jobtime
from .base import ALL_FAILED, FINISHED, INTERRUPTED, default_output, resume_command
from .monitoring import Setting, setting_for
from .options import Options


@dataclass(eq=False, repr=False)
class Job:
    """One run, ready to start: made on rank 0 or on the client.

    Attributes
    ----------
    experiment, table
        What to evaluate.
    output : Path
        The results file.
    missing : list of int
        Evaluations that this run has to make, as far as is known when it starts.
    replay : list of LogEntry
        The log of earlier runs.
    notes : list of str
        Lines the user should see.
    lock : Lock or None
        Keeps other runs off the results file.
    time : JobTime
        Until when it may go on.
    seconds : list of float
        What evaluations of earlier runs took.
    drain_host_after : int
        Failures in a row on a host after which it may get nothing more.
    monitoring : Setting or None
        Of the process that calls monitor functions; None if there are none.
    """

    experiment: Experiment
    table: Table
    output: Path
    missing: list[int]
    replay: list[LogEntry]
    notes: list[str]
    lock: Lock | None
    time: jobtime.JobTime = jobtime.ENDLESS
    seconds: list[float] = field(default_factory=list)
    drain_host_after: int = IN_A_ROW
    monitoring: Setting | None = None

    def schedule(self) -> Schedule:
        """The schedule at the start of this run."""
        table, repeats = self.table, self.table.repeats
        bayesian = [bool(group.bayesian) for group in table.groups]
        group_of, most = table.group_of, repeats.most
        results = _results(self.replay)
        contenders = None
        if repeats.least < most:
            contenders = Contenders(len(table), repeats, self.experiment.maximize)
            for index, result in results.items():
                contenders.add(index, result)
            contenders.open(self.missing)
        return Schedule(
            self.missing,
            table.evaluations,
            lambda index: bayesian[group_of[index // most]],
            wait_for_all=self.experiment.wait_for_all,
            log_length=len(self.replay),
            repeats=repeats,
            chosen={repeats.set_of(index) for index in results} if most > 1 else (),
            contenders=contenders,
            deadline=Deadline(self.time.last, self.seconds) if self.time.end < math.inf else None,
            hosts=Hosts(self.drain_host_after),
        )

    def close(self) -> None:
        """Let other runs have the results file."""
        if self.lock is not None:
            self.lock.release()


def make_job(experiment: Experiment, options: Options, provenance: dict[str, str]) -> Job:
    """Create or resume the results file.

    Raises
    ------
    PhsError
        If the file cannot be used; nothing has been changed then.
    """
    table = experiment.table()
    time = jobtime.find(options)
    if options.quiet:
        time = time._replace(remark="")
    output = options.output or default_output(experiment)
    if not options.store:
        missing = np.flatnonzero(table.repeats.required(len(table))).tolist()
        notes = ["monitor functions are not called: they follow the results file (--no-store)"]
        notes = notes[: len(experiment.monitors)]
        job = Job(experiment, table, output, missing, [], notes, None, time)
        job.drain_host_after = options.drain_host_after
        return job
    monitoring = setting_for(experiment, output)
    lock = Lock(output)
    lock.acquire()
    try:
        resume: Resume = prepare(
            output,
            table,
            experiment.describe(),
            experiment.source,
            provenance | {"command": shlex.join(options.command)},
            retry_failed=options.retry_failed,
        )
    except BaseException:
        lock.release()
        raise
    missing, replay, notes = resume.missing, resume.replay, list(resume.notes)
    notes[:0] = [lock.remark] if lock.remark else []
    if monitoring is not None:
        monitoring.start, monitoring.found = len(replay), _results(replay)
    return Job(
        experiment,
        table,
        output,
        missing,
        replay,
        notes,
        lock,
        time,
        resume.seconds,
        options.drain_host_after,
        monitoring,
    )


def make_progress(job: Job, options: Options) -> Progress:
    """The progress display of a run, brought up to what earlier runs have done."""
    found = _results(job.replay)
    progress = Progress(
        len(found) + len(job.missing),
        quiet=options.quiet,
        maximize=job.experiment.maximize,
        repeats=job.table.repeats,
    )
    for index, result in found.items():
        progress.resume(index, result)
    return progress


def _results(replay: Sequence[LogEntry]) -> dict[int, float]:
    """Results of the evaluations that a log calls completed, and not lost since."""
    found: dict[int, float] = {}
    for entry in replay:
        if entry.kind == EntryKind.COMPLETED:
            found[entry.index] = entry.result
        elif entry.kind == EntryKind.LOST:
            found.pop(entry.index, None)
    return found


def announce(job: Job, progress: Progress, remarks: Sequence[str] = ()) -> None:
    """Say at the start what the user should know; the first remark names the backend."""
    for line in [*job.notes, *remarks]:
        progress.say(line)
    if not job.missing:
        progress.say(f"nothing is left to do: all {len(job.table)} parameter sets are evaluated")
    elif job.replay:
        progress.say(f"going on with {job.output}: {left(job, len(job.missing))}")
    if job.missing and job.time.remark:
        progress.say(job.time.remark)


def left(job: Job, count: int) -> str:
    """How much is left to do, in words."""
    return f"{count} {'parameter sets' if job.table.repeats.most == 1 else 'evaluations'} are left"


def conclude(job: Job, options: Options, progress: Progress) -> int:
    """Print the summary of a run and choose its exit status."""
    progress.close()
    if not options.store:
        progress.say(
            f"{progress.finished} evaluations, not stored ({progress.rate:.4g} evaluations/s)"
        )
        return FINISHED
    from ..store import read
    from ..summary import summary

    snapshot = read(job.output)
    if not options.quiet:
        print(printable(summary(snapshot)), flush=True)
        speed = f" ({progress.rate:.4g} evaluations/s)" if progress.rate > 1 else ""
        progress.say(f"results are in {job.output}{speed}")
    if progress.left:
        progress.say(f"{left(job, progress.left)}; to go on: {resume_command(options)}")
        return INTERRUPTED
    return ALL_FAILED if progress.succeeded == 0 else FINISHED
