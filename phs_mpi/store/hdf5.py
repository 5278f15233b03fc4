"""What the results file needs of h5py: loading it, row types, opening, and readable errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError
from .schema import ENUMS

#: Everybody with HDF5 1.8 can read the file, and a killed writer leaves no "open" mark in it.
LIBVER = ("earliest", "v110")

#: Remedy for whoever reads a file; a run has another (see resume.py).
ANOTHER = "name another file"

#: Remedies for a lack of room, by error number.
ROOM = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
}


def load() -> Any:
    """Import h5py, which is needed only where a results file is.

    Raises
    ------
    StoreError
        If h5py cannot be imported.
    """
    try:
        import h5py
    except ImportError as error:
        raise StoreError(
            f"the results file needs h5py, which cannot be imported ({error})",
            remedy="pip install h5py",
        ) from error
    return h5py


def has_mpi() -> bool:
    """Whether this h5py can open a file on several ranks at once."""
    return bool(load().get_config().mpi)


def typed(dtype: np.dtype) -> np.dtype:
    """A row type with what HDF5 should know: UTF-8 text, names of enumerated values."""
    return _typed(dtype, ENUMS)


def _typed(dtype: np.dtype, enums: Mapping[str, type[IntEnum]]) -> np.dtype:
    if dtype.names:
        fields = {name: dtype.fields[name] for name in dtype.names}  # type: ignore[index]
        # Enumerations only in the row itself: a parameter may be called "status".
        formats = [
            enum_dtype(enums[name]) if name in enums else _typed(field[0], {})
            for name, field in fields.items()
        ]
        return np.dtype(
            {
                "names": list(fields),
                "formats": formats,
                "offsets": [field[1] for field in fields.values()],
                "itemsize": dtype.itemsize,
            }
        )
    if dtype.subdtype:
        return np.dtype((_typed(dtype.subdtype[0], {}), dtype.subdtype[1]))
    if dtype.kind == "S":
        return load().string_dtype("utf-8", dtype.itemsize)
    if dtype.kind in "mM":  # HDF5 has no dates: the 64-bit count of the type's unit
        return np.dtype(np.int64)
    return dtype


def same_type(a: np.dtype, b: np.dtype) -> bool:
    """Whether two row types are equal, names of enumerated values included."""
    if a != b:
        return False
    check = load().check_enum_dtype
    return all(check(a[name]) == check(b[name]) for name in ENUMS if name in (a.names or ()))


def enum_dtype(enum: type[IntEnum]) -> np.dtype:
    """HDF5 enumeration of one byte."""
    return load().enum_dtype({member.name: int(member) for member in enum}, basetype="u1")


def open_low_level(path: Path, comm: Any = None) -> Any:
    """Open a results file for writing rows; collective if `comm` is given.

    Returns
    -------
    h5py.h5f.FileID
    """
    h5py = load()
    fapl = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    if comm is None:
        fapl.set_fapl_sec2()
        # By default HDF5 gathers small writes in a buffer, which a kill -9 would lose.
        fapl.set_sieve_buf_size(1)
    else:
        from mpi4py import MPI

        fapl.set_fapl_mpio(comm, MPI.Info())
    # Our own lock keeps a second run out; HDF5's would keep readers out, and fails on some
    # network file systems.
    if hasattr(fapl, "set_file_locking"):
        fapl.set_file_locking(False, True)
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDWR, fapl)
    # Closing is collective: a rank that breaks down must not wait for the others in it.
    file.locked = comm is not None
    return file


def close(file: Any) -> None:
    """Close a file of :func:`open_low_level`; collective if opening it was."""
    file.locked = False
    file.close()


def silence(file: Any) -> None:
    """Let what HDF5 still wants to write into a file of one process go nowhere.

    Closing writes, and where that fails HDF5 crashes the process at its exit. A results file
    does not need these last words: a killed writer does not say them either.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.get_vfd_handle(file.get_access_plist()))
    os.close(nowhere)


