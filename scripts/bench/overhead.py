"""Overhead: evaluations of a target that does nothing, per second.

    python scripts/bench/overhead.py [--ranks 4] [--evaluations 6000] [--repeats 3]
    python scripts/bench/run.py overhead        # on 2 to 64 ranks, and other tools beside it

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
from importlib.util import find_spec
from pathlib import Path

from harness import PEERS, Goal, Report, Table, peer_python, peer_versions

HERE = Path(__file__).resolve().parent

EXPERIMENT = """
from phs_mpi import Experiment, Random

def nothing(x):
    return x

experiment = Experiment(nothing, {{"x": float}}, capture={capture})
experiment.add({evaluations}, x=Random(0, 1))
"""


def mpirun_command(ranks, *arguments, python=sys.executable):
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
    return [program, "-n", str(ranks), python, *map(str, arguments)], environment


def mpirun(ranks, *arguments, cwd=None, python=sys.executable):
    """What such a program prints; ends this one if it fails."""
    command, environment = mpirun_command(ranks, *arguments, python=python)
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


def ping_pong(ranks, messages=60_000):
    return float(mpirun(ranks, HERE / "pingpong.py", messages).split()[0])


def evaluations_per_second(ranks, evaluations, *options, capture=True):
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(evaluations=evaluations, capture=capture)
        Path(folder, "noop.py").write_text(text)
        output = mpirun(ranks, "-m", "phs_mpi", "noop.py", *options, cwd=folder)
    return float(re.search(r"\(([\d.e+]+) evaluations/s\)", output)[1])


def cases(ranks, evaluations, messages=60_000):
    """What is measured on so many ranks: name to a function that returns a rate per second."""
    return {
        "ping-pong, 8 bytes": lambda: ping_pong(ranks, messages),
        "store on": lambda: evaluations_per_second(ranks, evaluations),
        "store on, no capture": lambda: evaluations_per_second(ranks, evaluations, capture=False),
        "store off": lambda: evaluations_per_second(
            ranks, evaluations, "--no-store", capture=False
        ),
    }


def in_turn(measures, repeats):
    """Figures of each of them; in turn, so that all see the same machine."""
    figures = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            figures[name].append(measure())
    return figures


def spread(values):
    """Lowest to highest."""
    return f"{min(values):,.0f} to {max(values):,.0f}"


#: Ranks: evaluations, and messages of the ping-pong. Ranks that share a core are slow at both.
SIZES = {
    2: (6000, 60_000),
    4: (6000, 60_000),
    8: (6000, 30_000),
    16: (6000, 12_000),
    64: (2000, 4_000),
}


def measure(quick: bool) -> Report:
    """On 2 to 64 ranks, and other tools on three workers."""
    report = Report()
    table = Table(
        "Evaluations that do nothing, per second, by ranks; of the ping-pong in brackets",
        ["ranks", "ping-pong", "store off", "store on, no capture", "store on"],
    )
    rates = {}
    for ranks, sizes in ({4: (200, 1000)} if quick else SIZES).items():
        repeats = 1 if quick or ranks > 4 else 3
        figures = in_turn(cases(ranks, *sizes), repeats)
        rate = {name: statistics.median(values) for name, values in figures.items()}
        raw = rate["ping-pong, 8 bytes"]
        names = ("store off", "store on, no capture", "store on")
        table.rows.append([ranks, raw, *(f"{rate[n]:,.0f} ({rate[n] / raw:.2f})" for n in names)])
        report.figures |= {f"{n}, -n {ranks}": value for n, value in rate.items()}
        rates[ranks] = rate
    report.tables.append(table)
    measures, report.left_out = others(200 if quick else 3000, quick)
    names = {"phs_mpi, store off": "store off", "phs_mpi, store on": "store on"}
    four = cases(4, 200 if quick else 6000)
    measures |= {name: four[case] for name, case in names.items()}
    slow = {name: measures.pop(name) for name in SLOW if name in measures}
    figures = in_turn(slow, 1) | in_turn(measures, 1 if quick else 3)
    rate = {name: statistics.median(values) for name, values in figures.items()}
    ours = rate["phs_mpi, store on"]
    report.tables.append(
        Table(
            "Three workers, evaluations that do nothing: phs_mpi and others",
            ["", "per second", "lowest to highest", "phs_mpi with its store to it"],
            [[name, r, spread(figures[name]), ours / r] for name, r in rate.items()],
        )
    )
    report.figures |= {name: value for name, value in rate.items()}
    report.goals += [
        Goal(
            "store off, -n 4, of the ping-pong",
            0.25,
            rates[4]["store off"] / rates[4]["ping-pong, 8 bytes"],
        ),
        Goal("store on, of mpi4py.futures", 1.0, ours / rate["mpi4py.futures"]),
    ]
    for name in (JOURNAL, *SLOW):
        if name in rate:
            report.goals.append(Goal(f"store on, of {name}", 3.0, ours / rate[name]))
    return report


JOURNAL = "Optuna, three processes, journal file"

#: Tools of their own environment, and of how many of the evaluations they do one: slow ones few.
MPI_PEERS = {
    "schwimmbad": ("schwimmbad", 1),
    "libensemble": ("libEnsemble", 1),
    "propulate": ("Propulate", 5),
    "deephyper": ("DeepHyper, random search", 20),
}

#: Those of them that record what they find; measured once, since they take seconds to start.
SLOW = [MPI_PEERS[peer][0] for peer in ("propulate", "deephyper")]


def peer_ranks(peer, workers):
    """Ranks of so many workers: Propulate alone has no further one that gives them out."""
    return workers if peer == "propulate" else workers + 1


def others(evaluations, quick):
    """Other tools on three workers: functions that return a rate; and what is left out."""
    program, python = HERE / "peers_mpi.py", peer_python()
    measures = {
        "mpi4py.futures": lambda: _rate(
            mpirun(4, "-m", "mpi4py.futures", program, "futures", evaluations), evaluations
        )
    }
    left_out = []
    for peer, (name, share) in MPI_PEERS.items():
        if python is None or not peer_versions()[peer]:
            left_out.append(f"{name}: not in {PEERS} (scripts/bench/peers.sh puts it there)")
            continue
        count = evaluations // share
        measures[name] = lambda peer=peer, count=count: _rate(
            mpirun(peer_ranks(peer, 3), program, peer, count, python=python), count
        )
    for package, name, peer, few in (
        ("distributed", "dask, one call at a time", "dask", 300),
        ("optuna", JOURNAL, "optuna", 60),
    ):
        if find_spec(package) is None:
            left_out.append(f"{name}: {package} is not installed")
            continue
        count = few // 3 if quick else min(evaluations, 5 * few)
        measures[name] = lambda peer=peer, count=count: _rate(
            _python(HERE / "peers_local.py", peer, count), count
        )
    return measures, left_out


def _rate(output, evaluations):
    return evaluations / float(re.search(r"took ([\d.e-]+)", output)[1])


def _python(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        sys.exit(f"{arguments[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--ranks", type=int, default=4)
    options.add_argument("--evaluations", type=int, default=6000)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    figures = in_turn(cases(given.ranks, given.evaluations), given.repeats)
    raw = statistics.median(figures["ping-pong, 8 bytes"])
    print(f"-n {given.ranks} on {os.cpu_count()} cores, median of {given.repeats} (min to max)")
    print(f"{'':22}{'per second':>12}{'range':>20}{'of ping-pong':>14}")
    for name, values in figures.items():
        middle = statistics.median(values)
        print(f"{name:22}{middle:12,.0f}{spread(values):>20}{middle / raw:14.3f}")


if __name__ == "__main__":
    main()
