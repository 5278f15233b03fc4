"""What the schedule is told, and what it tells.

=========  ==============================================================================
event      meaning
=========  ==============================================================================
Ready      a worker asks for its first parameter set
Proposed   a worker announces the values it chose for its Bayesian set
Finished   a worker has committed the row of an evaluation (done or failed), and is free,
           unless it leaves; a failed one may have to be tried again
More       a worker could take one more set, to go on with at once when it has finished
Returned   a worker has not begun sets that it had ahead, and gives them back
Lost       a worker is gone; what it ran must be run again
Drain      hand out nothing more; running evaluations may finish
=========  ==============================================================================

===========  ============================================================================
instruction  meaning
===========  ============================================================================
Start        evaluate ``index`` on ``worker``; the log has ``log_length`` entries by now
Wait         nothing can start now; a later Start or Stop follows unasked
Stop         the worker has nothing more to do
===========  ============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Ready(NamedTuple):
    """A worker asks for its first parameter set."""

    worker: int
    host: str = ""


class Proposed(NamedTuple):
    """A worker announces the values it chose for its Bayesian set, packed in `row`."""

    worker: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    row: Any = None


class Finished(NamedTuple):
    """A worker has committed the row of an evaluation; it is free, or leaves.

    The result (NaN: failed) goes into the log, and decides whether its set gets another repeat.
    With `again` it was an attempt that has failed, and another one is to follow.
    """

    worker: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaves: bool = False
    result: float = math.nan
    again: bool = False


class More(NamedTuple):
    """A worker that evaluates a set could take another one ahead, if it needs no proposal."""

    worker: int


class Returned(NamedTuple):
    """A worker gives back sets that it had ahead, and has not begun any of them."""

    worker: int
    indices: Sequence[int]


class Lost(NamedTuple):
    """A worker is gone."""

    worker: int


class Drain(NamedTuple):
    """Hand out nothing more."""


class Start(NamedTuple):
    """Evaluate a parameter set on a worker.

    `chosen` says that the values of this Bayesian set stand in the log, within `log_length`:
    the worker must take those. `attempt` counts from 1; `known` says that an earlier attempt has
    announced them, so that this one does not; `ahead` that the worker begins it only after another,
    and may give it back.
    """

    worker: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    log_length: int
    chosen: bool = False
    attempt: int = 1
    known: bool = False
    ahead: bool = False


class Wait(NamedTuple):
    """Nothing can start on this worker now."""

    worker: int


class Stop(NamedTuple):
    """The worker has nothing more to do."""

    worker: int
