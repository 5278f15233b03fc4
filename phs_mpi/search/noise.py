"""How uncertain results are that are means of repeats.

A variance from three repeats is itself uncertain by a factor of two or more. It is therefore
drawn towards the variance that all repeated sets have in common, as much as if that came from
`WEIGHT` further repeats of the same set; a set that was evaluated once gets the common variance.

References
----------
Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3, 3: moderated variances.
"""

from __future__ import annotations

import numpy as np

#: Degrees of freedom that the common variance counts for.
WEIGHT = 4.0


def pooled_variance(repeats: np.ndarray) -> float:
    """The variance of one evaluation that all repeated sets have in common.

    Parameters
    ----------
    repeats : ndarray of shape (n, 2)
        Number of successful evaluations of each set, and their unbiased variance (NaN: unknown).

    Returns
    -------
    float
        0 if no set was evaluated twice.
    """
    count, variance = repeats.T
    known = (count > 1) & np.isfinite(variance)
    freedom = count[known] - 1.0
    return float(freedom @ variance[known] / freedom.sum()) if known.any() else 0.0


def variances_of_means(repeats: np.ndarray, pooled: float) -> np.ndarray:
    """Variance of each set's result, the mean of its repeats; shape (n,)."""
    count, variance = repeats.T
    known = (count > 1) & np.isfinite(variance)
    freedom = np.where(known, count - 1.0, 0.0)
    own = np.where(known, variance, 0.0)
    return (freedom * own + WEIGHT * pooled) / (freedom + WEIGHT) / np.maximum(count, 1.0)
