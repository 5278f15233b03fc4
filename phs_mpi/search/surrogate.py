"""What every surrogate offers the search, and what all of them do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from phs_mpi.encoding import Space
from phs_mpi.search.acquisition import Acquisition, Feasibility
from phs_mpi.search.gaussian_process import GaussianProcess, Hyperparameters
from phs_mpi.search.maximiser import by_value
from phs_mpi.search.outputs import Standardisation

#: Latest failures that the feasibility model holds.
FAILURES = 200
#: Difference of two results, in standard deviations of all results, that is none.
INDISTINCT = 1e-4


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


class Surrogate(ABC):
    """Model of the results in one space, and the acquisition function that follows from it.

    Parameters
    ----------
    space : Space
    maximize : bool
    method : str
        Name of the acquisition function.

    Attributes
    ----------
    X : ndarray of shape (n, D)
        Points of the results that it holds.
    fitted : ndarray of shape (n,)
        Its mean there, standardised units.
    standardisation : Standardisation
    acquisition : Acquisition
    """

    X: np.ndarray
    fitted: np.ndarray
    standardisation: Standardisation
    acquisition: Acquisition

    def __init__(self, space: Space, maximize: bool, method: str = "logei"):
        self.space = space
        self.maximize = maximize
        self.method = method
        #: All points evaluated, successfully or not, and pending.
        self.known = np.empty((0, space.width))

    @abstractmethod
    def update(
        self,
        X: np.ndarray,
        results: np.ndarray,
        pending: np.ndarray,
        rng: np.random.Generator | None = None,
        repeats: np.ndarray | None = None,
    ) -> None:
        """Take in all results so far (NaN: failed) and the pending points.

        Parameters
        ----------
        X : ndarray of shape (n, D)
        results : ndarray of shape (n,)
        pending : ndarray of shape (q, D)
        rng : numpy.random.Generator, optional
            What is drawn; needed by those surrogates and acquisition functions that draw.
        repeats : ndarray of shape (n, 2), optional
            Number of successful evaluations that each result is the mean of, and their variance.
        """

    @abstractmethod
    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at points of shape (m, D), standardised units."""

    @abstractmethod
    def maximise(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of high acquisition by falling value, starting from candidates, and its values."""

    @property
    def lengthscales(self) -> np.ndarray:
        """Of each dimension, in widths of its bounds; shape (G,)."""
        return np.ones(len(self.space.dimensions))

    @property
    def scale(self) -> float:
        """Variance of the latent function, standardised units."""
        return 1.0

    def indistinct(self, x: np.ndarray) -> bool:
        """Whether the result at the point `x` is known, by an evaluated or a pending neighbour.

        A priori the results at two points at the scaled distance r differ by a normal variable
        of variance 2 scale (1 - k(r)), which for a small r is 5/3 scale r². If its deviation is
        below INDISTINCT, evaluating one of them says all there is to say about the other.
        """
        difference = (self.known - x) / self.lengthscales[self.space.group]
        nearest = np.min(np.sum(difference * difference, axis=1), initial=np.inf)
        return bool(5.0 / 3.0 * self.scale * nearest < INDISTINCT**2)

    def incumbents(self, count: int) -> np.ndarray:
        """The evaluated points of lowest posterior mean, at most `count`."""
        return self.X[np.argsort(self.fitted, kind="stable")[:count]]

    def rank(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points by falling acquisition, and its values."""
        return by_value(points, self.acquisition(points))

    def prediction(self, x: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation of the result at one point, in units of the result."""
        mean, std = self.predict(x[None])
        return self.standardisation.prediction(float(mean[0]), float(std[0]))

    def feasibility(self, failed: np.ndarray) -> Feasibility | None:
        """The probability of success, for failures of shape (k, D); None if there are none."""
        if not len(failed):
            return None
        # A dimension without influence on the result may yet decide over failure.
        longest = 0.3 * np.sqrt(len(self.space.dimensions))
        failed = failed[-FAILURES:]
        gp = GaussianProcess(
            Hyperparameters(np.minimum(self.lengthscales, longest), scale=1.0, noise=0.01),
            self.space.group,
            np.vstack([self.X, failed]),
        )
        gp.condition(np.concatenate([np.ones(len(self.X)), -np.ones(len(failed))]))
        return Feasibility(gp)
