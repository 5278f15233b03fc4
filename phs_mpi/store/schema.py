"""Layout of the results file: row types, checksums, fixed-width text, what must match.

Pure: no HDF5 here. What a reader of the file needs to know about it:

==================  ================================================================
``/parameter_sets``  one row a parameter set: its group, and its values as defined
                     (Bayesian cells are zero until they are evaluated)
``/evaluations``     one row an evaluation: values used, outcome, timings; the status
                     is the last byte of the row. Without repeats that is a row a set,
                     else ``most`` rows a set, one after the other (see /definition)
``/errors``          tail of the traceback of a failed evaluation, or attempt
``/log``             order in which evaluations started and completed
``/definition``      the experiment as JSON
``/source/…``        text of experiment.py
==================  ================================================================

A row with status RUNNING is that of an attempt that failed, with its reason, before another one;
where there was more than one attempt, ``error`` begins with "attempt" and its number, and the last
reason before the final attempt is in ``/errors`` unless that raised.

A row of ``/evaluations`` counts only if its status is DONE, FAILED or TIMED_OUT *and* its
checksum is right: CRC-32 (zlib) over all bytes of the row but the four of the checksum. A row
that was being written when the power went reads as not evaluated.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from ..log import EntryKind, Source, Status

#: Files with repeats have format 2, others 1.
FORMAT_VERSION = 2

ERROR_WIDTH = 200
HOST_WIDTH = 64
MORE_METRICS_WIDTH = 256
TRACEBACK_WIDTH = 2000

#: Fields of these names are stored as HDF5 enumerations.
ENUMS: dict[str, type[IntEnum]] = {"source": Source, "status": Status, "kind": EntryKind}

#: Index first, kind last: an entry that was cut short still reads as free.
LOG_DTYPE = np.dtype([("index", "i8"), ("kind", "u1")])

TRACEBACK_DTYPE = np.dtype(f"S{TRACEBACK_WIDTH}")

#: Statuses of an evaluation that is over.
FINISHED = (Status.DONE, Status.FAILED, Status.TIMED_OUT)

#: Statuses of rows that are not empty.
WRITTEN = (Status.RUNNING, *FINISHED)

#: Attribute of what is written once, when the file is made: the CRC-32 of its bytes.
CHECKSUM = "checksum"

_CHECKED_TAIL = 5  # checksum (4 bytes) and status (1 byte) end the row


def parameter_set_dtype(values: np.dtype) -> np.dtype:
    """Row of ``/parameter_sets`` for parameters of the structured type `values`."""
    return np.dtype([("group", "i4"), ("values", values)])


def evaluation_dtype(
    values: np.dtype, metrics: Sequence[str] = (), exchanging: bool = True
) -> np.dtype:
    """Row of ``/evaluations``.

    Parameters
    ----------
    values : numpy.dtype
        Structured type with one field a parameter.
    metrics : sequence of str
        Names of the metrics that the experiment declares.
    exchanging : bool
        Whether it has that field; rows of early files have not.
    """
    fields: list[Any] = [("values", values), ("result", "f8")]
    if metrics:
        fields.append(("metrics", [(name, "f8") for name in metrics]))
    fields += [
        ("more_metrics", f"S{MORE_METRICS_WIDTH}"),
        ("source", "u1"),
        ("log_length", "i8"),
        ("mean", "f8"),
        ("std", "f8"),
        ("acquisition", "f8"),
        ("worker", "i4"),
        ("host", f"S{HOST_WIDTH}"),
        ("start", "f8"),
        ("end", "f8"),
        ("proposing", "f8"),
        ("waiting", "f8"),
        *([("exchanging", "f8")] if exchanging else []),
        ("error", f"S{ERROR_WIDTH}"),
        ("checksum", "u4"),
        ("status", "u1"),
    ]
    return np.dtype(fields)


def metric_names(row: np.dtype) -> tuple[str, ...]:
    """Declared metrics of a row type of ``/evaluations``."""
    return (row["metrics"].names or ()) if "metrics" in (row.names or ()) else ()


def checksum(row: bytes | memoryview) -> int:
    """CRC-32 over the bytes of one evaluation row, without its checksum field."""
    return zlib.crc32(row[-1:], zlib.crc32(row[:-_CHECKED_TAIL]))


def whole(rows: np.ndarray, statuses: Sequence[Status] = FINISHED) -> np.ndarray:
    """Which evaluation rows are finished and undamaged.

    Parameters
    ----------
    rows : ndarray of shape (n,)
        Rows of ``/evaluations``.
    statuses : sequence of Status
        Those of rows to look for; default: of finished ones.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    valid = np.isin(rows["status"], statuses)
    candidates = np.flatnonzero(valid)
    if not len(candidates):
        return valid
    size = rows.dtype.itemsize
    rows = np.ascontiguousarray(rows)
    raw = rows.view(np.uint8).reshape(-1).data
    stored = rows["checksum"]
    for i in candidates.tolist():
        valid[i] = checksum(raw[i * size : (i + 1) * size]) == stored[i]
    return valid


