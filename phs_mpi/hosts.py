"""Which host each worker is on, and hosts on which evaluation after evaluation fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

#: Failures in a row on one host after which it is looked at.
IN_A_ROW = 5

#: A host is drained only if its failures are less likely than this to be those of the parameter
#: sets that it happened to get, in the whole run.
CHANCE = 1e-3


def this_host() -> str:
    """Name of this machine; the module ``socket``, which says the same, takes 2 ms to load."""
    return os.uname().nodename


@dataclass(eq=False, repr=False)
class _Record:
    """What happened since a host's row of failures began: there, and on the others."""

    failures: int = 0
    since: int = 0
    elsewhere: int = 0
    failed_elsewhere: int = 0


class Hosts:
    """Workers by host, and which of them get nothing more to do.

    That a set fails may lie in its values. So a host is drained only while others do better: if,
    in the time of its row of failures, other hosts have begun and finished at least as many
    evaluations as make a row, and if it would be a rare chance that so many of theirs fail one
    after the other. A region of parameters in which everything fails drains nobody; and the last
    host is never drained.

    Parameters
    ----------
    in_a_row : int
        Failures in a row after which a host is looked at; 0: never.

    Attributes
    ----------
    drained : set of str
        Hosts that get nothing more.
    """

    def __init__(self, in_a_row: int = IN_A_ROW):
        self.drained: set[str] = set()
        self._in_a_row = in_a_row
        self._host: dict[int, str] = {}
        self._living: dict[str, set[int]] = {}
        self._records: dict[str, _Record] = {}  # of hosts on which the latest one failed
        self._began: dict[int, int] = {}  # by worker: evaluations finished before
        self._finished = 0

    def join(self, worker: int, host: str) -> None:
        """There is a worker on this host."""
        host = host or self._host.get(worker, f"worker {worker}")
        self._host[worker] = host
        self._living.setdefault(host, set()).add(worker)

    def leave(self, worker: int) -> bool:
        """A worker is gone; returns whether drained hosts are needed again after all."""
        self._began.pop(worker, None)
        host = self._host.get(worker, "")
        workers = self._living.get(host, set())
        workers.discard(worker)
        if not workers:
            self._living.pop(host, None)
        if self._living and self._living.keys() <= self.drained:
            self.drained.clear()
            return True
        return False

    def of(self, worker: int) -> str:
        """The host of a worker."""
        return self._host[worker]

    def is_drained(self, worker: int) -> bool:
        """Whether a worker gets nothing more."""
        return self._host[worker] in self.drained

    def working(self) -> Iterator[tuple[str, set[int]]]:
        """Hosts that get something to do, and their workers."""
        return ((h, workers) for h, workers in self._living.items() if h not in self.drained)

    def began(self, worker: int) -> None:
        """A worker was given an evaluation."""
        self._began[worker] = self._finished

    def ended(self, worker: int, failed: bool) -> str:
        """It is over; returns why its host gets nothing more from now on, empty if it does."""
        began, host = self._began.pop(worker, 0), self._host[worker]
        self._finished += 1
        for other, record in self._records.items():
            if other != host and began >= record.since:
                record.elsewhere += 1
                record.failed_elsewhere += failed
        if not failed:
            self._records.pop(host, None)
            return ""
        record = self._records.setdefault(host, _Record(since=self._finished))
        record.failures += 1
        if host in self.drained or not self._to_be_drained(host, record):
            return ""
        self.drained.add(host)
        return (
            f"host {host} gets nothing more: {record.failures} evaluations in a row have failed "
            f"there, and {record.failed_elsewhere} of {record.elsewhere} elsewhere meanwhile"
        )

    def _to_be_drained(self, host: str, record: _Record) -> bool:
        if not 0 < self._in_a_row <= min(record.failures, record.elsewhere):
            return False
        if not any(other != host for other, _ in self.working()):
            return False
        # Laplace's estimate of how often they fail: not 0 after a few that did not.
        rate = (record.failed_elsewhere + 1) / (record.elsewhere + 2)
        return self._finished * rate**record.failures < CHANCE
