"""Commands: an error becomes one line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from . import __version__, run_command
from .backends import launching
from .errors import PhsError
from .terminal import printable

_DESCRIPTION = """\
Parallel hyperparameter search with MPI.

    mpirun -n 4 python -m phs_mpi experiment.py     run a search (the verb 'run' is optional)
    python -m phs_mpi status experiment.h5          how far it is, from any machine
    python -m phs_mpi plot experiment.h5            figures
    python -m phs_mpi run --help                    all that a run can be told
"""

_TABLE = """
Shows each parameter set and its strategy: what is explicit, listed or drawn
with its value, what the search is to propose with its bounds (~[1, 8]). It is a
pure function of the file and its seed, so that a run evaluates just these sets.

    python -m phs_mpi table experiment.py --rows 20
    python -m phs_mpi table experiment.py --csv sets.csv
"""

_STATUS = """
Reads the file and disturbs nobody; any machine that sees the file will do. It
tells what is done and failed (and why the first one did), the best so far, the
rate, and for each worker how its time went.

    python -m phs_mpi status experiment.h5
    python -m phs_mpi status --watch 10 experiment.h5
    python -m phs_mpi status --verify experiment.h5
"""

_BEST = """
As a call of the target and as a dict, both to be pasted. With repeats the mean
counts.
"""

_EXPLAIN = """
From the file alone the proposal is worked out once more, to the last bit, and
shown with what it had seen: results and pending sets, lengthscales, predicted
mean and standard deviation, and the points that came next. Exit status 1 if it
does not come out the same, as on another kind of processor.

    python -m phs_mpi explain experiment.h5 58
"""

_EXPORT = """
One row for each parameter set, with its values, result, metrics, times, worker
and reason of failure. parquet and optuna need the extras export and optuna.

    python -m phs_mpi export experiment.h5 --to parquet
    python -m phs_mpi export experiment.h5 --out - | head
