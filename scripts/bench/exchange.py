"""How long a result takes from its evaluation's end into the logs of all ranks.

    python scripts/bench/exchange.py [--ranks 16] [--hold 10] [--milliseconds 50]
    python scripts/bench/run.py exchange        # also against ranks, with messages and bytes

A real run under mpirun in which one worker's target holds Python's lock for `--hold` seconds
(`ctypes.PyDLL`, as a careless C extension does). Every rank notes when each entry enters its
log; the end of each evaluation stands in the results file. Prints the latency of the others
while the lock is held and otherwise, over all pairs of a result and a rank that runs freely,
beside a raw limit of the same machine in the same run: how late a sleep of 1 ms wakes up.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from durations import utilisation
from harness import Report, Table
from overhead import HERE, mpirun

EXPERIMENT = """
import atexit, ctypes, json, os, sys, time
import phs_mpi.log
import phs_mpi.backends.mpi.exchange
from phs_mpi import Experiment, Grid

sys.path.insert(0, {here!r})
from durations import duration

seen = []
append = phs_mpi.log.Log.append

def noting(self, entry):
    append(self, entry)
    seen.append((int(entry.kind), entry.index, time.time()))

phs_mpi.log.Log.append = noting
rank = os.environ["OMPI_COMM_WORLD_RANK"]
Exchange, sent = phs_mpi.backends.mpi.exchange.Exchange, []
broadcast = Exchange._broadcast

def counting(self, buffer):
    sent.append(len(buffer))
    return broadcast(self, buffer)

if rank == "0":
    Exchange._broadcast = counting
    atexit.register(lambda: open("sent.json", "w").write(json.dumps([len(sent), sum(sent)])))
atexit.register(lambda: open(f"seen.{{rank}}.json", "w").write(json.dumps(seen)))
late = []

def target(n):
    begun = time.perf_counter()
    time.sleep(0.001)
    late.append(time.perf_counter() - begun - 0.001)
    if n == {first}:
        ctypes.PyDLL(None).usleep(int({hold} * 1e6))
    else:
        time.sleep({length})
    return float(n)

