"""Send what a target prints, from Python and from C, into files; bounded on disk."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import PhsError

_WATCH_SECONDS = 0.2
STREAMS = ("stdout", "stderr")
_libc = None


def spool_paths(folder: Path, worker: int) -> list[Path]:
    """The files that hold what a worker's target prints, while it runs."""
    return [folder / f".worker-{worker}.{name}.txt" for name in STREAMS]


def salvage(folder: Path, worker: int, limit: int, into: Path) -> str:
    """Keep what an evaluation had printed before its process was killed.

    Parameters
    ----------
    folder : Path
        Where that worker's spool files are.
    worker : int
    limit : int
        Bytes to keep of each.
    into : Path
        The evaluation's folder; made if it had printed anything.

    Returns
    -------
    str
        Why it could not be kept; empty if it was.
    """
    try:
        _salvage(folder, worker, limit, into)
    except OSError as error:
        return not_kept(error)
    return ""


def _salvage(folder: Path, worker: int, limit: int, into: Path) -> None:
    for name, path in zip(STREAMS, spool_paths(folder, worker), strict=True):
        if path.exists() and path.stat().st_size:
            into.mkdir(parents=True, exist_ok=True)
            os.truncate(path, min(path.stat().st_size, limit))
            os.replace(path, into / f"{name}.txt")


class OutputLost(PhsError):
    """What evaluations print cannot be kept."""


def not_kept(error: OSError) -> str:
    """What is said of an evaluation whose output could not be kept, or not all of it."""
    return f"what it printed is not all kept: {error.strerror or error}"


class _Spool(io.FileIO):
    """The end of a spool file that Python prints to; a full disk is no error of the target.

    Attributes
    ----------
    error : OSError or None
        Why something could not be written.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view):  # the last that fits is written in part
                done += super().write(view[done:])
        except OSError as error:
            self.error = error
        return len(view)


def _flush_c() -> None:
    """Flush the C library's stdio buffers, so that text lands where it was meant to."""
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None)
    _libc.fflush(None)


class Capture:
    """Redirects file descriptors 1 and 2 of one worker while its target runs.

    The text goes to two spool files which are moved into the evaluation's folder only if
    something was printed: a silent target costs neither a folder nor a file. The spool is
    an ordinary file, not a pipe: a target that prints from C while it holds the GIL would
    wait for ever on a pipe whose reader needs the GIL.

    Parameters
    ----------
    folder : Path
        Where the spool files live; made if need be.
    worker : int
        Number of the worker; part of the spool files' names.
    limit : int
        Bytes one evaluation may print to each of the two. What goes beyond is cut off
        about five times a second, so that an endless printer cannot fill the disk.
    """

    def __init__(self, folder: Path, worker: int, limit: int):
        self._folder = folder
        self._worker = worker
        self._limit = limit
        self._paths = spool_paths(folder, worker)
        self._raw: list[_Spool] = []
        self._files: list[io.TextIOWrapper] = []
        self._largest = [0, 0]
        self._active = threading.Event()
        self._closed = False
        self._watcher: threading.Thread | None = None

    @contextlib.contextmanager
    def redirect(self) -> Iterator[None]:
        """Redirect inside the ``with`` block."""
        try:
            self._open()
        except OSError as error:
            raise OutputLost(
                f"what evaluations print cannot be kept in {self._folder}: {error.strerror}",
                value=str(self._folder),
                remedy="make room or mend its permissions, then start the same command again; "
                "or let it through with Experiment(..., capture=False)",
            ) from error
        sys.stdout.flush()
        sys.stderr.flush()
        _flush_c()
        self._largest = [0, 0]
        saved = [os.dup(1), os.dup(2)]
        try:
            for number, file in enumerate(self._files, start=1):
                os.dup2(file.fileno(), number)
            self._active.set()
            with (
                contextlib.redirect_stdout(self._files[0]),
                contextlib.redirect_stderr(self._files[1]),
            ):
                yield
        finally:
            self._active.clear()
            for file in self._files:
                # The target may have closed sys.stdout; what it had written is on disk.
                with contextlib.suppress(ValueError):
                    file.flush()
            _flush_c()
            for number, descriptor in enumerate(saved, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)

    def collect(self, folder: Path) -> tuple[int, str]:
        """Move what was printed since :meth:`redirect` into `folder`, if anything.

        Returns
        -------
        printed : int
            Bytes printed to the more talkative of the two streams, where known: text that
            was cut off meanwhile counts with the size at which it was seen.
        lost : str
            Why some of it could not be kept; empty if all was.
        """
        sizes = [os.stat(path).st_size for path in self._paths]
        most = max(*sizes, *self._largest)
        lost = ""
        for number, (name, path, size) in enumerate(zip(STREAMS, self._paths, sizes, strict=True)):
            raw = self._raw[number]
            if raw.error is not None:
                lost, raw.error = not_kept(raw.error), None
            if size:
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    os.truncate(path, min(size, self._limit))
                    os.replace(path, folder / f"{name}.txt")
                except OSError as error:
                    lost = not_kept(error)
                # The target may have closed it; where there is no new one, the next evaluation
                # tries again, and says what is wrong.
                with contextlib.suppress(ValueError):
                    self._files[number].close()
            if self._files[number].closed:
                with contextlib.suppress(OSError):
                    self._raw[number], self._files[number] = self._spool(path)
        return most, lost

    def close(self) -> None:
        """Stop watching and remove the spool files."""
        self._closed = True
        self._active.set()
        if self._watcher is not None:
            self._watcher.join()
        for file, path in zip(self._files, self._paths, strict=False):
            file.close()
            path.unlink(missing_ok=True)
        if self._files:
            # Fails where another worker still has files there, or evaluations left some.
            with contextlib.suppress(OSError):
                self._folder.rmdir()
        self._raw, self._files = [], []

    def _open(self) -> None:
        if self._files and not any(file.closed for file in self._files):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        opened = [self._spool(path) for path in self._paths]
        for file in self._files:
            file.close()
        self._raw, self._files = [raw for raw, _ in opened], [file for _, file in opened]
        if self._watcher is not None:
            return
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="phs-output")
        self._watcher.start()

    @staticmethod
    def _spool(path: Path) -> tuple[_Spool, io.TextIOWrapper]:
        # Appending, so that cutting the file off under a writer leaves no hole in it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        raw: Any = _Spool(descriptor, "wb")
        text = io.TextIOWrapper(
            raw, encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        return raw, text

    def _watch(self) -> None:
        while True:
            self._active.wait()
            if self._closed:
                return
            for number, path in enumerate(self._paths):
                with contextlib.suppress(FileNotFoundError):
                    size = os.stat(path).st_size
                    if size > self._limit:
                        self._largest[number] += size
                        os.truncate(path, self._limit)
            threading.Event().wait(_WATCH_SECONDS)