"""

_COMPLETION = """
Prints a script for the shell's own start-up file; needs the extra completion.

    echo 'eval "$(phs-mpi completion bash)"' >> ~/.bashrc
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser of which only the first rank speaks."""

    def error(self, message: str) -> NoReturn:
        if launching.launched_rank() == 0:
            super().error(message)
        launching.let_the_first_rank_speak()
        sys.exit(2)

    def print_help(self, file=None) -> None:
        if launching.launched_rank() == 0:
            super().print_help(file)


def parser(*verbs: str) -> argparse.ArgumentParser:
    """The command line's grammar.

    Parameters
    ----------
    *verbs : str
        The commands that it is to have; default: all. One is enough for each of many ranks, of
        which a grammar of all takes some milliseconds.
    """
    layout: Any = argparse.RawDescriptionHelpFormatter
    if launching.launched_rank() != 0:
        # It says nothing, so that it need not ask for the terminal's width at each argument.
        layout = partial(layout, width=80)
    top = _Parser(
        prog="phs_mpi",
        description=_DESCRIPTION,
        epilog=run_command.STATUSES,
        formatter_class=layout,
    )
    top.add_argument("--version", action="version", version=f"phs_mpi {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", required=True)

    def command(name: str, function, text: str, more: str = "", **options):
        made = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.{chr(10) if more else ''}{more}",
            formatter_class=layout,
            **options,
        )
        made.set_defaults(function=function)
        return made

    for verb in verbs or _VERBS:
        _VERBS[verb](command)
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
    given = with_verb(list(sys.argv[1:] if arguments is None else arguments))
    grammar = parser(*(verb for verb in given[:1] if verb in _VERBS))
    options = grammar.parse_args(given)
    try:
        return options.function(options)
    except PhsError as error:
        if launching.launched_rank() == 0:
            print(f"phs_mpi: error: {printable(str(error))}", file=sys.stderr, flush=True)
        launching.let_the_first_rank_speak()
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
    if not arguments or arguments[0] in {*_VERBS, "-h", "--help", "--version"}:
        return arguments
    return ["run", *arguments]


# -- what the commands take -----------------------------------------------------------------


def _add_run(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command(
        "run",
        run_command.run,
        "evaluate the parameter sets of an experiment",
        run_command.MORE,
        epilog=run_command.EXAMPLES + run_command.STATUSES,
    )
    run_command.add_arguments(made)


def _add_table(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("table", _table, "print the parameter sets without running them", _TABLE)
    made.add_argument("experiment", type=Path, help="the file that defines the experiment")
    made.add_argument("--csv", type=Path, metavar="FILE", help="write them as CSV ('-': print)")
    made.add_argument(
        "--seed", type=run_command.seed_number, help="overrides the experiment's seed"
    )
    made.add_argument("--rows", type=int, default=50, help="rows to print at most (default 50)")


def _add_status(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("status", _status, "tell how far a run is, also while it runs", _STATUS)
    made.add_argument("file", type=Path, help="the results file")
    made.add_argument(
        "-w",
        "--watch",
        type=float,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="again every so many seconds (default 2) until all is evaluated",
    )
    made.add_argument(
        "--verify",
        action="store_true",
        help="check every row, the log and the definition, and say what can be trusted; exit "
        "status 0: all of it, 1: something is damaged, 2: it is no results file",
    )


def _add_best(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("best", _best, "print the best parameter set as Python", _BEST)
    made.add_argument("file", type=Path, help="the results file")


def _add_explain(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("explain", _explain, "tell why a Bayesian set was proposed", _EXPLAIN)
    made.add_argument("file", type=Path, help="the results file")
    made.add_argument("index", type=int, help="the parameter set")


def _add_export(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("export", _export, "write the results in another format", _EXPORT)
    made.add_argument("file", type=Path, help="the results file")
    made.add_argument(
        "--to", choices=("csv", "json", "parquet", "optuna"), default="csv", help="default: csv"
    )
    made.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to (default: beside the results file; '-' prints CSV or JSON)",
    )


def _add_plot(command: Callable[..., argparse.ArgumentParser]) -> None:
    from . import plot_command

    made = command("plot", plot_command.run, "draw figures from results files", plot_command.MORE)
    plot_command.add_arguments(made)


def _add_compare(command: Callable[..., argparse.ArgumentParser]) -> None:
    from . import compare_command

    made = command(
        "compare", compare_command.run, "put several runs side by side", compare_command.MORE
    )
    compare_command.add_arguments(made)


def _add_report(command: Callable[..., argparse.ArgumentParser]) -> None:
    from . import report_command

    made = command(
        "report", report_command.run, "write one HTML page with everything", report_command.MORE
    )
    report_command.add_arguments(made)


def _add_completion(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("completion", _completion, "help a shell to complete phs-mpi", _COMPLETION)
    made.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


_VERBS = {
    "run": _add_run,
    "table": _add_table,
    "status": _add_status,
    "best": _add_best,
    "explain": _add_explain,
    "export": _add_export,
    "plot": _add_plot,
    "compare": _add_compare,
    "report": _add_report,
    "completion": _add_completion,
}


# -- commands -----------------------------------------------------------------------------


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

    if options.verify:
        from .store.verify import verify
        from .verdict import verdict

        found = verify(options.file)
        print(printable(verdict(found)))
        return 0 if found.sound else 1
    while True:
        snapshot = read(options.file)
        text = printable(status_text(snapshot))
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

    print(printable(best_text(read(options.file))))
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
    print(printable(words))
    return 0 if same else 1


def _completion(options: argparse.Namespace) -> int:
    from .frames import needed

    shtab = needed("shtab", "completion", "completion")
    grammar = parser()
    grammar.prog = "phs-mpi"  # the program that the package installs; `python -m` is not completed
    commands = next(a.choices for a in grammar._actions if isinstance(a.choices, dict))
    for command in commands.values():
        for action in command._actions:
            if action.type is Path:
                action.complete = shtab.FILE
    print(shtab.complete(grammar, shell=options.shell))
    return 0
