"""Commands: an error becomes one line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from . import __version__, plot_command
from .backends import base
from .errors import PhsError
from .limits import Limits

_DESCRIPTION = """\
Parallel hyperparameter search with MPI.

    mpirun -n 4 python -m phs_mpi experiment.py     run a search (the verb 'run' is optional)
    python -m phs_mpi status experiment.h5          how far it is, from any machine
    python -m phs_mpi plot experiment.h5            figures
"""

_STATUSES = """\
exit status of a run:
  0   every parameter set is evaluated (failed evaluations are counted, not fatal)
  1   every evaluation failed
  2   bad input: one line says what is wrong and how to mend it
  3   stopped before the end; the same command goes on
  70  a rank, or the Dask scheduler, broke down; the same command goes on
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser of which only the first rank speaks."""

    def error(self, message: str) -> NoReturn:
        if base.launched_rank() == 0:
            super().error(message)
        sys.exit(2)

    def print_help(self, file=None) -> None:
        if base.launched_rank() == 0:
            super().print_help(file)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = _Parser(
        prog="phs_mpi",
        description=_DESCRIPTION,
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"phs_mpi {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", required=True)

    def command(name: str, function, text: str, **options) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )
        made.set_defaults(function=function)
        return made

    run = command("run", _run, "evaluate the parameter sets of an experiment", epilog=_STATUSES)
    run.add_argument("experiment", type=Path, help="the file that defines the experiment")
    run.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="results file (default: the experiment's name with .h5, in the current folder)",
    )
    run.add_argument(
        "-b",
        "--backend",
        default="auto",
        metavar="NAME",
        help=f"what runs the evaluations: {', '.join(base.LOADERS)}, or one that another "
        "package registers (default: mpi when started by mpirun or srun with more than one "
        "rank, else dask with --scheduler, else processes with --workers, else serial)",
    )
    run.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="number of worker processes of the backend processes, or of dask without a "
        "scheduler (default: the cores this program may use)",
    )
    run.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster, as in tcp://host:8786 (default: workers of this machine)",
    )
    run.add_argument(
        "--scheduler-file",
        type=Path,
        metavar="FILE",
        help="where dask scheduler, dask-mpi or a job has written the address",
    )
    run.add_argument(
        "--dask-timeout",
        type=_seconds,
        metavar="SECONDS",
        default=base.Options.dask_timeout,
        help="time to wait for the Dask scheduler, and for a first worker (default: %(default)g)",
    )
    run.add_argument(
        "--grace",
        type=_seconds,
        metavar="SECONDS",
        default=base.Options.grace,
        help="time that running evaluations have to finish after Ctrl-C (default: "
        "%(default)g); a second Ctrl-C stops at once",
    )
    run.add_argument(
        "--isolate",
        action="store_true",
        help="evaluate in a process of its own beside each worker, so that a crash costs one "
        "evaluation",
    )
    run.add_argument(
        "--timeout",
        metavar="SECONDS",
        help="time that one evaluation may take before it is killed; implies --isolate",
    )
    run.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="memory, as in 4GiB, that one evaluation may use before it is killed; implies "
        "--isolate",
    )
    run.add_argument("--seed", type=_seed, help="overrides the experiment's seed")
    run.add_argument(
        "--retry-failed", action="store_true", help="evaluate failed parameter sets once more"
    )
    run.add_argument(
        "-q", "--quiet", action="store_true", help="no progress, no summary; only problems"
    )
    run.add_argument(
        "--rank-0-writes",
        action="store_true",
        help="let rank 0 write the results of all workers, for file systems on which parallel "
        "writes are not safe",
    )
    run.add_argument(
        "--no-store", action="store_true", help="keep no results (to measure overhead)"
    )
    run.add_argument(
        "--check-log",
        action="store_true",
        help="at the end compare the log of all ranks (to find defects)",
    )

    table = command("table", _table, "print the parameter sets without running them")
    table.add_argument("experiment", type=Path, help="the file that defines the experiment")
    table.add_argument("--csv", type=Path, metavar="FILE", help="write them as CSV ('-': print)")
    table.add_argument("--seed", type=_seed, help="overrides the experiment's seed")
    table.add_argument("--rows", type=int, default=50, help="rows to print at most (default 50)")

    status = command("status", _status, "tell how far a run is, also while it runs")
    status.add_argument("file", type=Path, help="the results file")
    status.add_argument(
        "-w",
        "--watch",
        type=float,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="again every so many seconds (default 2) until all is evaluated",
    )

    best = command("best", _best, "print the best parameter set as Python")
    best.add_argument("file", type=Path, help="the results file")

    explain = command("explain", _explain, "tell why a Bayesian set was proposed")
    explain.add_argument("file", type=Path, help="the results file")
    explain.add_argument("index", type=int, help="the parameter set")

    export = command("export", _export, "write the results in another format")
    export.add_argument("file", type=Path, help="the results file")
    export.add_argument(
        "--to", choices=("csv", "json", "parquet", "optuna"), default="csv", help="default: csv"
    )
    export.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to (default: beside the results file; '-' prints CSV or JSON)",
    )

    plot = command("plot", plot_command.run, "draw figures from results files")
    plot_command.add_arguments(plot)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        Default: the command line.

    Returns
    -------
    int
        Exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    grammar = parser()
    options = grammar.parse_args(with_verb(given))
    try:
        return options.function(options)
    except PhsError as error:
        if base.launched_rank() == 0:
            print(f"phs_mpi: error: {error}", file=sys.stderr, flush=True)
        return error.exit_status
    except KeyboardInterrupt:
        print("phs_mpi: interrupted; the same command goes on", file=sys.stderr, flush=True)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is wrong, and Python must not complain
        # again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def with_verb(arguments: list[str]) -> list[str]:
    """Put in the verb ``run`` where the first word is a file or an option of a run."""
    verbs = {"run", "table", "status", "best", "explain", "export", "plot"}
    top = {"-h", "--help", "--version"}
    if not arguments or arguments[0] in verbs | top:
        return arguments
    return ["run", *arguments]


def _seed(text: str) -> int:
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"{seed} is negative")
    return seed


# -- commands -----------------------------------------------------------------------------


def _workers(text: str) -> int:
    workers = int(text)
    if workers < 1:
        raise argparse.ArgumentTypeError(f"{workers} is no number of workers; give 1 or more")
    return workers


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


def _run(options: argparse.Namespace) -> int:
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
        limits=Limits.of(options.isolate, _number(options.timeout), options.memory_limit),
    )
    return base.load(base.choose(options.backend, given))(options.experiment, given)


def _table(options: argparse.Namespace) -> int:
    from .loading import load_experiment

    table = load_experiment(options.experiment, options.seed).table()
    if options.csv is None:
        print(table.render(options.rows))
    elif str(options.csv) == "-":
        table.to_csv(sys.stdout)
    else:
        try:
            with open(options.csv, "w", newline="", encoding="utf-8") as stream:
                table.to_csv(stream)
        except OSError as error:
            raise PhsError(f"cannot write {options.csv}: {error.strerror}") from error
    return 0


def _status(options: argparse.Namespace) -> int:
    from .store import read
    from .summary import status_text

    while True:
        snapshot = read(options.file)
        text = status_text(snapshot)
        if options.watch is None:
            print(text)
            return 0
        if sys.stdout.isatty():
            print("\033[H\033[J", end="")
        print(text, flush=True)
        if snapshot.complete:
            return 0
        time.sleep(max(options.watch, 0.1))


def _best(options: argparse.Namespace) -> int:
    from .store import read
    from .summary import best_text

    print(best_text(read(options.file)))
    return 0


def _export(options: argparse.Namespace) -> int:
    from .exporting import export
    from .store import read

    path = export(read(options.file), options.to, options.out)
    if path is not None:
        print(path)
    return 0


def _explain(options: argparse.Namespace) -> int:
    from .explaining import text
    from .store import read

    words, same = text(read(options.file, verify=True), options.index)
    print(words)
    return 0 if same else 1
