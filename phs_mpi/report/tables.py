"""Tables of the report: rows of a results file as cells that a click can sort."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from typing import Any, NamedTuple

import numpy as np

from .. import analysis
from ..frames import chosen
from ..log import Source, Status
from ..store.schema import metric_names
from ..store.snapshot import Snapshot

#: Of more sets the best are listed, that the page stays usable.
MOST_ROWS = 20_000
#: Longer texts are cut in a cell, and whole in its tooltip.
CELL_CHARACTERS = 60


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    head : str
    cells : list of str
        HTML of each cell, its opening tag included.
    numeric : bool
        Whether it is sorted by number, and right-aligned.
    """

    head: str
    cells: list[str]
    numeric: bool


def column(head: str, values: Iterable[Any], form: str = ".6g") -> Column:
    """A column of values; None and NaN are missing.

    Numbers that are no integers are shown in a format, and sorted by all of their digits.
    """
    found = [value.item() if isinstance(value, np.generic) else value for value in values]
    numeric = all(_is_number(value) for value in found if value is not None)
    return Column(head, [_number(v, form) if numeric else _text(v) for v in found], numeric)


def times(head: str, seconds: Iterable[float]) -> Column:
    """A column of moments in UTC, given in seconds since 1970."""
    cells = []
    for moment in seconds:
        shown = "<td>" if math.isnan(moment) else f'<td data-v="{moment!r}">{utc(moment)}'
        cells.append(shown)
    return Column(head, cells, True)


