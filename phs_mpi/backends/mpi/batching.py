"""When rank 0 broadcasts what it has ordered. No MPI call, no clock: a simulation asks it, too."""

from __future__ import annotations

from collections.abc import Sequence

#: So many entries that wait do not wait for others.
FULL_ENTRIES = 64

#: Rank 0 is to spend half of its time with broadcasts at most: from the beginning of one to that of
#: the next pass so many times what it took. With thousands of ranks, that is tens of milliseconds.
REST = 2.0

#: Unsent broadcasts that double the time between two: of light ones, and of longer ones.
UNSENT_DOUBLES = 1024, 48


def announce_seconds(ranks: int) -> float:
    """Least time between two broadcasts among so many ranks, in seconds.

    One costs every rank tens of microseconds: fewer of them where there are many ranks.
    """
    return min(max(1e-3, 1e-4 * ranks), 20e-3)


class Batching:
    """Decides when entries that wait are broadcast.

    Parameters
    ----------
    seconds : float
        Least time between two broadcasts. Entries that come meanwhile share one: without that,
        broadcasts pile up faster than ranks can take part in them.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._announced = 0.0
        self._took = 0.0

    def due(self, now: float, waiting: int, unsent: Sequence[int] = (0, 0)) -> bool:
        """Whether a batch should leave now.

        Parameters
        ----------
        now : float
            Seconds, by any clock.
        waiting : int
            Entries that nobody has been told.
        unsent : sequence of int
            Broadcasts that some rank has not taken: light ones, and longer ones.
        """
        if not waiting:
            return False
        since = now - self._announced
        if waiting >= FULL_ENTRIES and _doublings(unsent) < 1:
            return since >= REST * self._took
        return since >= self.pause(unsent)

    def pause(self, unsent: Sequence[int] = (0, 0)) -> float:
        """Seconds from one broadcast to the next that is not full."""
        # A rank that takes nothing (busy in a C extension) makes unsent broadcasts pile up, and
        # MPI has room for so many to one rank: then fewer, fuller ones.
        return max(self._seconds * 2.0 ** min(_doublings(unsent), 20), REST * self._took)

    def announced(self, now: float, took: float) -> None:
        """A batch left at `now`, and took rank 0 so many seconds of its core."""
        self._announced, self._took = now, took


def _doublings(unsent: Sequence[int]) -> float:
    return sum(count / most for count, most in zip(unsent, UNSENT_DOUBLES, strict=True))
