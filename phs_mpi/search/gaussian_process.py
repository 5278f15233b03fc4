"""Gaussian-process surrogate: Matérn 5/2, one lengthscale per dimension, noise, zero mean.

| symbol       | meaning                                                      | shape   |
|--------------|--------------------------------------------------------------|---------|
| n, m, q      | evaluations, points asked about, fantasies                   |         |
| D, G         | encoded columns, dimensions (columns that share lengthscale) |         |
| X, Z         | points, points divided by the lengthscales                   | (n, D)  |
| y            | standardised results                                         | (n,)    |
| v            | variances of the results that are known beside the noise     | (n,)    |
| K = L Lᵀ     | covariance of y, noise included                              | (n, n)  |
| J = L⁻¹      | lower triangular, kept explicitly                            | (n, n)  |
| a = K⁻¹ y    | weights of the posterior mean                                | (n,)    |

J rather than L is kept because appending an evaluation to it, and asking about a batch of points,
are then plain matrix products.

References
----------
Rasmussen and Williams 2006, Gaussian Processes for Machine Learning: eq. 2.25, 2.26, 5.8, 5.9.
Hvarfner, Hellsten and Nardi 2024, arXiv:2402.02229: lengthscale prior scaled with dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri
from scipy.optimize import fmin_l_bfgs_b

ROOT5 = math.sqrt(5.0)

#: Smallest noise variance, relative to standardised results; keeps K well conditioned.
MIN_NOISE = 1e-9
#: Added to the diagonal, ten times as much at each try, when rounding spoils a factorisation.
JITTER = 1e-9
#: Rows of a triangular matrix that are multiplied at once.
BLOCK = 128


@dataclass(frozen=True)
class Hyperparameters:
    """What the covariance function is made of.

    Attributes
    ----------
    lengthscales : ndarray of shape (G,)
        In widths of the bounds.
    scale : float
        Variance of the latent function, standardised units.
    noise : float
        Variance of the noise, same units.
    """

    lengthscales: np.ndarray
    scale: float = 1.0
    noise: float = 1e-4


def squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of the rows of `A` and `B`, of shape (len(A), len(B))."""
    # By products, not differences: the loss of digits does no harm, for Matérn 5/2 is smooth at 0.
    S = A @ B.T
    S *= -2.0
    S += np.sum(A * A, axis=1)[:, None]
    S += np.sum(B * B, axis=1)
    return np.maximum(S, 0.0, out=S)


