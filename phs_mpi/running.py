"""Running an experiment from a script or a notebook."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from .backends import base, launching
from .errors import BackendError, DefinitionError, PhsError
from .experiment import Experiment
from .results import Results


def run(
    experiment: Experiment | str | os.PathLike[str],
    *,
    backend: str = "auto",
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: Any = None,
    seed: int | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
    grace: float = base.Options.grace,
    walltime: float | str | None = None,
    gpus_per_worker: float | str | None = None,
) -> Results:
    """Evaluate the parameter sets of an experiment, as ``python -m phs_mpi`` does.

    Works in scripts, also under ``mpirun python script.py`` (all ranks call it), and in
    notebooks. An interrupt lets running evaluations finish and then returns what there is;
    calling it again goes on.

    Parameters
    ----------
    experiment : Experiment or path-like
        The experiment, or the file that defines it.
    backend : str
        ``"mpi"``, ``"processes"``, ``"dask"``, ``"serial"``, one that another package
        registers, or ``"auto"``: mpi under a launcher, dask with a `scheduler`, processes with
        several `workers`, else serial.
    output : path-like, optional
        Results file. Default: the experiment's name with ``.h5``, in the current folder.
    workers : int, optional
        Worker processes of the backends processes and dask.
    scheduler : str or object, optional
        Address of a Dask scheduler, a ``distributed.Client`` or a cluster, as dask-jobqueue
        makes them.
    seed : int, optional
        Takes the place of the experiment's seed.
    retry_failed : bool
        Whether to evaluate failed sets once more.
    quiet : bool
        Whether to show no progress and no summary.
    grace : float
        Seconds that running evaluations have to finish after an interrupt.
    walltime : float or str, optional
        Seconds that the run has from the start of its process, or as in ``"1:30:00"``; nothing is
        started that would not be over by then. Default: until SLURM ends the job, if it runs in
        one.
    gpus_per_worker : float or str, optional
        GPUs that each worker sees: a number, a fraction of one that workers share, or ``"all"``.
        Default: those of the node, shared out evenly.

    Returns
    -------
    Results
        Of all ranks the same under MPI.

    Raises
    ------
    PhsError
        If something is wrong with the experiment, an option or the results file. Under MPI
        rank 0 raises it, and the other ranks exit.
    """
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise BackendError(f"workers={workers!r} is no number of workers", remedy="give 1 or more")
    if not isinstance(experiment, Experiment | str | os.PathLike):
        raise DefinitionError(
            f"{experiment!r} is no experiment",
            value=experiment,
            remedy="give run() an Experiment, or the name of a file that defines one",
        )
    script = getattr(sys.modules["__main__"], "__file__", None)
    options = base.Options(
        output=None if output is None else Path(output),
        seed=seed,
        quiet=quiet,
        retry_failed=retry_failed,
        workers=workers,
        grace=grace,
        walltime=walltime,
        gpus_per_worker=gpus_per_worker,
        scheduler=scheduler,
        again="call run() again" if script is None else "run the script again",
    )
    try:
        name = base.choose(backend, options)
    except PhsError as error:
        _leave_it_to_rank_0(error)
        raise
    if isinstance(experiment, Experiment):
        where: Experiment | Path = experiment
        if output is None:
            options.output = base.default_output(experiment)
        if not experiment.source and script is not None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                experiment.source = Path(script).read_text(encoding="utf-8")
    else:
        where = Path(experiment)
        if output is None:
            options.output = Path(where.stem + ".h5")
    assert options.output is not None
    try:
        with _script_not_run_by_workers():
            base.load(name)(where, options)
    except PhsError as error:
        _leave_it_to_rank_0(error)
        raise
    return Results(options.output)


def _leave_it_to_rank_0(error: PhsError) -> None:
    """One message is enough: the other ranks that a launcher started end without one."""
    if launching.launched_rank() != 0:
        launching.let_the_first_rank_speak()
        sys.exit(error.exit_status)


@contextlib.contextmanager
def _script_not_run_by_workers() -> Iterator[None]:
    """Keep ``multiprocessing`` from running the user's script again in each new process.

    It would do so to have what the script defines, which reaches workers in a pickle here; and
    without an ``if __name__ == "__main__":`` it would start this search again in each of them.
    It leaves out a main module that is a package's ``__main__``.
    """
    main: Any = sys.modules["__main__"]
    before = getattr(main, "__spec__", None)
    main.__spec__ = ModuleSpec("phs_mpi.__main__", None)
    try:
        yield
    finally:
        main.__spec__ = before
