"""Distributions of drawn numbers, by their quantile functions.

A quantile function turns one uniform number into one draw, so that draw number i of a stream is
the same however many follow, whatever the distribution.
"""

from __future__ import annotations

import math

import numpy as np

from phs_mpi.conversion import refuse
from phs_mpi.dimension import Dimension

UNIFORM = "uniform"
LOG_UNIFORM = "log-uniform"
NORMAL = "normal"

_EXACT = 2**53  # whole numbers up to here are exact as floats, and k / 10**n is rounded once
_EXACT_POWERS = 22  # as are the powers of ten


class NumberDistribution:
    """Distribution of a real number within bounds.

    Parameters
    ----------
    shape : {"uniform", "log-uniform", "normal"}
    dimension : Dimension
        Bounds and rounding.
    mean, std : float
        Of the normal distribution, before truncation to the bounds.

    Raises
    ------
    DefinitionError
        If the bounds are so far from the mean that nothing can be drawn.

    Notes
    -----
    A rounded value gets the probability of all numbers that round to it, except that the
    uniform distribution gives all of them the same.
    """

    def __init__(self, shape: str, dimension: Dimension, mean: float = 0.0, std: float = 1.0):
        self.shape = shape
        self.dimension = dimension
        self._low, self._high = float(dimension.low), float(dimension.high)
        if dimension.stepped:
            self._low, self._high = self._edges()
        if shape == NORMAL:
            self._mean, self._std = mean, std
            self._set_probabilities()

    def _edges(self) -> tuple[float, float]:
        """Ends of the outermost rounding cells, so that the end values get their full share."""
        d = self.dimension
        ends = [float(d.multiple(k)) for k in d.grid]
        half = (d.step or 0.0) / 2
        if self.shape == LOG_UNIFORM:
            return max(ends[0] - half, ends[0] / 2), ends[1] + half
        return ends[0] - half, ends[1] + half

    def _set_probabilities(self) -> None:
        a = (self._low - self._mean) / self._std
        b = (self._high - self._mean) / self._std
        # Floats resolve probabilities near 0 but not near 1: work in the lower tail.
        self._mirrored = a > 0
        if self._mirrored:
            a, b = -b, -a
        self._p_low, self._p_high = (0.5 * math.erfc(-z / math.sqrt(2)) for z in (a, b))
        if not self._p_low < self._p_high:
            refuse(
                f"practically nothing of the normal distribution (mean {self._mean}, "
                f"std {self._std}) lies between the bounds",
                (self._low, self._high),
                "move the bounds towards the mean, or raise std",
            )

    @property
    def size(self) -> int | None:
        """Number of different values; None for a continuum."""
        return self.dimension.count

    def support(self) -> np.ndarray:
        """All different values, shape (size,)."""
        first, last = self.dimension.grid
        return self._multiples(np.array(range(first, last + 1)))

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Draws from uniform numbers.

        Parameters
        ----------
        u : ndarray of shape (n,)
            In [0, 1).

        Returns
        -------
        ndarray of shape (n,)
            float64; int64 or object (Python ints) if the dimension is integer.
        """
        if not self.dimension.stepped:
            # Adding zero turns -0.0 into 0.0: no two sets shall differ by that only.
            return np.clip(self._continuous(u), self._low, self._high) + 0.0
        first, last = self.dimension.grid
        exact = max(abs(first), abs(last), last - first + 1) < _EXACT
        if self.shape == UNIFORM:
            count = last - first + 1
            if exact:
                k = first + np.minimum(np.floor(u * count), count - 1).astype(np.int64)
            else:
                numerators = (u * _EXACT).astype(np.int64).tolist()
                k = np.array([first + (v * count >> 53) for v in numerators], dtype=object)
            return self._multiples(k)
        x = self._continuous(u)
        if exact:
            scaled = x * 10.0 ** (self.dimension.digits or 0)
            k = np.clip(np.rint(scaled), first, last).astype(np.int64)
            return self._multiples(k)
        legal = [self.dimension.legal(v) for v in np.clip(x, *self._finite_ends()).tolist()]
        return np.array(legal, dtype=object if self.dimension.integer else float)

    def _finite_ends(self) -> tuple[float, float]:
        return float(self.dimension.low), float(self.dimension.high)

    def _continuous(self, u: np.ndarray) -> np.ndarray:
        low, high = self._low, self._high
        if self.shape == UNIFORM:
            return low * (1 - u) + high * u  # high - low might overflow
        if self.shape == LOG_UNIFORM:
            return np.exp(math.log(low) * (1 - u) + math.log(high) * u)
        from statistics import NormalDist

        # Midpoints: neither 0 nor 1, where the inverse is infinite.
        p = self._p_low + (self._p_high - self._p_low) * (u + 2.0**-54)
        p = np.clip(p, 5e-324, 1 - 2.0**-53)
        inverse = NormalDist().inv_cdf
        z = np.array([inverse(v) for v in p.tolist()])
        return self._mean + self._std * (-z if self._mirrored else z)

    def _multiples(self, k: np.ndarray) -> np.ndarray:
        digits = self.dimension.digits or 0
        if self.dimension.integer:
            return k
        if k.dtype == object or abs(digits) > _EXACT_POWERS:
            return np.array([self.dimension.multiple(v) for v in k.tolist()], dtype=float)
        return k / 10.0**digits if digits >= 0 else k * 10.0**-digits
