"""What takes the processor's time: a profile behind each bottleneck that performance.md names.

    python scripts/bench/run.py profiles

Rank 0 and a worker while evaluations do nothing, with and without a results file; a rank that
starts; a worker that proposes; a row that is committed. profiled.py runs the standard library's
profiler in the rank, by processor time, so that waiting counts only where a rank looks for
messages. Functions are put together into parts of the program by the file that they stand in. What
the profiler takes is measured and left out, yet a rank that is profiled also looks more often in
vain and has colder caches: what the same took without a profiler stands below.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
from harness import Report, Table
from overhead import HERE, mpirun
from profile_parts import PARTS, ROW_PARTS, by_part
from store import experiment_of, new_file

EXPERIMENT = """
import sys, time
sys.path.insert(0, {here!r})
import profiled
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random

profiled.watch({profiled})

def target(**x):
    if phs_mpi.current().index >= {drawn}:
        time.sleep(0.05)
    return sum((value - 1) ** 2 for value in x.values())

names = [f"x{{n}}" for n in range({parameters})]
experiment = Experiment(target, dict.fromkeys(names, float))
experiment.add({drawn}, **dict.fromkeys(names, Random(-5, 5)))
if {searched}:
    experiment.add({searched}, **dict.fromkeys(names, Bayesian(-5, 5)))