_ATTEMPT = b"attempt "


def attempts(rows: np.ndarray) -> np.ndarray:
    """Which attempt the text of each row says that it is of, 1 where it says nothing.

    Parameters
    ----------
    rows : ndarray of shape (n,)
        Rows of ``/evaluations`` that are not empty.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    found = np.ones(len(rows), np.int64)
    for i in np.flatnonzero(np.char.startswith(rows["error"], _ATTEMPT)).tolist():
        number = bytes(rows["error"][i])[len(_ATTEMPT) :].partition(b":")[0]
        found[i] = int(number) if number.isdigit() and len(number) < 10 else 1
    return found


def without_attempt(text: str) -> str:
    """
    >>> [without_attempt(text) for text in ("attempt 2", "attempt 2: a note", "a note")]
    ['', 'a note', 'a note']
    """
    found = re.fullmatch(r"attempt \d+(?:: (.*))?", text, re.DOTALL)
    return found[1] or "" if found else text


def text_head(text: str, width: int) -> bytes:
    """The beginning of `text` in at most `width` bytes of UTF-8, no character cut in two."""
    raw = _utf8(text)
    if len(raw) <= width:
        return raw
    return raw[:width].decode("utf-8", "ignore").encode()


def text_tail(text: str, width: int) -> bytes:
    """The end of `text` in at most `width` bytes of UTF-8, no character cut in two."""
    raw = _utf8(text)
    if len(raw) <= width:
        return raw
    return raw[len(raw) - width :].decode("utf-8", "ignore").encode()


def _utf8(text: str) -> bytes:
    # A NUL would end the text for C readers; a lone surrogate has no UTF-8.
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")


def metrics_text(metrics: Mapping[str, float], width: int = MORE_METRICS_WIDTH) -> bytes:
    """Metrics as a JSON object of at most `width` bytes, made of whole entries only.

    Entries that do not fit are left out; then ``"..."`` says how many.

    >>> metrics_text({"loss": 0.5})
    b'{"loss": 0.5}'
    """
    if not metrics:
        return b""
    import json

    kept: dict[str, float] = {}
    whole_text = json.dumps(dict(metrics), ensure_ascii=False).encode("utf-8", "backslashreplace")
    if len(whole_text) <= width:
        return whole_text
    dropped = len(metrics)
    for name, value in metrics.items():
        longer = {**kept, name: value, "...": dropped}
        if len(json.dumps(longer, ensure_ascii=False).encode("utf-8", "backslashreplace")) <= width:
            kept[name] = value
            dropped -= 1
    kept["..."] = dropped
    return json.dumps(kept, ensure_ascii=False).encode("utf-8", "backslashreplace")


# -- the log ---------------------------------------------------------------------------


def log_capacity(evaluations: int) -> int:
    """Entries that the log of a new file has room for."""
    return 4 * evaluations + 1024


def log_is_full(capacity: int, length: int, missing: int) -> bool:
    """Whether a log should be enlarged before `missing` evaluations are made."""
    return capacity - length < 2 * missing + 64


def log_length(log: np.ndarray, evaluations: int) -> int:
    """Number of leading entries of ``/log`` that make sense.

    Parameters
    ----------
    log : ndarray of LOG_DTYPE, shape (capacity,)
        The whole dataset, unused rows zero.
    evaluations : int
        Number of rows of ``/evaluations``.
    """
    kinds, indices = log["kind"], log["index"]
    sound = (kinds >= EntryKind.STARTED) & (kinds <= EntryKind.LOST)
    sound &= (indices >= 0) & (indices < evaluations)
    return len(log) if sound.all() else int(np.argmin(sound))


def last_kinds(log: np.ndarray, evaluations: int) -> np.ndarray:
    """What the log says last about each evaluation; 0 where it says nothing.

    Parameters
    ----------
    log : ndarray of LOG_DTYPE, shape (length,)
        Entries in order.
    evaluations : int
        Number of rows of ``/evaluations``.

    Returns
    -------
    ndarray of uint8, shape (evaluations,)
    """
    last = np.zeros(evaluations, np.uint8)
    last[log["index"]] = log["kind"]  # where an index is repeated, numpy keeps the last
    return last


def mend_log(log: np.ndarray, finished: np.ndarray) -> np.ndarray:
    """Entries to append so that the log agrees with the rows.

    An evaluation whose row is finished ends as COMPLETED, any other that the log knows as LOST: its
    worker died before it wrote the row, or the row is void.

    Parameters
    ----------
    log : ndarray of LOG_DTYPE, shape (length,)
        Entries in order.
    finished : ndarray of bool, shape (evaluations,)
        Which rows are finished and undamaged.

    Returns
    -------
    ndarray of LOG_DTYPE
        In order of the index.
    """
    last = last_kinds(log, len(finished))
    lost = ~finished & ((last == EntryKind.STARTED) | (last == EntryKind.COMPLETED))
    completed = finished & (last != EntryKind.COMPLETED)
    indices = np.flatnonzero(completed | lost)
    entries = np.zeros(len(indices), LOG_DTYPE)
    entries["index"] = indices
    entries["kind"] = np.where(finished[indices], EntryKind.COMPLETED, EntryKind.LOST)
    return entries


# -- is it the same experiment? ----------------------------------------------------------

#: Options that may change between runs: values chosen so far stay what they are.
MAY_CHANGE = frozenset({"wait_for_all"})


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """What makes the definition in a file another experiment, a line each.

    Groups of sets at the end, and further sets in the file's last group, are no difference:
    the experiment has grown.

    Parameters
    ----------
    stored, current : JSON-able mapping
        What ``Experiment.describe()`` returned then and now.
    """
    then, now = dict(stored), dict(current)
    lines = _group_differences(then.pop("groups", []), now.pop("groups", []))
    fixed = [{k: v for k, v in d.items() if k not in MAY_CHANGE} for d in (then, now)]
    return _compare(fixed[0], fixed[1], "") + lines


def _group_differences(stored: Sequence[Mapping], current: Sequence[Mapping]) -> list[str]:
    if len(current) < len(stored):
        return [f"the file has {len(stored)} groups of parameter sets, {len(current)} now"]
    lines = []
    for number, (then, now) in enumerate(zip(stored, current, strict=False)):
        then, now = dict(then), dict(now)
        before, after = then.pop("count", 0), now.pop("count", 0)
        lines += _compare(then.pop("strategies", {}), now.pop("strategies", {}), f"group {number}:")
        lines += _compare(then, now, f"group {number}:")
        if after < before or (after > before and number < len(stored) - 1):
            lines.append(f"group {number} has {before} parameter sets in the file, {after} now")
    return lines


def changes(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Options that differ and may do so, a line each."""
    return _compare(
        {k: v for k, v in stored.items() if k in MAY_CHANGE},
        {k: v for k, v in current.items() if k in MAY_CHANGE},
        "",
    )


