"""Lengths of evaluations: log-normal, the same for every tool, from the index alone."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable

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