def table(
    columns: Sequence[Column], *, identity: str, name: str, classes: Sequence[str] = ()
) -> str:
    """HTML of a table that can be sorted by each of its columns.

    Parameters
    ----------
    columns : sequence of Column
    identity : str
        Its ``id`` in the page.
    name : str
        What it lists, for those who hear it.
    classes : sequence of str
        One a row; empty for none.
    """
    heads = "".join(
        f'<th scope="col" data-type="{"number" if c.numeric else "text"}">'
        f'<button type="button">{escape(c.head)}</button></th>'
        for c in columns
    )
    # End tags of rows and cells may be left out, and are half of a large table.
    marks = [f' class="{mark}"' if mark else "" for mark in classes] or [""] * len(columns[0].cells)
    rows = "\n".join(
        f"<tr{mark}>{''.join(cells)}"
        for mark, *cells in zip(marks, *(c.cells for c in columns), strict=True)
    )
    right = ", ".join(
        f"#{identity} td:nth-child({k})" for k, c in enumerate(columns, start=1) if c.numeric
    )
    return (
        f"<style>{right} {{ text-align: right; }}</style>"
        f'<div class="wide"><table id="{identity}" class="sortable" aria-label="{escape(name)}">'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def sets_table(snapshot: Snapshot) -> str:
    """All parameter sets; of more than `MOST_ROWS` the best."""
    status = analysis.set_status(snapshot)
    shown = np.arange(len(snapshot))
    if len(shown) > MOST_ROWS:
        order = np.concatenate([analysis.ranking(snapshot), shown])
        shown = np.sort(order[np.sort(np.unique(order, return_index=True)[1])][:MOST_ROWS])
    best = analysis.best(snapshot)
    failed = np.isin(status, (Status.FAILED, Status.TIMED_OUT))
    classes = [
        "best" if index == best else "failed" if failed[index] else "" for index in shown.tolist()
    ]
    note = ""
    if len(shown) < len(snapshot):
        note = (
            f"<p>Of {len(snapshot)} sets the best {len(shown)} are listed; the command "
            "<code>export</code> writes all of them.</p>"
        )
    return note + table(
        _set_columns(snapshot, shown, status),
        identity="table-of-sets",
        name="Sets",
        classes=classes,
    )


def _set_columns(snapshot: Snapshot, shown: np.ndarray, status: np.ndarray) -> list[Column]:
    place = snapshot.standing_for[shown]
    rows = snapshot.rows(place)
    known = snapshot.finished[place]

    def number(name: str, values: np.ndarray) -> Column:
        return column(name, np.where(known, values, np.nan))

    columns = [column("set", shown.tolist())]
    columns.append(
        column(
            "status",
            [
                _status(int(s), started)
                for s, started in zip(status[shown], _running(snapshot)[shown], strict=True)
            ],
        )
    )
    columns.append(column("result", analysis.results(snapshot)[shown]))
    if snapshot.repeats.most > 1:
        columns.append(column("standard error", analysis.standard_errors(snapshot)[shown]))
        made = analysis.by_set(snapshot, snapshot.finished).sum(axis=1)
        columns.append(column("repeats", made[shown]))
    cells = snapshot.cells(shown)
    for name, kind in snapshot.types.items():
        there = chosen(snapshot, name)[shown]
        columns.append(
            column(
                name,
                [
                    _value(kind.from_column(cell)) if is_there else None
                    for cell, is_there in zip(cells[name], there, strict=True)
                ],
            )
        )
    for name in metric_names(rows.dtype):
        columns.append(column(name, analysis.metric(snapshot, name)[shown]))
    sources = [Source(int(s)).name.lower() for s in analysis.sources(snapshot)[shown]]
    columns.append(
        column("source", [s if k else None for s, k in zip(sources, known, strict=True)])
    )
    columns.append(number("predicted", rows["mean"]))
    columns.append(number("± std", rows["std"]))
    columns.append(number("seconds", rows["end"] - rows["start"]))
    columns.append(times("started (UTC)", np.where(known, rows["start"], np.nan).tolist()))
    columns.append(
        column(
            "worker", [int(w) if k else None for w, k in zip(rows["worker"], known, strict=True)]
        )
    )
    columns.append(column("node", map(decoded, rows["host"])))
    columns.append(column("error", map(decoded, rows["error"])))
    return [c for c in columns if any(cell != "<td>" for cell in c.cells)]


def _running(snapshot: Snapshot) -> np.ndarray:
    """Which sets are being evaluated; bool, shape (sets,)."""
    return np.any(analysis.by_set(snapshot, analysis.running(snapshot)), axis=1)


def _status(status: int, running: bool) -> str:
    if status == Status.EMPTY:
        return "running" if running else "to do"
    return Status(status).name.lower().replace("_", " ")


def costs_table(snapshot: Snapshot) -> str:
    """Where the time of each worker went, and above that of all of them."""
    finished = np.flatnonzero(snapshot.finished)
    rows = snapshot.rows(finished)
    hosts, host = np.unique(rows["host"], return_inverse=True)
    workers, row = np.unique(np.stack([host, rows["worker"]]), axis=1, return_inverse=True)

    def total(values: np.ndarray) -> np.ndarray:
        each = np.bincount(row.ravel(), np.maximum(values, 0), minlength=workers.shape[1])
        return np.append(each.sum(), each)

    spent = {
        "evaluating": total(rows["end"] - rows["start"]),
        "proposing": total(rows["proposing"]),
        "waiting": total(rows["waiting"]),
    }
    columns = [
        column("worker", [None, *workers[1].tolist()]),
        column("node", ["all workers", *(decoded(hosts[h]) for h in workers[0])]),
        column("evaluations", total(np.ones(len(rows))).astype(int)),
        column("failed", total(rows["status"] != Status.DONE).astype(int)),
    ]
    columns += [column(f"{name}, s", seconds, ".3f") for name, seconds in spent.items()]
    exchanging = total(snapshot.columns["exchanging"][finished])
    columns.append(column("exchanging, s", exchanging, ".3f"))  # within the others
    whole = np.maximum(np.sum(list(spent.values()), axis=0), 1e-300)
    shares = {name: seconds / whole for name, seconds in spent.items()}
    columns += [column(f"{name}, %", 100 * share, ".1f") for name, share in shares.items()]
    bars = [_bar(*of_one) for of_one in zip(*shares.values(), strict=True)]
    columns.append(Column("shares", bars, False))
    classes = ["total"] + [""] * workers.shape[1]
    return table(columns, identity="table-of-workers", name="Workers", classes=classes)


def _bar(evaluating: float, proposing: float, waiting: float) -> str:
    shares = {"evaluating": evaluating, "proposing": proposing, "waiting": waiting}
    parts = "".join(
        f'<i class="{name}" style="width:{100 * share:.1f}%"></i>' for name, share in shares.items()
    )
    return f'<td data-v="{evaluating:.4f}"><span class="bar" aria-hidden="true">{parts}</span>'


def decoded(raw: Any) -> str:
    """Text of a cell of fixed width."""
    return bytes(raw).decode("utf-8", "replace")


def utc(seconds: float) -> str:
    """A moment for people, as in 2026-02-03 14:05:06; empty if there is no such one."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return ""


def _value(value: Any) -> Any:
    """A parameter's value, as a number or as text."""
    value = value.item() if isinstance(value, np.generic) and value.dtype.kind in "iufb" else value
    return value if _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    # To NumPy a duration is an integer.
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.timedelta64)


def _number(value: Any, form: str) -> str:
    if value is None or value != value:
        return "<td>"
    shown = str(value) if isinstance(value, int) else format(value, form)
    exact = str(value)
    return f"<td>{shown}" if shown == exact else f'<td data-v="{exact}">{shown}'


def _text(value: Any) -> str:
    if value is None or value == "":
        return "<td>"
    text = str(value)
    if len(text) <= CELL_CHARACTERS:
        return f"<td>{escape(text)}"
    return f'<td title="{escape(text)}">{escape(text[: CELL_CHARACTERS - 1])}…'
