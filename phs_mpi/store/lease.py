"""One run at a time where a file system knows no locks: a file with signs of life.

A lease is weaker than a lock: it outlives an owner that is killed, and so has to expire. Of those
who find it expired, the one takes it over that makes a file named after the old owner, which the
file system allows one of them; an owner who was only slow may still believe that it has the lease.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds between two signs of life, and without one until a lease has expired. A target that holds
#: Python's lock in a run of one process keeps its signs of life back.
BEAT, EXPIRES = 15.0, 300.0

#: Seconds between two looks while another takes an expired lease over.
CLAIM_SECONDS = 0.01


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
        mine = self._path.with_name(f"{self._path.name}.{os.urandom(6).hex()}")
        try:
            mine.write_bytes(owner)
            while True:
                try:
                    os.link(mine, self._path)  # one step, also over NFS, where O_EXCL once was not
                    break
                except FileExistsError:
                    if self._take_over(mine, is_dead):
                        break
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

    def _take_over(self, mine: Path, is_dead: Callable[[bytes], bool]) -> bool:
        """Put `mine` in the place of an expired lease; Taken if it is a living one.

        Returns
        -------
        bool
            False if there is no telling yet, and it should be tried again.
        """
        try:
            owner = self._path.read_bytes()
            if self._age(self._path, mine) < EXPIRES and not is_dead(owner):
                raise Taken(owner.decode("utf-8", "replace"))
        except FileNotFoundError:
            return False  # released this very moment
        import hashlib

        digest = hashlib.sha256(owner).hexdigest()[:12]
        claim = self._path.with_name(f"{self._path.name}.{digest}.claim")
        try:
            os.link(mine, claim)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if self._age(claim, mine) > EXPIRES:  # who made it was killed just then
                    claim.unlink()
            time.sleep(CLAIM_SECONDS)
            return False
        try:
            # Another may have taken it over since, and be done: then this is its lease.
            if self._path.read_bytes() != owner:
                return False
            os.rename(mine, self._path)
            return True
        except FileNotFoundError:
            return False
        finally:
            claim.unlink()

    @staticmethod
    def _age(path: Path, mine: Path) -> float:
        """Seconds since the last sign of life, by the clock of the file server."""
        os.utime(mine)
        return mine.stat().st_mtime - path.stat().st_mtime

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._path)
