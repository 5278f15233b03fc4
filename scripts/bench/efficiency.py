"""Work done / (workers x wall time), for evaluations of log-normal length.

    python scripts/bench/run.py efficiency

Work is what the evaluations were asked to take, wall time reaches from the first worker's first
evaluation to the end of the last. Since the last evaluations do not end together, the best that
anybody could reach is below 1: the ceiling is that of the same lengths in the same order, given out
at no cost. Evaluations are asleep (then workers may be more than cores), or compute, on as many
workers as there are cores: rank 0 then shares them. Other tools, and processes that do nothing
else, run the same lengths.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from durations import duration, ideal
from harness import PEERS, Goal, Report, Table, peer_python, peer_versions
from overhead import HERE, MPI_PEERS, mpirun, peer_ranks

from phs_mpi import analysis
from phs_mpi.store import read

EXPERIMENT = """
import sys, time
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random

sys.path.insert(0, {here!r})
from durations import duration

def asleep(**values):
    time.sleep(duration(phs_mpi.current().index, {mean}))
    return sum((value - 1) ** 2 for value in values.values())

def computing(x):
    until = time.thread_time() + duration(phs_mpi.current().index, {mean})
    while time.thread_time() < until:
        for _ in range(1000):
            x = x * 1.0000001
    return (x - 1) ** 2

names = ["x", "a", "b", "c", "d", "e"][:{parameters}]
experiment = Experiment({kind}, dict.fromkeys(names, float), seed=1)
experiment.add({drawn}, **dict.fromkeys(names, Random(-5, 5)))
if {searched}:
    experiment.add({searched}, **dict.fromkeys(names, Bayesian(-5, 5)))
"""


class Case(NamedTuple):
    """One run: workers, evaluations, mean seconds, how they pass, Bayesian ones among them."""

    workers: int
    count: int
    mean: float
    kind: str = "asleep"
    searched: int = 0
    parameters: int = 1

    def ceiling(self) -> float:
        """The best efficiency that there is."""
        return self.efficiency(ideal(self.durations(), self.workers))

    def efficiency(self, wall: float) -> float:
        """Of a run that took so many seconds."""
        return sum(self.durations()) / (self.workers * wall)

    def durations(self) -> list[float]:
        """Seconds of each evaluation."""
        return [duration(index, self.mean) for index in range(self.count)]


def ours(case: Case) -> tuple[float, list[float]]:
    """Efficiency of phs_mpi, and shares of evaluating, proposing, waiting as it records them."""
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(
            here=str(HERE),
            mean=case.mean,
            kind=case.kind,
            drawn=case.count - case.searched,
            searched=case.searched,
            parameters=case.parameters,
        )
        Path(folder, "lengths.py").write_text(text)
        mpirun(case.workers + 1, "-m", "phs_mpi", "lengths.py", "--quiet", cwd=folder)
        snapshot = read(Path(folder, "lengths.h5"))
    shares = [float(share) for share in analysis.utilisation(snapshot).overall()]
    return case.efficiency(analysis.wall_time(snapshot)), shares


def peer(name: str, case: Case) -> float:
    """Efficiency of another tool."""
    arguments = [HERE / "peers_mpi.py", name, case.count, "--mean", case.mean]
    if name == "futures":
        output = mpirun(case.workers + 1, "-m", "mpi4py.futures", *arguments)
    else:
        output = mpirun(peer_ranks(name, case.workers), *arguments, python=peer_python())
    return case.efficiency(float(re.search(r"took ([\d.e-]+)", output)[1]))


BARE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from durations import duration
mean, kind, *indices = sys.argv[2:]
lengths = [duration(int(index), float(mean)) for index in indices]
begun, x = time.perf_counter(), 1.0
for length in lengths:
    if kind == "asleep":
        time.sleep(length)
    else:
        until = time.thread_time() + length
        while time.thread_time() < until:
            for _ in range(1000):
                x = x * 1.0000001
print(sum(lengths) / (time.perf_counter() - begun))
"""


