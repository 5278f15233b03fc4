"""Reading a results file, also while others write it, without disturbing them."""

from __future__ import annotations

import ast
import json
import operator
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
from ..log import EntryKind, Source, Status
from ..parameters import ParameterType
from ..repeats import Repeats, outstanding
from ..terminal import printable
from . import hdf5, schema
from .raw import RawRows, open_descriptor

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
    "exchanging",
)

_TRIES = 5
_DATASETS = ("parameter_sets", "evaluations", "errors", "log")
_NEEDED = (*_DATASETS, "definition", "source/experiment.py")


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
    status : ndarray of uint8, shape (evaluations,)
        EMPTY, DONE, FAILED or TIMED_OUT; EMPTY also for a damaged row.
    torn : ndarray of int
        Indices of rows whose checksum is wrong.
    attempts : ndarray of int, shape (evaluations,)
        Which attempt a row is of, from 1; 0 for an empty one. Rows of attempts that failed, and
        that another one is to follow, have the status EMPTY.
    log : ndarray of LOG_DTYPE, shape (length,)
        Order in which evaluations started and completed.
    columns : dict of str to ndarray, shape (evaluations,)
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
    attempts: np.ndarray
    log: np.ndarray
    columns: dict[str, np.ndarray]
    taken: float
    log_capacity: int
    log_has_gaps: bool
    in_place: bool
    _raw: dict[str, RawRows] = field(repr=False)
    _keeper: _Keeper = field(repr=False)

    def __len__(self) -> int:
        """Number of parameter sets."""
        return len(self.status) // self.repeats.most

    @cached_property
    def repeats(self) -> Repeats:
        """How often each set is evaluated, and so how evaluations are numbered."""
        return Repeats(*self.definition.get("repeats", (1, 1)))

    @property
    def finished(self) -> np.ndarray:
        """Which evaluations are over, successfully or not; bool, shape (evaluations,)."""
        return self.status != Status.EMPTY

    @property
    def done(self) -> np.ndarray:
        """Which evaluations have a result; bool, shape (evaluations,)."""
        return self.status == Status.DONE

    @property
    def failed_before(self) -> np.ndarray:
        """Which evaluations had an attempt that failed before another; bool, (evaluations,)."""
        return self.attempts > np.where(self.finished, 1, 0)

    @cached_property
    def outstanding(self) -> np.ndarray:
        """Evaluations that are still to be made, as far as that is known; shape (n,)."""
        found = np.where(self.done, self.columns["result"], np.nan)
        return outstanding(self.repeats, self.finished, found, self.maximize)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be evaluated."""
        return not len(self.outstanding)

    @cached_property
    def standing_for(self) -> np.ndarray:
        """For each set the evaluation that has its values and their origin; shape (sets,).

        The first finished one, if possible one that has not taken its values from another.
        """
        original = self.columns["source"] != Source.REPEATED
        merit = (2 * self.finished + (self.finished & original)).reshape(len(self), -1)
        return np.arange(len(self)) * self.repeats.most + np.argmax(merit, axis=1)

    @cached_property
    def _sets(self) -> np.ndarray:
        return self._raw["parameter_sets"].read()

    @property
    def defined(self) -> np.ndarray:
        """Values of all sets as defined; structured, shape (sets,)."""
        return self._sets["values"]

    @property
    def row_dtype(self) -> np.dtype:
        """Type of a row of ``/evaluations``."""
        return self._raw["evaluations"].dtype

    @property
    def maximize(self) -> bool:
        """Whether the best result is the highest."""
        return bool(self.definition.get("maximize", False))

    @property
    def group_of(self) -> np.ndarray:
        """Number of each set's group, shape (sets,)."""
        return self._sets["group"]

    def cells(self, indices: np.ndarray | None = None) -> np.ndarray:
        """Values of sets: used where one is evaluated, else as defined; structured, shape (n,)."""
        if indices is None:
            indices = np.arange(len(self))
        indices = np.asarray(indices, int)
        cells = self._sets["values"][indices]
        rows = self.standing_for[indices]
        finished = self.finished[rows]
        cells[finished] = self.rows(rows[finished])["values"]
        return cells

    @property
    def declared(self) -> dict[str, Any]:
        """What each parameter would be declared as, in declared order."""
        return declared(self.definition)

    @cached_property
    def types(self) -> dict[str, ParameterType]:
        """The parameters, in declared order."""
        return parameter_types(list(self.declared.items()))

    def values(self, index: int) -> dict[str, Any]:
        """Values of one set as the target got them; text for a parameter of type ``expr``."""
        cells = self.cells(np.array([index]))[0]
        return {name: self._value(kind, cells[name]) for name, kind in self.types.items()}

    def _value(self, kind: ParameterType, cell: Any) -> Any:
        try:
            return kind.from_column(cell)
        except (LookupError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path} is damaged: {cell!r:.80} is no value of the parameter {kind.name}",
                value=str(self.path),
                remedy="see what can be trusted with python -m phs_mpi status --verify",
            ) from error

    def rows(self, indices: Any) -> np.ndarray:
        """Whole rows of ``/evaluations``, shape (n,)."""
        return self._raw["evaluations"].take(indices)

    def error(self, index: int) -> str:
        """Why an evaluation failed, or what of it is not kept, in a line; empty if nothing."""
        if not self.finished[index]:
            return ""
        text = _line(self.rows([index])["error"][0])
        return schema.without_attempt(text) if self.done[index] else text

    def earlier_failure(self, index: int) -> str:
        """Why the last attempt failed that another one followed, or is to; empty without one."""
        if not self.failed_before[index]:
            return ""
        if not self.finished[index]:
            return _line(self.rows([index])["error"][0])
        return printable(_text(self._raw["errors"].take([index])[0])) if self.done[index] else ""

    def traceback(self, index: int) -> str:
        """End of the traceback of a failed evaluation; empty if there is none."""
        failed = self.finished[index] and not self.done[index]
        return _text(self._raw["errors"].take([index])[0]) if failed else ""

    def metrics(self, index: int) -> dict[str, float]:
        """Metrics of an evaluation: the declared ones, then the others."""
        return metrics_of(self.rows([index])[0])


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
        except StoreError:
            raise
        except Exception as error:  # whatever h5py, NumPy or json make of damaged bytes
            if last:
                raise hdf5.unreadable(path, error) from error
        time.sleep(0.02)
    raise StoreError(f"{path} is being replaced all the time", value=str(path))


