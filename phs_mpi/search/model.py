"""The Gaussian process as a function of the log: what enters it, and when it is fitted again."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from phs_mpi.encoding import Space
from phs_mpi.search.acquisition import POINTWISE, Feasibility, SmoothAcquisition
from phs_mpi.search.gaussian_process import GaussianProcess, Hyperparameters, fit
from phs_mpi.search.maximiser import maximise
from phs_mpi.search.noise import pooled_variance, variances_of_means
from phs_mpi.search.outputs import Standardisation
from phs_mpi.search.surrogate import Surrogate, held
from phs_mpi.search.thompson import SamplePath

#: Results the surrogate holds after a refit, and those its hyperparameters are fitted to. After
#: 700 evaluations of Ackley-10, Rosenbrock-4 and Levy-8 (3 seeds each) the mean log10 regret was
#: -0.8, -1.2, -1.6, -1.7 with 100, 250, 500, 1000 held: no more is worth its cost.
HELD, FITTED = 500, 300
#: Known variance of a standardised result, at most: more says no more.
LARGEST = 1e3
#: A result that is no mean of repeats: evaluated once, variance unknown.
ONCE = np.array([1.0, np.nan])
#: Times that lengthscales are halved, at most, where the proposal would be known already.
HALVINGS = 8
#: Bytes of an array that glibc is to take from memory that was freed, at most.
REUSED = 1 << 23


@cache
def _threads() -> ThreadpoolController:
    # Searching the loaded libraries takes 5 ms, setting the limit 10 µs.
    return ThreadpoolController()


def one_thread() -> AbstractContextManager:
    """Linear algebra on one thread: sums in the same order everywhere, and no spinning cores."""
    return _threads().limit(limits=1)


@cache
def reuse_freed_memory() -> None:
    """Have large arrays made from what earlier ones have left, not from new pages each time.

    glibc maps what is larger than a threshold anew each time, and gives it back when it is freed:
    with a few hundred results, touching new pages is a fifth to a third of a proposal. Freeing a
    block raises the threshold to its size, and what may stay free at the end of the heap to twice
    that. The block itself is never touched. Other allocators ignore it.

    References
    ----------
    mallopt(3), M_MMAP_THRESHOLD.
    """
    np.empty(REUSED, np.uint8)


@cache
def last_fit(n: int) -> int:
    """Number of results at the latest refit of the hyperparameters, for `n` results."""
    size = 2
    while True:
        following = size + min(max(1, size // 8), 64)
        if following > n:
            return size
        size = following


class Model(Surrogate):
    """Gaussian process and acquisition for one space.

    Parameters
    ----------
    space : Space
    maximize : bool
    method : str
        Name of the acquisition function.

    Attributes
    ----------
    gp : GaussianProcess
    """

    gp: GaussianProcess
    acquisition: SmoothAcquisition

    def __init__(self, space: Space, maximize: bool, method: str = "logei"):
        super().__init__(space, maximize, method)
        reuse_freed_memory()
        self._results = np.empty(0)
        self._repeats = np.empty((0, 2))
        self._pooled = 0.0
        self._base = 0
        self._rows = np.empty(0, dtype=int)

    def update(
        self,
        X: np.ndarray,
        results: np.ndarray,
        pending: np.ndarray,
        rng: np.random.Generator | None = None,
        repeats: np.ndarray | None = None,
    ) -> None:
        self.known = np.vstack([X, pending])
        good = np.isfinite(results)
        failed = X[~good]
        X, results = X[good], results[good]
        n = len(results)
        repeats = np.tile(ONCE, (n, 1)) if repeats is None else repeats[good]
        known = len(self._results)
        base = last_fit(n)
        if (
            base != self._base
            or n < known
            or not np.array_equal(results[:known], self._results)
            or not np.array_equal(repeats[:known], self._repeats, equal_nan=True)
        ):
            self._refit(X[:base], results[:base], repeats[:base])
            known = self._base = base
        self.gp.truncate(len(self._rows) + known - base)
        # One by one, as if they had come so: a new process must do the same sums.
        for k in range(known, n):
            self.gp.append(X[k : k + 1], self._variances(results[k : k + 1], repeats[k : k + 1]))
        self._results, self._repeats = results, repeats
        rows = np.concatenate([self._rows, np.arange(base, n)])
        self.X = X[rows]
        self.standardisation = Standardisation.of(results[rows], self.maximize)
        self._y = self.standardisation.forward(results[rows])
        self._pending = pending
        self._rng = rng
        if len(pending):
            self.gp.append(pending)
        self.gp.condition(self._y)
        self.fitted = self._means(self.gp)
        self._feasibility = self.feasibility(failed)
        self.acquisition = self._acquisition(self.gp, self._feasibility)

    def _refit(self, X: np.ndarray, results: np.ndarray, repeats: np.ndarray) -> None:
        signed = -results if self.maximize else results
        few = held(signed, FITTED)
        # Until the next refit what is known of the noise stays, in the units of this one.
        self._pooled = pooled_variance(repeats)
        self._units = Standardisation.of(results[few], self.maximize)
        y = self._units.forward(results[few])
        v = self._variances(results[few], repeats[few])
        hyperparameters = fit(X[few], y, self.space.group, v)
        self._rows = rows = held(signed, HELD)
        room = max(1, len(signed) // 8) + 64
        self.gp = GaussianProcess(
            hyperparameters,
            self.space.group,
            X[rows],
            len(rows) + room,
            self._variances(results[rows], repeats[rows]),
        )

    def _variances(self, results: np.ndarray, repeats: np.ndarray) -> np.ndarray | float:
        """Known variances of the standardised results; 0 where nothing was repeated."""
        if self._pooled == 0.0:
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            deviation = np.sqrt(variances_of_means(repeats, self._pooled))
            v = np.square(deviation * self._units.slope(results))
        return np.where(v < LARGEST, v, LARGEST)

    def _means(self, gp: GaussianProcess) -> np.ndarray:
        # The posterior mean at an evaluated point is y - noise K⁻¹ y.
        n = len(self._y)
        return self._y - gp.variances[:n] * gp.weights[:n]

    def _acquisition(
        self, gp: GaussianProcess, feasibility: Feasibility | None
    ) -> SmoothAcquisition:
        if self.method == "ts":
            assert self._rng is not None
            return SamplePath(gp, self._y, self._rng, feasibility)
        best = float(self._means(gp).min())
        if len(self._pending):
            # Kriging believer: what a pending point promises is no improvement any more.
            best = min(best, float(gp.predict(self._pending)[0].min()))
        return POINTWISE[self.method](gp, best, feasibility)

    @property
    def lengthscales(self) -> np.ndarray:
        return self.gp.hyperparameters.lengthscales

    @property
    def scale(self) -> float:
        return self.gp.hyperparameters.scale

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.gp.predict(X)

    def maximise(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of high acquisition by falling value, starting from candidates, and its values.

        If the best of them is known already, the model is too sure of itself: it sees no use in
        looking anywhere else. Then its lengthscales are halved until that is no longer so, which
        leaves the data as they are and makes it less sure of what is between them.

        References
        ----------
        Bull 2011, JMLR 12, 2879: expected improvement with estimated lengthscales may converge
        to no optimum, unless they are kept from growing too long.
        """
        gp = self.gp
        found = maximise(self.acquisition, self.space, candidates, gp.inverse_lengthscales)
        for k in range(1, HALVINGS + 1):
            if not self.indistinct(found[0][0]):
                break
            h = self.gp.hyperparameters
            unsure = Hyperparameters(h.lengthscales / 2**k, h.scale, h.noise)
            v = self.gp.variances - h.noise
            points = np.vstack([self.X, self._pending])
            gp = GaussianProcess(unsure, self.space.group, points, v=v)
            gp.condition(self._y)
            found = maximise(
                self._acquisition(gp, self._feasibility),
                self.space,
                candidates,
                gp.inverse_lengthscales,
            )
        return found