def open_plain(path: Path, mode: str = "r") -> Any:
    """Open a results file with h5py's own interface; readers never disturb a writer."""
    h5py = load()
    try:
        return h5py.File(path, mode, locking=False)
    except ValueError:  # an HDF5 that cannot be told: it may refuse a file being written
        return h5py.File(path, mode)


class Rows:
    """Rows of one dataset of a file that :func:`open_low_level` opened.

    h5py's convenient interface spends over a millisecond a row on finding out what it was
    given; here that is known.

    Attributes
    ----------
    length : int
        Number of rows.
    fits : bool
        Whether the file's rows are of just the type `dtype`.
    """

    def __init__(self, file: Any, name: str, dtype: np.dtype):
        h5py = load()
        self._h5s = h5py.h5s
        self._dataset = h5py.h5d.open(file, name.encode())
        self._type = h5py.h5t.py_create(typed(dtype), logical=True)
        self._space = self._dataset.get_space()
        self._one = h5py.h5s.create_simple((1,))
        self.length = self._dataset.shape[0]
        self.fits = self._dataset.get_type().equal(self._type)

    def write(self, start: int, rows: np.ndarray) -> None:
        """Overwrite consecutive rows; the array must be contiguous."""
        count = len(rows)
        memory = self._one if count == 1 else self._h5s.create_simple((count,))
        self._space.select_hyperslab((start,), (count,))
        self._dataset.write(memory, self._space, rows, self._type)

    def why_not(self, path: Path, start: int, rows: np.ndarray) -> OSError | None:
        """Write the same bytes to the same place without HDF5 and MPI, which hide the reason.

        Returns
        -------
        OSError or None
            What the system says; None if it has no objection now.
        """
        offset = self._dataset.get_offset()
        if offset is None:
            return None
        try:
            with open(path, "r+b", buffering=0) as file:
                file.seek(offset + start * rows.itemsize)
                left = memoryview(rows.tobytes())
                while left:  # where there is room for a part of it, that much is written first
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
        except OSError as error:
            return error
        return None

    def read(self, start: int, rows: np.ndarray) -> None:
        """Read one row into an array of length 1."""
        self._space.select_hyperslab((start,), (1,))
        self._dataset.read(self._one, self._space, rows, self._type)

    def close(self) -> None:
        """Let go of the dataset."""
        self._dataset.close()


def reason(error: BaseException) -> str:
    """The cause of an error of HDF5 or the system in a few words."""
    number = error_number(error)
    if number:
        return os.strerror(number)
    text = str(error)
    inner = re.search(r"\(([^()]*(?:\([^()]*\))?[^()]*)\)\s*$", text)
    return inner.group(1) if inner else text


def error_number(error: BaseException) -> int | None:
    """The system's error number, also where HDF5 only says it in its message."""
    number = getattr(error, "errno", None)
    if number:
        return number
    found = re.search(r"errno = (\d+)", str(error))
    return int(found.group(1)) if found else None


def write_error(path: Path, what: str, error: BaseException) -> StoreError:
    """The error to raise where writing `what` into the file at `path` failed."""
    again = "then start the same command again: what is finished is kept"
    number = error_number(error)
    room = ROOM.get(number or 0)
    return StoreError(
        f"{path}: cannot write {what}: {os.strerror(number) if number else reason(error)}",
        value=str(path),
        remedy=f"{room}, {again}"
        if room
        else f"mend the disk or file system, {again} (--rank-0-writes helps where ranks cannot "
        "write together)",
    )


def unreadable(path: Path, error: BaseException) -> StoreError:
    """The error to raise where the file at `path` cannot be opened or read."""
    text = str(error)
    other = ANOTHER
    if isinstance(error, PermissionError) or error_number(error) in (errno.EACCES, errno.EPERM):
        return StoreError(
            f"{path}: permission denied",
            value=str(path),
            remedy="change its permissions, or name another file",
        )
    if "truncated file" in text:
        return StoreError(
            f"{path} is truncated: its end is missing",
            value=str(path),
            remedy=other,
        )
    if "signature not found" in text:
        return StoreError(f"{path} is not an HDF5 file", value=str(path), remedy=other)
    return StoreError(
        f"{path} is damaged or not a results file: {reason(error)}", value=str(path), remedy=other
    )
