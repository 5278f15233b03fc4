"""When a run has to be over, and whether one more evaluation fits in before that.

Pure but for the clock that it is handed. Whoever hands evaluations out notes when each begins and
ends, so that a duration here is all that it takes: the way to the worker, the proposal, the call
of the target, the commit.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable

from .errors import BackendError

#: Seconds that are kept free at the end for commits and shutdown; or this share of the time that
#: there is, if that is less.
MARGIN, MARGIN_SHARE = 30.0, 0.1

#: An evaluation is started only if with this probability it will be over in time.
CONFIDENCE = 0.9

#: Durations that differ by less than this factor are counted as one.
RATIO = 1.02

#: So many times the longest duration, and no set need wait for the end of another to be in time.
FAR = 10

#: Share of what is left after which the estimate is made anew.
_REFRESH = 0.01

_FORMS = (
    r"(?P<s>\d+(?:\.\d+)?)",
    r"(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+)",
    r"(?P<d>\d+)-(?P<h>\d+)(?::(?P<m>\d+)(?::(?P<s>\d+))?)?",
)


def seconds_of(text: str) -> float:
    """A duration: seconds, or as SLURM writes it, M:SS, H:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS.

    Raises
    ------
    BackendError
        If it is none, or not above 0.

    >>> seconds_of("90"), seconds_of("1:30:00"), seconds_of("2-00")
    (90.0, 5400.0, 172800.0)
    """
    seconds = 0.0
    for form in _FORMS:
        if found := re.fullmatch(form, text.strip()):
            parts = {name: float(part or 0) for name, part in found.groupdict().items()}
            units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
            seconds = sum(parts[name] * units[name] for name in parts)
    if not 0 < seconds < 1e9:
        raise BackendError(
            f"{text!r} is no duration",
            value=text,
            remedy="give seconds, or H:MM:SS, or D-HH:MM:SS",
        )
    return seconds


class Durations:
    """Durations seen so far, and what they say about the next one.

    Attributes
    ----------
    count : int
        How many.
    longest : float
        Seconds; 0 without any.
    """

    def __init__(self, seconds: Iterable[float] = ()):
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.longest = 0.0
        for number in seconds:
            self.add(number)

    def add(self, seconds: float) -> None:
        """Take in one that is over."""
        if not math.isfinite(seconds):
            return
        self._counts[_bin(seconds)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def quantile(self, probability: float, running: Iterable[float] = ()) -> float:
        """What an evaluation takes at most, with this probability.

        Evaluations that are still running count as what they are, durations of which a lower
        bound is known: short ones finish first, and to look at finished ones alone would be to
        underrate the others.

        Parameters
        ----------
        probability : float
        running : iterable of float
            Seconds that each running evaluation has taken so far.

        Returns
        -------
        float
            Seconds; 0 if nothing is known.

        References
        ----------
        Kaplan and Meier 1958, J. Am. Stat. Assoc. 53, 457: the product-limit estimate, eq. 2b.
        """
        censored = Counter(_bin(seconds) for seconds in running)
        at_risk = self.count + censored.total()
        survival = 1.0
        longest = _BOTTOM
        for number in sorted(self._counts.keys() | censored.keys()):
            longest = number
            survival *= 1.0 - self._counts[number] / at_risk
            if survival <= 1.0 - probability + 1e-12:
                break
            # Those that had taken exactly this long when they were looked at were at risk, too.
            at_risk -= self._counts[number] + censored[number]
        return _upper(longest)


_BOTTOM = -10_000


def _bin(seconds: float) -> int:
    return max(_BOTTOM, math.ceil(math.log(seconds, RATIO))) if seconds > 0 else _BOTTOM


def _upper(number: int) -> float:
    return 0.0 if number == _BOTTOM else RATIO**number


class Deadline:
    """Whether evaluations may still be started.

    Parameters
    ----------
    end : float
        When everything has to be finished and committed, on `clock`.
    earlier : iterable of float
        Seconds that evaluations of earlier runs have taken.
    clock : callable
        Seconds from any beginning; does not go back.
    """

    def __init__(
        self,
        end: float,
        earlier: Iterable[float] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self._end = end
        self._clock = clock
        self._durations = Durations(earlier)
        self._began: dict[int, float] = {}  # by worker; the one that began first stands first
        self._estimate = 0.0
        self._estimated = math.inf  # with how many seconds left

    def began(self, worker: int) -> None:
        """An evaluation has been handed out."""
        self._began[worker] = self._clock()

    def ended(self, worker: int) -> None:
        """It is over, done or failed."""
        began = self._began.pop(worker, None)
        if began is not None:
            self._durations.add(self._clock() - began)

    def lost(self, worker: int) -> None:
        """It never ended."""
        self._began.pop(worker, None)

    @property
    def far(self) -> bool:
        """Whether there is time for several evaluations one after the other, however long."""
        now = self._clock()
        oldest = next(iter(self._began.values()), now)
        return self._end - now >= FAR * max(self._durations.longest, now - oldest)

    def refusal(self) -> str:
        """Why nothing more is to be started, in words; empty if one more fits."""
        now = self._clock()
        left = self._end - now
        if left <= 0:
            return "the time is up"
        oldest = next(iter(self._began.values()), now)
        if left >= max(self._durations.longest * RATIO, now - oldest):
            return ""
        if self._estimated - left > _REFRESH * left:
            running = (now - began for began in self._began.values())
            self._estimate = self._durations.quantile(CONFIDENCE, running)
            self._estimated = left
        if left >= self._estimate:
            return ""
        return (
            f"{in_words(left)} are left before the shutdown, and by those seen so far one in "
            f"{1 / (1 - CONFIDENCE):.0f} evaluations takes {in_words(self._estimate)} or more"
        )


def in_words(seconds: float) -> str:
    """A duration for people.

    >>> in_words(3.21), in_words(312), in_words(7300)
    ('3.2 s', '312 s', '122 min')
    """
    if seconds < 600:
        return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
