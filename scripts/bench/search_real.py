"""The search through real MPI runs, beside the same search with simulated workers.

    python scripts/bench/search_real.py [--ranks 16] [--seeds 10] [--problems …] [--unit 1]

All evaluate the same experiment: 10 drawn sets, then Bayesian ones, each of which takes a
log-normal time that depends on its index alone. In the simulation a worker proposes in no time
and everybody knows at once; the real ranks wait the time and exchange results as they always do.
A second simulation has workers whose proposals last as long as those of the real run did.
Prints the lowest result of each, medians over the seeds, how long real proposals took and how many
sets others were proposing meanwhile, whose values are unknown, and means of log10 of the ratios.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from overhead import mpirun
from search_problems import PROBLEMS, problem

from phs_mpi import Bayesian, Experiment, Random, current, run
from phs_mpi.log import EntryKind, Log, LogEntry, LogReader
from phs_mpi.repeats import Contenders
from phs_mpi.schedule import Event, Finished, Proposed, Ready, Schedule, Start
from phs_mpi.store import Snapshot, read
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
    proposing: Callable[[int], float] = lambda index: 0.0,
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
    proposing : callable
        ``proposing(index of the evaluation) -> duration`` of a proposal: results that come in
        meanwhile do not enter it, and who proposes meanwhile does not know its values.

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
    events: list[tuple[float, int, Event]] = []
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
        result = evaluate(proposal.values, index)
        proposed = now + (proposing(index) if table.bayesian(index) else 0.0)
        end = proposed + lasts(index)
        heapq.heappush(events, (end, index, Finished(worker, index, result=result)))
        if proposed > now:
            heapq.heappush(events, (proposed, index, Proposed(worker, index)))
        elif table.bayesian(index):
            handle(Proposed(worker, index), now)

    for worker in range(workers):
        handle(Ready(worker), 0.0)
    while events and len(results) < budget:
        now, index, event = heapq.heappop(events)
        if isinstance(event, Finished):
            results[index] = event.result
        handle(event, now)
    reader = LogReader(log, repeats)
    reader.advance(len(log))
    return reader, values


def simulated(
    name: str,
    seed: int,
    evaluations: int,
    workers: int,
    proposing: Callable[[int], float] = lambda index: 0.0,
) -> float:
    """The lowest result with simulated workers."""
    made, (_, function) = experiment(name, seed, evaluations, 0.0), problem(name, seed)
    reader, _ = simulate(
        made,
        lambda values, _: function(values),
        lambda index: duration(seed, index),
        workers,
        proposing=proposing,
    )
    return min(reader.completed.values())


def real(name: str, seed: int, evaluations: int, ranks: int, unit: float) -> Snapshot:
    """What a run under mpirun has written."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "found.h5")
        arguments = ["--one", name, "--seeds", seed, "--evaluations", evaluations, "--unit", unit]
        mpirun(ranks, __file__, *arguments, "--file", file, cwd=folder)
        snapshot = read(file)
        assert snapshot.done.all()
        return snapshot


def unknown(snapshot: Snapshot) -> float:
    """Sets that were handed out before, and not in the log yet, per Bayesian proposal."""
    numbers = range(DRAWN, len(snapshot))
    count = 0
    for number in numbers:
        seen = snapshot.log[: snapshot.columns["log_length"][number]]
        count += number - len(np.unique(seen["index"][seen["index"] < number]))
    return count / len(numbers)


def compare(name: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """A line of the file."""
    snapshot = real(name, seed, given.evaluations, given.ranks, given.unit)
    seconds = snapshot.columns["proposing"]
    workers = given.ranks - 1
    return {
        "problem": name,
        "seed": seed,
        "ranks": given.ranks,
        "real": float(snapshot.columns["result"].min()),
        "simulated": simulated(name, seed, given.evaluations, workers),
        "delayed": simulated(
            name, seed, given.evaluations, workers, lambda index: float(seconds[index]) / given.unit
        ),
        "proposing": round(float(np.median(seconds[DRAWN:])), 4),
        "unknown": round(unknown(snapshot), 2),
    }


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
            line = compare(name, seed, given)
            done[name, seed] = line
            with given.file.open("a") as out:
                out.write(json.dumps(line) + "\n")
    table(list(done.values()), given.problems)


def table(lines: list[dict], problems: Sequence[str]) -> None:
    """Markdown: medians over the seeds, means of log10 of ratios with their standard errors."""
    kinds = ("real", "simulated", "delayed")
    print("| problem | seeds | " + " | ".join(kinds) + " | proposing, s | unknown ", end="")
    print("| log10(real / simulated) | log10(real / delayed) |")
    print("|---" * 9 + "|")
    for name in (*problems, "all"):
        here = [line for line in lines if name in (line["problem"], "all")]
        if not here:
            continue
        lowest = {kind: np.array([line.get(kind, np.nan) for line in here]) for kind in kinds}
        cells = ["", "", ""]
        if name != "all":
            cells = [f"{np.median(found):.2g}" for found in lowest.values()]
        for column in ("proposing", "unknown"):
            cells.append(f"{np.median([line.get(column, np.nan) for line in here]):.2g}")
        logs = {kind: np.log10(np.maximum(x, NEGLIGIBLE)) for kind, x in lowest.items()}
        cells += [_mean(logs["real"] - logs[kind]) for kind in kinds[1:]]
        print(f"| {name} | {len(here)} | " + " | ".join(cells) + " |")


def _mean(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{np.mean(values):+.2f}"
    return f"{np.mean(values):+.2f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    sys.exit(main())
