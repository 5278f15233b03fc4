"""What every backend shares on each rank: the table of names, loading, making a worker."""

from __future__ import annotations

import importlib
import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BackendError
from ..evaluation import Evaluator
from ..experiment import Experiment
from ..hosts import this_host
from ..loading import load_experiment
from ..repeats import Repeats
from ..table import Table
from ..worker import Worker
from .launching import launched_size
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


def default_output(experiment: Experiment) -> Path:
    """Where results go unless told otherwise: into the current folder."""
    stem = Path(experiment.path).stem if experiment.path else experiment.name
    return Path((re.sub(r"[^\w.-]+", "_", stem).strip("._") or "experiment") + ".h5")


def evaluations_folder(output: Path) -> Path:
    """Parent of the evaluations' own folders."""
    return output.with_name(output.stem + ".evaluations")


def make_worker(
    experiment: Experiment, table: Table, output: Path, number: int, host: str = ""
) -> Worker:
    """The worker object of one rank or process."""
    host, folder = host or this_host(), evaluations_folder(output)
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


def resume_command(options: Options) -> str:
    """The command that continues this run."""
    if options.again:
        return options.again
    # srun's own variables are also seen by what mpirun starts on other nodes of a job.
    by_mpirun = os.environ.keys() & {"OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"}
    by_srun = "SLURM_STEP_NUM_TASKS" in os.environ and not by_mpirun
    launcher = f"{'srun' if by_srun else 'mpirun'} -n {launched_size()} " if launched_size() else ""
    return launcher + shlex.join(["python", "-m", "phs_mpi", *options.command[1:]])