def _compare(stored: Any, current: Any, where: str) -> list[str]:
    if isinstance(stored, dict) and isinstance(current, dict):
        lines = []
        for key in stored | current:
            inner = f"{where}{' ' if where.endswith(':') else '.'}{key}" if where else str(key)
            if key not in current:
                lines.append(f"{inner} is {_show(stored[key])} in the file, absent now")
            elif key not in stored:
                lines.append(f"{inner} is absent in the file, {_show(current[key])} now")
            else:
                lines += _compare(stored[key], current[key], inner)
        return lines
    if isinstance(stored, list) and isinstance(current, list) and len(stored) == len(current):
        return [
            line
            for i, (then, now) in enumerate(zip(stored, current, strict=True))
            for line in _compare(then, now, f"{where}[{_name(then, i)}]")
        ]
    import json

    # NaN differs from itself, but not as a setting.
    if stored == current or json.dumps(stored) == json.dumps(current):
        return []
    return [f"{where} is {_show(stored)} in the file, {_show(current)} now"]


def _name(item: Any, position: int) -> str:
    return str(item["name"]) if isinstance(item, dict) and "name" in item else str(position)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def set_differences(
    stored: np.ndarray, current: np.ndarray, numbers: Iterable[int] | None = None
) -> list[str]:
    """Which parameter sets of a file have other values now, a line each.

    Parameters
    ----------
    stored, current : structured ndarray of shape (n,)
        Values as defined, then and now; fields of the same names.
    numbers : iterable of int, optional
        Indices of the sets; default 0, 1, …
    """
    indices = np.arange(len(stored)) if numbers is None else np.fromiter(numbers, int)
    lines: dict[int, list[str]] = {}
    for name in stored.dtype.names or ():
        for i in np.flatnonzero(~_same(stored[name], current[name])).tolist():
            then, now = _cell(stored[name][i]), _cell(current[name][i])
            lines.setdefault(i, []).append(f"{name} is {then} in the file, {now} now")
            if len(lines) > 1000:
                break
    return [f"set {indices[i]}: {', '.join(lines[i])}" for i in sorted(lines)]


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.names:
        equal = np.ones(len(a), bool)
        for name in a.dtype.names:
            equal &= _same(a[name], b[name])
        return equal
    equal = a == b
    if a.dtype.kind in "fc":
        equal |= np.isnan(a) & np.isnan(b)
    if a.dtype.kind in "mM":
        equal |= np.isnat(a) & np.isnat(b)
    return equal if equal.ndim == 1 else equal.all(axis=tuple(range(1, equal.ndim)))


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value.decode("utf-8", "replace"))
    return repr(value.item() if hasattr(value, "item") else value)
