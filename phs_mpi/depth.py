"""How many parameter sets a worker has at a time. No clock, no message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: Evaluations of a millisecond in a row after which a worker gets many sets at a time.
SHORT_IN_A_ROW = 32


class Level(NamedTuple):
    """So many sets at a time, once so many evaluations in a row took less than so many seconds."""

    most: int
    seconds: float
    in_a_row: int = SHORT_IN_A_ROW


class Depth:
    """How many sets a worker has at a time: more than one only if all are short.

    The next set sets out when the last has come back, and for a set of a millisecond that
    way is most of the time. Sets of any length that is worth it are handed out one by one,
    so that none waits behind another while a worker is idle; and so are the last ones.

    Parameters
    ----------
    *levels : Level
        Those with most sets first. What is short: less than the way to a worker and back takes,
        or not much more.
    """

    def __init__(self, *levels: Level):
        self._levels = levels
        self._short = [0] * len(levels)

    def after(self, durations: Iterable[float], share: int) -> int:
        """The depth, now that some more evaluations are over.

        Parameters
        ----------
        durations : iterable of float
            Seconds they took, proposals included; infinite if one failed and others should have
            a look at the next ones.
        share : int
            Sets that are left for each worker.
        """
        for seconds in durations:
            for number, level in enumerate(self._levels):
                self._short[number] = self._short[number] + 1 if seconds < level.seconds else 0
        for short, level in zip(self._short, self._levels, strict=True):
            if short >= level.in_a_row and share >= 2 * level.most:
                return level.most
        return 1
