"""The results file: rows per second against ranks, going on with and looking at large files.

    python scripts/bench/run.py store

Beside the rows stands a bare `pwrite` of the same bytes by the same ranks; beside resuming and
`status` stands reading all bytes of the file. Large files are made by copying one committed row,
with its own number and checksum.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from harness import Goal, Report, Table
from overhead import HERE, mpirun

from phs_mpi import Experiment, Random
from phs_mpi.log import EntryKind, Outcome, Proposal, Status
from phs_mpi.store import hdf5, open_store, prepare
from phs_mpi.store.creation import write_rows
from phs_mpi.store.schema import LOG_DTYPE, checksum

TEXT = """
from phs_mpi import Experiment, Random

def target(x, y):
    return x + y

experiment = Experiment(target, {{"x": float, "y": float}})
experiment.add({sets}, x=Random(-5, 5), y=Random(-5, 5))
"""


def target(x, y):
    return x + y


def experiment_of(sets: int) -> Experiment:
    """The experiment of TEXT."""
    experiment = Experiment(target, {"x": float, "y": float})
    experiment.add(sets, x=Random(-5, 5), y=Random(-5, 5))
    return experiment


def new_file(path: Path, experiment: Experiment) -> None:
    """Make its results file, empty."""
    text = TEXT.format(sets=len(experiment.table()))
    prepare(path, experiment.table(), experiment.describe(), text, {"command": "bench"})


def fill(path: Path, experiment: Experiment, left: int) -> None:
    """Make a results file in which all but the last `left` sets are done."""
    new_file(path, experiment)
    table = experiment.table()
    done = len(table) - left
    with open_store(path, table) as store:
        proposal = Proposal(0, table.defined(0), table.source(0))
        outcome = Outcome(0, Status.DONE, result=0.5, worker=1, host="node-1", start=1e9)
        store.commit(proposal, outcome)
    with hdf5.open_plain(path, "r+") as file:
        stored = file["evaluations"]
        rows = np.repeat(stored[:1], done)
        rows["values"] = table.values[:done]
        rows["start"] = 1e9 + np.arange(done) * 0.1
        rows["end"] = rows["start"] + 0.1
        rows["result"] = np.random.default_rng(1).random(done)
        rows["worker"] = 1 + np.arange(done) % 63
        raw, width = rows.view(np.uint8).data, rows.dtype.itemsize
        rows["checksum"] = [checksum(raw[k : k + width]) for k in range(0, len(raw), width)]
        write_rows(stored, 0, rows)
        log = np.zeros(2 * done, LOG_DTYPE)
        log["kind"][::2], log["kind"][1::2] = EntryKind.STARTED, EntryKind.COMPLETED
        log["index"] = np.arange(done).repeat(2)
        write_rows(file["log"], 0, log)


#: Runs a module as `python -m` does, and tells how much memory it had at most: what the parent is
#: told (ru_maxrss) is not less than the parent's own.
MODULE = """
import re, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    print("peak", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


class Used(NamedTuple):
    """What a program took: seconds, and bytes of memory at most."""

    wall: float
    memory: int


def used(module: str, *arguments, cwd: str) -> Used:
    """Run a module of Python alone."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MODULE, module, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return Used(wall, 1024 * int(done.stdout.split()[-1]))


def measure(quick: bool) -> Report:
    """All of it."""
    report = Report()
    table = Table(
        "Rows committed per second by all ranks together",
        ["ranks", "rows/s", "µs a row and rank", "bare pwrite", "of it"],
    )
    ranks_and_rows = {1: 100, 2: 100} if quick else {1: 8000, 2: 8000, 4: 8000, 8: 8000, 16: 4000}
    for ranks, rows in ranks_and_rows.items():
        found = [_rows_per_second(ranks, rows) for _ in range(1 if quick else 3)]
        ours, raw = (statistics.median(values) for values in zip(*found, strict=True))
        table.rows.append([ranks, ours, 1e6 * ranks / ours, raw, ours / raw])
        report.figures[f"rows per second, {ranks} ranks"] = ours
    large = Table(
        "Large files: seconds, MiB at most (resuming: ten sets are left, one process)",
        [
            "results",
            "file, MiB",
            "read it all, s",
            "resume, s",
            "resume, MiB",
            "`status`, s",
            "`status`, MiB",
            "`status --verify`, s",
        ],
    )
    for results in (1000,) if quick else (100_000, 1_000_000):
        large.rows.append(_large(results, report))
    report.tables += [table, large]
    return report


def _rows_per_second(ranks: int, rows: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.h5")
        new_file(path, experiment_of(rows))
        output = mpirun(ranks, HERE / "store_rows.py", path, rows)
    ours, raw = map(float, output.split()[-2:])
    return ours, raw


def _large(results: int, report: Report) -> list:
    with tempfile.TemporaryDirectory() as folder:
        path, sets = Path(folder, "large.h5"), results + 10
        Path(folder, "large.py").write_text(TEXT.format(sets=sets))
        fill(path, experiment_of(sets), left=10)
        begun = time.perf_counter()
        path.read_bytes()
        reading = time.perf_counter() - begun
        look = min(used("phs_mpi", "status", path, cwd=folder) for _ in range(3))
        verify = used("phs_mpi", "status", "--verify", path, cwd=folder)
        start = used("phs_mpi", "--help", cwd=folder)
        run = used("phs_mpi", "large.py", "--backend", "serial", "--quiet", cwd=folder)
        size = path.stat().st_size / 2**20
    report.figures |= {
        f"resume seconds, {results}": run.wall,
        f"status seconds, {results}": look.wall,
        f"resume bytes, {results}": float(run.memory - start.memory),
    }
    report.goals.append(
        Goal(f"`status`, {results:,} results, seconds", 1.0, look.wall, at_most=True)
    )
    return [
        results,
        size,
        reading,
        run.wall,
        run.memory / 2**20,
        look.wall,
        look.memory / 2**20,
        verify.wall,
    ]
