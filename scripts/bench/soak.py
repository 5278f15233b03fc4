"""A long run of many ranks: everything accounted for, memory, utilisation.

    python scripts/bench/soak.py [--ranks 64] [--evaluations 20000] [--seconds 0.2]

A real run under mpirun of evaluations of log-normal length (median `--seconds`, most of it asleep),
one in twenty of which fails. The target keeps an append-only log of its own. Printed: evaluations
by status in the results file, those in which file and log differ, memory of the ranks (resident,
without what they share) in the course of the run, and what the workers' time went into.
"""

import argparse
import collections
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from harness import Goal, Report, Table, unshared
from overhead import mpirun_command

from phs_mpi import analysis
from phs_mpi.store import read
from phs_mpi.store.snapshot import Snapshot

EXPERIMENT = """
import os, random, time
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random

calls = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def target(x):
    chance = random.Random(phs_mpi.current().seed)
    time.sleep({seconds} * chance.lognormvariate(0.0, 0.7))
    fails = chance.random() < 0.05
    os.write(calls, f"{{phs_mpi.current().index}} {{int(fails)}}\\n".encode())
    if fails:
        raise RuntimeError("one in twenty")
    return (x - 1) ** 2

experiment = Experiment(target, {{"x": float}})
experiment.add({evaluations}, x=Random(-5, 5))
"""


def ranks_below(launcher):
    """Processes of ranks, in order of rank."""
    found = {}
    for process in psutil.Process(launcher).children(recursive=True):
        try:
            found[int(process.environ()["OMPI_COMM_WORLD_RANK"])] = process
        except (psutil.Error, KeyError):
            continue
    return [found[rank] for rank in sorted(found)]


class Soak(NamedTuple):
    """What a run left.

    Attributes
    ----------
    evaluations : int
        So many there were.
    snapshot : Snapshot
        The results file.
    calls : list of (int, bool)
        Index and whether it failed, as the target's log has it.
    samples : list of (int, list of int)
        In the course of the run: evaluations so far, bytes of each rank.
    same_log : str
        What the run says of the ranks' logs.
    """

    evaluations: int
    snapshot: Snapshot
    calls: list
    samples: list
    same_log: str

    @property
    def never(self):
        """Evaluations that were never called."""
        return self.evaluations - len({index for index, _ in self.calls})

    @property
    def wrong(self):
        """Calls of what was called twice, or is recorded otherwise than the target has it."""
        times = collections.Counter(index for index, _ in self.calls)
        done = self.snapshot.done
        return sum(times[index] != 1 or fails == bool(done[index]) for index, fails in self.calls)

    def some_samples(self):
        """A few of them, in MiB: evaluations, rank 0, median and largest worker."""
        for done, sizes in self.samples[:: max(1, len(self.samples) // 8)]:
            middle = statistics.median(sizes[1:]) / 2**20
            yield done, sizes[0] / 2**20, middle, max(sizes[1:]) / 2**20


def soak(ranks, evaluations, seconds, between=5.0):
    """Do the run; memory is looked at every `between` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(seconds=seconds, evaluations=evaluations)
        Path(folder, "soak.py").write_text(text)
        command, environment = mpirun_command(ranks, "-m", "phs_mpi", "soak.py", "--check-log")
        calls, samples = Path(folder, "calls.txt"), []
        with open(Path(folder, "out.txt"), "w") as out:
            run = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
            while run.poll() is None:
                time.sleep(between)
                if calls.exists() and calls.stat().st_size:
                    sizes = [unshared(process) for process in ranks_below(run.pid)]
                    if len(sizes) == ranks and all(sizes):
                        samples.append((len(calls.read_text().splitlines()), sizes))
        printed = Path(folder, "out.txt").read_text()
        if run.returncode:
            sys.exit(f"the run ended with {run.returncode}:\n{printed}")
        lines = [line.split() for line in calls.read_text().splitlines()]
        return Soak(
            evaluations,
            read(Path(folder, "soak.h5"), verify=True),
            [(int(index), bool(int(fails))) for index, fails in lines],
            samples,
            next(line for line in printed.splitlines() if "same log" in line),
        )


def measure(quick: bool) -> Report:
    """On 64 ranks; shorter than what this program does by itself."""
    ranks, evaluations, seconds = (3, 60, 0.02) if quick else (64, 6000, 0.3)
    found = soak(ranks, evaluations, seconds, 0.2 if quick else 5.0)
    counts = analysis.counts(found.snapshot)
    shares = analysis.utilisation(found.snapshot).overall()
    names = ["evaluating", "proposing", "waiting"]
    rows = [
        ["done", counts.done],
        ["failed, as one in twenty should", counts.failed],
        ["left", counts.left],
        ["never called", found.never],
        ["called twice or recorded wrong", found.wrong],
        ["seconds", analysis.wall_time(found.snapshot)],
        *([f"{name}, %", 100 * float(x)] for name, x in zip(names, shares, strict=True)),
    ]
    title = f"{ranks} ranks, {evaluations:,} evaluations, median {seconds:g} s"
    memory = Table(
        "MiB that a rank has to itself, in the course of the run",
        ["after evaluations", "rank 0", "a worker, median", "at most"],
        [list(sample) for sample in found.some_samples()],
    )
    report = Report([Table(title, ["", ""], rows), memory])
    report.goals.append(Goal("lost, twice or wrong", 0, found.never + found.wrong, at_most=True))
    report.figures["share of time evaluating"] = float(shares[0])
    return report


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--ranks", type=int, default=64)
    options.add_argument("--evaluations", type=int, default=20_000)
    options.add_argument("--seconds", type=float, default=0.2, help="median of an evaluation")
    given = options.parse_args()
    found = soak(given.ranks, given.evaluations, given.seconds)
    counts = analysis.counts(found.snapshot)
    print(f"-n {given.ranks} on {os.cpu_count()} cores, {given.evaluations} evaluations")
    print(f"{counts.done} done, {counts.failed} failed, {counts.left} left")
    print(f"{found.never} never called, {found.wrong} called twice or recorded wrong")
    for done, master, middle, most in found.some_samples():
        print(
            f"after {done:6} evaluations: rank 0 {master:6.1f} MiB, "
            f"workers {middle:6.1f} (at most {most:.1f})"
        )
    shares = analysis.utilisation(found.snapshot).overall()
    names = ("evaluating", "proposing", "waiting")
    print(", ".join(f"{100 * s:.2f} % {name}" for s, name in zip(shares, names, strict=True)))
    print(f"{analysis.wall_time(found.snapshot):.1f} s")
    print(found.same_log)


if __name__ == "__main__":
    main()
