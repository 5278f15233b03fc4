"""Overhead: evaluations of a target that does nothing, per second.

    python scripts/bench/overhead.py [--ranks 4] [--evaluations 6000] [--repeats 3]

Whole runs under mpirun: schedule, exchange and (unless off) store. Beside them, in the same
script on the same machine, the raw limit: an 8-byte ping-pong between rank 0 and the workers.
Prints medians and a ratio; absolute figures mean little on a machine that is shared.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

EXPERIMENT = """
from phs_mpi import Experiment, Random

def nothing(x):
    return x

experiment = Experiment(nothing, {{"x": float}}, capture={capture})
experiment.add({evaluations}, x=Random(0, 1))
"""


def mpirun_command(ranks, *arguments):
    """Command line and environment of a Python program on so many ranks."""
    beside = Path(sys.executable).parent / "mpirun"
    program = str(beside) if beside.exists() else shutil.which("mpirun")
    environment = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    return [program, "-n", str(ranks), sys.executable, *map(str, arguments)], environment


def mpirun(ranks, *arguments, cwd=None):
    """What such a program prints; ends this one if it fails."""
    command, environment = mpirun_command(ranks, *arguments)
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        sys.exit(f"{arguments[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def ping_pong(ranks):
    return float(mpirun(ranks, HERE / "pingpong.py").split()[0])


def evaluations_per_second(ranks, evaluations, *options, capture=True):
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(evaluations=evaluations, capture=capture)
        Path(folder, "noop.py").write_text(text)
        output = mpirun(ranks, "-m", "phs_mpi", "noop.py", *options, cwd=folder)
    return float(re.search(r"\(([\d.e+]+) evaluations/s\)", output)[1])


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--ranks", type=int, default=4)
    options.add_argument("--evaluations", type=int, default=6000)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    cases = {
        "ping-pong, 8 bytes": lambda: ping_pong(given.ranks),
        "store on": lambda: evaluations_per_second(given.ranks, given.evaluations),
        "store on, no capture": lambda: evaluations_per_second(
            given.ranks, given.evaluations, capture=False
        ),
        "store off": lambda: evaluations_per_second(
            given.ranks, given.evaluations, "--no-store", capture=False
        ),
    }
    figures = {name: [] for name in cases}
    for _ in range(given.repeats):  # in turn, so that all see the same machine
        for name, measure in cases.items():
            figures[name].append(measure())
    raw = statistics.median(figures["ping-pong, 8 bytes"])
    print(f"-n {given.ranks} on {os.cpu_count()} cores, median of {given.repeats} (min to max)")
    print(f"{'':22}{'per second':>12}{'range':>20}{'of ping-pong':>14}")
    for name, values in figures.items():
        middle = statistics.median(values)
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{name:22}{middle:12,.0f}{spread:>20}{middle / raw:14.3f}")


if __name__ == "__main__":
    main()
