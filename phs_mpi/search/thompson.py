"""Thompson sampling: a function drawn from the posterior of a Gaussian process.

| symbol     | meaning                                                  | shape   |
|------------|----------------------------------------------------------|---------|
| n, m       | evaluations, points asked about                          |         |
| F          | random features                                          |         |
| Z          | points divided by the lengthscales                       | (m, D)  |
| W          | frequencies of the features                              | (D, F)  |
| b, w       | phases and weights of the features                       | (F,)    |
| a          | weights of the data's correction                         | (n,)    |

A draw from the prior, of random Fourier features φ, is corrected by the data and a draw ε of noise,

    f(x) = φ(x) w + k(x, X) a    for    a = K⁻¹ (y - φ(X) w - ε).

References
----------
Wilson et al. 2020, Efficiently Sampling Functions from Gaussian Process Posteriors,
arXiv:2002.09309: the correction. Rahimi and Recht 2007: the features.
"""

from __future__ import annotations

import math

import numpy as np

from phs_mpi.search.acquisition import CAUTION, Feasibility
from phs_mpi.search.gaussian_process import GaussianProcess, matern52, squared_distances

FEATURES = 512


class SamplePath:
    """Minus one function drawn from the posterior.

    Where evaluations have failed, CAUTION times the log feasibility is added.

    Parameters
    ----------
    gp : GaussianProcess
        Its first n points are those of `y`; fantasies after them do not count, for different
        draws differ without them.
    y : ndarray of shape (n,)
        Standardised results.
    rng : numpy.random.Generator
    feasibility : Feasibility, optional
        If evaluations have failed.
    """

    def __init__(
        self,
        gp: GaussianProcess,
        y: np.ndarray,
        rng: np.random.Generator,
        feasibility: Feasibility | None = None,
    ):
        n, D = len(y), gp.Z.shape[1]
        h = gp.hyperparameters
        self.feasibility = feasibility
        self.inverse_lengthscales = gp.inverse_lengthscales
        self.scale = h.scale
        self.Z = gp.Z[:n].copy()
        # The spectral density of Matérn 5/2 is that of a t distribution with 5 degrees of freedom.
        self.W = rng.standard_normal((D, FEATURES)) * np.sqrt(5.0 / rng.chisquare(5.0, FEATURES))
        self.b = rng.uniform(0.0, 2.0 * math.pi, FEATURES)
        self.w = rng.standard_normal(FEATURES) * math.sqrt(2.0 * h.scale / FEATURES)
        noise = np.sqrt(gp.variances[:n]) * rng.standard_normal(n)
        # Leading rows of the inverse of a triangular matrix are the inverse of its leading rows.
        J = gp.J[:n, :n]
        self.a = (J @ (y - np.cos(self.Z @ self.W + self.b) @ self.w - noise)) @ J

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Values, of shape (m,), at points of shape (m, D)."""
        Z = X * self.inverse_lengthscales
        K, _ = matern52(squared_distances(Z, self.Z))
        value = -(np.cos(Z @ self.W + self.b) @ self.w + self.scale * (K @ self.a))
        return value if self.feasibility is None else value + CAUTION * self.feasibility(X)

    def with_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value, of shape (m,), and gradient, of shape (m, D)."""
        Z = X * self.inverse_lengthscales
        K, slope = matern52(squared_distances(Z, self.Z))
        phase = Z @ self.W + self.b
        value = -(np.cos(phase) @ self.w + self.scale * (K @ self.a))
        # dk(x, x_i)/dx = -g (z - z_i) / l, and that of the features is -sin · W w / l.
        slope *= self.scale * self.a
        gradient = (np.sin(phase) * self.w) @ self.W.T
        gradient += np.sum(slope, axis=1)[:, None] * Z - slope @ self.Z
        gradient *= self.inverse_lengthscales
        if self.feasibility is not None:
            more, climb = self.feasibility.with_gradient(X)
            value += CAUTION * more
            gradient += CAUTION * climb
        return value, gradient
