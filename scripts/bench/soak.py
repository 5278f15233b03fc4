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

import psutil
from harness import unshared
from overhead import mpirun_command

from phs_mpi import analysis
from phs_mpi.store import read

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


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--ranks", type=int, default=64)
    options.add_argument("--evaluations", type=int, default=20_000)
    options.add_argument("--seconds", type=float, default=0.2, help="median of an evaluation")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(seconds=given.seconds, evaluations=given.evaluations)
        Path(folder, "soak.py").write_text(text)
        command, environment = mpirun_command(
            given.ranks, "-m", "phs_mpi", "soak.py", "--check-log"
        )
        with open(Path(folder, "out.txt"), "w") as out:
            run = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
            samples = []
            while run.poll() is None:
                time.sleep(5.0)
                calls = Path(folder, "calls.txt")
                if calls.exists() and calls.stat().st_size:
                    sizes = [unshared(process) for process in ranks_below(run.pid)]
                    if len(sizes) == given.ranks and all(sizes):
                        samples.append((len(calls.read_text().splitlines()), sizes))
        printed = Path(folder, "out.txt").read_text()
        if run.returncode:
            sys.exit(f"the run ended with {run.returncode}:\n{printed}")
        report(given, read(Path(folder, "soak.h5"), verify=True), folder, samples)
        print(next(line for line in printed.splitlines() if "same log" in line))


def report(given, snapshot, folder, samples):
    """Print what was found."""
    counts = analysis.counts(snapshot)
    print(f"-n {given.ranks} on {os.cpu_count()} cores, {given.evaluations} evaluations")
    print(f"{counts.done} done, {counts.failed} failed, {counts.left} left")
    lines = [line.split() for line in Path(folder, "calls.txt").read_text().splitlines()]
    times = collections.Counter(int(index) for index, _ in lines)
    wrong = sum(
        times[index] != 1 or bool(int(fails)) == bool(snapshot.done[int(index)])
        for index, fails in ((int(i), f) for i, f in lines)
    )
    print(f"{given.evaluations - len(times)} never called, {wrong} called twice or recorded wrong")
    for done, sizes in samples[:: max(1, len(samples) // 8)]:
        middle = statistics.median(sizes[1:]) / 2**20
        print(
            f"after {done:6} evaluations: rank 0 {sizes[0] / 2**20:6.1f} MiB, "
            f"workers {middle:6.1f} (at most {max(sizes[1:]) / 2**20:.1f})"
        )
    shares = analysis.utilisation(snapshot).overall()
    names = ("evaluating", "proposing", "waiting")
    print(", ".join(f"{100 * s:.2f} % {name}" for s, name in zip(shares, names, strict=True)))
    print(f"{analysis.wall_time(snapshot):.1f} s")


if __name__ == "__main__":
    main()
