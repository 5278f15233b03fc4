"""Where an acquisition function is highest: one batch of candidates, then climbing."""

from __future__ import annotations

import numpy as np
from scipy.optimize import fmin_l_bfgs_b

from phs_mpi.encoding import Space
from phs_mpi.search.acquisition import Acquisition, SmoothAcquisition
from phs_mpi.search.gaussian_process import squared_distances


def refine(acquisition: SmoothAcquisition, X: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """Climb the acquisition function from all rows of `X` at once.

    Parameters
    ----------
    acquisition : SmoothAcquisition
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


def walk(
    acquisition: Acquisition, space: Space, points: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Steepest ascent by single steps along rounded and categorical dimensions.

    Parameters
    ----------
    acquisition : Acquisition
    space : Space
    points : ndarray of shape (m, D)
        Snapped; the best of them is where it starts.
    values : ndarray of shape (m,)
        Acquisition there.

    Returns
    -------
    points : ndarray of shape (k, D)
        Those given and all that were tried.
    values : ndarray of shape (k,)
        Acquisition there.
    """
    all_points, all_values = [points], [values]
    top = int(np.argmax(values))
    for _ in range(MAX_STEPS):
        around = space.neighbours(all_points[-1][top])
        if not len(around):
            break
        before = all_values[-1][top]
        all_points.append(around)
        all_values.append(acquisition(around))
        top = int(np.argmax(all_values[-1]))
        if all_values[-1][top] <= before:
            break
    return np.vstack(all_points), np.concatenate(all_values)


#: Single steps along rounded and categorical dimensions, at most.
MAX_STEPS = 20


def by_value(points: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points by falling value, and their values."""
    order = np.argsort(-values, kind="stable")
    return points[order], values[order]


def maximise(
    acquisition: SmoothAcquisition,
    space: Space,
    candidates: np.ndarray,
    inverse_lengthscales: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Points of high acquisition.

    Scores all candidates in one batch, refines the best few by gradient, rounds them to points
    that have a value, and then tries all single steps along rounded and categorical dimensions.

    Parameters
    ----------
    acquisition : SmoothAcquisition
    space : Space
    candidates : ndarray of shape (m, D)
        Snapped.
    inverse_lengthscales : ndarray of shape (D,)
        Of each column; what is refined is some way apart by this measure.

    Returns
    -------
    points : ndarray of shape (k, D)
        Snapped; the best first.
    values : ndarray of shape (k,)
        Acquisition there, falling.
    """
    values = acquisition(candidates)
    rows = spread_out(candidates * inverse_lengthscales, values, REFINED, apart=0.1)
    refined = space.snap(refine(acquisition, candidates[rows], space.smooth))
    points, found = walk(acquisition, space, refined, acquisition(refined))
    return by_value(np.vstack([candidates, points]), np.concatenate([values, found]))


def maximise_without_gradient(
    acquisition: Acquisition, space: Space, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same as `maximise`, but nothing is refined."""
    return by_value(*walk(acquisition, space, candidates, acquisition(candidates)))
