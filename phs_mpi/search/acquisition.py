"""Acquisition functions: how much an evaluation at a point promises.

| symbol     | meaning                                                  | shape   |
|------------|----------------------------------------------------------|---------|
| m          | candidates scored in one batch                           |         |
| mean, std  | posterior at the candidates, standardised units          | (m,)    |
| best       | lowest posterior mean at an evaluated point, same units  |         |
| z          | (best - mean) / std                                      | (m,)    |

All are to be maximised, for a function that is to be minimised.

References
----------
Ament et al. 2023, Unexpected Improvements to Expected Improvement, arXiv:2310.20708.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from scipy.special import erfcx, log_ndtr

from phs_mpi.search.gaussian_process import GaussianProcess

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
HALF_LOG_HALF_PI = 0.5 * math.log(0.5 * math.pi)

#: Below this z, 1 - z√(π/2)·erfcx(-z/√2) has lost all digits and its expansion 1/z² is exact.
ASYMPTOTIC = -1e5


def log_h(z: np.ndarray) -> np.ndarray:
    """log(φ(z) + z Φ(z)), finite and accurate for any finite z.

    References
    ----------
    Ament et al. 2023, eq. 9.
    """
    z = np.asarray(z, dtype=float)
    out = np.empty_like(z)
    near = z > -1.0
    u = z[near]
    density = np.exp(-0.5 * u * u - HALF_LOG_2PI)
    out[near] = np.log(density + u * np.exp(log_ndtr(u)))
    far = ~near
    u = z[far]
    tail = -0.5 * u * u - HALF_LOG_2PI
    u = np.maximum(u, -1e150)
    middle = u > ASYMPTOTIC
    w = np.where(middle, u, -2.0)
    ratio = np.exp(HALF_LOG_HALF_PI) * erfcx(-w / math.sqrt(2.0)) * -w
    out[far] = tail + np.where(middle, np.log1p(-ratio), -2.0 * np.log(-u))
    return out


def log_expected_improvement(mean: np.ndarray, std: np.ndarray, best: float) -> np.ndarray:
    """Logarithm of expected improvement, for minimisation.

    Parameters
    ----------
    mean, std : ndarray of shape (m,)
        Posterior of the latent function, standardised units; std > 0.
    best : float
        Lowest value so far, same units.

    Returns
    -------
    ndarray of shape (m,)

    References
    ----------
    Ament et al. 2023, arXiv:2310.20708, eq. 8.
    """
    return log_h((best - mean) / std) + np.log(std)


def log_expected_improvement_slopes(
    mean: np.ndarray, std: np.ndarray, best: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithm of expected improvement and its derivatives by mean and by std.

    With h(z) = φ(z) + z Φ(z) the derivatives are -Φ/(h std) and φ/(h std). Far out, where the
    logarithms of numerator and denominator are large and nearly equal, these ratios are -z and
    z² up to a relative 3/z².
    """
    z = (best - mean) / std
    value = log_h(z)
    far = z < -1e5
    near = np.where(far, 0.0, z)
    near_value = np.where(far, 0.0, value)
    by_mean = np.where(far, z, -np.exp(log_ndtr(near) - near_value)) / std
    by_std = np.where(far, z * z, np.exp(-0.5 * near * near - HALF_LOG_2PI - near_value)) / std
    return value + np.log(std), by_mean, by_std


class Feasibility:
    """Logarithm of the probability that an evaluation succeeds.

    Labels of +1 (succeeded) and -1 (failed) are regressed, and the sign of the latent value
    decides: log Φ(mean / std). Where nothing is known the probability is one half.

    Parameters
    ----------
    gp : GaussianProcess
        Conditioned on the labels.

    References
    ----------
    Rasmussen and Williams 2006, section 6.5: least-squares classification.
    """

    def __init__(self, gp: GaussianProcess):
        self.gp = gp

    def __call__(self, X: np.ndarray) -> np.ndarray:
        mean, std = self.gp.predict(X)
        return log_ndtr(mean / std)

    def with_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value, of shape (m,), and gradient, of shape (m, D)."""
        mean, std, mean_gradient, std_gradient = self.gp.predict_with_gradients(X)
        u = mean / std
        value = log_ndtr(u)
        slope = np.exp(-0.5 * u * u - HALF_LOG_2PI - value) / std
        return value, slope[:, None] * (mean_gradient - u[:, None] * std_gradient)


#: Power of the probability of success, by which improvement is weighted. At the edge of a forbidden
#: region improvement is often promised only beyond it, and the power 1 sends most proposals there:
#: docs/proposals.md has what 1, 4, 8 and 16 did.
CAUTION = 8.0


class Acquisition(Protocol):
    """A function to be maximised over points of the unit cube."""

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Values, of shape (m,), at points of shape (m, D)."""


