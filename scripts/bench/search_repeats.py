"""What repeats bring where results are noisy: the same number of evaluations, spent differently.

    python scripts/bench/search_repeats.py [--seeds 20] [--evaluations 120] [--workers 4]

Simulated workers, the real schedule and search. Printed is the median over the seeds of the *true*
regret of the set that came out best by the mean of its noisy results, which is what a user takes
home; and the mean of its log10.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from search_problems import problem
from search_real import DRAWN, duration, simulate

from phs_mpi import Bayesian, Experiment, Random

#: Standard deviation of the noise of each problem.
NOISE = {"branin": 5.0, "griewank2": 0.1, "hartmann6": 0.3, "ackley5": 1.0, "rosenbrock4": 100.0}
REPEATS = (1, 3, 5, (1, 3), (1, 5), (2, 6))


def true_regret(name: str, seed: int, repeats: object, evaluations: int, workers: int) -> float:
    """The regret without noise of the set that looks best."""
    space, function = problem(name, seed)
    names = [d.name for d in space.dimensions]
    made = Experiment(lambda **_: 0.0, dict.fromkeys(names, float), seed=seed, repeats=repeats)
    made.add(DRAWN, **{d.name: Random(d.low, d.high) for d in space.dimensions})
    made.add(evaluations, **{d.name: Bayesian(d.low, d.high) for d in space.dimensions})

    def noisy(values: dict, index: int) -> float:
        rng = np.random.default_rng([seed, 8, index])
        return function(values) + rng.normal(0.0, NOISE[name])

    reader, values = simulate(
        made, noisy, lambda index: duration(seed, index), workers, budget=evaluations
    )
    return function(values[min(reader.completed, key=reader.completed.__getitem__)])


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    print("| problem (noise) | " + " | ".join(f"repeats={r}" for r in REPEATS) + " |")
    print("|---" * (len(REPEATS) + 1) + "|")
    for name in NOISE:
        cells = []
        for repeats in REPEATS:
            found = [
                true_regret(name, seed, repeats, given.evaluations, given.workers)
                for seed in range(given.seeds)
            ]
            logs = np.log10(np.maximum(found, 1e-6))
            error = np.std(logs, ddof=1) / math.sqrt(len(logs))
            cells.append(f"{np.median(found):.2g} ({np.mean(logs):+.2f} ± {error:.2f})")
        print(f"| {name} ({NOISE[name]:g}) | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
