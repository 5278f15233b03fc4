"""What one tell + ask costs, ours beside the others in the same run."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from search_methods import INITIAL, METHODS
from search_problems import problem

from phs_mpi.search.model import last_fit

PENDING = (0, 31)
#: Seconds beyond which a cycle of a method is not waited for, and those spent on one figure.
LONGEST, PATIENCE = 20.0, 40.0


def begin(n: int, cycles: int) -> int:
    """The least number of results, `n` or more, with a refit of ours in the cycles that follow."""
    return next(known for known in itertools.count(n) if last_fit(known + cycles) > known)


def cost(method: str, n: int, pending: int, cycles: int) -> dict[str, float]:
    """Processor time of tell + ask on the six-dimensional Hartmann function.

    Parameters
    ----------
    method : str
        In METHODS.
    n : int
        Results known before, at random points: so many, or up to 63 more, so that we have a refit
        in the cycles; the others fit theirs in every cycle.
    pending : int
        Points that are being evaluated all the while.
    cycles : int
        At most; fewer once they have taken PATIENCE.

    Returns
    -------
    dict
        ``first``: seconds of the first proposal, imports included; ``cycle``: mean seconds of
        tell + ask in the ``cycles`` that followed it; ``refits``: of our hyperparameters among
        these; ``known``: results before.
    """
    n = begin(n, cycles)
    space, function = problem("hartmann6", 0)
    search = METHODS[method](space, 0)
    rng = np.random.default_rng(1)
    rows = [space.decode(x) for x in rng.random((n, space.width))]
    search.load(rows, [function(row) for row in rows])
    waiting: list[dict] = []
    for x in rng.random((pending, space.width)):
        waiting.append(search.enqueue(space.decode(x)))
    begun = time.process_time()
    values = search.ask(waiting)
    first = time.process_time() - begun
    begun, done = time.process_time(), 0
    while done < cycles and (not done or time.process_time() - begun < PATIENCE):
        search.tell(values, function(values))
        values = search.ask(waiting)
        done += 1
    spent = (time.process_time() - begun) / done
    sizes = {last_fit(n + k) for k in range(done + 1)}
    return {"first": first, "cycle": spent, "cycles": done, "refits": len(sizes) - 1, "known": n}


def measure(
    methods: Iterable[str], sizes: Sequence[int], cycles: int, file: Path, done: list[dict]
) -> None:
    """Add what is not in `done` to the file; a method that has become too slow is left out."""
    known = {(r["n"], r["pending"], r["method"]): r for r in done if r["setting"] == "cost"}
    for n in sorted(sizes):
        for pending in PENDING:
            for method in methods:
                key = (n, pending, method)
                if method in ("sobol", "random") or n < INITIAL or key in known:
                    continue
                if pending and not METHODS[method](problem("hartmann6", 0)[0], 0).parallel:
                    continue
                if expected(known, n, pending, method) > LONGEST:
                    continue
                line = {"setting": "cost", "method": method, "n": n, "pending": pending}
                line |= {k: round(v, 5) for k, v in cost(method, n, pending, cycles).items()}
                known[key] = line
                with file.open("a") as out:
                    out.write(json.dumps(line) + "\n")
                print(line, file=sys.stderr, flush=True)


def expected(known: dict[tuple, dict], n: int, pending: int, method: str) -> float:
    """Seconds of a cycle, from the growth between the two largest sizes that were measured."""
    sizes = sorted(m for m, q, name in known if (q, name) == (pending, method) and m < n)[-2:]
    seconds = [known[m, pending, method]["cycle"] for m in sizes]
    if not sizes:
        return 0.0
    power = 1.0
    if len(sizes) == 2:
        power = max(power, np.log(seconds[1] / seconds[0]) / np.log(sizes[1] / sizes[0]))
    return seconds[-1] * (n / sizes[-1]) ** power


def table(lines: list[dict]) -> None:
    """Markdown, in milliseconds, with the ratio of the quickest other method to ours."""
    known = {(r["n"], r["pending"], r["method"]): r for r in lines if r["setting"] == "cost"}
    if not known:
        return
    methods = [m for m in METHODS if any(m == name for _, _, name in known)]
    others = [m for m in methods if not m.startswith("phs_mpi")]
    print("\ncost: milliseconds of one tell + ask (cycles it is the mean of)\n")
    print("| results | pending | refits of ours | " + " | ".join(methods) + " | quickest / ours |")
    print("|---" * (len(methods) + 4) + "|")
    for n, pending in sorted({(n, pending) for n, pending, _ in known}):
        here = {m: known[n, pending, m] for m in methods if (n, pending, m) in known}
        cells = [
            f"{1e3 * here[m]['cycle']:.1f} ({here[m]['cycles']})" if m in here else "–"
            for m in methods
        ]
        ours = here.get("phs_mpi")
        refits = ours["refits"] if ours else "–"
        quickest = min((here[m]["cycle"] for m in others if m in here), default=None)
        ratio = f"{quickest / ours['cycle']:.0f}" if ours and quickest else "–"
        print(f"| {n} | {pending} | {refits} | " + " | ".join(cells) + f" | {ratio} |")
