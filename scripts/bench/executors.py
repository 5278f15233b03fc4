"""Overhead of an evaluation on each backend, beside the executor below it.

    python scripts/bench/executors.py [processes] [dask] [mpi] [--repeats 3]

A target that does nothing, two workers. The bare executor runs the same number of empty calls in
the same script, twice: self-scheduled (the next call leaves when one comes back, as a search must
have it) and all submitted at once. Prints microseconds per evaluation and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from harness import Report, Table
from overhead import EXPERIMENT, mpirun

WORKERS = 2
COUNTS = {"processes": 6000, "dask": 1000, "mpi": 6000}


def nothing(x):
    return x


def timed(action) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def self_scheduled(executor, count: int) -> None:
    """Keep one call on each worker, by the interface of `concurrent.futures`."""
    from concurrent.futures import FIRST_COMPLETED, wait

    left = count - WORKERS
    running = {executor.submit(nothing, n) for n in range(WORKERS)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            if left:
                left -= 1
                running.add(executor.submit(nothing, left))


def bare_pool(executor, count: int) -> dict[str, float]:
    list(executor.map(nothing, range(100)))
    return {
        "self-scheduled": timed(lambda: self_scheduled(executor, count)) / count,
        "all at once": timed(lambda: list(executor.map(nothing, range(count)))) / count,
    }


def bare_processes(count: int) -> dict[str, float]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as executor:
        return bare_pool(executor, count)


def bare_mpi(count: int) -> dict[str, float]:
    """In a program of its own under mpirun: rank 0 is the client, as with us."""
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(WORKERS) as executor:
        return bare_pool(executor, count)


def bare_dask(count: int, workers: int = WORKERS) -> dict[str, float]:
    from distributed import Client, LocalCluster, as_completed

    with (
        LocalCluster(workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):

        def one_by_one():
            first = [client.submit(nothing, n, pure=False) for n in range(workers)]
            running, left = as_completed(first, with_results=True), count - workers
            for _ in running:
                if left:
                    left -= 1
                    running.add(client.submit(nothing, left, pure=False))

        client.gather(client.map(nothing, range(100), pure=False))
        return {
            "self-scheduled": timed(one_by_one) / count,
            "all at once": timed(
                lambda: client.gather(client.map(nothing, range(count), pure=False))
            )
            / count,
        }


BARE = {"processes": bare_processes, "dask": bare_dask, "mpi": bare_mpi}


def measured_bare(backend: str, count: int) -> dict[str, float]:
    """In a new process, so that nothing is left of the last."""
    arguments = [__file__, "--bare", backend, "--count", count]
    if backend == "mpi":
        output = mpirun(WORKERS + 1, "-m", "mpi4py.futures", *arguments)
    else:
        output = python(*arguments)
    return json.loads(output.splitlines()[-1])


def python(*arguments, cwd=None) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stderr + done.stdout


def ours(backend: str, count: int, *options: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(evaluations=count, capture=True)
        Path(folder, "noop.py").write_text(text)
        arguments = ["-m", "phs_mpi", "noop.py", "--backend", backend, *options]
        if backend == "mpi":
            output = mpirun(WORKERS + 1, *arguments, cwd=folder)
        else:
            output = python(*arguments, "--workers", WORKERS, cwd=folder)
    return 1 / float(re.search(r"\(([\d.e+]+) evaluations/s\)", output)[1])


def figures_of(backend: str, repeats: int, count: int) -> dict[str, list[float]]:
    """Seconds an evaluation, of the executor alone and of ours; in turn, on the same machine."""
    figures: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, seconds in measured_bare(backend, count).items():
            figures.setdefault(f"bare, {name}", []).append(seconds)
        figures.setdefault("phs_mpi, store on", []).append(ours(backend, count))
        figures.setdefault("phs_mpi, store off", []).append(ours(backend, count, "--no-store"))
    return figures


def measure(quick: bool) -> Report:
    """All backends."""
    counts = dict.fromkeys(COUNTS, 120) if quick else COUNTS
    report = Report()
    for backend in BARE:
        if backend == "dask" and find_spec("distributed") is None:
            report.left_out.append("dask: distributed is not installed")
            continue
        figures = figures_of(backend, 1 if quick else 3, counts[backend])
        middle = {name: statistics.median(values) for name, values in figures.items()}
        one, all_ = middle["bare, self-scheduled"], middle["bare, all at once"]
        rows = [
            [name, seconds * 1e6, spread(figures[name]), seconds / one, seconds / all_]
            for name, seconds in middle.items()
        ]
        title = f"{backend}, {WORKERS} workers: microseconds an evaluation that does nothing"
        columns = ["", "µs", "lowest to highest", "of self-scheduled", "of all at once"]
        report.tables.append(Table(title, columns, rows))
        report.figures |= {f"{backend}, {name}": seconds for name, seconds in middle.items()}
    return report


def spread(values: list[float]) -> str:
    """Lowest to highest, in microseconds."""
    return f"{min(values) * 1e6:.0f} to {max(values) * 1e6:.0f}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("backends", nargs="*", metavar="backend")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--bare", choices=BARE, help=argparse.SUPPRESS)
    options.add_argument("--count", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.bare:
        print(json.dumps(BARE[given.bare](given.count)))
        return
    print(f"{WORKERS} workers, {os.cpu_count()} cores, median of {given.repeats} (min to max)")
    print(f"{'':33}{'us each':>9}{'range':>16}{'of self-scheduled':>19}{'of all at once':>16}")
    for backend in given.backends or BARE:
        figures = figures_of(backend, given.repeats, COUNTS[backend])
        one, all_ = (
            statistics.median(figures[f"bare, {n}"]) for n in ("self-scheduled", "all at once")
        )
        for name, values in figures.items():
            middle = statistics.median(values)
            print(
                f"{backend + ': ' + name:33}{middle * 1e6:9.0f}{spread(values):>16}"
                f"{middle / one:19.2f}{middle / all_:16.2f}"
            )


if __name__ == "__main__":
    main()
