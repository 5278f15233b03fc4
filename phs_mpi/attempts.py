"""Evaluations that failed and are to be tried again: how often so far, and where next."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from .hosts import Hosts


class Attempts:
    """What is to be tried again, and which worker may do so.

    A further attempt goes to a host on which the evaluation has not failed yet, if there is one
    with a worker that gets something to do; else to another worker; else to any.

    Parameters
    ----------
    hosts : Hosts
        Where the workers are.
    """

    def __init__(self, hosts: Hosts):
        self._hosts = hosts
        self._due: list[int] = []  # in rising order
        self._failed_on: dict[int, list[int]] = {}  # workers, one for each attempt

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[int]:
        return iter(self._due)

    def number(self, index: int) -> int:
        """Which attempt at an evaluation the next or the running one is, from 1."""
        return len(self._failed_on.get(index, ())) + 1

    def failed(self, index: int, worker: int) -> None:
        """An attempt has failed, and another one is due."""
        self._failed_on.setdefault(index, []).append(worker)
        bisect.insort(self._due, index)

    def over(self, index: int) -> None:
        """There will be no other."""
        self._failed_on.pop(index, None)

    def take(self, worker: int) -> int | None:
        """What this worker is to try again now; None if nothing."""
        for index in self._due:
            if self._suits(worker, index):
                self._due.remove(index)
                return index
        return None

    def _suits(self, worker: int, index: int) -> bool:
        workers = set(self._failed_on[index])
        hosts = {self._hosts.of(w) for w in workers}
        if self._hosts.of(worker) not in hosts:
            return True
        if any(host not in hosts for host, _ in self._hosts.working()):
            return False
        return worker not in workers or all(w <= workers for _, w in self._hosts.working())
