"""Evaluations that nobody has been given: those with known values, and those to be proposed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from .repeats import Repeats


class Pool:
    """What is still to be started.

    The repeats of a Bayesian set are held back until one of them, which proposes, has announced
    the values.

    Parameters
    ----------
    is_bayesian : callable
        ``is_bayesian(index) -> bool``.
    repeats : Repeats
        How evaluations are numbered.
    chosen : iterable of int
        Bayesian sets whose values are known.
    """

    def __init__(self, is_bayesian: Callable[[int], bool], repeats: Repeats, chosen: Iterable[int]):
        self._is_bayesian = is_bayesian
        self._repeats = repeats
        self._drawn: list[int] = []  # values known: drawn, or chosen by an earlier repeat
        self._bayesian: list[int] = []  # values to be proposed
        self._held: dict[int, list[int]] = {}  # set -> its repeats that wait for its values
        self._proposer: dict[int, int] = {}  # set -> its evaluation that proposes them
        self._chosen = set(chosen)

    def __iter__(self) -> Iterator[int]:
        yield from self._drawn
        yield from self._bayesian
        for held in self._held.values():
            yield from held

    @property
    def drawn(self) -> int:
        """How many there are whose values are known."""
        return len(self._drawn)

    @property
    def next_drawn(self) -> int | None:
        """The lowest of them."""
        return self._drawn[0] if self._drawn else None

    @property
    def next_bayesian(self) -> int | None:
        """The lowest that has to be proposed."""
        return self._bayesian[0] if self._bayesian else None

    def chosen(self, index: int) -> bool:
        """Whether this is of a Bayesian set whose values have been announced."""
        return self._repeats.set_of(index) in self._chosen

    def put(self, index: int) -> None:
        """This is to be started, perhaps once more."""
        number = self._repeats.set_of(index)
        if not self._is_bayesian(index) or number in self._chosen:
            heapq.heappush(self._drawn, index)
        elif self._repeats.most == 1 or self._proposer.setdefault(number, index) == index:
            heapq.heappush(self._bayesian, index)
        else:
            self._held.setdefault(number, []).append(index)

    def take(self, index: int) -> None:
        """This, `next_drawn` or `next_bayesian`, is being started."""
        heapq.heappop(self._drawn if index == self.next_drawn else self._bayesian)

    def announced(self, index: int) -> None:
        """The values of this evaluation's set have been announced: its repeats may start."""
        number = self._repeats.set_of(index)
        self._chosen.add(number)
        self._proposer.pop(number, None)
        for other in self._held.pop(number, ()):
            heapq.heappush(self._drawn, other)
