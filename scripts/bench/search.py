"""Cost and quality of proposals: `python scripts/bench/search.py [cost] [sequential] [parallel]`.

Cost is the processor time of one tell + ask, the mean over 20 successive cycles with the refits
that fall into them, on the six-dimensional Hartmann function. Quality is the regret after a
number of evaluations on test functions whose optimum is shifted by a random vector, beside random
and Sobol points; in the parallel setting evaluations last a log-normal simulated time. One thread.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from phs_mpi.encoding import Dimension, Space
from phs_mpi.search import Engine, propose

HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def griewank(x):
    root = np.sqrt(np.arange(1, len(x) + 1))
    return x @ x / 4000 - np.prod(np.cos(x / root)) + 1


def branin(x):
    a, b = x
    valley = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10 - 0.39788735772973816


def hartmann6(x):
    exponents = np.sum(HARTMANN_A * (x - HARTMANN_P) ** 2, axis=1)
    return 3.32236801141551 - np.array([1, 1.2, 3, 3.2]) @ np.exp(-exponents)


def ackley(x):
    spread, waves = np.sqrt(np.mean(x * x)), np.mean(np.cos(2 * math.pi * x))
    return -20 * np.exp(-0.2 * spread) - np.exp(waves) + 20 + math.e


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def levy(x):
    w = 1 + (x - 1) / 4
    middle = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * math.pi * w[-1]) ** 2)
    return np.sin(math.pi * w[0]) ** 2 + middle.sum() + last


#: Function, lower and upper bounds; all have a minimum of 0.
PROBLEMS: dict[str, tuple[Callable, list, list]] = {
    "griewank2": (griewank, [-5] * 2, [5] * 2),
    "branin": (branin, [-5, 0], [10, 15]),
    "hartmann6": (hartmann6, [0] * 6, [1] * 6),
    "ackley5": (ackley, [-5] * 5, [5] * 5),
    "ackley10": (ackley, [-5] * 10, [5] * 10),
    "rosenbrock4": (rosenbrock, [-5] * 4, [10] * 4),
    "levy8": (levy, [-10] * 8, [10] * 8),
}


def problem(name: str, seed: int) -> tuple[Space, Callable[[dict], float]]:
    """The space, and the function shifted by up to a tenth of the bounds."""
    function, low, high = PROBLEMS[name]
    width = np.subtract(high, low)
    shift = np.random.default_rng([seed, 5]).uniform(-0.1, 0.1, len(low)) * width
    bounds = enumerate(zip(low, high, strict=True))
    space = Space([Dimension(f"x{k}", low=a, high=b) for k, (a, b) in bounds])
    return space, lambda values: float(function(np.array(list(values.values())) - shift))


def asker(method: str, space: Space, seed: int, initial: int) -> Callable:
    """A function (index, evaluated, results, pending) -> values."""
    if method == "random":
        rng = np.random.default_rng([seed, 6])
        return lambda *_: space.decode(rng.random(space.width))
    nothing = {"evaluated": [], "results": np.empty(0)}
    if method == "sobol":
        return lambda index, *_: propose(space, seed=seed, index=index, **nothing).values
    engine = Engine(space, seed=seed)

    def ask(index, evaluated, results, pending):
        if len(results) < initial:
            return propose(space, seed=seed, index=index, **nothing).values
        return engine.propose(
            index=index, evaluated=evaluated, results=np.array(results), pending=pending
        ).values

    return ask


def regret(method: str, name: str, seed: int, evaluations: int, workers: int) -> float:
    """Lowest value found, by that many workers that never wait."""
    space, function = problem(name, seed)
    ask = asker(method, space, seed, initial=10)
    durations = np.random.default_rng([seed, 7])
    evaluated: list[dict] = []
    results: list[float] = []
    running: dict[int, dict] = {}
    ends: list[tuple[float, int]] = []
    now, started = 0.0, 0
    while len(results) < evaluations:
        while len(running) < workers and started < evaluations:
            running[started] = ask(started, evaluated, results, list(running.values()))
            heapq.heappush(ends, (now + durations.lognormal(0.0, 0.5), started))
            started += 1
        now, index = heapq.heappop(ends)
        evaluated.append(running.pop(index))
        results.append(function(evaluated[-1]))
    return min(results)


def cost(n: int, pending: int, cycles: int = 20) -> tuple[float, float]:
    """Processor seconds of the first proposal, and of one tell + ask after it."""
    space, function = problem("hartmann6", 0)
    rows = [space.decode(x) for x in np.random.default_rng(1).random((n + pending, space.width))]
    evaluated, waiting = rows[:n], rows[n:]
    results = [function(row) for row in evaluated]
    engine = Engine(space, seed=0)
    times = [time.process_time()]
    for index in range(cycles + 1):
        values = engine.propose(
            index=index, evaluated=evaluated, results=np.array(results), pending=waiting
        ).values
        evaluated.append(values)
        results.append(function(values))
        times.append(time.process_time())
    return times[1] - times[0], (times[-1] - times[1]) / cycles


def main() -> None:
    """Print one table for each part asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["cost", "sequential", "parallel"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--sizes", type=int, nargs="*", default=[50, 60, 200, 400, 1000, 5000])
    options = parser.parse_args()
    if "cost" in options.parts:
        cost(20, 2)
        print("results  pending  first/ms  tell+ask/ms")
        for n in options.sizes:
            for pending in (0, 31):
                first, cycle = cost(n, pending)
                print(f"{n:7d}  {pending:7d}  {1e3 * first:8.1f}  {1e3 * cycle:11.1f}", flush=True)
    settings = {"sequential": [(1, 60)], "parallel": [(8, 128), (32, 256)]}
    for part in ("sequential", "parallel"):
        for workers, evaluations in settings[part] if part in options.parts else ():
            print(f"median regret, {evaluations} evaluations, {workers} worker(s)")
            for name in options.problems:
                medians = {}
                for method in ("phs_mpi", "sobol", "random"):
                    regrets = [
                        regret(method, name, seed, evaluations, workers)
                        for seed in range(options.seeds)
                    ]
                    medians[method] = np.median(regrets)
                columns = "  ".join(f"{m} {v:9.2g}" for m, v in medians.items())
                print(f"{name:12s} {columns}", flush=True)


if __name__ == "__main__":
    main()
