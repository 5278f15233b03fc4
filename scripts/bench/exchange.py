"""How long a result takes from its evaluation's end into the logs of all ranks.

    python scripts/bench/exchange.py [--ranks 16] [--hold 10] [--milliseconds 50]

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

import h5py
import numpy as np
from overhead import mpirun

EXPERIMENT = """
import atexit, ctypes, json, os, time
import phs_mpi.log
from phs_mpi import Experiment, Grid

seen = []
append = phs_mpi.log.Log.append

def noting(self, entry):
    append(self, entry)
    seen.append((int(entry.kind), entry.index, time.time()))

phs_mpi.log.Log.append = noting
rank = os.environ["OMPI_COMM_WORLD_RANK"]
atexit.register(lambda: open(f"seen.{{rank}}.json", "w").write(json.dumps(seen)))
late = []

def target(n):
    begun = time.perf_counter()
    time.sleep(0.001)
    late.append(time.perf_counter() - begun - 0.001)
    if n == {first}:
        ctypes.PyDLL(None).usleep(int({hold} * 1e6))
    else:
        time.sleep({seconds})
    return float(n)

atexit.register(lambda: open(f"late.{{rank}}.json", "w").write(json.dumps(late)))
experiment = Experiment(target, {{"n": int}})
experiment.add(n=Grid(list(range({sets}))))
"""


def quantiles(seconds):
    """Median, 99th hundredth and worst, in ms."""
    values = np.array(seconds) * 1e3
    if not len(values):
        return "none"
    return (
        f"median {np.median(values):6.1f}   99 % {np.quantile(values, 0.99):6.1f}   "
        f"worst {values.max():6.1f} ms   ({len(values)})"
    )


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--ranks", type=int, default=16)
    options.add_argument("--hold", type=float, default=10.0, help="seconds")
    options.add_argument("--milliseconds", type=float, default=50.0, help="of an evaluation")
    given = options.parse_args()
    seconds = given.milliseconds / 1e3
    workers = given.ranks - 1
    sets = int(workers * (1.5 * given.hold + 2) / (seconds + 1e-3))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "held.py").write_text(
            EXPERIMENT.format(first=3 * workers, hold=given.hold, seconds=seconds, sets=sets)
        )
        mpirun(given.ranks, "-m", "phs_mpi", "held.py", "--quiet", cwd=folder)
        with h5py.File(Path(folder, "held.h5")) as file:
            rows = file["evaluations"][:]
        seen = [json.loads(p.read_text()) for p in sorted(Path(folder).glob("seen.*"))]
        late = [x for p in Path(folder).glob("late.*") for x in json.loads(p.read_text())]
        ranks = [int(p.suffixes[0][1:]) for p in sorted(Path(folder).glob("seen.*"))]
    held = rows[3 * workers]
    during, otherwise, stuck = [], [], int(held["worker"])
    for rank, entries in zip(ranks, seen, strict=True):
        if rank == stuck:
            continue
        for kind, index, when in entries:
            if kind != 2 or rows["worker"][index] == stuck:
                continue
            end = rows["end"][index]
            inside = held["start"] < end < held["end"]
            (during if inside else otherwise).append(when - end)
    print(f"-n {given.ranks} on {os.cpu_count()} cores, evaluations of {given.milliseconds:g} ms")
    print(f"worker {stuck} held the lock for {held['end'] - held['start']:.1f} s")
    print(f"while it is held  {quantiles(during)}")
    print(f"otherwise         {quantiles(otherwise)}")
    print(f"a sleep of 1 ms   {quantiles(late)}")


if __name__ == "__main__":
    main()