def matern52(S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matérn 5/2 correlation and its slope, from squared scaled distances.

    Returns
    -------
    k : ndarray
        (1 + √5 r + 5/3 r²) exp(-√5 r) for r² = S.
    g : ndarray
        (5/3) (1 + √5 r) exp(-√5 r), that is -2 dk/dS.
    """
    r = np.sqrt(S)
    r *= ROOT5
    g = np.exp(-r)
    r += 1.0
    k = S * (5.0 / 3.0)
    k += r
    k *= g
    g *= r
    g *= 5.0 / 3.0
    return k, g


def times_lower_transposed(K: np.ndarray, J: np.ndarray) -> np.ndarray:
    """K Jᵀ for a lower triangular J, without most of the products with its zeros."""
    W = np.empty((len(K), len(J)))
    for start in range(0, len(J), BLOCK):
        end = min(start + BLOCK, len(J))
        np.matmul(K[:, :end], J[start:end, :end].T, out=W[:, start:end])
    return W


def cholesky(K: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor of `K`, with as much added to its diagonal as that takes.

    Returns
    -------
    ndarray of shape (n, n)
        In Fortran order; what is above the diagonal is zero.
    """
    L, info = dpotrf(K, lower=1)
    jitter = JITTER * float(np.mean(np.diag(K)))
    while info != 0:
        L, info = dpotrf(K + jitter * np.eye(len(K)), lower=1)
        jitter *= 10.0
    return L


def log_marginal_likelihood(
    X: np.ndarray,
    y: np.ndarray,
    group: np.ndarray,
    theta: np.ndarray,
    v: np.ndarray | float = 0.0,
) -> tuple[float, np.ndarray]:
    """Log marginal likelihood and its gradient.

    Parameters
    ----------
    X : ndarray of shape (n, D)
    y : ndarray of shape (n,)
    group : ndarray of shape (D,)
        Dimension of each column.
    theta : ndarray of shape (G + 2,)
        Logarithms of the lengthscales, the scale and the noise variance.
    v : ndarray of shape (n,) or 0
        Known variances of `y`, to which the noise variance is added.

    Returns
    -------
    value : float
    gradient : ndarray of shape (G + 2,)
        With respect to `theta`.

    References
    ----------
    Rasmussen and Williams 2006, eq. 5.8 and 5.9.
    """
    n = len(y)
    scale, noise = math.exp(theta[-2]), math.exp(theta[-1])
    Z = X * np.exp(-theta[:-2])[group]
    K, slope = matern52(squared_distances(Z, Z))
    K *= scale
    K.flat[:: n + 1] = scale + noise + v
    L = cholesky(K)
    inverse, _ = dpotri(L, lower=1)
    # LAPACK fills the lower triangle only; the upper one still holds the zeros of L.
    diagonal = np.diag(inverse).copy()
    inverse = inverse + inverse.T
    inverse.flat[:: n + 1] = diagonal
    a = inverse @ y
    value = -0.5 * (y @ a) - np.log(np.diag(L)).sum() - 0.5 * n * math.log(2.0 * math.pi)

    M = np.outer(a, a)
    M -= inverse
    diagonal = np.diag(M)
    trace = float(np.sum(diagonal))
    gradient = np.empty(len(theta))
    # dK/d(log scale) is K without its noise.
    gradient[-2] = 0.5 * (float(np.vdot(M, K)) - noise * trace - float(np.sum(v * diagonal)))
    gradient[-1] = 0.5 * noise * trace
    # dK_ij/d(log l_c) = scale g_ij (z_ic - z_jc)², summed by products over i and j.
    M *= slope
    columns = np.sum(M, axis=1) @ (Z * Z) - np.sum(Z * (M @ Z), axis=0)
    gradient[:-2] = scale * np.bincount(group, weights=columns, minlength=len(theta) - 2)
    return float(value), gradient


@dataclass(frozen=True)
class Prior:
    """Independent normal priors on the logarithms of the hyperparameters, and box bounds.

    The median of a lengthscale grows with √G as in Hvarfner et al. 2024, but from 0.5 instead of
    e^√2 and with deviation 1 instead of √3: with few evaluations, far better on all of seven test
    functions.
    """

    mean: np.ndarray
    deviation: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, dimensions: int) -> Prior:
        """The prior for that many lengthscales."""
        G = dimensions
        typical = math.log(0.5) + 0.5 * math.log(max(G, 1))
        mean = np.array([typical] * G + [0.0, math.log(1e-6)])
        deviation = np.array([1.0] * G + [1.0, 3.0])
        bounds = [(math.log(1e-2), math.log(1e3))] * G
        bounds += [(math.log(1e-2), math.log(1e2)), (math.log(MIN_NOISE), 0.0)]
        return cls(mean, deviation, np.array(bounds))

    def log_density(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Logarithm of the density up to a constant, and its gradient."""
        u = (theta - self.mean) / self.deviation
        return -0.5 * float(u @ u), -u / self.deviation


def fit(
    X: np.ndarray, y: np.ndarray, group: np.ndarray, v: np.ndarray | float = 0.0
) -> Hyperparameters:
    """Most probable hyperparameters, climbing from those most probable a priori.

    Returns
    -------
    Hyperparameters
        A function of the arguments alone: no random or remembered starting point.
    """
    G = int(group.max()) + 1
    prior = Prior.of(G)

    def objective(theta):
        value, gradient = log_marginal_likelihood(X, y, group, theta, v)
        density, slope = prior.log_density(theta)
        return -(value + density), -(gradient + slope)

    theta, _, _ = fmin_l_bfgs_b(
        objective, prior.mean, bounds=prior.bounds, maxiter=60, factr=1e9, pgtol=1e-3
    )
    return Hyperparameters(np.exp(theta[:G]), math.exp(theta[-2]), math.exp(theta[-1]))


class GaussianProcess:
    """Posterior of a zero-mean process; evaluations can be appended.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    group : ndarray of shape (D,)
        Dimension of each column.
    X : ndarray of shape (n, D)
    capacity : int, optional
        Number of evaluations to keep room for.
    v : ndarray of shape (n,) or 0
        Known variances of the results, to which the noise variance is added.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        group: np.ndarray,
        X: np.ndarray,
        capacity: int = 0,
        v: np.ndarray | float = 0.0,
    ):
        self.hyperparameters = hyperparameters
        self.inverse_lengthscales = 1.0 / hyperparameters.lengthscales[group]
        self.n = n = len(X)
        size = max(capacity, n)
        self._Z = np.empty((size, X.shape[1]))
        self._J = np.zeros((size, size))
        self._variances = np.full(size, hyperparameters.noise)
        self._variances[:n] += v
        self._Z[:n] = X * self.inverse_lengthscales
        K, _ = matern52(squared_distances(self.Z, self.Z))
        K *= hyperparameters.scale
        K.flat[:: n + 1] = hyperparameters.scale + self.variances
        if n:
            J, _ = dtrtri(cholesky(K), lower=1)
            self._J[:n, :n] = J
        self.weights = np.zeros(n)

    @property
    def Z(self) -> np.ndarray:
        """Scaled points, of shape (n, D)."""
        return self._Z[: self.n]

    @property
    def J(self) -> np.ndarray:
        """Inverse of the Cholesky factor, of shape (n, n)."""
        return self._J[: self.n, : self.n]

    @property
    def variances(self) -> np.ndarray:
        """Of all noise in each result, of shape (n,)."""
        return self._variances[: self.n]

    def append(self, X: np.ndarray, v: np.ndarray | float = 0.0) -> None:
        """Add points, all in one block; `weights` must be set anew afterwards.

        With L₂₁ = K₂₁ J₁₁ᵀ and L₂₂ the factor of K₂₂ - L₂₁ L₂₁ᵀ, the new rows of J are
        -J₂₂ L₂₁ J₁₁ and J₂₂.
        """
        n, q = self.n, len(X)
        if n + q > len(self._Z):
            self._grow(n + q)
        h = self.hyperparameters
        Z = X * self.inverse_lengthscales
        K21, _ = matern52(squared_distances(Z, self.Z))
        K21 *= h.scale
        K22, _ = matern52(squared_distances(Z, Z))
        K22 *= h.scale
        self._variances[n : n + q] = h.noise + v
        K22.flat[:: q + 1] = h.scale + self._variances[n : n + q]
        L21 = K21 @ self.J.T
        K22 -= L21 @ L21.T
        J22, _ = dtrtri(cholesky(K22), lower=1)
        self._J[n : n + q, :n] = -(J22 @ (L21 @ self.J))
        self._J[n : n + q, n : n + q] = J22
        self._Z[n : n + q] = Z
        self.n = n + q

    def truncate(self, n: int) -> None:
        """Forget all but the first `n` points; `weights` must be set anew afterwards."""
        self.n = n

    def condition(self, y: np.ndarray) -> None:
        """Take `y` of shape (n,) as the results; the rest of the points count as fantasies.

        Fantasies whose results are the posterior mean itself leave the mean as it is, hence their
        weights are zero, and only the variance learns of them (kriging believer).
        """
        J = self.J[: len(y), : len(y)]
        self.weights = np.zeros(self.n)
        self.weights[: len(y)] = (J @ y) @ J

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and standard deviation of the latent function.

        Parameters
        ----------
        X : ndarray of shape (m, D)

        Returns
        -------
        mean, std : ndarray of shape (m,)
            Standardised units; std is positive.
        """
        h = self.hyperparameters
        K, _ = matern52(squared_distances(X * self.inverse_lengthscales, self.Z))
        K *= h.scale
        return K @ self.weights, self._deviation(times_lower_transposed(K, self.J))

    def predict_with_gradients(
        self, X: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Posterior mean, standard deviation and their gradients with respect to `X`.

        Returns
        -------
        mean, std : ndarray of shape (m,)
        mean_gradient, std_gradient : ndarray of shape (m, D)
        """
        h = self.hyperparameters
        Z = X * self.inverse_lengthscales
        K, slope = matern52(squared_distances(Z, self.Z))
        K *= h.scale
        slope *= h.scale
        W = K @ self.J.T
        std = self._deviation(W)
        # dk(x, x_i)/dx = -g (z - z_i) / l, contracted with the weights of mean and of variance.
        V = W @ self.J
        V *= slope
        slope *= self.weights
        mean_gradient = slope @ self.Z - np.sum(slope, axis=1)[:, None] * Z
        std_gradient = np.sum(V, axis=1)[:, None] * Z - V @ self.Z
        mean_gradient *= self.inverse_lengthscales
        std_gradient *= self.inverse_lengthscales / std[:, None]
        return K @ self.weights, std, mean_gradient, std_gradient

    def _deviation(self, W: np.ndarray) -> np.ndarray:
        scale = self.hyperparameters.scale
        variance = scale - np.sum(W * W, axis=1)
        return np.sqrt(np.maximum(variance, 1e-12 * scale))

    def _grow(self, size: int) -> None:
        Z, J, variances = self._Z, self._J, self._variances
        size = max(size, 2 * len(Z))
        self._variances = np.zeros(size)
        self._variances[: self.n] = variances[: self.n]
        self._Z = np.empty((size, Z.shape[1]))
        self._J = np.zeros((size, size))
        self._Z[: self.n] = Z[: self.n]
        self._J[: self.n, : self.n] = J[: self.n, : self.n]
