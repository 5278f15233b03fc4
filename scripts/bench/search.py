"""Cost and quality of proposals, beside other searches where they are installed.

    python scripts/bench/search.py cost [--methods …] [--sizes …]
    python scripts/bench/search.py sequential parallel-8 parallel-32 [--methods …] [--seeds N]
    python scripts/bench/search.py sequential --ablation [--seeds N] [--file ablation.jsonl]
    python scripts/bench/search.py table [--file …]

Cost is the processor time of one tell + ask, the mean over successive cycles with the refits that
fall into them, on the six-dimensional Hartmann function. Quality is the regret after a number of
evaluations; in the parallel settings evaluations last a log-normal simulated time. Every finished
search is a line of --file, so that a comparison can be stopped, continued and extended, and so are
the versions it was run with; `table` prints medians and mean ranks of what is there. One thread.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import search_ablation
import search_cost
from search_methods import METHODS
from search_problems import PROBLEMS, TUNING, problem

#: Workers and evaluations of each setting.
SETTINGS = {"sequential": (1, 60), "parallel-8": (8, 128), "parallel-32": (32, 256)}
METHODS.update(search_ablation.VARIANTS)
PEERS = ("optuna", "torch", "gpytorch", "botorch", "scikit-optimize")
OURS = ("phs_mpi", "sobol", "random")


def regret(method: str, name: str, seed: int, evaluations: int, workers: int) -> float:
    """Lowest value found, by that many workers that never wait."""
    space, function = problem(name, seed)
    search = METHODS[method](space, seed)
    durations = np.random.default_rng([seed, 7])
    results: list[float] = []
    running: dict[int, dict] = {}
    ends: list[tuple[float, int]] = []
    now, started = 0.0, 0
    while len(results) < evaluations:
        while len(running) < workers and started < evaluations:
            running[started] = search.ask(list(running.values()))
            heapq.heappush(ends, (now + durations.lognormal(0.0, 0.5), started))
            started += 1
        now, index = heapq.heappop(ends)
        values = running.pop(index)
        results.append(function(values))
        search.tell(values, results[-1])
    return min(results)


def compare(setting: str, options: argparse.Namespace) -> None:
    """Run what is not in the file yet, seed by seed."""
    workers, evaluations = SETTINGS[setting]
    done = {
        (r["setting"], r["problem"], r["method"], r["seed"])
        for r in read(options.file)
        if r["setting"] in SETTINGS
    }
    for seed in range(options.seeds):
        for name in options.problems:
            for method in options.methods:
                if (setting, name, method, seed) in done or (
                    workers == 1 and method in search_ablation.PARALLEL
                ):
                    continue
                begun = time.process_time()
                found = regret(method, name, seed, evaluations, workers)
                line = {"setting": setting, "problem": name, "method": method, "seed": seed}
                line |= {"regret": found, "cpu_seconds": round(time.process_time() - begun, 2)}
                with options.file.open("a") as file:
                    file.write(json.dumps(line) + "\n")


def note_versions(file: Path) -> None:
    """Add a line that says with what the following ones are measured, unless it is there."""
    line: dict[str, str] = {"setting": "versions", "python": platform.python_version()}
    for name in ("phs-mpi", "numpy", "scipy", "scikit-learn", *PEERS):
        try:
            line[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            line[name] = "not installed"
    if line not in read(file):
        with file.open("a") as out:
            out.write(json.dumps(line) + "\n")


def read(file: Path) -> list[dict]:
    """The finished searches."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(lines: list[dict]) -> None:
    """Markdown: medians by problem and method over the seeds that all methods have, mean ranks."""
    for setting, (workers, evaluations) in SETTINGS.items():
        here = [r for r in lines if r["setting"] == setting]
        present = {r["method"] for r in here}
        methods = [m for m in METHODS if m in present and m not in search_ablation.VARIANTS]
        if not methods:
            continue
        print(f"\n{setting}: {workers} worker(s), {evaluations} evaluations, median regret\n")
        print("| problem | seeds | " + " | ".join(methods) + " |")
        print("|---" * (len(methods) + 2) + "|")
        ranks = []
        for name in dict.fromkeys(r["problem"] for r in here):
            by_method = {
                m: {
                    r["seed"]: r["regret"] for r in here if (r["problem"], r["method"]) == (name, m)
                }
                for m in methods
            }
            common = sorted(set.intersection(*(set(found) for found in by_method.values())))
            if not common:
                continue
            figures = np.array([[by_method[m][seed] for seed in common] for m in methods])
            medians = np.median(figures, axis=1)
            # Ranks of the medians; equals share theirs.
            ranks.append([(medians < x).sum() + ((medians == x).sum() + 1) / 2 for x in medians])
            print(f"| {name} | {len(common)} | " + " | ".join(f"{x:.2g}" for x in medians) + " |")
        if ranks:
            mean = " | ".join(f"{rank:.2f}" for rank in np.mean(ranks, axis=0))
            print(f"| mean rank | | {mean} |")


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = ["cost", *SETTINGS, "table"]
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)} (default: all)")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(OURS))
    parser.add_argument(
        "--ablation",
        action="store_true",
        help="instead of --methods: phs_mpi, and it with one ingredient left out at a time",
    )
    parser.add_argument("--problems", nargs="*", default=[*PROBLEMS, *TUNING])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="*", default=[50, 200, 400, 1000, 5000])
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--file", type=Path, default=Path("search.jsonl"))
    options = parser.parse_args()
    if options.ablation:
        options.methods = ["phs_mpi", *search_ablation.VARIANTS]
    if unknown := set(options.parts) - set(parts):
        parser.error(f"there is no part {unknown.pop()!r}; choose from {', '.join(parts)}")
    if options.parts != ["table"]:
        note_versions(options.file)
    for part in options.parts or parts:
        if part == "cost":
            lines = read(options.file)
            search_cost.measure(options.methods, options.sizes, options.cycles, options.file, lines)
        elif part == "table":
            lines = read(options.file)
            for line in lines:
                if line["setting"] == "versions":
                    print(", ".join(f"{name} {found}" for name, found in list(line.items())[1:]))
            search_cost.table(lines)
            table(lines)
            for setting in SETTINGS:
                search_ablation.table(lines, setting)
        else:
            compare(part, options)


if __name__ == "__main__":
    main()
