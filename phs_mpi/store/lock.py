"""One run at a time on a results file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from pathlib import Path

from ..errors import StoreError
from ..hosts import this_host
from .lease import EXPIRES, Lease, Taken

# A POSIX lock belongs to the process: it does not keep a second run in the same process out,
# and closing any descriptor of the file would drop it.
_held: set[str] = set()

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_TAKEN = (errno.EACCES, errno.EAGAIN)


class Lock:
    """Keeps other runs off a results file for as long as this process lives.

    A POSIX record lock on ``.NAME.lock`` beside the file: the system drops it when the process
    dies, however it dies, and network file systems that know such locks pass it on to other
    machines. A lock file that was left behind therefore refuses nobody. Where the file system knows
    no such locks, a :class:`~phs_mpi.store.lease.Lease` of the same name stands in.

    Parameters
    ----------
    path : path
        The results file; need not exist.

    Attributes
    ----------
    supported : bool
        False if the file system knows no locks.
    remark : str
        What the user should know of that; empty if it knows locks.
    """

    def __init__(self, path: str | os.PathLike):
        target = Path(os.path.realpath(path))
        self._shown = os.fspath(path)
        self.path = target.with_name(f".{target.name}.lock")
        self.supported = True
        self.remark = ""
        self._lease: Lease | None = None
        self._descriptor: int | None = None

    def acquire(self) -> Lock:
        """Take the lock.

        Raises
        ------
        StoreError
            If another run holds it (it says which), or the folder cannot be written.
        """
        if str(self.path) in _held:
            raise self._taken("another run in this process")
        while self._descriptor is None:
            descriptor = self._open()
            # The owner before us removes the file as it ends: what we locked may be gone.
            if self.supported and self._is_current(descriptor):
                self._descriptor = descriptor
            else:
                os.close(descriptor)
            if not self.supported:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
                break
        known = {"host": this_host(), "pid": os.getpid(), "since": time.time()}
        owner = json.dumps(known).encode()
        if self.supported:
            assert self._descriptor is not None
            with contextlib.suppress(OSError):  # only a courtesy; a full disk shows up later
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, owner, 0)
            _held.add(str(self.path))
        else:
            self._acquire_lease(owner)
        return self

    def release(self) -> None:
        """Let others have it, and remove the lock file; harmless if it is not held."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None
            _held.discard(str(self.path))
        if self._descriptor is not None:
            # Remove first, unlock after: in between nobody can lock a file that is about to go.
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(str(self.path))

    def __enter__(self) -> Lock:
        return self.acquire()

    def __exit__(self, *details: object) -> None:
        self.release()

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if not self.path.parent.exists():
                raise missing_folder(self._shown) from error
            raise StoreError(
                f"{self._shown}: cannot write in the folder {self.path.parent}: {error.strerror}",
                value=self._shown,
                remedy="name a file in another folder with --output",
            ) from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self.supported = False
                return descriptor
            owner = self._owner(os.pread(descriptor, 1000, 0))
            os.close(descriptor)
            if error.errno in _TAKEN:
                raise self._taken(owner) from error
            raise StoreError(f"{self.path}: cannot lock: {error.strerror}") from error
        return descriptor

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def _taken(self, owner: str) -> StoreError:
        return StoreError(
            f"{self._shown} is open for writing by {owner}",
            value=self._shown,
            remedy="wait until it ends, or name another file with --output",
        )

    def _acquire_lease(self, owner: bytes) -> None:
        path = self.path.with_suffix(".lease")
        lease = Lease(path)
        where = f"{self.path.parent} is on a file system without locks"
        try:
            lease.acquire(owner, _is_dead)
        except Taken as taken:
            raise StoreError(
                f"{self._shown} is open for writing by {self._owner(str(taken).encode())}",
                value=self._shown,
                remedy="wait until it ends, or name another file with --output; if it was killed, "
                f"wait {EXPIRES:g} s",
            ) from None
        except OSError as error:
            self.remark = f"{where}, nor links ({error.strerror}): nothing keeps a second run off"
            return
        self._lease = lease
        _held.add(str(self.path))
        self.remark = (
            f"{where}: signs of life in {path.name} keep other runs off, up to {EXPIRES:g} s "
            "longer than this one lives"
        )

    @staticmethod
    def _owner(said: bytes) -> str:
        try:
            owner = json.loads(said)
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["since"]))
            return f"another run (process {owner['pid']} on {owner['host']}, since {since})"
        except (ValueError, KeyError, TypeError, OverflowError):
            return "another run"


def _is_dead(said: bytes) -> bool:
    """Whether the process that took a lease on this machine is gone."""
    try:
        owner = json.loads(said)
        if owner["host"] != this_host():
            return False
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OverflowError, PermissionError):
        pass
    return False


def missing_folder(path: str | os.PathLike) -> StoreError:
    """The error to raise where the folder of `path` does not exist."""
    folder = Path(path).absolute().parent
    return StoreError(
        f"{path}: the folder {folder} does not exist",
        value=os.fspath(path),
        remedy=f"make it (mkdir -p {folder}), or name a file elsewhere with --output",
    )
