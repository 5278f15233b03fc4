"""What workers get beyond the set that they evaluate. No MPI call, no clock."""

from __future__ import annotations

import math

from ...depth import Depth, Level
from ...events import More
from ...schedule import Instruction, Schedule

#: A worker that has finished a set waits for the next one until rank 0 has looked, and with
#: thousands of ranks until it has time. So it has one ahead while evaluations are of seconds: none
#: waits for long behind another. Many of those that take less than the way to rank 0.
LEVELS = Level(16, 1e-3), Level(2, 5.0, 4)


class Ahead:
    """Hands sets that need no proposal out ahead.

    Parameters
    ----------
    schedule : Schedule
        Has them.
    workers : int
        So many share what is left.
    """

    def __init__(self, schedule: Schedule, workers: int):
        self._schedule = schedule
        self._workers = workers
        self._depths: dict[int, Depth] = {}

    def after(self, worker: int, seconds: float, failed: bool) -> list[Instruction]:
        """What a worker gets ahead, which has finished a set, and knows what it does next.

        Parameters
        ----------
        worker : int
        seconds : float
            What the set took, its proposal included.
        failed : bool
            Then others should have a look at the next ones.
        """
        schedule = self._schedule
        depth = self._depths.get(worker)
        if depth is None:
            depth = self._depths[worker] = Depth(*LEVELS)
        took = math.inf if failed else seconds
        most = depth.after([took], schedule.drawn_left // self._workers)
        has = 1 + len(schedule.ahead.get(worker, ()))
        starts: list[Instruction] = []
        if 2 * has > most:
            return starts  # several travel in one message
        while has < most and (more := schedule.handle(More(worker))):
            starts += more
            has += 1
        return starts
