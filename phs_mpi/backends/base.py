"""What every backend shares: the table of names, preparing a run and ending it."""

from __future__ import annotations

import importlib
import math
import os
import re
import shlex
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..deadline import Deadline
from ..errors import BackendError
from ..evaluation import Evaluator
from ..experiment import Experiment
from ..hosts import IN_A_ROW, Hosts
from ..loading import load_experiment
from ..log import EntryKind, LogEntry
from ..progress import Progress
from ..repeats import Contenders, Repeats
from ..schedule import Schedule
from ..store import Lock, Resume, prepare
from ..table import Table
from ..terminal import printable
from ..worker import Worker
from . import jobtime
from .launching import launched_size
from .monitoring import Setting, setting_for
from .options import Options

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Exit statuses of a run (2 is for bad input, see errors.py).
FINISHED, ALL_FAILED, INTERRUPTED = 0, 1, 3

#: Name of a backend to "module:function"; the module is imported only when it is asked for.
#: The function takes (path of experiment.py or an Experiment, Options) and returns an exit status.
LOADERS = {
    "dask": "phs_mpi.backends.dask:run",
    "mpi": "phs_mpi.backends.mpi.backend:run",
    "processes": "phs_mpi.backends.processes:run",
    "serial": "phs_mpi.backends.serial:run",
}

#: The extra of this package that a backend needs.
EXTRAS = {"dask": "dask"}

#: Entry points under which other packages register backends, in the form of `LOADERS`.
ENTRY_POINTS = "phs_mpi.backends"


def names() -> list[str]:
    """Names of all backends: ours, and those that other packages register."""
    return [*LOADERS, *sorted(entry.name for entry in _registered())]


def _registered() -> Sequence[EntryPoint]:
    # Loads thirty modules, which no run on a backend of ours needs.
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS)


def choose(name: str, options: Options) -> str:
    """The backend that ``auto`` stands for here; any other is checked against the options.

    Raises
    ------
    BackendError
        If a launcher started several ranks for a backend that is one process, or a Dask
        scheduler is named for another backend.
    """
    launched = launched_size() or 1
    scheduler = options.scheduler is not None or options.scheduler_file is not None
    if options.scheduler is not None and options.scheduler_file is not None:
        raise BackendError(
            "two Dask schedulers are given",
            value=[options.scheduler, options.scheduler_file],
            remedy="give one of --scheduler and --scheduler-file",
        )
    if name == "auto" and launched > 1 and not scheduler:
        return "mpi"
    if name == "auto":
        if scheduler:
            name = "dask"
        else:
            name = "processes" if options.workers is not None and options.workers > 1 else "serial"
    if name != "dask" and scheduler:
        raise BackendError(
            f"a Dask scheduler is given for the backend {name!r}",
            value=name,
            remedy="leave out --scheduler and --scheduler-file, or take --backend dask",
        )
    if name == "dask" and options.gpus_per_worker is not None:
        raise BackendError(
            "the backend 'dask' deals out no GPUs",
            value=options.gpus_per_worker,
            remedy="leave out --gpus-per-worker, and start workers with their own (dask-cuda, or "
            "CUDA_VISIBLE_DEVICES of each), or take another --backend",
        )
    if name != "mpi" and launched > 1:
        raise BackendError(
            f"{launched} ranks were launched for the backend {name!r}, which wants one program",
            value=name,
            remedy="leave out mpirun or srun, or take --backend mpi",
        )
    return name


def load(name: str) -> Callable[[Path | Experiment, Options], int]:
    """The function that runs an experiment on the backend `name`.

    Raises
    ------
    BackendError
        If there is no such backend, or what it needs is not installed.
    """
    found = LOADERS.get(name)
    if found is None:
        registered = [entry for entry in _registered() if entry.name == name]
        if not registered:
            raise BackendError(
                f"there is no backend {name!r}",
                value=name,
                remedy=f"choose one of auto, {', '.join(names())}",
            )
        found = registered[0].value
    module, function = found.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("phs_mpi"):
            raise
        remedy = f"pip install {error.name}"
        if name in EXTRAS:
            remedy = f"pip install 'phs-mpi[{EXTRAS[name]}]' (in a clone: '.[{EXTRAS[name]}]')"
        raise BackendError(
            f"the backend {name!r} needs the package {error.name!r}, which is not installed",
            remedy=remedy,
        ) from error


@dataclass
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


def default_output(experiment: Experiment) -> Path:
    """Where results go unless told otherwise: into the current folder."""
    stem = Path(experiment.path).stem if experiment.path else experiment.name
    return Path((re.sub(r"[^\w.-]+", "_", stem).strip("._") or "experiment") + ".h5")


def evaluations_folder(output: Path) -> Path:
    """Parent of the evaluations' own folders."""
    return output.with_name(output.stem + ".evaluations")


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


def make_worker(
    experiment: Experiment, table: Table, output: Path, number: int, host: str = ""
) -> Worker:
    """The worker object of one rank or process."""
    host, folder = host or socket.gethostname(), evaluations_folder(output)
    if not experiment.limits.isolate:
        evaluator = make_evaluator(experiment, table.repeats, folder, number, host)
        return Worker(experiment, table, evaluator)
    from .isolation import IsolatedEvaluator

    isolated = IsolatedEvaluator(experiment, table, output, folder, number, host)
    return Worker(experiment, table, isolated)


def make_evaluator(
    experiment: Experiment, repeats: Repeats, folder: Path, worker: int, host: str
) -> Evaluator:
    """What calls the target in this process."""
    return Evaluator(
        experiment.target,
        experiment.names,
        expressions=experiment.expressions,
        folder=folder,
        worker=worker,
        host=host,
        seed=experiment.seed,
        metrics=experiment.metrics,
        capture=experiment.capture,
        output_limit=experiment.output_limit,
        repeats=repeats,
    )


def load_for(path: Path | Experiment, options: Options) -> Experiment:
    """The experiment, with what the options change in it.

    Raises
    ------
    DefinitionError
        See :func:`phs_mpi.loading.load_experiment`.
    """
    experiment = load_experiment(path, options.seed)
    experiment.limits = experiment.limits.merged(options.limits)
    experiment.retries = experiment.retries.merged(options.retries)
    return experiment


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


def resume_command(options: Options) -> str:
    """The command that continues this run."""
    if options.again:
        return options.again
    # srun's own variables are also seen by what mpirun starts on other nodes of a job.
    by_mpirun = os.environ.keys() & {"OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"}
    by_srun = "SLURM_STEP_NUM_TASKS" in os.environ and not by_mpirun
    launcher = f"{'srun' if by_srun else 'mpirun'} -n {launched_size()} " if launched_size() else ""
    return launcher + shlex.join(["python", "-m", "phs_mpi", *options.command[1:]])
