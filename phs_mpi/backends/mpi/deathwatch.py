"""Each rank watches the next one on its node, and ends the job with one line if that dies.

A launcher notices a rank that dies, and ends the others; what it says names a process, not what
to do, and srun lets a job hang whose rank has left with status 0. Here the system tells the
neighbour at once (a pidfd becomes readable, Linux 5.3), with no polling. A rank that ends in
order says so beforehand, in memory that the ranks of a node share.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mpi4py import MPI

_RUNNING, _LEAVING = 1, 2


class Rank(NamedTuple):
    """What identifies a rank's process; `begun` keeps a reused number apart."""

    rank: int
    pid: int
    begun: str


def _begun(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty if it is gone or cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie waits only to be reaped


class DeathWatch:
    """Watches the next rank on this node (made and closed on all ranks together).

    Parameters
    ----------
    world : mpi4py.MPI.Comm
        All ranks.
    node : mpi4py.MPI.Comm
        Those that share memory with this one.
    on_death : callable
        ``on_death(rank, pid)``: called once, from a thread, if that rank is gone without having
        said that it leaves.
    """

    def __init__(self, world: MPI.Comm, node: MPI.Intracomm, on_death: Callable[[int, int], None]):
        self._on_death = on_death
        me = Rank(world.Get_rank(), os.getpid(), _begun(os.getpid()))
        self._ranks: list[Rank] = node.allgather(me)
        here = node.Get_rank()
        self._window = MPI.Win.Allocate_shared(1, 1, comm=node)
        self._states = [self._window.Shared_query(k)[0] for k in range(len(self._ranks))]
        self._states[here][0] = _RUNNING
        node.Barrier()
        self._here, self._next = here, (here + 1) % len(self._ranks)
        self._closed = False
        self._descriptor = -1
        self._wake = -1
        self._thread: threading.Thread | None = None
        if self._next != here:
            self._start()

    def leave(self) -> None:
        """Say that this rank ends on purpose."""
        if not self._closed:
            self._states[self._here][0] = _LEAVING

    def someone_died(self) -> bool:
        """Whether a rank of this node is gone without having said that it leaves."""
        return any(
            begun and _begun(pid) != begun and state[0] == _RUNNING
            for (_, pid, begun), state in zip(self._ranks, self._states, strict=True)
        )

    def close(self) -> None:
        """Stop watching (collective)."""
        self.leave()
        if self._thread is not None:
            os.close(self._wake)
            self._thread.join()
            self._thread = None
        self._closed = True
        self._window.Free()

    # -- inside ------------------------------------------------------------------------

    def _start(self) -> None:
        watched = self._ranks[self._next]
        # In a container of its own a process has another number here, or none.
        if not watched.begun or _begun(watched.pid) != watched.begun:
            return
        with contextlib.suppress(AttributeError, OSError):  # no such thing: the launcher must do
            self._descriptor = os.pidfd_open(watched.pid)
        if self._descriptor < 0:
            return
        read, self._wake = os.pipe()
        self._thread = threading.Thread(
            target=self._watch, args=(read,), daemon=True, name="phs-deathwatch"
        )
        self._thread.start()

    def _watch(self, wake: int) -> None:
        ready, _, _ = select.select([self._descriptor, wake], [], [])
        os.close(self._descriptor)
        os.close(wake)
        if wake not in ready and self._states[self._next][0] == _RUNNING:
            watched = self._ranks[self._next]
            self._on_death(watched.rank, watched.pid)