atexit.register(lambda: open(f"late.{{rank}}.json", "w").write(json.dumps(late)))
experiment = Experiment(target, {{"n": int}})
experiment.add(n=Grid(list(range({sets}))))
"""


class Found(NamedTuple):
    """Latencies in seconds, and what rank 0 has broadcast.

    Attributes
    ----------
    during, otherwise : list of float
        From the end of an evaluation into the log of another rank: while the lock was held, and
        not.
    complete : list of float
        From the end of an evaluation into the log of the last rank.
    late : list of float
        How late a sleep of 1 ms woke up.
    results, broadcasts, sent : int
        Evaluations, broadcasts of rank 0, bytes in them (to one rank).
    stuck : int
        The worker that held the lock.
    held : float
        For so many seconds.
    utilisation : float
        Share of the workers' time in evaluations, while all are at work.
    """

    during: list[float]
    otherwise: list[float]
    complete: list[float]
    late: list[float]
    results: int
    broadcasts: int
    sent: int
    stuck: int
    held: float
    utilisation: float


def exchanged(ranks: int, seconds: float, hold: float, each: float, varying: bool = False) -> Found:
    """A run in which every worker evaluates `each` sets, one of which holds the lock.

    All take so many seconds, or log-normally so many in the mean (then nothing else).
    """
    workers = ranks - 1
    first, sets = (3 * workers if hold else -1), int(workers * each)
    with tempfile.TemporaryDirectory() as folder:
        length = f"duration(n, {seconds})" if varying else str(seconds)
        text = EXPERIMENT.format(first=first, hold=hold, length=length, sets=sets, here=str(HERE))
        Path(folder, "held.py").write_text(text)
        mpirun(ranks, "-m", "phs_mpi", "held.py", "--quiet", cwd=folder)
        with h5py.File(Path(folder, "held.h5")) as file:
            rows = file["evaluations"][:]
        seen = [json.loads(p.read_text()) for p in sorted(Path(folder).glob("seen.*"))]
        late = [x for p in Path(folder).glob("late.*") for x in json.loads(p.read_text())]
        numbers = [int(p.suffixes[0][1:]) for p in sorted(Path(folder).glob("seen.*"))]
        broadcasts, sent = json.loads(Path(folder, "sent.json").read_text())
    held = rows[first]
    stuck = int(held["worker"]) if hold else -1
    # Ranks that share cores come one by one: at first the last ones are still being started.
    begun = 0.0 if hold else np.quantile(rows["end"], 0.2)
    during, otherwise, last = [], [], {}
    for rank, entries in zip(numbers, seen, strict=True):
        if rank == stuck:
            continue
        for kind, index, when in entries:
            end = rows["end"][index]
            if kind != 2 or rows["worker"][index] == stuck or end < begun:
                continue
            inside = bool(hold) and held["start"] < end < held["end"]
            (during if inside else otherwise).append(float(when - end))
            last[index] = max(last.get(index, 0.0), float(when - end))
    span = float(held["end"] - held["start"]) if hold else 0.0
    complete = list(last.values())
    used = utilisation(rows["start"], rows["end"], workers)
    return Found(during, otherwise, complete, late, sets, broadcasts, sent, stuck, span, used)


def in_ms(seconds: list[float]) -> list[float]:
    """Median, 99th hundredth and worst, in ms."""
    values = np.array(seconds) * 1e3
    return [float(np.median(values)), float(np.quantile(values, 0.99)), float(values.max())]


def measure(quick: bool) -> Report:
    """Against ranks without, and on 16 ranks with a rank that is stuck."""
    report = Report()
    table = Table(
        "From the end of an evaluation into all logs, and what that takes; a worker has a result "
        "every 0.3 s",
        [
            "ranks",
            "results",
            "into a log: median, 99 %, worst, ms",
            "into the last log: median, 99 %, worst, ms",
            "a sleep of 1 ms is late by: median, 99 %, ms",
            "broadcasts a result",
            "messages a result",
            "bytes a result and rank",
        ],
    )
    seconds = 0.02 if quick else 0.3
    for ranks in (3,) if quick else (4, 8, 16, 32, 64):
        found = exchanged(ranks, seconds, 0.0, 10 if quick else 30)
        each = found.broadcasts / found.results
        table.rows.append(
            [ranks, found.results]
            + [" ".join(f"{value:.1f}" for value in in_ms(found.otherwise))]
            + [" ".join(f"{value:.1f}" for value in in_ms(found.complete))]
            + [" ".join(f"{value:.2f}" for value in in_ms(found.late)[:2])]
            + [each, 2 + each * (ranks - 1), found.sent / found.results]
        )
        report.figures |= {
            f"median into a log, -n {ranks}": float(np.median(found.otherwise)),
            f"median into the last log, -n {ranks}": float(np.median(found.complete)),
            f"broadcasts a result, -n {ranks}": each,
        }
    report.tables.append(table)
    ranks, hold = (4, 0.5) if quick else (16, 10.0)
    seconds = 0.05
    found = exchanged(ranks, seconds, hold, (1.5 * hold + 2) / (seconds + 1e-3))
    cases = {
        "while the lock is held": found.during,
        "otherwise": found.otherwise,
        "a sleep of 1 ms is late by": found.late,
    }
    report.tables.append(
        Table(
            f"One of {ranks} ranks holds Python's lock for {hold:g} s; the others have a result "
            "every 50 ms: ms into the log of each other rank",
            ["", "median", "99 %", "worst", "arrivals"],
            [[name, *in_ms(values), len(values)] for name, values in cases.items()],
        )
    )
    report.figures["stuck, median"] = float(np.median(found.during))
    report.figures["not stuck, median"] = float(np.median(found.otherwise))
    return report


def quantiles(seconds):
    """Median, 99th hundredth and worst, in ms."""
    if not seconds:
        return "none"
    middle, most, worst = in_ms(seconds)
    return f"median {middle:6.1f}   99 % {most:6.1f}   worst {worst:6.1f} ms   ({len(seconds)})"


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--ranks", type=int, default=16)
    options.add_argument("--hold", type=float, default=10.0, help="seconds")
    options.add_argument("--milliseconds", type=float, default=50.0, help="of an evaluation")
    given = options.parse_args()
    seconds = given.milliseconds / 1e3
    found = exchanged(given.ranks, seconds, given.hold, (1.5 * given.hold + 2) / (seconds + 1e-3))
    print(f"-n {given.ranks} on {os.cpu_count()} cores, evaluations of {given.milliseconds:g} ms")
    print(f"worker {found.stuck} held the lock for {found.held:.1f} s")
    print(f"while it is held  {quantiles(found.during)}")
    print(f"otherwise         {quantiles(found.otherwise)}")
    print(f"a sleep of 1 ms   {quantiles(found.late)}")


if __name__ == "__main__":
    main()
