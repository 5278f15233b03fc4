"""What a message, a broadcast and an evaluation cost, for simulate.py.

    python scripts/bench/run.py costs --json FILE

Real runs under mpirun in which rank 0 and the workers note the CPU time of each step: serving one
message (receive, decide, answer), announcing a batch (encode, append, one non-blocking broadcast,
against ranks and entries), taking one; and what a worker needs between two evaluations, where it is
given them one by one and where it has one ahead. Beside them the latency of an 8-byte message in
the same run.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

import h5py
import numpy as np
from harness import Report, Table
from overhead import mpirun, ping_pong

EXPERIMENT = """
import atexit, json, os, time
import phs_mpi.backends.mpi.exchange, phs_mpi.backends.mpi.master, phs_mpi.store.writer
from phs_mpi import Experiment, Random

Exchange = phs_mpi.backends.mpi.exchange.Exchange
Master = phs_mpi.backends.mpi.master.Master
rank = os.environ["OMPI_COMM_WORLD_RANK"]
noted = {{"serve": [], "announce": [], "take": [], "commit": []}}

def timed(cls, name, into, size):
    original = getattr(cls, name)
    def method(self, *arguments):
        begun = time.thread_time()
        found = original(self, *arguments)
        seconds = time.thread_time() - begun
        noted[into].append((size(self, arguments), seconds))
        return found
    setattr(cls, name, method)

timed(phs_mpi.store.writer.Store, "commit", "commit", lambda self, a: 1)
timed(Master, "_serve", "serve", lambda self, a: 1)
timed(Master, "_receive", "serve", lambda self, a: 0)
timed(Exchange, "announce", "announce", lambda self, a: len(a[0] or ()))
length = 0

def new_entries(self, arguments):
    global length
    before, length = length, len(self._log)
    return length - before

if rank != "0":
    timed(Exchange, "_take", "take", new_entries)

def tell():
    with open(f"noted.{{rank}}", "w") as file:
        json.dump(noted, file)

atexit.register(tell)

def target(x):
    time.sleep({seconds})
    return x

experiment = Experiment(target, {{"x": float}})
experiment.add({sets}, x=Random(0, 1))
"""

#: Of reading the clock twice around a step.
CLOCK_SECONDS = 1.0e-6


def noted(ranks: int, sets: int, seconds: float) -> tuple[dict, dict, np.ndarray]:
    """What rank 0 and a worker noted, and the rows of the results file."""
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(seconds=seconds, sets=sets)
        Path(folder, "costs.py").write_text(text)
        mpirun(ranks, "-m", "phs_mpi", "costs.py", "--quiet", cwd=folder)
        with h5py.File(Path(folder, "costs.h5")) as file:
            rows = file["evaluations"][:]
        told = [json.loads(Path(folder, f"noted.{rank}").read_text()) for rank in (0, 1)]
    return told[0], told[1], rows


def measure(quick: bool) -> Report:
    """All of it."""
    report = Report()
    sizes = {2: (100, 0.0), 4: (100, 0.0)} if quick else {4: (6000, 0.0), 16: (3000, 0.0)}
    if not quick:
        sizes |= {64: (4000, 0.2)}
    serving, taking, announced, rows = [], [], [], []
    for ranks, (sets, seconds) in sizes.items():
        master, worker, _ = noted(ranks, sets, seconds)
        # A message is served, then the next receive is posted.
        serve = sum(cost for _, cost in master["serve"]) / sum(n for n, _ in master["serve"])
        serving.append(serve)
        taking += worker["take"]
        mine = [(ranks - 1, n, cost) for n, cost in master["announce"] if n]
        announced += mine
        each = statistics.median(cost / n for _, n, cost in mine)
        median = statistics.median(cost for _, _, cost in mine)
        rows.append([ranks, 1e6 * serve, 1e6 * median, len(mine) / sets, 1e6 * each])
    fixed, destination, entry = _fit(
        np.array([[1, to, n] for to, n, _ in announced], float),
        np.array([cost for *_, cost in announced]),
    )
    take_fixed, take_entry = _fit(
        np.array([[1, n] for n, _ in taking], float), np.array([cost for _, cost in taking])
    )
    # So few that all go one by one, in some runs; then enough for one ahead.
    single = [noted(4, 24, 0.05)[2]["waiting"][6:] for _ in range(1 if quick else 5)]
    _, worker, calm = noted(4, 60 if quick else 300, 0.05)
    messages = 1000 if quick else 60_000
    report.figures = {
        "latency": 0.5 / ping_pong(2, messages),
        "serve": max(statistics.median(serving) - 2 * CLOCK_SECONDS, 1e-6),
        "announce": fixed,
        "announce, destination": destination,
        "announce, entry": entry,
        "take": take_fixed,
        "take, entry": take_entry,
        "commit": statistics.median(cost for _, cost in worker["commit"]),
        "between evaluations": float(np.median(np.concatenate(single))),
        "between evaluations, one ahead": float(np.median(calm["waiting"][20:-20])),
    }
    report.tables = [
        Table(
            "Rank 0: CPU microseconds",
            ["ranks", "a message", "a broadcast", "broadcasts a result", "an entry of the log"],
            rows,
        ),
        Table(
            "Costs that the simulation takes, microseconds",
            ["", "µs", "messages of 8 bytes (one way) in that time"],
            [[k, 1e6 * v, v / report.figures["latency"]] for k, v in report.figures.items()],
        ),
    ]
    return report


def _fit(terms: np.ndarray, seconds: np.ndarray) -> list[float]:
    """Least squares over what is not an outlier (a rank that lost its core), none negative."""
    kept = seconds <= np.quantile(seconds, 0.95)
    found = np.linalg.lstsq(terms[kept], seconds[kept], rcond=None)[0]
    return [float(max(value, 0.0)) for value in found]
