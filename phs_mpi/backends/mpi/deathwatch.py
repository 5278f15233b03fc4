"""Each rank watches the next one on its node, and ends the job with one line if that dies.

A launcher notices a rank that dies, and ends the others; what it says names a process, not what
to do, and srun lets a job hang whose rank has left with status 0. Here the system tells the
neighbour at once (a pidfd becomes readable, Linux 5.3), with no polling. A rank that ends in
order says so beforehand, in memory that the ranks of a node share.
"""

from __future__ import annotations

import contextlib
import mmap
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
    """Watches the next rank on this node (made on all ranks together).

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
        self._here = node.Get_rank()
        self._next = (self._here + 1) % len(self._ranks)
        self._wake = -1
        self._thread: threading.Thread | None = None
        states = _shared_bytes(node)
        self._states = states if states is not None else bytearray(len(self._ranks))
        self._states[self._here] = _RUNNING
        node.Barrier()
        if states is not None and self._next != self._here:
            self._start()

    def leave(self) -> None:
        """Say that this rank ends on purpose."""
        self._states[self._here] = _LEAVING

    def someone_died(self) -> bool:
        """Whether a rank of this node is gone without having said that it leaves."""
        return any(
            begun and self._states[k] == _RUNNING and _begun(pid) != begun
            for k, (_, pid, begun) in enumerate(self._ranks)
        )

    def close(self) -> None:
        """Stop watching."""
        if self._thread is not None:
            os.close(self._wake)
            self._thread.join()
            self._thread = None

    # -- inside ------------------------------------------------------------------------

    def _start(self) -> None:
        watched = self._ranks[self._next]
        # In a container of its own a process has another number here, or none.
        if not watched.begun or _begun(watched.pid) != watched.begun:
            return
        try:
            descriptor = os.pidfd_open(watched.pid)
        except (AttributeError, OSError):  # the system has no such thing: the launcher must do
            return
        read, self._wake = os.pipe()
        self._thread = threading.Thread(
            target=self._watch, args=(descriptor, read), daemon=True, name="phs-deathwatch"
        )
        self._thread.start()

    def _watch(self, descriptor: int, wake: int) -> None:
        ready, _, _ = select.select([descriptor, wake], [], [])
        os.close(descriptor)
        os.close(wake)
        if wake not in ready and self._states[self._next] == _RUNNING:
            watched = self._ranks[self._next]
            self._on_death(watched.rank, watched.pid)


def _shared_bytes(node: MPI.Intracomm) -> mmap.mmap | None:
    """Memory that the ranks of a node share, a byte for each; None if they cannot (collective).

    An unlinked file, not a window of MPI: it outlives ranks that die, and wants no component of
    the library that is there for remote access.
    """
    first = node.Get_rank() == 0
    with contextlib.ExitStack() as stack:
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        path, shared = "", None
        try:
            if first:
                import tempfile

                file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="phs-", dir=shm))
                os.ftruncate(file.fileno(), node.Get_size())
                path = file.name
            path = node.bcast(path, root=0)
            with open(path, "r+b") as own:
                shared = mmap.mmap(own.fileno(), node.Get_size())
        except OSError:  # another container, a full disk: then nobody watches
            if first and not path:
                node.bcast("", root=0)
        return shared if node.allreduce(shared is not None, op=MPI.LAND) else None
