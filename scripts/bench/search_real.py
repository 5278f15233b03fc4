"""The search through real MPI runs, beside the same search with simulated workers.

    python scripts/bench/search_real.py [--ranks 16] [--seeds 10] [--problems …] [--unit 1]

Both evaluate the same experiment: 10 drawn sets, then Bayesian ones, each of which takes a
log-normal time that depends on its index alone. In the simulation a worker proposes in no time
and everybody knows at once; the real ranks wait the time and exchange results as they always do.
Prints the lowest result of each, medians over the seeds, and the mean of log10(real / simulated).
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from overhead import mpirun
from search_problems import PROBLEMS, problem

from phs_mpi import Bayesian, Experiment, Random, current, run
from phs_mpi.log import EntryKind, Log, LogEntry, LogReader
from phs_mpi.repeats import Contenders
from phs_mpi.schedule import Event, Finished, Proposed, Ready, Schedule, Start
from phs_mpi.worker import Worker

DRAWN = 10
#: Regrets below this are equal: nobody needs these digits.
NEGLIGIBLE = 1e-6


def experiment(name: str, seed: int, evaluations: int, unit: float) -> Experiment:
    """Minimise one of the problems; `unit` is the median duration in seconds."""
    space, function = problem(name, seed)

    def target(**values: float) -> float:
        time.sleep(unit * duration(seed, current().index))
        return function(values)

    made = Experiment(
        target, {d.name: float for d in space.dimensions}, seed=seed, capture=False, name=name
    )
    made.add(DRAWN, **{d.name: Random(d.low, d.high) for d in space.dimensions})
    bayesian = {d.name: Bayesian(d.low, d.high) for d in space.dimensions}
    made.add(evaluations - DRAWN, **bayesian)
    return made


def duration(seed: int, index: int) -> float:
    """Of an evaluation, in units."""
    return float(np.random.default_rng([seed, 7, index]).lognormal(0.0, 0.5))


def simulate(
    made: Experiment,
    evaluate: Callable[[dict, int], float],
    lasts: Callable[[int], float],
    workers: int,
    budget: float = math.inf,
) -> tuple[LogReader, dict[int, dict]]:
    """The schedule, log and proposals of the real thing, with simulated workers.

    Parameters
    ----------
    made : Experiment
    evaluate : callable
        ``evaluate(values, index of the evaluation) -> result``.
    lasts : callable
        ``lasts(index of the evaluation) -> duration``.
    workers : int
    budget : float
        Evaluations after which it stops.

    Returns
    -------
    LogReader
        Of the whole log.
    dict of int to dict
        Values of each set.
    """
    table, log = made.table(), Log()
    repeats = table.repeats
    schedule = Schedule(
        np.flatnonzero(repeats.required(len(table))).tolist(),
        table.evaluations,
        lambda index: bool(table.bayesian(index)),
        repeats=repeats,
        contenders=Contenders(len(table), repeats) if repeats.least < repeats.most else None,
    )
    proposers = [Worker(made, table, None) for _ in range(workers)]  # type: ignore[arg-type]
    ends: list[tuple[float, int, int, float]] = []
    rows: dict[int, Any] = {}
    results: dict[int, float] = {}
    values: dict[int, dict] = {}

    def handle(event: Event, now: float) -> None:
        instructions = schedule.handle(event)
        for entry in schedule.take_entries():
            found = results[entry.index] if entry.kind == EntryKind.COMPLETED else math.nan
            row = rows.get(entry.index) if entry.kind == EntryKind.STARTED else None
            log.append(LogEntry(entry.kind, entry.index, entry.worker, found, row))
        for step in instructions:
            if isinstance(step, Start):
                start(step.worker, step.index, now)

    def start(worker: int, index: int, now: float) -> None:
        if table.bayesian(index):
            proposal = proposers[worker].propose(index, log, len(log))
            rows[index] = table.pack(index, proposal.values)
        else:
            proposal = proposers[worker].drawn(index)
        values[repeats.set_of(index)] = proposal.values
        end = now + lasts(index)
        heapq.heappush(ends, (end, index, worker, evaluate(proposal.values, index)))
        if table.bayesian(index):
            handle(Proposed(worker, index), now)

    for worker in range(workers):
        handle(Ready(worker), 0.0)
    while ends and len(results) < budget:
        now, index, worker, result = heapq.heappop(ends)
        results[index] = result
        handle(Finished(worker, index, result=result), now)
    reader = LogReader(log, repeats)
    reader.advance(len(log))
    return reader, values


def simulated(name: str, seed: int, evaluations: int, workers: int) -> float:
    """The lowest result with simulated workers."""
    made, (_, function) = experiment(name, seed, evaluations, 0.0), problem(name, seed)
    reader, _ = simulate(
        made, lambda values, _: function(values), lambda index: duration(seed, index), workers
    )
    return min(reader.completed.values())


def real(name: str, seed: int, evaluations: int, ranks: int, unit: float) -> float:
    """The lowest result of a run under mpirun."""
    from phs_mpi.store import read

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "found.h5")
        arguments = ["--one", name, "--seeds", seed, "--evaluations", evaluations, "--unit", unit]
        mpirun(ranks, __file__, *arguments, "--file", file, cwd=folder)
        snapshot = read(file)
        assert snapshot.done.all()
        return float(snapshot.columns["result"].min())


def main() -> None:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=128)
    parser.add_argument("--unit", type=float, default=1.0, help="median duration in seconds")
    parser.add_argument("--problems", nargs="*", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--file", type=Path, default=Path("search_real.jsonl"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        made = experiment(given.one, given.seeds, given.evaluations, given.unit)
        run(made, output=given.file, quiet=True)
        return
    before = [json.loads(line) for line in given.file.open()] if given.file.exists() else []
    done = {(line["problem"], line["seed"]): line for line in before}
    for seed in range(given.seeds):
        for name in given.problems:
            if (name, seed) in done:
                continue
            line = {"problem": name, "seed": seed, "ranks": given.ranks}
            line["real"] = real(name, seed, given.evaluations, given.ranks, given.unit)
            line["simulated"] = simulated(name, seed, given.evaluations, given.ranks - 1)
            done[name, seed] = line
            with given.file.open("a") as out:
                out.write(json.dumps(line) + "\n")
    print("| problem | seeds | real | simulated | mean log10(real / simulated) |")
    print("|---" * 5 + "|")
    every: list[float] = []
    for name in given.problems:
        pairs = np.array([[x["real"], x["simulated"]] for (p, _), x in done.items() if p == name])
        ratios = np.log10(np.maximum(pairs, NEGLIGIBLE)) @ [1.0, -1.0]
        every += ratios.tolist()
        medians = " | ".join(f"{x:.2g}" for x in np.median(pairs, axis=0))
        print(f"| {name} | {len(pairs)} | {medians} | {_mean(ratios)} |")
    print(f"| all | {len(every)} | | | {_mean(np.array(every))} |")


def _mean(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{np.mean(values):+.2f}"
    return f"{np.mean(values):+.2f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    sys.exit(main())
