"""What is left to do in a results file, after creating, checking, mending or extending it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError
from ..log import EntryKind, LogEntry
from ..repeats import outstanding
from . import creation, hdf5, schema
from .snapshot import Snapshot, check_readable, read

_CHUNK = 20_000  # rows copied at once
_SHOWN = 3  # differences named in one message


@dataclass
class Resume:
    """What a run finds in its results file.

    Attributes
    ----------
    created : bool
        Whether the file is new.
    missing : list of int
        Evaluations to be made, as far as that is known, in order of their numbers.
    replay : list of LogEntry
        The log of earlier runs, as it now stands in the file.
    notes : list of str
        Lines that the user should see.
    seconds : list of float
        What each evaluation took that is finished, its proposal included.
    """

    created: bool
    missing: list[int]
    replay: list[LogEntry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def prepare(
    path: str | os.PathLike,
    table: Any,
    definition: Mapping[str, Any],
    source: str,
    provenance: Mapping[str, Any],
    *,
    retry_failed: bool = False,
) -> Resume:
    """Make a results file ready for a run: create it, or resume or extend the one there.

    The caller holds the :class:`~phs_mpi.store.Lock` and is the only one to call this.

    Parameters
    ----------
    path : path
        The file.
    table : Table
        The parameter sets.
    definition : mapping
        ``Experiment.describe()``.
    source : str
        Text of experiment.py.
    provenance : mapping of str to str
        Kept in a new file: command line, MPI library, …
    retry_failed : bool
        Void the rows of failed evaluations, so that they are run again.

    Returns
    -------
    Resume

    Raises
    ------
    StoreError
        If the file cannot be used, or is another experiment's; it is unchanged then.
    """
    path = Path(path)
    definition = dict(definition)
    if path.is_dir():
        check_readable(path)
    if not path.exists():
        creation.create(path, table, definition, source, provenance)
        return Resume(True, np.flatnonzero(table.repeats.required(len(table))).tolist())
    creation.check_folder(path, 0)
    snapshot = _read_for_a_run(path)
    _refuse_other(snapshot, table, definition)
    if not os.access(path, os.W_OK):
        raise _with_remedy_of_a_run(hdf5.unreadable(path, PermissionError()))
    notes = [
        f"{line}: this run goes by the latter"
        for line in schema.changes(snapshot.definition, definition)
    ]
    if len(snapshot.torn):
        notes.append(f"{len(snapshot.torn)} damaged rows are evaluated again")
    kept = snapshot.done if retry_failed else snapshot.finished
    retried = int(np.count_nonzero(snapshot.finished & ~kept))
    if retried:
        notes.append(f"{retried} failed evaluations are run again")
    finished = np.zeros(table.evaluations, bool)
    finished[: len(kept)] = kept
    additions = schema.mend_log(snapshot.log, finished)
    log = np.concatenate([snapshot.log, additions])
    found = np.full(table.evaluations, np.nan)
    found[: len(kept)] = np.where(snapshot.done, snapshot.columns["result"], np.nan)
    missing = outstanding(table.repeats, finished, found, snapshot.maximize)
    if len(table) > len(snapshot):
        notes.append(f"extended from {len(snapshot)} to {len(table)} parameter sets")
    if _must_be_rebuilt(snapshot, table, definition, len(log), len(missing)):
        _rebuild(snapshot, table, definition, source, kept, log, provenance)
    else:
        if source != snapshot.source:
            notes.append(
                "experiment.py has changed since the results file was made, its parameter sets "
                "have not; the file keeps the earlier text"
            )
        _mend(snapshot, kept, log)
    spent = snapshot.columns["end"] - snapshot.columns["start"] + snapshot.columns["proposing"]
    seconds = spent[snapshot.finished].tolist()
    return Resume(False, missing.tolist(), _entries(snapshot, table, finished, log), notes, seconds)


def _read_for_a_run(path: Path) -> Snapshot:
    try:
        return read(path, verify=True)
    except StoreError as error:
        raise _with_remedy_of_a_run(error) from error


def _with_remedy_of_a_run(error: StoreError) -> StoreError:
    """What a run may do that a reader may not: make another file."""
    if error.remedy == hdf5.ANOTHER:
        error.remedy = f"move it away, or {hdf5.ANOTHER} with --output"
    elif error.remedy and error.remedy.endswith(hdf5.ANOTHER):
        error.remedy += " with --output"
    return error


# -- is it ours? ---------------------------------------------------------------------------


def _refuse_other(snapshot: Snapshot, table: Any, definition: Mapping[str, Any]) -> None:
    lines = schema.differences(snapshot.definition, definition)
    if not lines and len(table) < len(snapshot):
        lines = [f"it has {len(snapshot)} parameter sets, and {len(table)} now"]
    if not lines:
        stored = snapshot.defined
        lines = schema.set_differences(stored, table.values[: len(stored)])
    if not lines:
        moved = np.flatnonzero(snapshot.group_of != table.group_of[: len(snapshot)])
        lines = [f"set {i} belongs to another group of sets now" for i in moved.tolist()]
    if not lines:
        return
    more = f", and {len(lines) - _SHOWN} more differences" if len(lines) > _SHOWN else ""
    raise StoreError(
        f"{snapshot.path} belongs to another experiment: {', '.join(lines[:_SHOWN])}{more}",
        value=str(snapshot.path),
        remedy="name another file with --output, or undo the change (the file keeps the text it "
        "was made from in /source/experiment.py)",
    )


# -- changing the file -----------------------------------------------------------------------


def _must_be_rebuilt(
    snapshot: Snapshot, table: Any, definition: Mapping[str, Any], log_length: int, missing: int
) -> bool:
    wanted = schema.evaluation_dtype(table.dtype, definition.get("metrics") or ())
    return (
        len(table) > len(snapshot)
        or not hdf5.same_type(snapshot.row_dtype, hdf5.typed(wanted))
        or schema.log_is_full(snapshot.log_capacity, log_length, missing)
        or not snapshot.in_place
    )


def _mend(snapshot: Snapshot, kept: np.ndarray, log: np.ndarray) -> None:
    """Void rows that do not count, and make ``/log`` agree with the others."""
    void = np.union1d(np.flatnonzero(snapshot.finished & ~kept), snapshot.torn)
    length = len(snapshot.log)
    # Behind the entries everything must be free again.
    end = snapshot.log_capacity if snapshot.log_has_gaps else len(log)
    tail = np.zeros(end - length, schema.LOG_DTYPE)
    tail[: len(log) - length] = log[length:]
    try:
        # Opened even if nothing is to be changed: better to know now that it can be written.
        file = hdf5.open_low_level(snapshot.path)
        try:
            for name, dtype in (
                ("evaluations", snapshot.row_dtype),
                ("errors", schema.TRACEBACK_DTYPE),
            ):
                rows = hdf5.Rows(file, name, dtype)
                for index in void.tolist():
                    rows.write(index, np.zeros(1, dtype))
                rows.close()
            if len(tail):
                rows = hdf5.Rows(file, "log", schema.LOG_DTYPE)
                rows.write(length, tail)
                rows.close()
        finally:
            hdf5.close(file)
    except OSError as error:
        raise hdf5.write_error(snapshot.path, "what a killed run left open", error) from error


def _rebuild(
    snapshot: Snapshot,
    table: Any,
    definition: Mapping[str, Any],
    source: str,
    kept: np.ndarray,
    log: np.ndarray,
    provenance: Mapping[str, Any],
) -> None:
    """Copy what counts into a new file with other dimensions, and put it over the old one."""
    size = creation.required_bytes(table, definition)
    with creation.new_file(snapshot.path, size, table) as file:
        creation.fill(file, table, definition, source, provenance, len(log))
        for name, value in snapshot.attributes.items():
            file.attrs[name] = value  # how it began
        creation.write_rows(file["log"], 0, log)
        for start in range(0, len(kept), _CHUNK):
            indices = start + np.flatnonzero(kept[start : start + _CHUNK])
            if not len(indices):
                continue
            chunk = np.zeros(min(_CHUNK, len(kept) - start), file["evaluations"].dtype)
            rows = snapshot.rows(indices)
            there = rows.dtype.names or ()
            for name in chunk.dtype.names:  # an early file has not all
                chunk[name][indices - start] = rows[name] if name in there else np.nan
            _renew_checksums(chunk, indices - start)
            creation.write_rows(file["evaluations"], start, chunk)
        for index in np.flatnonzero(kept & (~snapshot.done | snapshot.failed_before)).tolist():
            text = snapshot.traceback(index) or snapshot.earlier_failure(index)
            row = np.array([schema.text_tail(text, schema.TRACEBACK_WIDTH)], schema.TRACEBACK_DTYPE)
            creation.write_rows(file["errors"], index, row)


def _renew_checksums(rows: np.ndarray, which: np.ndarray) -> None:
    size = rows.dtype.itemsize
    raw = rows.view(np.uint8).reshape(-1).data
    for i in which.tolist():
        rows["checksum"][i] = schema.checksum(raw[i * size : (i + 1) * size])


# -- the log of earlier runs -----------------------------------------------------------------


def _entries(
    snapshot: Snapshot, table: Any, finished: np.ndarray, log: np.ndarray
) -> list[LogEntry]:
    """The log as a run replays it; values only of Bayesian sets, the table has the others."""
    stored = np.flatnonzero(finished)
    result = np.full(table.evaluations, np.nan)
    result[stored] = snapshot.columns["result"][stored]
    worker = np.zeros(table.evaluations, int)
    worker[stored] = snapshot.columns["worker"][stored]
    searched = np.array([bool(group.bayesian) for group in table.groups])
    wanted = stored[searched[table.group_of[stored // table.repeats.most]]]
    values = snapshot.rows(wanted)["values"].astype(table.dtype)
    row = dict(zip(wanted.tolist(), values, strict=True))
    kinds = [EntryKind(k) for k in log["kind"].tolist()]
    return [
        LogEntry(
            kind,
            index,
            int(worker[index]),
            float(result[index]) if kind == EntryKind.COMPLETED else np.nan,
            None if kind == EntryKind.LOST else row.get(index),
        )
        for kind, index in zip(kinds, log["index"].tolist(), strict=True)
    ]
