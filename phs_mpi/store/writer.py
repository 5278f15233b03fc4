"""Rows committed to a prepared results file as evaluations finish."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError
from ..log import Outcome, Proposal, Status
from . import hdf5, schema
from .hdf5 import has_mpi


def open_store(path: str | os.PathLike, table: Any, comm: Any = None) -> Store:
    """Open a prepared results file to write rows.

    Parameters
    ----------
    path : path
        The file.
    table : Table
        The parameter sets.
    comm : mpi4py.MPI.Intracomm, optional
        All its ranks open the file together, and each may write; needs an h5py built with
        MPI, see :func:`has_mpi`. Without it only this process writes.
    Raises
    ------
    StoreError
        If it cannot be opened, or is not the file that was prepared, or h5py lacks MPI.
    """
    return Store(Path(path), table, comm)


class Store:
    """A results file open for writing rows; see :func:`open_store`."""

    def __init__(self, path: Path, table: Any, comm: Any = None):
        self._path = path
        self._table = table
        self._parallel = comm is not None
        if comm is not None and not has_mpi():
            raise StoreError(
                "this h5py was built without MPI, so that ranks cannot write one file together",
                remedy="let one rank write, or install an h5py with MPI (see the README)",
            )
        try:
            self._file = hdf5.open_low_level(path, comm)
            dataset = hdf5.load().h5d.open(self._file, b"evaluations")
            self._metrics = schema.metric_names(dataset.dtype)
            row_dtype = schema.evaluation_dtype(table.dtype, self._metrics)
            self._rows = hdf5.Rows(self._file, "evaluations", row_dtype)
            self._tracebacks = hdf5.Rows(self._file, "errors", schema.TRACEBACK_DTYPE)
            self._log = hdf5.Rows(self._file, "log", schema.LOG_DTYPE)
        except (OSError, KeyError) as error:
            if hdf5.error_number(error) in hdf5.ROOM:
                raise hdf5.write_error(path, "its beginning", error) from error
            raise hdf5.unreadable(path, error) from error
        if self._rows.length != table.evaluations or not self._rows.fits:
            raise StoreError(
                f"{path} has other rows than this experiment",
                value=str(path),
                remedy="prepare it first",
            )
        # One row and its bytes, used again and again: what a row costs is mostly Python.
        self._row = np.zeros(1, row_dtype)
        self._bytes = self._row.view(np.uint8).data
        self._log_length: int | None = None
        self._writable = True

    def commit(self, proposal: Proposal, outcome: Outcome) -> None:
        """Write the row of one evaluation; when it returns, a kill -9 cannot undo it.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        index = outcome.index
        if not 0 <= index < self._rows.length:
            raise IndexError(f"evaluation {index} of {self._rows.length}")
        self._fill(proposal, outcome)
        # What is tried again leaves its reason here, where the next attempt lets it stand.
        failed = outcome.status == Status.RUNNING
        trace = outcome.traceback or (outcome.error if failed else "")
        what = f"the row of evaluation {index}"
        if trace:
            text = schema.text_tail(trace, schema.TRACEBACK_WIDTH)
            self._write(self._tracebacks, index, np.array([text], schema.TRACEBACK_DTYPE), what)
        self._write(self._rows, index, self._row, what)

    def append_log(self, kinds: Sequence[int], indices: Sequence[int]) -> None:
        """Append entries to ``/log``; only one rank, or the client, may do so.

        Raises
        ------
        StoreError
            If it cannot be written, or is full.
        """
        if not len(kinds):
            return
        if self._log_length is None:
            self._log_length = self._find_log_length()
        entries = np.zeros(len(kinds), schema.LOG_DTYPE)
        entries["kind"], entries["index"] = kinds, indices
        if self._log_length + len(entries) > self._log.length:
            raise StoreError(
                f"{self._path}: the log is full ({self._log.length} entries)",
                value=str(self._path),
                remedy="start the same command again: it makes room, and what is finished is kept",
            )
        self._write(self._log, self._log_length, entries, "the log")
        self._log_length += len(entries)

    def close(self) -> None:
        """Close the file; all ranks of a communicator must do so together."""
        if not self._file:
            return
        try:
            if self._writable and not self._parallel:
                hdf5.load().h5f.flush(self._file)
        except (OSError, RuntimeError) as error:
            self._writable = False
            raise hdf5.write_error(self._path, "its end", error) from error
        finally:
            if not self._writable and not self._parallel:
                hdf5.silence(self._file)
            self._let_go()

    def _let_go(self) -> None:
        try:
            for rows in (self._rows, self._tracebacks, self._log):
                rows.close()
            hdf5.close(self._file)
        except (OSError, RuntimeError) as error:
            raise hdf5.write_error(self._path, "its end", error) from error

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: object, *details: object) -> None:
        # After an error on this rank others may never come to the collective closing.
        if kind is None or not self._parallel:
            self.close()

    def _fill(self, proposal: Proposal, outcome: Outcome) -> None:
        index = outcome.index
        metrics = dict(outcome.metrics)
        declared = tuple(metrics.pop(name, np.nan) for name in self._metrics)
        # A tuple in the order of the row type: one assignment instead of twenty.
        self._row[0] = (
            self._table.pack(index, proposal.values),
            outcome.result,
            *((declared,) if declared else ()),
            schema.metrics_text(metrics),
            proposal.source,
            proposal.log_length,
            proposal.mean,
            proposal.std,
            proposal.acquisition,
            outcome.worker,
            schema.text_head(outcome.host, schema.HOST_WIDTH),
            outcome.start,
            outcome.end,
            outcome.proposing,
            outcome.waiting,
            outcome.exchanging,
            schema.text_head(outcome.error, schema.ERROR_WIDTH),
            0,
            outcome.status,
        )
        self._row["checksum"] = schema.checksum(self._bytes)

    def _write(self, rows: hdf5.Rows, start: int, array: np.ndarray, what: str) -> None:
        try:
            rows.write(start, array)
        except OSError as error:
            self._writable = False
            reason = rows.why_not(self._path, start, array) if self._parallel else None
            raise hdf5.write_error(self._path, what, reason or error) from error

    def _find_log_length(self) -> int:
        """Where the leading entries end, by bisection: preparing left no gaps."""
        low, high = 0, self._log.length
        entry = np.zeros(1, schema.LOG_DTYPE)
        while low < high:
            middle = (low + high) // 2
            self._log.read(middle, entry)
            low, high = (middle + 1, high) if entry["kind"][0] else (low, middle)
        return low
