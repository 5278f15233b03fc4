"""The command ``run``: what it takes, and how that becomes the options of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from .backends import base
from .deadline import MARGIN
from .hosts import IN_A_ROW
from .limits import Limits
from .retries import CAUSES, Retries

MORE = """
What the results file has is not evaluated again: the same command goes on after
a crash or the end of a job, and with sets that were appended to the file. Under
mpirun or srun the first rank hands out parameter sets and the others evaluate
them.
"""

EXAMPLES = """\
examples:
  mpirun -n 64 python -m phs_mpi experiment.py
  srun python -m phs_mpi experiment.py --timeout 3600 --retries 1
  python -m phs_mpi experiment.py --workers 8
  python -m phs_mpi experiment.py --scheduler tcp://host:8786

"""

STATUSES = """\
exit status of a run:
  0   every parameter set is evaluated (failed evaluations are counted, not fatal)
  1   every evaluation failed
  2   bad input: one line says what is wrong and how to mend it
  3   stopped before the end (Ctrl-C, or out of time); the same command goes on
  70  a rank, or the Dask scheduler, broke down; the same command goes on
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put in what the command takes."""
    _add_general(parser)
    _add_workers(parser.add_argument_group("workers"))
    _add_time(parser.add_argument_group("time"))
    _add_failures(parser.add_argument_group("evaluations that crash, hang or fail"))
    _add_diagnosis(parser.add_argument_group("file system, measuring"))


def _add_general(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="the file that defines the experiment")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="results file (default: the experiment's name with .h5, in the current folder)",
    )
    parser.add_argument("--seed", type=seed_number, help="overrides the experiment's seed")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="no progress, no summary; only problems"
    )


def _add_workers(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "-b",
        "--backend",
        default="auto",
        metavar="NAME",
        help=f"what runs the evaluations: {', '.join(base.LOADERS)}, or one that another "
        "package registers (default: mpi when started by mpirun or srun with more than one "
        "rank, else dask with --scheduler, else processes with --workers, else serial)",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="number of worker processes of the backend processes, or of dask without a "
        "scheduler (default: the cores this program may use)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster, as in tcp://host:8786 (default: workers of this machine)",
    )
    parser.add_argument(
        "--scheduler-file",
        type=Path,
        metavar="FILE",
        help="where dask scheduler, dask-mpi or a job has written the address",
    )
    parser.add_argument(
        "--dask-timeout",
        type=_seconds,
        metavar="SECONDS",
        default=base.Options.dask_timeout,
        help="time to wait for the Dask scheduler, and for a first worker (default: %(default)g)",
    )
    parser.add_argument(
        "--gpus-per-worker",
        metavar="N",
        help="GPUs that each worker sees: 1, 2, …; as 0.5 one that two share; 0; or all (default: "
        "those of the node, shared out evenly; two workers never share one)",
    )


def _add_time(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--grace",
        type=_seconds,
        metavar="SECONDS",
        default=base.Options.grace,
        help="time that running evaluations have to finish after Ctrl-C (default: "
        "%(default)g); a second Ctrl-C stops at once",
    )
    parser.add_argument(
        "--walltime",
        metavar="TIME",
        help="time that this run has, in seconds or as in 1:30:00 or 2-12:00:00, from its start: "
        "nothing is started that would not be over by then (default: until SLURM ends the job)",
    )
    parser.add_argument(
        "--margin",
        type=_seconds,
        metavar="SECONDS",
        help="time before that end which is kept for the shutdown (default: "
        f"{MARGIN:g}, or a tenth of the time there is if that is less)",
    )
    parser.add_argument(
        "--requeue",
        action="store_true",
        help="ask SLURM to run this job again if it ends, or is preempted, before the run is over",
    )


def _add_failures(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--isolate",
        action="store_true",
        help="evaluate in a process of its own beside each worker, so that a crash costs one "
        "evaluation",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        help="time that one evaluation may take before it is killed; implies --isolate",
    )
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="memory, as in 4GiB, that one evaluation may use before it is killed; implies "
        "--isolate",
    )
    parser.add_argument(
        "--retries",
        type=int,
        metavar="N",
        help="how often an evaluation that fails is tried again, with the same values, if "
        "possible by another worker on another host (default: 0)",
    )
    parser.add_argument(
        "--retry-on",
        metavar="CAUSES",
        help=f"failures that are tried again: some of {','.join(CAUSES)} (default: all but "
        "exception and result)",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="evaluate once more what failed in earlier runs",
    )
    parser.add_argument(
        "--drain-host-after",
        type=_failures,
        metavar="K",
        default=IN_A_ROW,
        help="give a host nothing more after K or more failures in a row there while others do "
        "better (default: %(default)d; 0: never)",
    )


def _add_diagnosis(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--rank-0-writes",
        action="store_true",
        help="let rank 0 write the results of all workers, for file systems on which parallel "
        "writes are not safe",
    )
    parser.add_argument(
        "--no-store", action="store_true", help="keep no results (to measure overhead)"
    )
    parser.add_argument(
        "--check-log",
        action="store_true",
        help="at the end compare the log of all ranks (to find defects)",
    )


def seed_number(text: str) -> int:
    """A seed from the command line."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def run(options: argparse.Namespace) -> int:
    """Run the experiment; returns the exit status."""
    given = base.Options(
        output=options.output,
        seed=options.seed,
        quiet=options.quiet,
        retry_failed=options.retry_failed,
        check_log=options.check_log,
        store=not options.no_store,
        rank_0_writes=options.rank_0_writes,
        workers=options.workers,
        grace=options.grace,
        scheduler=options.scheduler,
        scheduler_file=options.scheduler_file,
        dask_timeout=options.dask_timeout,
        retries=Retries.of(options.retries, options.retry_on),
        drain_host_after=options.drain_host_after,
        walltime=options.walltime,
        margin=options.margin,
        requeue=options.requeue,
        limits=Limits.of(options.isolate, _number(options.timeout), options.memory_limit),
        gpus_per_worker=options.gpus_per_worker,
    )
    return base.load(base.choose(options.backend, given))(options.experiment, given)


def _workers(text: str) -> int:
    workers = int(text)
    if workers < 1:
        raise argparse.ArgumentTypeError(f"{workers} is no number of workers; give 1 or more")
    return workers


def _failures(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative; give 0 or more")
    return number


def _number(text: str | None) -> float | str | None:
    """The number that a text is, else the text: whoever checks it says what is wrong."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no time; give seconds from 0 to 1e9")
    return seconds
