"""Slow, obvious posterior, likelihood and acquisition: what the fast code is tested against."""

import math

import numpy as np
from scipy.special import ndtr


def matern52(a, b, lengthscales):
    r = math.sqrt(sum(((p - q) / s) ** 2 for p, q, s in zip(a, b, lengthscales, strict=True)))
    return (1 + math.sqrt(5) * r + 5 / 3 * r * r) * math.exp(-math.sqrt(5) * r)


def covariance(A, B, lengthscales, scale):
    return np.array([[scale * matern52(a, b, lengthscales) for b in B] for a in A])


def posterior(X, y, points, lengthscales, scale, noise):
    """Mean and std of the latent function: Rasmussen and Williams, eq. 2.25 and 2.26."""
    K = covariance(X, X, lengthscales, scale) + noise * np.eye(len(X))
    k = covariance(points, X, lengthscales, scale)
    mean = k @ np.linalg.solve(K, y)
    variance = scale - np.sum(k * np.linalg.solve(K, k.T).T, axis=1)
    return mean, np.sqrt(variance)


def log_marginal_likelihood(X, y, lengthscales, scale, noise):
    """Rasmussen and Williams, eq. 2.30."""
    K = covariance(X, X, lengthscales, scale) + noise * np.eye(len(X))
    sign, log_determinant = np.linalg.slogdet(K)
    assert sign > 0
    n = len(X)
    return -0.5 * (y @ np.linalg.solve(K, y) + log_determinant + n * math.log(2 * math.pi))


def expected_improvement(mean, std, best):
    """For minimisation; underflows to zero far from the best, which is what LogEI mends."""
    z = (best - mean) / std
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return std * (z * ndtr(z) + density)
