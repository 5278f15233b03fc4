"""The surrogate as a function of the log: which results enter it, and when it is fitted again."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from phs_mpi.encoding import Space
from phs_mpi.search import acquisition
from phs_mpi.search.acquisition import Feasibility, LogExpectedImprovement
from phs_mpi.search.gaussian_process import GaussianProcess, Hyperparameters, fit
from phs_mpi.search.outputs import Standardisation

#: Results the surrogate holds after a refit, and those its hyperparameters are fitted to. After
#: 700 evaluations of Ackley-10, Rosenbrock-4 and Levy-8 (3 seeds each) the mean log10 regret was
#: -0.8, -1.2, -1.6, -1.7 with 100, 250, 500, 1000 held: no more is worth its cost.
HELD, FITTED = 500, 300
#: Latest failures that the feasibility model holds.
FAILURES = 200


@cache
def _threads() -> ThreadpoolController:
    # Searching the loaded libraries takes 5 ms, setting the limit 10 µs.
    return ThreadpoolController()


def one_thread() -> AbstractContextManager:
    """Linear algebra on one thread: sums in the same order everywhere, and no spinning cores."""
    return _threads().limit(limits=1)


@cache
def last_fit(n: int) -> int:
    """Number of results at the latest refit of the hyperparameters, for `n` results."""
    size = 2
    while True:
        following = size + min(max(1, size // 8), 64)
        if following > n:
            return size
        size = following


def held(y: np.ndarray, limit: int) -> np.ndarray:
    """Numbers of the results to keep when there are too many, in rising order.

    Half of them the lowest, which the next proposals depend on; the other half evenly from all
    the rest, so that the surrogate still knows where not to look.
    """
    n = len(y)
    if n <= limit:
        return np.arange(n)
    order = np.argsort(y, kind="stable")
    rest = np.sort(order[limit // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, limit - limit // 2).astype(int)]
    return np.sort(np.concatenate([order[: limit // 2], even]))


class Model:
    """Surrogate and acquisition for one space.

    Parameters
    ----------
    space : Space
    maximize : bool

    Attributes
    ----------
    gp : GaussianProcess
    acquisition : LogExpectedImprovement
    """

    gp: GaussianProcess
    acquisition: LogExpectedImprovement

    def __init__(self, space: Space, maximize: bool):
        self.space = space
        self.maximize = maximize
        self._results = np.empty(0)
        self._base = 0
        self._rows = np.empty(0, dtype=int)

    def update(self, X: np.ndarray, results: np.ndarray, pending: np.ndarray) -> None:
        """Take in all results so far (NaN: failed) and the pending points.

        Parameters
        ----------
        X : ndarray of shape (n, D)
        results : ndarray of shape (n,)
        pending : ndarray of shape (q, D)
        """
        good = np.isfinite(results)
        failed = X[~good]
        X, results = X[good], results[good]
        n = len(results)
        known = len(self._results)
        base = last_fit(n)
        if base != self._base or n < known or not np.array_equal(results[:known], self._results):
            self._refit(X[:base], results[:base])
            known = self._base = base
        self.gp.truncate(len(self._rows) + known - base)
        # One by one, as if they had come so: a new process must do the same sums.
        for k in range(known, n):
            self.gp.append(X[k : k + 1])
        self._results = results
        rows = np.concatenate([self._rows, np.arange(base, n)])
        self.X = X[rows]
        self.standardisation = Standardisation.of(results[rows], self.maximize)
        y = self.standardisation.forward(results[rows])
        if len(pending):
            self.gp.append(pending)
        self.gp.condition(y)
        # The posterior mean at an evaluated point is y - noise K⁻¹ y.
        self.fitted = y - self.gp.hyperparameters.noise * self.gp.weights[: len(y)]
        best = float(self.fitted.min())
        if len(pending):
            # Kriging believer: what a pending point promises is no improvement any more.
            best = min(best, float(self.gp.predict(pending)[0].min()))
        feasibility = self._feasibility(failed) if len(failed) else None
        self.acquisition = LogExpectedImprovement(self.gp, best, feasibility)

    def _refit(self, X: np.ndarray, results: np.ndarray) -> None:
        signed = -results if self.maximize else results
        few = held(signed, FITTED)
        y = Standardisation.of(results[few], self.maximize).forward(results[few])
        hyperparameters = fit(X[few], y, self.space.group)
        self._rows = held(signed, HELD)
        room = max(1, len(signed) // 8) + 64
        self.gp = GaussianProcess(
            hyperparameters, self.space.group, X[self._rows], len(self._rows) + room
        )

    def _feasibility(self, failed: np.ndarray) -> Feasibility:
        # A dimension without influence on the result may yet decide over failure.
        longest = 0.3 * np.sqrt(len(self.space.dimensions))
        lengthscales = np.minimum(self.gp.hyperparameters.lengthscales, longest)
        failed = failed[-FAILURES:]
        gp = GaussianProcess(
            Hyperparameters(lengthscales, scale=1.0, noise=0.01),
            self.space.group,
            np.vstack([self.X, failed]),
        )
        gp.condition(np.concatenate([np.ones(len(self.X)), -np.ones(len(failed))]))
        return Feasibility(gp)

    def incumbents(self, count: int) -> np.ndarray:
        """The evaluated points of lowest posterior mean, at most `count`."""
        return self.X[np.argsort(self.fitted, kind="stable")[:count]]

    def rank(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points by falling acquisition, and its values."""
        values = self.acquisition(points)
        order = np.argsort(-values, kind="stable")
        return points[order], values[order]

    def maximise(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of high acquisition by falling value, starting from candidates, and its values."""
        return acquisition.maximise(self.acquisition, self.space, candidates)

    def prediction(self, x: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation of the result at one point, in units of the result."""
        mean, std = self.gp.predict(x[None])
        return self.standardisation.prediction(float(mean[0]), float(std[0]))
