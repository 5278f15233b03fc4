"""Reading a results file, also while others write it, without disturbing them."""

from __future__ import annotations

import ast
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..declaration import parameter_types
from ..errors import StoreError
from ..log import EntryKind, Status
from ..parameters import ParameterType
from . import hdf5, schema

#: Small columns of /evaluations that a snapshot copies, to be consistent in itself.
COLUMNS = (
    "result",
    "source",
    "log_length",
    "mean",
    "std",
    "acquisition",
    "worker",
    "start",
    "end",
    "proposing",
    "waiting",
)

_TRIES = 5
_CHUNK = 20_000
_NEEDED = ("parameter_sets", "evaluations", "errors", "log", "definition", "source/experiment.py")


@dataclass
class Snapshot:
    """What a results file held at one moment.

    Attributes
    ----------
    path : Path
        The file.
    attributes : dict of str to object
        Root attributes: versions, seed, command line, …
    definition : dict
        ``Experiment.describe()``.
    source : str
        Text of experiment.py.
    status : ndarray of uint8, shape (sets,)
        EMPTY, DONE, FAILED or TIMED_OUT; EMPTY also for a damaged row.
    torn : ndarray of int
        Indices of rows whose checksum is wrong.
    log : ndarray of LOG_DTYPE, shape (length,)
        Order in which evaluations started and completed.
    columns : dict of str to ndarray, shape (sets,)
        The fields named in `COLUMNS`; only rows that are not EMPTY mean anything.
    taken : float
        When, in seconds since 1970-01-01 UTC.
    log_capacity : int
        Entries that the file's log has room for.
    log_has_gaps : bool
        Whether anything but zeros follows the entries of the log.
    in_place : bool
        Whether rows can be overwritten where they are; not after another tool rewrote the file.
    """

    path: Path
    attributes: dict[str, Any]
    definition: dict[str, Any]
    source: str
    status: np.ndarray
    torn: np.ndarray
    log: np.ndarray
    columns: dict[str, np.ndarray]
    taken: float
    log_capacity: int
    log_has_gaps: bool
    in_place: bool
    _rows: np.ndarray = field(repr=False)
    _sets: np.ndarray = field(repr=False)
    _tracebacks: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.status)

    @property
    def finished(self) -> np.ndarray:
        """Which sets are evaluated, successfully or not; bool, shape (sets,)."""
        return self.status != Status.EMPTY

    @property
    def done(self) -> np.ndarray:
        """Which sets have a result; bool, shape (sets,)."""
        return self.status == Status.DONE

    @property
    def complete(self) -> bool:
        """Whether every set is evaluated."""
        return bool(self.finished.all())

    @property
    def defined(self) -> np.ndarray:
        """Values of all sets as defined; structured, shape (sets,)."""
        return self._sets["values"]

    @property
    def row_dtype(self) -> np.dtype:
        """Type of a row of ``/evaluations``."""
        return self._rows.dtype

    @property
    def maximize(self) -> bool:
        """Whether the best result is the highest."""
        return bool(self.definition.get("maximize", False))

    @property
    def group_of(self) -> np.ndarray:
        """Number of each set's group, shape (sets,)."""
        return self._sets["group"].copy()

    def cells(self, indices: np.ndarray | None = None) -> np.ndarray:
        """Values used where a set is evaluated, as defined elsewhere; structured, shape (n,)."""
        if indices is None:
            indices = np.arange(len(self))
        indices = np.asarray(indices, int)
        cells = self._sets["values"][indices]
        finished = self.finished[indices]
        cells[finished] = self._rows["values"][indices[finished]]
        return cells

    @cached_property
    def types(self) -> dict[str, ParameterType]:
        """The parameters, in declared order."""
        return parameter_types([(p["name"], _spec(p)) for p in self.definition["parameters"]])

    def values(self, index: int) -> dict[str, Any]:
        """Values of one set as the target got them; text for a parameter of type ``expr``."""
        cells = self.cells(np.array([index]))[0]
        return {name: kind.from_column(cells[name]) for name, kind in self.types.items()}

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Whole rows of ``/evaluations``, shape (n,)."""
        return self._rows[np.asarray(indices, int)]

    def error(self, index: int) -> str:
        """Why an evaluation failed, in a line; empty if it did not."""
        return _text(self._rows["error"][index]) if self.finished[index] else ""

    def traceback(self, index: int) -> str:
        """End of the traceback of a failed evaluation; empty if there is none."""
        failed = self.finished[index] and not self.done[index]
        return _text(self._tracebacks[index]) if failed else ""

    def metrics(self, index: int) -> dict[str, float]:
        """Metrics of an evaluation: the declared ones, then the others."""
        row = self._rows[index]
        names = (row.dtype.names or ()) and "metrics" in row.dtype.names
        found = {n: float(row["metrics"][n]) for n in row["metrics"].dtype.names} if names else {}
        return found | json.loads(_text(row["more_metrics"]) or "{}")


def read(path: str | os.PathLike, *, verify: bool = False) -> Snapshot:
    """Take a snapshot of a results file, which others may be writing.

    Parameters
    ----------
    path : path
        The file.
    verify : bool
        Check every row's checksum (a microsecond a row). Otherwise those that the log calls
        completed are taken to be whole: they were before it said so.

    Raises
    ------
    StoreError
        If it is no results file of ours, or one of a newer phs_mpi.
    """
    path = Path(path)
    check_readable(path)
    for last in [False] * (_TRIES - 1) + [True]:
        try:
            before = os.stat(path)
            snapshot = _read(path, verify)
            # A grown experiment renames a new file over this one: not half of each.
            if os.path.samestat(before, os.stat(path)):
                return snapshot
        except OSError as error:
            if last:
                raise hdf5.unreadable(path, error) from error
        time.sleep(0.02)
    raise StoreError(f"{path} is being replaced all the time", value=str(path))


def _read(path: Path, verify: bool) -> Snapshot:
    with hdf5.open_plain(path) as file:
        attributes = check_format(file, path)
        definition = json.loads(_text(file["definition"][()]))
        source = _text(file["source/experiment.py"][()])
        taken = time.time()
        # The log first: what it calls completed was on disk before.
        whole_log = mapped(path, file["log"])
        sets = file["evaluations"].shape[0]
        log = whole_log[: schema.log_length(whole_log, sets)].copy()
        rows = mapped(path, file["evaluations"])
        parameter_sets = mapped(path, file["parameter_sets"])
        tracebacks = mapped(path, file["errors"])
        in_place = all(
            file[name].id.get_offset() is not None for name in ("evaluations", "errors", "log")
        )
    status = rows["status"].copy()
    if verify:
        suspects = np.flatnonzero(status)
    else:
        logged = schema.last_kinds(log, sets) == EntryKind.COMPLETED
        suspects = np.flatnonzero((status != Status.EMPTY) & ~logged)
    torn = _torn(rows, suspects)
    status[torn] = Status.EMPTY
    columns = {name: rows[name].copy() for name in COLUMNS}
    return Snapshot(
        path,
        attributes,
        definition,
        source,
        status,
        torn,
        log,
        columns,
        taken,
        len(whole_log),
        bool(whole_log["kind"][len(log) :].any()),
        in_place,
        rows,
        parameter_sets,
        tracebacks,
    )


def _torn(rows: np.ndarray, suspects: np.ndarray) -> np.ndarray:
    """Those of the rows `suspects` that are damaged, looked at in pieces to spare memory."""
    pieces = np.split(suspects, range(_CHUNK, len(suspects), _CHUNK))
    return np.concatenate([piece[~schema.whole(rows[piece])] for piece in pieces])


def mapped(path: Path, dataset: Any) -> np.ndarray:
    """A dataset's bytes in the file as an array: nothing is read before it is needed."""
    offset = dataset.id.get_offset()
    if offset is None:  # rewritten by some other tool, in pieces or compressed
        return dataset[()]
    return np.asarray(np.memmap(path, dataset.dtype, "r", offset, dataset.shape))


