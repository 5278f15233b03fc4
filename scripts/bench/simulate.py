"""Runs on up to 100,000 workers, simulated: the real schedule and log on modelled messages.

    python scripts/bench/simulate.py                     # all tables, with the committed costs
    python scripts/bench/simulate.py --costs FILE        # with those of run.py costs --json FILE
    python scripts/bench/simulate.py --validate          # beside real runs on 4 to 64 ranks here
    python scripts/bench/run.py simulate                 # both

The model is that of simulation.py. Costs are those of messages within one machine; a network's
latency is a few microseconds more, which nothing here depends on.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from harness import Report, Table
from simulation import Outcome, Simulation
from simulation_setting import Costs, Setting

COSTS = Path(__file__).resolve().parent / "costs.json"

WORKERS = (64, 1000, 10_000, 100_000)
MEANS = (1.0, 10.0, 60.0, 3600.0)
LIMITS = ((10_000, 10.0), (10_000, 1.0), (100_000, 60.0), (100_000, 10.0))


def simulated(setting: Setting, costs: Costs) -> Outcome:
    """One run."""
    return Simulation(setting, costs).run()


def all_simulated(settings: Sequence[Setting], costs: Costs) -> list[Outcome]:
    """Several runs, as many at a time as there are cores."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(simulated, settings, itertools.repeat(costs)))


def setting(workers: int, mean: float, **options) -> Setting:
    """As many evaluations as tell: at least two for each worker."""
    each = 2 if workers > 10_000 else 4 if workers > 1000 else 10 if workers > 100 else 60
    return Setting(workers, each * workers, mean, searched=0.5, **options)


def row(outcome: Outcome) -> list:
    """Cells of a table."""
    return [
        f"{100 * outcome.utilisation:.2f}",
        seconds(outcome.delay),
        seconds(outcome.worst),
        f"{100 * outcome.stale:.1f}",
        outcome.lacking,
        f"{100 * outcome.busy:.1f}",
        f"{100 * outcome.thread:.2f}",
        outcome.backlog,
    ]


COLUMNS = [
    "at work, %",
    "into a log, median",
    "into the last log, 99 %",
    "stale proposals, %",
    "results a proposal lacks",
    "rank 0 busy, %",
    "a worker's thread, % of a core",
    "entries that wait at the end",
]


def seconds(value: float) -> str:
    """With a unit."""
    return f"{value:.2g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def scale(costs: Costs, sizes: Sequence[int], means: Sequence[float]) -> Table:
    """Workers against lengths, as the product is."""
    table = Table(
        "As it is: half of the sets Bayesian, 64 ranks on a node of 64 cores",
        ["workers", "mean", *COLUMNS],
    )
    cases = list(itertools.product(sizes, means))
    outcomes = all_simulated([setting(*case) for case in cases], costs)
    for (workers, mean), outcome in zip(cases, outcomes, strict=True):
        table.rows.append([workers, f"{mean:g} s", *row(outcome)])
    return table


#: What could be otherwise. The binomial tree passes through ranks that may be stuck.
VARIANTS = {
    "64 entries at most, whatever a broadcast takes": {"paced": False, "batch": 64},
    "as it is": {},
    "binomial tree of ranks": {"algorithm": "binomial"},
    "by one rank of each node": {"algorithm": "nodes"},
}


def saturated(costs: Costs, cases: Sequence[tuple[int, float]]) -> Table:
    """Where rank 0 is at its limit, and what helps."""
    table = Table("Where rank 0 saturates, and what helps", ["workers", "mean", "", *COLUMNS])
    varied = list(itertools.product(cases, VARIANTS))
    settings = [setting(*case, **VARIANTS[name]) for case, name in varied]
    for ((workers, mean), name), outcome in zip(
        varied, all_simulated(settings, costs), strict=True
    ):
        table.rows.append([workers, f"{mean:g} s", name, *row(outcome)])
    return table


def drawn(costs: Costs, sizes: Sequence[int]) -> Table:
    """Sets that need no proposal, of a second: one by one, and with the next one ahead."""
    table = Table(
        "Sets that need no proposal, 1 s in the mean, 12 for each worker",
        ["workers", "", *COLUMNS],
    )
    names = {False: "one by one", True: "as it is, one ahead"}
    cases = list(itertools.product(sizes, names))
    settings = [Setting(workers, 12 * workers, 1.0, ahead=ahead) for workers, ahead in cases]
    for (workers, ahead), outcome in zip(cases, all_simulated(settings, costs), strict=True):
        table.rows.append([workers, names[ahead], *row(outcome)])
    return table


def validated(costs: Costs, ranks_here: tuple[int, ...], mean: float, each: int) -> Table:
    """Beside real runs of the same lengths, all ranks on this machine."""
    from durations import duration
    from exchange import exchanged

    table = Table(
        f"Simulated and real runs, evaluations of {mean:g} s in the mean, asleep",
        [
            "ranks",
            "utilisation, %: real",
            "simulated",
            "difference",
            "into a log, median, ms: real",
            "simulated",
            "ratio",
            "into the last log, median, ms: real",
            "simulated",
            "ratio",
        ],
    )
    for ranks in ranks_here:
        real = exchanged(ranks, mean, 0.0, each, varying=True)
        run = Simulation(
            Setting(ranks - 1, real.results, mean, node=ranks, cores=os.cpu_count() or 1), costs
        )
        run.lengths = np.array([duration(n, mean) for n in range(real.results)])
        model = run.run()
        table.rows.append(
            [ranks, f"{100 * real.utilisation:.2f}", f"{100 * model.utilisation:.2f}"]
            + [f"{100 * (model.utilisation - real.utilisation):+.2f}"]
            + _beside(1e3 * float(np.median(real.otherwise)), 1e3 * model.delay)
            + _beside(1e3 * float(np.median(real.complete)), 1e3 * model.last)
        )
    return table


def _beside(real: float, model: float) -> list[float]:
    return [real, model, model / real]


def measure(quick: bool) -> Report:
    """What run.py runs."""
    costs = Costs.read(COSTS)
    if quick:
        tables = [scale(costs, (64, 200), MEANS[:2]), saturated(costs, [(200, 1.0)])]
        tables.append(drawn(costs, [64]))
    else:
        tables = [scale(costs, WORKERS, MEANS), saturated(costs, LIMITS)]
        tables.append(drawn(costs, [1000, 10_000]))
    return Report([*tables, _validation(costs, quick)])


def _validation(costs: Costs, quick: bool) -> Table:
    return validated(costs, (3,) if quick else (4, 16, 64), 0.05 if quick else 0.5, 20)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--costs", type=Path, default=COSTS, metavar="FILE")
    options.add_argument("--validate", action="store_true", help="beside real runs on this machine")
    given = options.parse_args()
    costs = Costs.read(given.costs)
    print(", ".join(f"{k} {1e6 * v:.3g}" for k, v in dataclasses.asdict(costs).items()), "(µs)\n")
    if given.validate:
        print(_validation(costs, quick=False).markdown())
    else:
        print(scale(costs, WORKERS, MEANS).markdown(), "\n")
        print(saturated(costs, LIMITS).markdown(), "\n")
        print(drawn(costs, WORKERS[1:3]).markdown())


if __name__ == "__main__":
    main()
