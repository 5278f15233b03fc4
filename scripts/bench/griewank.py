"""20 random + 40 Bayesian sets against 60 random ones on the paper's Griewank function.

    python scripts/bench/griewank.py [--ranks 4] [--seeds 10]

Real runs under mpirun; prints the best result of each run and the medians over the seeds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from overhead import mpirun

EXPERIMENT = """
import math
from phs_mpi import Bayesian, Experiment, Random

def griewank(x, y):
    return (x * x + y * y) / 4000 - math.cos(x) * math.cos(y / math.sqrt(2)) + 1

experiment = Experiment(griewank, {"x": float, "y": float})
experiment.add(20, x=Random(-5, 5), y=Random(-5, 5))
experiment.add(40, x=SEARCH(-5, 5), y=SEARCH(-5, 5))
"""


def best_result(ranks, strategy, seed):
    from phs_mpi.store import read

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "experiment.py").write_text(EXPERIMENT.replace("SEARCH", strategy))
        mpirun(ranks, "-m", "phs_mpi", "experiment.py", "--seed", seed, "--quiet", cwd=folder)
        snapshot = read(Path(folder, "experiment.h5"))
        return float(snapshot.columns["result"][snapshot.done].min())


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--ranks", type=int, default=4)
    options.add_argument("--seeds", type=int, default=10)
    given = options.parse_args()
    found = {"Random": [], "Bayesian": []}
    for seed in range(given.seeds):
        for strategy, results in found.items():
            results.append(best_result(given.ranks, strategy, seed))
        print(f"seed {seed}: " + ", ".join(f"{s} {r[-1]:.3g}" for s, r in found.items()))
    for strategy, results in found.items():
        print(f"{strategy}: median of the best {statistics.median(results):.3g}")
    better = sum(b < r for b, r in zip(found["Bayesian"], found["Random"], strict=True))
    print(f"Bayesian better on {better} of {given.seeds} seeds")


if __name__ == "__main__":
    main()