"""


def run(ranks: int, *options: str, profiled: bool = True, **sizes: int) -> tuple[list[dict], dict]:
    """What each rank told; and proposals of rank 1 as the file has them, if there is one."""
    given = {"parameters": 1, "searched": 0} | sizes
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(here=str(HERE), profiled=profiled, **given)
        Path(folder, "noop.py").write_text(text)
        mpirun(ranks, "-m", "phs_mpi", "noop.py", *options, cwd=folder)
        told = [json.loads(Path(folder, f"told.{rank}").read_text()) for rank in range(ranks)]
        if "--no-store" in options:
            return told, {}
        with h5py.File(Path(folder, "noop.h5")) as file:
            rows = file["evaluations"][:]
    mine = rows[(rows["worker"] == 1) & (rows["log_length"] > 0) & (rows["proposing"] > 0)]
    return told, {"proposed": len(mine), "wall": float(mine["proposing"].sum())}


def shares(title: str, cases: dict[str, list[list]], parts: dict[str, str], count: int) -> Table:
    """Microseconds of each part; a case has ranks with the profiler, and ranks without."""
    table = Table(title, ["part", *(text for case in cases for text in (case, "share"))])
    found = [by_part(told, parts) for told, _ in cases.values()]
    # What takes next to nothing in any case is no row of its own.
    small = [p for p in parts if all(f[p] < 0.005 * sum(f.values()) for f in found)]
    for seconds in found:
        seconds["other"] += sum(seconds.pop(part) for part in small)
    for part in found[0]:
        cells: list = [part]
        for seconds in found:
            share = seconds[part] / sum(seconds.values())
            cells += [1e6 * seconds[part] / count, f"{100 * share:.0f} %"]
        table.rows.append(cells)
    plain = [sum(rank["seconds"] for rank in ranks) for _, ranks in cases.values()]
    for name, sums in (
        ("together", [sum(seconds.values()) for seconds in found]),
        ("without a profiler", plain),
    ):
        table.rows.append([name, *(cell for s in sums for cell in (1e6 * s / count, ""))])
    return table


def loops(report: Report, evaluations: int) -> None:
    """Rank 0 and the workers of four ranks, with a results file and without one."""
    found = {}
    for case, options in (("store off", ["--quiet", "--no-store"]), ("store on", ["--quiet"])):
        told, _ = run(4, *options, drawn=evaluations)
        plain, _ = run(4, *options, drawn=evaluations, profiled=False)
        found[case] = told, plain
    for title, ranks in (("Rank 0", slice(0, 1)), ("A worker", slice(1, 4))):
        cases = {case: (told[ranks], plain[ranks]) for case, (told, plain) in found.items()}
        title += ", -n 4: microseconds of processor time an evaluation that does nothing"
        report.tables.append(shares(title, cases, PARTS, evaluations))


def start_up(report: Report, repeats: int) -> None:
    """Modules that ranks load, from their start to their end, by who made them."""
    found: list[list[dict]] = [[], []]
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            sizes = {"parameters": 1, "drawn": 8, "searched": 4}
            text = EXPERIMENT.format(here=str(HERE), profiled=False, **sizes)
            # Not profiled here: what the profiler needs is not to be among the modules.
            text = re.sub(r"(?m)^(import profiled|profiled\.watch.*)$", "", text)
            Path(folder, "noop.py").write_text(text)
            program = f'exec "{sys.executable}" -X importtime -m phs_mpi noop.py --quiet'
            program += ' 2> "told.${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"'
            mpirun(2, "-c", program, cwd=folder, python="sh")
            for rank, all_found in enumerate(found):
                all_found.append(modules(Path(folder, f"told.{rank}").read_text()))
    table = Table(
        "Importing, from the start of a rank to its end, -n 2: least of some runs",
        ["", "rank 0: modules", "ms", "a worker that proposes: modules", "ms"],
    )
    for who in MAKERS:
        cells: list = [who]
        for all_found in found:
            counts, seconds = zip(*(one[who] for one in all_found), strict=True)
            cells += [counts[0], min(seconds)]
        table.rows.append(cells)
    report.tables.append(table)


#: Who made a module.
MAKERS = ("phs_mpi", "standard library", "mpi4py and MPI_Init", "numpy", "h5py", "scipy", "others")


def modules(text: str) -> dict[str, tuple[int, float]]:
    """Number and milliseconds by itself of what ``-X importtime`` lists, by who made it."""
    found: dict[str, list[float]] = {who: [] for who in MAKERS}
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)", text):
        top = name.split(".")[0]
        who = {"mpi4py": "mpi4py and MPI_Init"}.get(top, top if top in MAKERS else "others")
        if top in sys.stdlib_module_names:
            who = "standard library"
        found[who].append(int(own) / 1e3)
    return {who: (len(times), sum(times)) for who, times in found.items()}


def searching(report: Report, drawn: int, searched: int) -> None:
    """A worker of two while it proposes between evaluations of 50 ms.

    With one parameter the problem is soon solved to the last digit, and a proposal takes several
    rounds, with models that are less and less sure of themselves; with six it takes one.
    """
    table = Table(
        "A worker that proposes, -n 3: milliseconds a proposal",
        ["parameters, results", "proposals", "rounds each", "fit", "other updates"]
        + ["models less sure", "scoring", "climbing", "other", "waiting for other workers"]
        + ["for a core", "together", "without a profiler", "importing, once"],
    )
    for parameters, first in ((1, 12), (1, drawn), (6, drawn)):
        sizes = {"parameters": parameters, "drawn": first, "searched": searched}
        told, file = run(3, "--quiet", **sizes)
        plain, plain_file = run(3, "--quiet", profiled=False, **sizes)
        of = total(told[1]["functions"])
        (_, refit), (_, update) = of("model.py", "_refit"), of("model.py", "update")
        (asked, whole), (rounds, inner) = of("model.py", "maximise"), of("maximiser.py", "maximise")
        (_, climbing), (_, proposing) = of("maximiser.py", "refine"), of("/worker.py", "propose")
        wall = file["wall"] - told[1]["importing"]
        parts = [refit, update - refit, whole - inner, inner - climbing, climbing]
        announcing = told[1]["announcing"]
        parts += [proposing - update - whole, announcing, wall - proposing - announcing, wall]
        without = (plain_file["wall"] - plain[1]["importing"]) / plain_file["proposed"]
        name = f"{parameters}, {first} to {first + searched}"
        cells = [1e3 * seconds / file["proposed"] for seconds in parts]
        cells += [1e3 * without, 1e3 * plain[1]["importing"]]
        table.rows.append([name, file["proposed"], rounds / asked, *cells])
        report.figures[f"proposal, {name}"] = without
    report.tables.append(table)


def total(functions: list[list]) -> Callable[[str, str], tuple[int, float]]:
    """Finds calls and seconds, with what they called, of functions by file and name."""

    def of(file: str, name: str) -> tuple[int, float]:
        found = [f for f in functions if f[0].endswith(file) and f[1] == name]
        return sum(f[2] for f in found), sum(f[4] for f in found)

    return of


def committing(report: Report, rows: int) -> None:
    """Filling a row and writing it, by one process and by two ranks together."""
    cases = {}
    for ranks, case in ((1, "1 rank, no MPI-IO"), (2, "2 ranks, MPI-IO")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.h5")
            new_file(path, experiment_of(rows))
            mpirun(ranks, HERE / "profiled.py", path, rows, cwd=folder)
            told = [json.loads(Path(folder, f"told.{rank}").read_text()) for rank in range(ranks)]
        cases[case] = [told, told]
    title = "Committing a row: microseconds of processor time"
    report.tables.append(shares(title, cases, ROW_PARTS, rows))


def measure(quick: bool) -> Report:
    """All of it."""
    report = Report()
    loops(report, 60 if quick else 3000)
    start_up(report, 1 if quick else 3)
    searching(report, *((30, 6) if quick else (360, 24)))
    committing(report, 40 if quick else 6000)
    return report
