"""Logarithm of expected improvement, and its maximiser.

| symbol     | meaning                                                  | shape   |
|------------|----------------------------------------------------------|---------|
| m          | candidates scored in one batch                           |         |
| mean, std  | posterior at the candidates, standardised units          | (m,)    |
| best       | lowest posterior mean at an evaluated point, same units  |         |
| z          | (best - mean) / std                                      | (m,)    |

References
----------
Ament et al. 2023, Unexpected Improvements to Expected Improvement, arXiv:2310.20708.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import fmin_l_bfgs_b
from scipy.special import erfcx, log_ndtr

from phs_mpi.encoding import Space
from phs_mpi.search.gaussian_process import GaussianProcess, squared_distances

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


class LogExpectedImprovement:
    """Acquisition function: log expected improvement, plus log feasibility where there is one.

    Parameters
    ----------
    gp : GaussianProcess
    best : float
        Lowest posterior mean at an evaluated point.
    feasibility : Feasibility, optional
        If evaluations have failed.
    """

    def __init__(self, gp: GaussianProcess, best: float, feasibility: Feasibility | None = None):
        self.gp = gp
        self.best = best
        self.feasibility = feasibility

    def __call__(self, X: np.ndarray) -> np.ndarray:
        mean, std = self.gp.predict(X)
        value = log_expected_improvement(mean, std, self.best)
        return value if self.feasibility is None else value + self.feasibility(X)

    def with_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value, of shape (m,), and gradient, of shape (m, D)."""
        mean, std, mean_gradient, std_gradient = self.gp.predict_with_gradients(X)
        value, by_mean, by_std = log_expected_improvement_slopes(mean, std, self.best)
        gradient = by_mean[:, None] * mean_gradient + by_std[:, None] * std_gradient
        if self.feasibility is not None:
            more, slope = self.feasibility.with_gradient(X)
            value += more
            gradient += slope
        return value, gradient


def refine(acquisition: LogExpectedImprovement, X: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """Climb the acquisition function from all rows of `X` at once.

    Parameters
    ----------
    acquisition : LogExpectedImprovement
    X : ndarray of shape (m, D)
    smooth : ndarray of bool, shape (D,)
        Columns that move, within [0, 1].

    Returns
    -------
    ndarray of shape (m, D)
    """
    X = X.copy()
    m, moving = len(X), int(smooth.sum())
    if not moving:
        return X

    def objective(flat):
        X[:, smooth] = flat.reshape(m, moving)
        value, gradient = acquisition.with_gradient(X)
        return -float(value.sum()), -gradient[:, smooth].ravel()

    flat, _, _ = fmin_l_bfgs_b(
        objective,
        X[:, smooth].ravel(),
        bounds=[(0.0, 1.0)] * (m * moving),
        maxiter=MAX_ITERATIONS,
        factr=1e7,
        pgtol=1e-4,
    )
    X[:, smooth] = np.clip(flat.reshape(m, moving), 0.0, 1.0)
    return X


MAX_ITERATIONS = 50
#: Starts that are refined.
REFINED = 3


def spread_out(Z: np.ndarray, value: np.ndarray, count: int, apart: float) -> list[int]:
    """Rows of highest `value`, no two of them closer than `apart` unless too few are left."""
    order = np.argsort(-value, kind="stable")
    chosen = [int(order[0])]
    distance = squared_distances(Z, Z[order[:1]])[:, 0]
    while len(chosen) < min(count, len(Z)):
        open_rows = order[distance[order] > apart * apart]
        if not len(open_rows):
            break
        row = int(open_rows[0])
        chosen.append(row)
        distance = np.minimum(distance, squared_distances(Z, Z[row : row + 1])[:, 0])
    return chosen


def maximise(
    acquisition: LogExpectedImprovement, space: Space, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points of high acquisition.

    Scores all candidates in one batch, refines the best few by gradient, rounds them to points
    that have a value, and then tries all single steps along rounded and categorical dimensions.

    Parameters
    ----------
    acquisition : LogExpectedImprovement
    space : Space
    candidates : ndarray of shape (m, D)
        Snapped.

    Returns
    -------
    points : ndarray of shape (k, D)
        Snapped; the best first.
    values : ndarray of shape (k,)
        Acquisition there, falling.
    """
    values = acquisition(candidates)
    pool, pool_values = [candidates], [values]
    rows = spread_out(candidates * acquisition.gp.inverse_lengthscales, values, REFINED, apart=0.1)
    refined = space.snap(refine(acquisition, candidates[rows], space.smooth))
    refined_values = acquisition(refined)
    pool.append(refined)
    pool_values.append(refined_values)
    if any(d.stepped or d.kind == "categorical" for d in space.free_dimensions):
        top = int(np.argmax(refined_values))
        x, value = refined[top], refined_values[top]
        for _ in range(MAX_STEPS):
            around = space.neighbours(x)
            if not len(around):
                break
            around_values = acquisition(around)
            pool.append(around)
            pool_values.append(around_values)
            top = int(np.argmax(around_values))
            if around_values[top] <= value:
                break
            x, value = around[top], around_values[top]
    points, all_values = np.vstack(pool), np.concatenate(pool_values)
    order = np.argsort(-all_values, kind="stable")
    return points[order], all_values[order]


#: Single steps along rounded and categorical dimensions, at most.
MAX_STEPS = 20