def check_readable(path: Path) -> None:
    """Refuse a path that is no file, or that may not be read."""
    if path.is_dir():
        raise StoreError(
            f"{path} is a folder", value=str(path), remedy="name a file, such as experiment.h5"
        )
    if not path.exists():
        raise StoreError(f"{path} does not exist", value=str(path), remedy="check the name")
    if not os.access(path, os.R_OK):
        raise hdf5.unreadable(path, PermissionError())


def check_format(file: Any, path: Path) -> dict[str, Any]:
    """The root attributes of a results file; refuses what is none, or of a newer format."""
    other = "move it away, or name another file with --output"
    attributes = {name: _plain(value) for name, value in file.attrs.items()}
    version = attributes.get("format_version")
    if version is None or "phs_mpi" not in attributes:
        raise StoreError(
            f"{path} is an HDF5 file, but not a results file of phs_mpi",
            value=str(path),
            remedy=other,
        )
    if version > schema.FORMAT_VERSION:
        raise StoreError(
            f"{path} has format {version}, written by phs_mpi {attributes['phs_mpi']}; this one "
            f"knows formats up to {schema.FORMAT_VERSION}",
            value=str(path),
            remedy="upgrade phs_mpi",
        )
    missing = [name for name in _NEEDED if name not in file]
    if missing:
        raise StoreError(
            f"{path} is damaged: it has no /{missing[0]}", value=str(path), remedy=other
        )
    return attributes


def _spec(described: Mapping[str, Any]) -> Any:
    """What to declare a parameter as, to get the type that described itself so."""
    if described["kind"] == "categorical":
        return described["categories"]
    if described["kind"] == "numpy":
        label = described["type"]
        return np.dtype(ast.literal_eval(label) if label.startswith(("[", "{")) else label)
    return described["kind"]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _text(raw: Any) -> str:
    return bytes(raw).decode("utf-8", "replace")
