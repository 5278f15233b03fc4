"""Whether all ranks can write one results file independently: found out by doing it.

MPI-IO fails on some file systems (ROMIO on NFS without locks: "MPI_File_sync is required", see
h5py#2330), loses bytes on some that cache pages without coherence, and cannot work at all where a
rank does not see the folder. What kind a file system is says little about which of these it does,
so that a small file beside the results is written as the results will be, and read back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..hosts import this_host
from . import hdf5

#: Rows that each rank writes, interleaved with those of the others. A row is shorter than a
#: page of memory, so that ranks write into the same pages: a cache that writes back whole pages
#: shows.
ROUNDS = 3

_ROW = np.dtype([("bytes", "u1", 200)])


def doubt(comm: Any, path: Path) -> str:
    """Why ranks must not write a file at `path` independently; empty if they may (collective).

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        All ranks that would write.
    path : path
        The results file; only its folder is used.

    Returns
    -------
    str
        The same on all ranks: the reason of the lowest rank that has one.
    """
    folder = Path(os.path.realpath(path)).parent
    rank, size = comm.Get_rank(), comm.Get_size()
    token = comm.bcast(os.urandom(16).hex(), root=0)
    trial = folder / f".{path.name}.{token[:12]}.trial"
    pattern = np.frombuffer(bytes.fromhex(token), np.uint8)
    try:
        # Not together with opening it: that is collective, and would wait for a rank that fails.
        return (
            _by_rank_0(comm, lambda: _create(trial, size, pattern))
            or _by_all(comm, lambda: _look(trial, pattern))
            or _by_all(comm, lambda: _write(comm, trial, pattern))
            or _by_rank_0(comm, lambda: _read_back(trial, size, pattern))
        )
    finally:
        if rank == 0:
            with contextlib.suppress(OSError):
                trial.unlink()


def _by_rank_0(comm: Any, action: Callable[[], Any]) -> str:
    """Do something on rank 0; on all ranks why it fails, else an empty text."""
    return comm.bcast("" if comm.Get_rank() else _failure(comm, action), root=0)


def _by_all(comm: Any, action: Callable[[], Any]) -> str:
    """Do something on all ranks; the reason of the first that fails, else an empty text."""
    reason = _failure(comm, action)
    failures = np.zeros(1, "i4")
    comm.Allreduce(np.array([bool(reason)], "i4"), failures)
    return next(filter(None, comm.allgather(reason))) if failures[0] else ""


def _failure(comm: Any, action: Callable[[], Any]) -> str:
    """Do something on this rank; why it fails, else an empty text."""
    try:
        action()
    except Exception as error:  # MPI, HDF5 and the system each have errors of their own
        return f"rank {comm.Get_rank()} on {this_host()} {_reason(error)}"
    return ""


class _NotWritten(Exception):
    """The trial has shown something that is no error of the system."""


def _reason(error: Exception) -> str:
    if isinstance(error, _NotWritten):
        return str(error)
    return f"cannot write there with the others ({' '.join(hdf5.reason(error).split()):.150})"


def _create(trial: Path, size: int, pattern: np.ndarray) -> None:
    from .creation import reserve_rows

    with hdf5.load().File(trial, "w", libver=hdf5.LIBVER) as file:
        reserve_rows(file, "rows", ROUNDS * size, _ROW)
        file["pattern"] = pattern


def _look(trial: Path, pattern: np.ndarray) -> None:
    """See that this rank has the same file, and may write in it."""
    try:
        with trial.open("r+b") as stream:
            same = pattern.tobytes() in stream.read()
    except FileNotFoundError:
        same = False
    except OSError as error:
        raise _NotWritten(
            f"cannot write in {trial.parent} ({file_system(trial.parent)}): {error.strerror}"
        ) from error
    if not same:
        raise _NotWritten(f"does not see the same folder {trial.parent} as rank 0")


def _row(rank: int, turn: int, pattern: np.ndarray) -> np.ndarray:
    row = np.zeros(1, _ROW)
    row["bytes"] = np.resize(pattern ^ np.uint8(1 + (rank * ROUNDS + turn) % 255), 200)
    return row


def _write(comm: Any, trial: Path, pattern: np.ndarray) -> None:
    rank, size = comm.Get_rank(), comm.Get_size()
    file = hdf5.open_low_level(trial, comm)
    try:
        rows = hdf5.Rows(file, "rows", _ROW)
        for turn in range(ROUNDS):
            rows.write(turn * size + rank, _row(rank, turn, pattern))
        rows.close()
    finally:
        hdf5.close(file)  # collective, as the others come here too


def _read_back(trial: Path, size: int, pattern: np.ndarray) -> None:
    with hdf5.open_plain(trial) as file:
        found = file["rows"][:]
    for turn in range(ROUNDS):
        for rank in range(size):
            if found[turn * size + rank] != _row(rank, turn, pattern)[0]:
                raise _NotWritten(
                    f"misses what rank {rank} has written in {trial.parent} "
                    f"({file_system(trial.parent)})"
                )


def file_system(folder: Path) -> str:
    """Type of the file system that a folder is on, such as ``nfs4``; where that is known."""
    with contextlib.suppress(OSError, ValueError):
        device = os.stat(folder).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            words = line.split()
            if words[2] == wanted:
                return words[words.index("-") + 1]
    return "file system unknown"
