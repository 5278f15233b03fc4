"""Memory of a rank against results.

    python scripts/bench/run.py memory

Real runs on three ranks of evaluations that do nothing: how far the largest memory of a rank is
above that of a run of ten. The log alone (and read by a worker that proposes) is also filled
directly, up to a million results. Beside them stand the bytes that the content has.
"""

from __future__ import annotations

import subprocess
import sys

from harness import Report, Table
from overhead import EXPERIMENT
from startup import told_by_ranks

#: Bytes that a result has at least: two entries of kind (1), index (8), worker (4) and result (8).
CONTENT = 2 * 21

LOG_ALONE = """
import numpy as np
from phs_mpi.log import EntryKind, Log, LogEntry, LogReader
def size():
    return 1024 * int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])
before, log = size(), Log()
row = np.zeros(1, [("x", "f8"), ("y", "f8")])
for index in range({results}):
    log.append(LogEntry(EntryKind.STARTED, index, 1, row=row.copy()[0] if {searched} else None))
    log.append(LogEntry(EntryKind.COMPLETED, index, 1, 0.5))
filled, reader = size(), LogReader(log)
for length in range(0, len(log) + 1, 1000):
    reader.advance(length)
print(filled - before, size() - filled)
"""


def log_alone(results: int, searched: bool) -> tuple[int, int]:
    """Bytes of a log of so many results, and of a reader of it."""
    code = LOG_ALONE.format(results=results, searched=searched)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    log, reader = map(int, done.stdout.split())
    return log, reader


def _peaks(results: int) -> list[int]:
    text = EXPERIMENT.format(evaluations=results, capture=False)
    arguments = ("-m", "phs_mpi", "start.py", "--quiet", "--no-store")
    return [told["peak"] for told in told_by_ranks(3, *arguments, experiment=text)]


def measure(quick: bool) -> Report:
    """All of it."""
    report = Report()
    runs = Table(
        "Real runs, -n 3: memory of a rank above that of a run of ten",
        ["results", "rank 0, MiB", "worker, MiB", "worker, bytes a result", "of the content"],
    )
    base = _peaks(10)
    for results in (200,) if quick else (1000, 10_000, 100_000):
        above = [max(peak - before, 0) for peak, before in zip(_peaks(results), base, strict=True)]
        worker = max(above[1:])
        each = worker / results
        runs.rows.append([results, above[0] / 2**20, worker / 2**20, each, each / CONTENT])
        report.figures[f"bytes a result, {results}"] = each
    alone = Table(
        "The log class alone, filled directly: MiB",
        [
            "results",
            "log, drawn sets",
            "of the content",
            "log, Bayesian sets of two parameters",
            "read by a worker that proposes, on top",
        ],
    )
    for results in (1000,) if quick else (1000, 10_000, 100_000, 1_000_000):
        log, _ = log_alone(results, False)
        searched, reader = log_alone(results, True)
        mib = [size / 2**20 for size in (log, searched, reader)]
        alone.rows.append([results, mib[0], log / (CONTENT * results), *mib[1:]])
        report.figures |= {f"log bytes, {results}": float(log)}
    report.tables += [runs, alone]
    return report
