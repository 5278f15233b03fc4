"""Lengths of evaluations: log-normal, the same for every tool, from the index alone."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: Of the logarithm: the longest of a thousand takes five times the mean.
SIGMA = 0.6


def duration(index: int, mean: float) -> float:
    """Seconds that evaluation `index` takes."""
    normal = random.Random(f"duration {index}").gauss(0.0, SIGMA)
    return mean * math.exp(normal - SIGMA**2 / 2)


def ideal(durations: Iterable[float], workers: int) -> float:
    """Seconds that they take on so many workers, each free one taking the next, at no cost."""
    free = [0.0] * workers
    for seconds in durations:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def utilisation(start: np.ndarray, end: np.ndarray, workers: int) -> float:
    """Share of their time in evaluations, while all workers are at work.

    That is from when the last of them has begun to when the last evaluations (but for one in a
    thousand) are begun: neither the start of the program counts, nor that the last ones do not end
    together.
    """
    import numpy as np

    first, last = np.sort(start)[workers - 1], float(np.quantile(start, 0.999))
    inside = np.minimum(end, last) - np.maximum(start, first)
    return float(np.maximum(inside, 0.0).sum() / (workers * (last - first)))