class SmoothAcquisition(Acquisition, Protocol):
    """One that can be climbed."""

    def with_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value, of shape (m,), and gradient, of shape (m, D)."""


class Predictor(Protocol):
    """A surrogate that need not have gradients."""

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, of shape (m,), at points of shape (m, D)."""


class Pointwise(ABC):
    """An acquisition function of mean and standard deviation at the point alone.

    Where evaluations have failed, the logarithm of the probability of success is added, CAUTION
    times.

    Parameters
    ----------
    surrogate : Predictor
        Only that of a GaussianProcess can be climbed.
    best : float
        Lowest posterior mean at an evaluated point.
    feasibility : Feasibility, optional
        If evaluations have failed.
    """

    def __init__(
        self,
        surrogate: Predictor,
        best: float,
        feasibility: Feasibility | None = None,
    ):
        self.surrogate = surrogate
        self.best = best
        self.feasibility = feasibility

    @abstractmethod
    def score(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Value, of shape (m,)."""

    @abstractmethod
    def slopes(
        self, mean: np.ndarray, std: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value and its derivatives by mean and by std, all of shape (m,)."""

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Values, of shape (m,), at points of shape (m, D)."""
        value = self.score(*self.surrogate.predict(X))
        return value if self.feasibility is None else value + CAUTION * self.feasibility(X)

    def with_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value, of shape (m,), and gradient, of shape (m, D)."""
        assert isinstance(self.surrogate, GaussianProcess)
        mean, std, mean_gradient, std_gradient = self.surrogate.predict_with_gradients(X)
        value, by_mean, by_std = self.slopes(mean, std)
        gradient = by_mean[:, None] * mean_gradient + by_std[:, None] * std_gradient
        if self.feasibility is not None:
            more, slope = self.feasibility.with_gradient(X)
            value += CAUTION * more
            gradient += CAUTION * slope
        return value, gradient


class LogExpectedImprovement(Pointwise):
    """log E[max(best - f, 0)], which has a slope even where the expectation underflows."""

    def score(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return log_expected_improvement(mean, std, self.best)

    def slopes(
        self, mean: np.ndarray, std: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return log_expected_improvement_slopes(mean, std, self.best)


class ExpectedImprovement(LogExpectedImprovement):
    """E[max(best - f, 0)], times the probability of success to the power of CAUTION.

    Score and slopes are those of its logarithm.

    References
    ----------
    Jones, Schonlau and Welch 1998, J. Global Optim. 13, 455: eq. 15.
    """

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.exp(super().__call__(X))

    def with_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = super().with_gradient(X)
        return np.exp(value), np.exp(value)[:, None] * gradient


class LogProbabilityOfImprovement(Pointwise):
    """log P(f < best - MARGIN), that is log Φ((best - MARGIN - mean) / std).

    Without a margin it would be highest next to the best point, where any improvement is sure and
    none is worth having.

    References
    ----------
    Kushner 1964, J. Basic Eng. 86, 97. Jones 2001, J. Global Optim. 21, 345.
    """

    def score(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return log_ndtr((self.best - MARGIN - mean) / std)

    def slopes(
        self, mean: np.ndarray, std: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        z = (self.best - MARGIN - mean) / std
        value = log_ndtr(z)
        # φ(z) / Φ(z), which far out is -z up to a relative 1/z².
        far = z < -1e5
        near = np.where(far, 0.0, z)
        ratio = np.exp(-0.5 * near * near - HALF_LOG_2PI - np.where(far, 0.0, value))
        by_z = np.where(far, -z, ratio)
        return value, -by_z / std, -by_z * z / std


#: Improvement that counts, in standard deviations of the results. Of 0.01, 0.03, 0.1 and 0.3 the
#: one that did best on a bowl, Branin and Hartmann-6; none does well.
MARGIN = 0.03


class ConfidenceBound(Pointwise):
    """best - (mean - WIDTH std): the improvement if the point is as good as can be hoped for.

    Known as UCB, after the upper confidence bound of a function that is maximised.

    References
    ----------
    Srinivas et al. 2010, arXiv:0912.3995, eq. 6, with a constant width.
    """

    def score(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return self.best - mean + WIDTH * std

    def slopes(
        self, mean: np.ndarray, std: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.score(mean, std), np.full_like(mean, -1.0), np.full_like(mean, WIDTH)


WIDTH = 2.0

#: Those of mean and standard deviation, by the name they are asked for.
POINTWISE: dict[str, type[Pointwise]] = {
    "logei": LogExpectedImprovement,
    "ei": ExpectedImprovement,
    "ucb": ConfidenceBound,
    "pi": LogProbabilityOfImprovement,
}
