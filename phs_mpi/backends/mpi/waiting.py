"""Polling that answers fast under traffic and costs next to nothing without."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

#: Longest pause between two looks whether all ranks have come.
MEETING_SECONDS = 5e-3

#: Pause between two looks of rank 0, of the time that an evaluation takes.
PAUSE_SHARE = 0.005


class Backoff:
    """A pause that grows while nothing happens.

    First it only yields the core, since an answer is usually microseconds away; then it
    sleeps, twice as long each time, up to `longest`.

    Parameters
    ----------
    longest : float
        Longest sleep, in seconds.
    shortest : float
        First sleep, in seconds.
    spins : int
        Pauses that only yield the core.
    """

    def __init__(self, longest: float = 2e-3, shortest: float = 5e-5, spins: int = 50):
        self.longest = longest
        self._shortest = shortest
        self._spins = spins
        self._count = 0
        self._sleep = shortest

    def reset(self) -> None:
        """Something happened."""
        self._count = 0
        self._sleep = self._shortest

    def pause(self) -> None:
        """Nothing happened."""
        seconds = self.next_pause()
        if seconds:
            time.sleep(seconds)
        else:
            os.sched_yield()

    def next_pause(self) -> float:
        """How long the next pause is, in seconds; 0: it only yields the core."""
        self._count += 1
        if self._count <= self._spins:
            return 0.0
        seconds, self._sleep = self._sleep, min(2 * self._sleep, self.longest)
        return seconds


def wait_until(
    condition: Callable[[], bool],
    work: Callable[[], bool],
    backoff: Backoff,
    seconds: float | None = None,
) -> bool:
    """Do `work` until `condition` holds.

    Parameters
    ----------
    condition : callable
        What is waited for.
    work : callable
        Called between two looks at the condition; returns whether it got anywhere.
    backoff : Backoff
        Paces the looks.
    seconds : float, optional
        Give up after so long.

    Returns
    -------
    bool
        Whether the condition holds.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    backoff.reset()
    while not condition():
        if work():
            backoff.reset()
            continue
        if deadline is not None and time.monotonic() > deadline:
            return condition()
        backoff.pause()
    return True


def meet(comm: Any) -> None:
    """Wait until all ranks have come here, and leave the core to others meanwhile (collective).

    MPI's own collective operations spin. Ranks that share cores then keep those from running
    that everybody waits for: for a minute and more, where a kernel serves yielding processes
    badly (seen with Linux 6.18).
    """
    arrived = comm.Ibarrier()
    wait_until(arrived.Test, lambda: False, Backoff(MEETING_SECONDS))


def any_of(comm: Any, said: bool) -> bool:
    """Whether any rank says so; waits for all of them as :func:`meet` does (collective)."""
    one, all_of_them = np.array([said], "i4"), np.zeros(1, "i4")
    arrived = comm.Iallreduce(one, all_of_them)  # their sum
    wait_until(arrived.Test, lambda: False, Backoff(MEETING_SECONDS))
    return bool(all_of_them[0])


def longest_pause(ranks_here: int, cores_here: int) -> float:
    """How long an idle rank may sleep between two looks, in seconds.

    A look costs tens of microseconds of Python: 2 ms apart that is about one per cent of a
    core. Where ranks share cores they sleep longer in proportion, so that together they
    still leave the cores to the targets; 20 ms at most.
    """
    return min(2e-3 * max(1.0, ranks_here / max(1, cores_here)), 20e-3)


class Rhythm:
    """How often rank 0 looks for messages: often where evaluations are short.

    A worker waits half a pause of rank 0 after each evaluation: half a per cent of the evaluation's
    time at most, down to `shortest`. A look takes some 25 microseconds of a core.

    Parameters
    ----------
    longest, shortest : float
        Bounds of the longest pause, in seconds.
    """

    def __init__(self, longest: float = 2e-3, shortest: float = 2e-4):
        self._longest = longest
        self._shortest = shortest
        self._gap = math.inf  # between two evaluations' ends
        self._last = -math.inf

    def ended(self, now: float) -> None:
        """An evaluation has ended, on whichever worker."""
        gap = now - self._last
        self._last = now
        self._gap = gap if math.isinf(self._gap) else self._gap + (gap - self._gap) / 16

    def pause(self, workers: int) -> float:
        """Longest pause now, with so many workers, in seconds."""
        return min(max(PAUSE_SHARE * self._gap * workers, self._shortest), self._longest)
