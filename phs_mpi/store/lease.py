"""One run at a time where a file system knows no locks: a file with signs of life.

A lease is weaker than a lock. It outlives an owner that is killed, and so has to expire; and two
runs that find the same expired lease at the same instant are told apart by what each of them
renames, which network file systems do in one step, but cannot be proven to see at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

#: Seconds between two signs of life, and without one until a lease has expired. A target that holds
#: Python's lock in a run of one process keeps its signs of life back.
BEAT, EXPIRES = 15.0, 300.0


class Taken(Exception):
    """Another run has the lease."""


class Lease:
    """A lease on a path, for as long as this process gives signs of life.

    Parameters
    ----------
    path : Path
        Its file.
    """

    def __init__(self, path: Path):
        self._path = path
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, owner: bytes, is_dead: Callable[[bytes], bool]) -> None:
        """Take the lease.

        Parameters
        ----------
        owner : bytes
            What the file says of this run.
        is_dead : callable
            ``is_dead(owner) -> bool``: whether the owner of another lease is known to be gone.

        Raises
        ------
        Taken
            With what the other's file says, if that has not expired.
        OSError
            If the file system knows no links either.
        """
        mine = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex[:12]}")
        try:
            mine.write_bytes(owner)
            while True:
                try:
                    os.link(mine, self._path)  # one step, also over NFS, where O_EXCL once was not
                    break
                except FileExistsError:
                    self._remove_expired(mine, is_dead)
        finally:
            with contextlib.suppress(OSError):
                mine.unlink()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="phs-lease")
        self._thread.start()

    def release(self) -> None:
        """Let others have it."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _remove_expired(self, mine: Path, is_dead: Callable[[bytes], bool]) -> None:
        """Take an expired lease out of the way; Taken if it is a living one."""
        try:
            owner, seen = self._path.read_bytes(), self._path.stat().st_mtime
        except FileNotFoundError:
            return  # released this very moment
        os.utime(mine)  # by the clock of the file server, as the signs of life are
        if mine.stat().st_mtime - seen < EXPIRES and not is_dead(owner):
            raise Taken(owner.decode("utf-8", "replace"))
        aside = mine.with_name(f"{mine.name}.expired")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._path, aside)
            fresh = aside.read_bytes() != owner
            if fresh:  # another run was quicker, and this is its new one
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._path)
            aside.unlink()

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._path)
