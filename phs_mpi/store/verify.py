"""What of a results file can be trusted: each row, the log, the definition; nothing is changed.

HDF5 itself may crash on bytes that are none of its own, so that the file is looked at in a process
of its own: ``python -m phs_mpi.store.verify FILE``. Also of a file whose end is missing what is
there is read, and no length is believed that the file could not hold. The checks are in `checks`.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..declaration import parameter_types
from ..errors import StoreError
from ..log import EntryKind
from . import hdf5, schema
from .checks import RowState, Verification, contradictions, row_states, used
from .raw import RawRows
from .snapshot import check_format, check_readable, declared

#: Looks at a row before it counts as torn, and seconds between two: it may be being written.
LOOKS, LOOK_SECONDS = 5, 0.1

#: Seconds that a check may take, and bytes for which it gets one more: HDF5 has been seen to loop
#: for ever over damaged bytes.
MOST_SECONDS, SECOND_BYTES = 60.0, 5_000_000

_CHUNK_BYTES = 1 << 22

_STATES = {
    "whole": RowState.WHOLE,
    "empty": RowState.EMPTY,
    "torn": RowState.TORN,
    "attempts": RowState.ATTEMPT,
}


def verify(path: str | os.PathLike) -> Verification:
    """Check a results file, which others may be writing.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Verification

    Raises
    ------
    StoreError
        If it is no results file, or so damaged that this cannot be told, or one of a newer
        phs_mpi.
    """
    path = Path(path)
    check_readable(path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "phs_mpi.store.verify", str(path)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS + path.stat().st_size / SECOND_BYTES,
        )
    except subprocess.TimeoutExpired:
        raise _beyond_hdf5(path, "comes to no end when it reads it") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise _beyond_hdf5(path, f"crashes when it reads it ({name})")
    try:
        said = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"checking {path} failed:\n{done.stderr}") from None
    if "error" in said:
        raise StoreError(said["error"], value=str(path), remedy=said["remedy"])
    return Verification.from_json(said)


def _beyond_hdf5(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path} is damaged: HDF5 {what}",
        value=str(path),
        remedy="move it away, or name another file with --output",
    )


def check(path: Path) -> Verification:
    """Check a results file in this process; see :func:`verify`."""
    found = Verification(path)
    with _opened(path, found) as (file, descriptor):
        _check_parts(file, descriptor, found)
    return found


def main(path: str) -> None:
    """Check a file and print what came of it as JSON."""
    try:
        said = check(Path(path)).to_json()
    except StoreError as error:
        said = {"error": error.message, "remedy": error.remedy}
    print(json.dumps(said))


# -- reading ---------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, found: Verification) -> Iterator[tuple[Any, int]]:
    """The file as h5py sees it, also if its end is missing; and a descriptor of it."""
    h5py = hdf5.load()
    with open(path, "rb", buffering=0) as stream:
        try:
            file = hdf5.open_plain(path)
        except Exception as error:
            size = re.search(r"truncated file.*stored_eof = (\d+)", str(error))
            if size is None:
                raise hdf5.unreadable(path, error) from error
            there = os.fstat(stream.fileno()).st_size
            found.problems.append(f"its end is missing: {int(size[1]) - there} of {size[1]} bytes")
            try:
                file = h5py.File(_Padded(stream.fileno(), int(size[1])), "r")
            except Exception as worse:
                raise hdf5.unreadable(path, worse) from worse
        with file:
            yield file, stream.fileno()


class _Padded(io.RawIOBase):
    """A file whose missing end reads as zeros."""

    def __init__(self, descriptor: int, size: int):
        self._descriptor, self._size, self._position = descriptor, size, 0

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._position))
        got = os.pread(self._descriptor, wanted, self._position)
        view[:wanted] = got + bytes(wanted - len(got))
        self._position += wanted
        return wanted

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _check_parts(file: Any, descriptor: int, found: Verification) -> None:
    try:
        check_format(file, found.path)
    except StoreError as error:
        if "is damaged" not in error.message:
            raise
        found.problems.append(error.message.partition(" is damaged: ")[2])
    except Exception as error:  # what h5py makes of bytes that are none of its own
        raise hdf5.unreadable(found.path, error) from error
    before = list(found.problems)
    log = _log_and_rows(file, descriptor, found)
    if found.contradictions:
        # A run that began this very moment may have voided rows, and said so in the log.
        time.sleep(LOOK_SECONDS)
        found.problems = before
        log = _log_and_rows(file, descriptor, found)
    if log is not None:
        found.log_entries = int(np.count_nonzero(used(log)))
        last = schema.last_kinds(log[: schema.log_length(log, found.rows)], found.rows)
        found.unlogged = int(np.count_nonzero(last[found.whole] != EntryKind.COMPLETED))
    definition = _attempt(found, "/definition", lambda: _definition(file, found))
    _attempt(found, "/source/experiment.py", lambda: _text(file, "source/experiment.py", found))
    _attempt(found, "/parameter_sets", lambda: _sets(file, descriptor, found))
    if definition is not None:
        _attempt(found, "the layout", lambda: _layout(file, definition, found))


def _log_and_rows(file: Any, descriptor: int, found: Verification) -> np.ndarray | None:
    # The log first: what it calls completed was on disk before.
    log = _attempt(found, "/log", lambda: _log(file, descriptor, found))
    states = _attempt(found, "/evaluations", lambda: _rows(file, descriptor, found))
    if log is not None and states is not None:
        found.contradictions = contradictions(log, states)
    return log


def _attempt(found: Verification, what: str, action: Callable[[], Any]) -> Any:
    """Do one part of the checks; if that part of the file cannot be read, say so."""
    try:
        return action()
    except Exception as error:  # whatever h5py, NumPy or json make of damaged bytes
        text = " ".join(str(error).split()) or type(error).__name__
        found.problems.append(f"{what} cannot be read ({text:.120})")
        return None


def _within(rows: RawRows, size: int) -> int:
    """How many rows of a dataset the file really holds."""
    if not rows.contiguous:
        return len(rows)
    return max(0, min(len(rows), (size - rows.offset) // rows.dtype.itemsize))


def _log(file: Any, descriptor: int, found: Verification) -> np.ndarray:
    rows = RawRows(descriptor, file["log"])
    if rows.dtype != schema.LOG_DTYPE:
        raise ValueError("its fields are not index and kind")
    within = _within(rows, os.fstat(descriptor).st_size)
    if within < len(rows):
        found.problems.append(f"/log: {len(rows) - within} of {len(rows)} entries are cut off")
    return rows.read(0, within)


def _rows(file: Any, descriptor: int, found: Verification) -> np.ndarray:
    rows = RawRows(descriptor, file["evaluations"])
    size = rows.dtype.itemsize
    within = _within(rows, os.fstat(descriptor).st_size)
    states = np.zeros(within, np.uint8)
    step = max(1, _CHUNK_BYTES // size)
    for start in range(0, within, step):
        states[start : start + step] = row_states(_bytes(rows, start, min(start + step, within)))
    for _ in range(LOOKS - 1):
        doubtful = np.flatnonzero(states == RowState.TORN)
        if not len(doubtful):
            break
        time.sleep(LOOK_SECONDS)
        for index in doubtful.tolist():
            states[index] = row_states(_bytes(rows, index, index + 1))[0]
    if within < len(rows):
        missing = len(rows) - within
        found.problems.append(f"/evaluations: {missing} of {len(rows)} rows are cut off")
    found.rows = within
    for name, state in _STATES.items():
        setattr(found, name, np.flatnonzero(states == state))
    return states


def _bytes(rows: RawRows, start: int, stop: int) -> np.ndarray:
    return rows.read(start, stop).view(np.uint8).reshape(stop - start, rows.dtype.itemsize)


def _text(file: Any, name: str, found: Verification) -> bytes:
    dataset = file[name]
    if dataset.shape != () or dataset.dtype.kind != "S":
        raise ValueError("it is no text")
    if dataset.dtype.itemsize > max(found.path.stat().st_size, 1):
        raise ValueError("it is longer than the file")
    raw = bytes(dataset[()])
    _compare(dataset, zlib.crc32(raw), f"/{name}", found)
    return raw


def _compare(dataset: Any, checksum: int, name: str, found: Verification) -> None:
    stored = dataset.attrs.get(schema.CHECKSUM)
    if stored is None:
        found.unchecked.append(name)
    elif int(stored) != checksum:
        found.problems.append(f"{name} has changed since it was written")


def _definition(file: Any, found: Verification) -> dict[str, Any]:
    definition = json.loads(_text(file, "definition", found).decode("utf-8"))
    if not isinstance(definition, dict):
        raise ValueError("it is no JSON object")
    parameter_types(list(declared(definition).items()))
    return definition


def _sets(file: Any, descriptor: int, found: Verification) -> None:
    rows = RawRows(descriptor, file["parameter_sets"])
    within = _within(rows, os.fstat(descriptor).st_size)
    if within < len(rows):
        found.problems.append(f"/parameter_sets: {len(rows) - within} rows are cut off")
        return
    _compare(file["parameter_sets"], zlib.crc32(rows.read().data), "/parameter_sets", found)


def _layout(file: Any, definition: dict[str, Any], found: Verification) -> None:
    """Whether the datasets have the types and lengths that the definition asks for."""
    sets = sum(int(group["count"]) for group in definition["groups"])
    most = int(definition.get("repeats", (1, 1))[1])
    values = file["evaluations"].dtype["values"]
    names = tuple(parameter["name"] for parameter in definition["parameters"])
    if values.names != names:
        found.problems.append(f"/evaluations has the parameters {values.names}, not {names}")
    metrics = tuple(definition.get("metrics") or ())
    exchanging = "exchanging" in file["evaluations"].dtype.names
    wanted = {
        "parameter_sets": (sets, schema.parameter_set_dtype(values)),
        "evaluations": (sets * most, schema.evaluation_dtype(values, metrics, exchanging)),
        "errors": (sets * most, schema.TRACEBACK_DTYPE),
        "log": (None, schema.LOG_DTYPE),
    }
    for name, (length, dtype) in wanted.items():
        _attempt(found, f"/{name}", lambda: _shape(file[name], length, dtype, found))  # noqa: B023


def _shape(dataset: Any, length: int | None, dtype: np.dtype, found: Verification) -> None:
    name = dataset.name
    if not hdf5.same_type(dataset.dtype, hdf5.typed(dtype)):
        found.problems.append(f"{name} has rows of another type")
    if length is not None and dataset.shape != (length,):
        found.problems.append(f"{name} has {dataset.shape[0]} rows, and {length} are defined")


if __name__ == "__main__":
    main(sys.argv[1])
