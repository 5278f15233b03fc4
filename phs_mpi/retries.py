"""Which failed evaluations are tried again, and what is written of an attempt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .conversion import refuse, shown
from .log import Cause, Outcome, Status

#: Causes by the names that users write.
CAUSES = {cause.name.lower(): cause for cause in Cause if cause != Cause.NONE}

#: Tried again unless told otherwise. A target that raises, or returns no number, does the same
#: once more as a rule.
BY_DEFAULT = frozenset(CAUSES.values()) - {Cause.EXCEPTION, Cause.RESULT}

_MOST = 1000


class Retries(NamedTuple):
    """How often failed evaluations are tried again, and which of them.

    Attributes
    ----------
    times : int or None
        Further attempts at one evaluation in one run; None: not said.
    causes : frozenset of Cause or None
        Of failures that get one; None: not said.
    """

    times: int | None = None
    causes: frozenset[Cause] | None = None

    @classmethod
    def of(cls, times: Any, on: Any) -> Retries:
        """Check what the user has given.

        Raises
        ------
        DefinitionError
            If it makes no sense.
        """
        if times is not None:
            number = isinstance(times, int) and not isinstance(times, bool)
            if not number or not 0 <= times <= _MOST:
                refuse(f"retries={shown(times)} is no number of attempts", times, "give an int")
        if on is None:
            return cls(times)
        names = on.replace(",", " ").split() if isinstance(on, str) else on
        known = ", ".join(CAUSES)
        if not isinstance(names, Iterable):
            refuse(f"retry_on={shown(on)} is no list of causes", on, f"choose from {known}")
        names = list(names)
        for name in names:
            if name not in CAUSES:
                refuse(f"retry_on={shown(name)} is no cause", on, f"choose from {known}")
        if not names:
            refuse("retry_on names no cause", on, f"choose from {known}, or write retries=0")
        return cls(times, frozenset(CAUSES[name] for name in names))

    def merged(self, other: Retries) -> Retries:
        """These, where `other` says nothing."""
        return Retries(
            self.times if other.times is None else other.times,
            self.causes if other.causes is None else other.causes,
        )

    def mark(self, outcome: Outcome, attempt: int) -> bool:
        """Say in an outcome which attempt it is of.

        Parameters
        ----------
        outcome : Outcome
            Changed: one that is not final gets the status RUNNING, which readers of the results
            file take for not evaluated.
        attempt : int
            From 1.

        Returns
        -------
        bool
            Whether another attempt is due.
        """
        causes = BY_DEFAULT if self.causes is None else self.causes
        again = attempt <= (self.times or 0) and outcome.cause in causes
        if attempt > 1 or again:
            outcome.error = f"attempt {attempt}" + (f": {outcome.error}" if outcome.error else "")
        if again:
            outcome.status = Status.RUNNING
        return again


NO_RETRIES = Retries()
