"""Our search with one ingredient left out or exchanged at a time: what each costs and brings.

Nothing of this is an option of the product: the functions and constants it is made of are replaced
while a variant proposes, and put back afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from search_methods import Ours, OursBlind

from phs_mpi.encoding import Space
from phs_mpi.search import gaussian_process, maximiser
from phs_mpi.search.gaussian_process import Hyperparameters, Prior
from phs_mpi.search.model import Model

#: Regrets below this are equal: nobody needs these digits.
NEGLIGIBLE = 1e-6


class WidePrior(Prior):
    """As in Hvarfner et al. 2024: log-normal, median e^√2 √G, deviation √3.

    Our prior is a density of the logarithm. Theirs, as their code takes it, is that of the
    lengthscale itself, which is highest at e^(√2 - 3) √G.
    """

    @classmethod
    def of(cls, dimensions: int) -> Prior:
        """The prior for that many lengthscales."""
        ours = super().of(dimensions)
        mean, deviation = ours.mean.copy(), ours.deviation.copy()
        mean[:-2] = math.sqrt(2) - 3.0 + 0.5 * math.log(dimensions)
        deviation[:-2] = math.sqrt(3)
        return cls(mean, deviation, ours.bounds)


class NoPrior(Prior):
    """Maximum likelihood within the box, from the same start."""

    @classmethod
    def of(cls, dimensions: int) -> Prior:
        """The prior for that many lengthscales."""
        ours = super().of(dimensions)
        return cls(ours.mean, np.full(dimensions + 2, 1e9), ours.bounds)


def one_lengthscale(
    X: np.ndarray, y: np.ndarray, group: np.ndarray, v: np.ndarray | float = 0.0
) -> Hyperparameters:
    """Hyperparameters with the same lengthscale in all dimensions."""
    h = gaussian_process.fit(X, y, np.zeros_like(group), v)
    return Hyperparameters(np.full(group.max() + 1, h.lengthscales[0]), h.scale, h.noise)


def without_gradient(acquisition: Any, space: Space, candidates: np.ndarray, _: Any) -> Any:
    """The best candidate, not refined."""
    return maximiser.maximise_without_gradient(acquisition, space, candidates)


def best_of_evaluated(self: Any, gp: Any, feasibility: Any) -> Any:
    """Improvement over what is evaluated only: pending sets shrink the variance, no more."""
    with mock.patch.object(self, "_pending", self._pending[:0]):
        return BELIEVER(self, gp, feasibility)


def at_doublings(n: int) -> int:
    """Refits only when the number of results has doubled."""
    return 2 ** (n.bit_length() - 1)


SEARCH = "phs_mpi.search."
BELIEVER = Model._acquisition
#: What each variant replaces, and by what.
CHANGES: dict[str, dict[str, Any]] = {
    "outputs not compressed": {"outputs.BAD": math.inf, "outputs.GOOD": math.inf},
    "only outliers compressed": {"outputs.BAD": 4.0},
    "prior of Hvarfner": {"gaussian_process.Prior": WidePrior},
    "no priors": {"gaussian_process.Prior": NoPrior},
    "one lengthscale": {"model.fit": one_lengthscale},
    "no starts near the best": {"proposal.NEAR": 0},
    "not refined by gradient": {"model.maximise": without_gradient},
    "one start refined": {"maximiser.REFINED": 1},
    "ten starts refined": {"maximiser.REFINED": 10},
    "known points proposed": {"surrogate.INDISTINCT": 0.0},
    "refit at every result": {"model.last_fit": int},
    "refit at doublings": {"model.last_fit": at_doublings},
    "pending: variance only": {"model.Model._acquisition": best_of_evaluated},
}


class Altered(Ours):
    """Our search with some of its parts replaced.

    Parameters
    ----------
    space : Space
    seed : int
    changes : mapping of str to object
        Replacements, by module and name within the search package.
    """

    def __init__(self, space: Space, seed: int, changes: Mapping[str, Any]):
        super().__init__(space, seed)
        self.changes = changes

    def ask(self, pending: Sequence[dict]) -> dict:
        with ExitStack() as stack:
            for name, value in self.changes.items():
                stack.enter_context(mock.patch(SEARCH + name, value))
            return super().ask(pending)


VARIANTS: dict[str, Callable[[Space, int], Ours]] = {
    **{name: partial(Altered, changes=changes) for name, changes in CHANGES.items()},
    "pending ignored": OursBlind,
    "plain expected improvement": partial(Ours, acquisition="ei"),
}
#: Those that change nothing where nothing is ever pending.
PARALLEL = ("pending ignored", "pending: variance only")


def table(lines: list[dict], setting: str) -> None:
    """Markdown: paired by problem and seed, against the search as it is.

    Mean of log10(regret of the variant / regret of ours): 1 is ten times worse, -1 ten times
    better; its standard error; and the ratio of processor times.
    """
    here = {(r["method"], r["problem"], r["seed"]): r for r in lines if r["setting"] == setting}
    problems = list(dict.fromkeys(problem for _, problem, _ in here))
    variants = [name for name in VARIANTS if any(name == method for method, _, _ in here)]
    if not variants:
        return
    print(f"\nablation, {setting}: mean of log10(regret / regret of phs_mpi)\n")
    print("| variant | CPU time | all problems | pairs | " + " | ".join(problems) + " |")
    print("|---" * (len(problems) + 4) + "|")
    for name in variants:
        pairs = [
            (problem, here[name, problem, seed], here["phs_mpi", problem, seed])
            for method, problem, seed in here
            if method == name and ("phs_mpi", problem, seed) in here
        ]
        if not pairs:
            continue
        gains: dict[str, list[float]] = {problem: [] for problem in problems}
        for problem, theirs, ours in pairs:
            regrets = [max(r["regret"], NEGLIGIBLE) for r in (theirs, ours)]
            gains[problem].append(math.log10(regrets[0] / regrets[1]))
        every = np.concatenate(list(gains.values()))
        error = np.std(every, ddof=1) / math.sqrt(len(every)) if len(every) > 1 else math.nan
        times = np.sum([[a["cpu_seconds"], b["cpu_seconds"]] for _, a, b in pairs], axis=0)
        cells = [f"{np.mean(found):+.2f}" if found else "–" for found in gains.values()]
        print(
            f"| {name} | × {times[0] / times[1]:.2f} | {np.mean(every):+.2f} ± {error:.2f} "
            f"| {len(every)} | " + " | ".join(cells) + " |"
        )