def bare(case: Case) -> float:
    """Share that is left of the ceiling where processes do only this: a raw limit."""
    started = []
    for worker in range(case.workers):
        indices = map(str, range(worker, case.count, case.workers))
        command = [sys.executable, "-c", BARE, str(HERE), str(case.mean), case.kind, *indices]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    shares = [float(process.communicate()[0]) for process in started]
    return sum(shares) / len(shares)


def cases(cores: int) -> list[Case]:
    """What is measured."""
    few, many = cores, 8 * cores
    return [
        Case(few, 300 * few, 0.01),
        Case(few, 200 * few, 0.05),
        Case(few, 200 * few, 0.05, "computing"),
        # Of one parameter a parabola is solved to the last digit by then.
        Case(few, 200 * few, 0.05, searched=20 * few),
        Case(few, 200 * few, 0.05, searched=20 * few, parameters=6),
        Case(many, 60 * many, 0.05),
        # One worker less: rank 0 has a core of its own.
        *([Case(few - 1, 200 * (few - 1), 0.05, "computing")] if few > 1 else []),
        Case(few, 12 * few, 1.0),
        Case(few, 12 * few, 1.0, "computing"),
        Case(few, 12 * few, 1.0, searched=6 * few),
        Case(many, 10 * many, 1.0),
        Case(many, many + few, 10.0),
    ]


def measure(quick: bool) -> Report:
    """All of it."""
    report = Report()
    cores = os.cpu_count() or 1
    measured = [Case(2, 40, 0.01), Case(2, 20, 0.01, "computing", 5)] if quick else cases(cores)
    table = Table(
        "Efficiency: work / (workers x wall)",
        [
            "mean, s",
            "workers",
            "evaluations (Bayesian)",
            "",
            "efficiency",
            "ceiling",
            "of the ceiling",
            "bare processes, of it",
            "evaluating, proposing, waiting",
        ],
    )
    for case in measured:
        found, shares = ours(case)
        share = found / case.ceiling()
        alone = f"{bare(case):.4f}" if case.kind == "computing" else ""
        split = ", ".join(f"{100 * value:.1f} %" for value in shares)
        evaluations = f"{case.count} ({case.searched})"
        if case.searched:
            evaluations += f", {case.parameters} parameter{'s' if case.parameters > 1 else ''}"
        table.rows.append(
            [case.mean, case.workers, evaluations, case.kind]
            + [f"{found:.4f}", f"{case.ceiling():.4f}", f"{share:.4f}", alone, split]
        )
        name = f"mean {case.mean:g} s, {case.workers} workers, {case.kind}"
        if case.searched:
            name += f", half or fewer Bayesian of {case.parameters}"
        report.figures[name] = found
        goal = {0.05: 0.985, 1.0: 0.99}.get(case.mean)
        if goal and case.workers <= cores:
            report.goals.append(Goal(f"of the ceiling, {name}", goal, share))
    beside = Case(3, 20, 0.01) if quick else Case(3, 300, 0.05)
    names = {"phs_mpi": lambda: ours(beside)[0], "mpi4py.futures": lambda: peer("futures", beside)}
    for tool, (name, _) in MPI_PEERS.items():
        if peer_python() is None or not peer_versions()[tool]:
            report.left_out.append(f"{name}: not in {PEERS} (scripts/bench/peers.sh puts it there)")
        else:
            names[name] = lambda tool=tool: peer(tool, beside)
    tools = Table(
        f"Beside other tools: {beside.workers} workers, {beside.count} evaluations of "
        f"{1e3 * beside.mean:g} ms asleep",
        ["", "efficiency", "of the ceiling"],
    )
    for name, found_by in names.items():
        found = found_by()
        tools.rows.append([name, f"{found:.4f}", f"{found / beside.ceiling():.4f}"])
    alone = bare(beside)
    tools.rows.append(
        ["processes that only sleep", f"{alone * beside.ceiling():.4f}", f"{alone:.4f}"]
    )
    report.tables += [table, tools]
    return report
