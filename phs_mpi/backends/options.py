"""What a run is told by the command line, or by the caller of :func:`phs_mpi.run`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..hosts import IN_A_ROW
from ..limits import UNLIMITED, Limits
from ..retries import NO_RETRIES, Retries


@dataclass(eq=False, repr=False)
class Options:
    """What the command line, or the caller of :func:`phs_mpi.run`, says about a run.

    Attributes
    ----------
    grace : float
        Seconds that running evaluations have to finish once the run is asked to stop.
    scheduler : str or object
        Address of a Dask scheduler, or something that has a ``scheduler_address``.
    dask_timeout : float
        Seconds to wait for the Dask scheduler, and for a first worker.
    limits : Limits
        Of evaluations, beside those of the experiment.
    retries : Retries
        Which failed evaluations are tried again, beside what the experiment says.
    drain_host_after : int
        Failures in a row on a host after which it may get nothing more; 0: never.
    walltime : float or str, optional
        Seconds that the run has from the start of its process, or as in ``"1:30:00"``; default:
        until SLURM ends the job, if it runs in one.
    margin : float, optional
        Seconds of it that are kept for commits and shutdown.
    requeue : bool
        Whether SLURM is asked to run the job again if its end comes before that of the run.
    gpus_per_worker : float, str or None
        See ``phs_mpi.backends.gpus.amount``.
    command : list of str
        The command line.
    again : str
        How to go on with a run that stopped; empty: with the same command line.
    """

    output: Path | None = None
    seed: int | None = None
    quiet: bool = False
    retry_failed: bool = False
    check_log: bool = False
    store: bool = True
    rank_0_writes: bool = False
    workers: int | None = None
    grace: float = 60.0
    scheduler: Any = None
    scheduler_file: Path | None = None
    dask_timeout: float = 30.0
    limits: Limits = UNLIMITED
    retries: Retries = NO_RETRIES
    drain_host_after: int = IN_A_ROW
    walltime: float | str | None = None
    margin: float | None = None
    requeue: bool = False
    gpus_per_worker: float | str | None = None
    command: list[str] = field(default_factory=lambda: list(sys.argv))
    again: str = ""