def _read(path: Path, verify: bool) -> Snapshot:
    keeper = _Keeper()
    descriptor = open_descriptor(path, keeper)
    with hdf5.open_plain(path) as file:
        attributes = check_format(file, path)
        definition = json.loads(_text(file["definition"][()]))
        source = _text(file["source/experiment.py"][()])
        raw = {name: RawRows(descriptor, file[name]) for name in _DATASETS}
    taken = time.time()
    # The log first: what it calls completed was on disk before.
    whole_log = raw["log"].read()
    evaluations = len(raw["evaluations"])
    log = whole_log[: schema.log_length(whole_log, evaluations)].copy()
    trusted = np.zeros(evaluations, bool)
    if not verify:
        trusted = schema.last_kinds(log, evaluations) == EntryKind.COMPLETED
    status, attempts, columns, torn = _columns(raw["evaluations"], trusted)
    snapshot = Snapshot(
        path=path,
        attributes=attributes,
        definition=definition,
        source=source,
        status=status,
        torn=torn,
        attempts=attempts,
        log=log,
        columns=columns,
        taken=taken,
        log_capacity=len(whole_log),
        log_has_gaps=bool(whole_log["kind"][len(log) :].any()),
        in_place=all(rows.contiguous for rows in raw.values()),
        _raw=raw,
        _keeper=keeper,
    )
    _check_definition(snapshot)
    return snapshot


def _check_definition(snapshot: Snapshot) -> None:
    """Raise ValueError if the definition is none that could be of these rows."""
    names = list(snapshot.types)
    count = 0
    for group in snapshot.definition["groups"]:
        if not all(isinstance(group["strategies"][name], dict) for name in names):
            raise ValueError("a group of its definition lacks a strategy")
        count += operator.index(group["count"])
    sets = snapshot._raw["parameter_sets"]
    fields = [list(rows["values"].names or ()) for rows in (snapshot.row_dtype, sets.dtype)]
    if not count == len(snapshot) == len(sets) or fields != [names, names]:
        raise ValueError("its rows are not those of its definition")


def _columns(
    rows: RawRows, trusted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Status, attempts, small columns of all rows, which are damaged; from one look at each."""
    status = np.zeros(len(rows), np.uint8)
    attempts = np.zeros(len(rows), np.int64)
    there = [name for name in COLUMNS if name in (rows.dtype.names or ())]
    columns = {name: np.zeros(len(rows), rows.dtype[name]) for name in there}
    torn = []
    for start, chunk in rows.chunks():
        here = slice(start, start + len(chunk))
        suspects = np.flatnonzero((chunk["status"] != Status.EMPTY) & ~trusted[here])
        damaged = suspects[~schema.whole(chunk[suspects], schema.WRITTEN)]
        chunk["status"][damaged] = Status.EMPTY
        written = np.flatnonzero(chunk["status"] != Status.EMPTY)
        attempts[start + written] = schema.attempts(chunk[written])
        chunk["status"][chunk["status"] == Status.RUNNING] = Status.EMPTY
        torn.append(start + damaged)
        status[here] = chunk["status"]
        for name, column in columns.items():
            column[here] = chunk[name]
    for name in set(COLUMNS) - set(there):  # of early files
        columns[name] = np.full(len(rows), np.nan)
    return status, attempts, columns, np.concatenate([*torn, np.zeros(0, int)])


class _Keeper:
    """While this lives, the file stays open."""


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
    other = hdf5.ANOTHER
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


def metrics_of(row: np.void) -> dict[str, float]:
    """Metrics in a row of ``/evaluations``: the declared ones, then the others."""
    names = schema.metric_names(row.dtype)
    found = {name: float(row["metrics"][name]) for name in names}
    return found | json.loads(_text(row["more_metrics"]) or "{}")


def declared(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What each parameter of a definition would be declared as, in declared order."""
    return {p["name"]: _spec(p) for p in definition["parameters"]}


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


def _line(raw: Any) -> str:
    return printable(_text(raw), lines=False)
