"""A results file as one tidy table: a row for each parameter set, columns of the right types."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import analysis
from .errors import PhsError
from .log import Source, Status
from .parameters import NumpyType, ParameterType
from .store.schema import metric_names, without_attempt
from .store.snapshot import Snapshot
from .store.snapshot import read as read_snapshot

if TYPE_CHECKING:
    import pandas


class MissingPackage(PhsError):
    """An optional package is not installed."""


def needed(name: str, extra: str, what: str) -> Any:
    """Import an optional package.

    Raises
    ------
    MissingPackage
        If it is not installed; the message names the extra.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackage(
            f"{what} needs {name}, which cannot be imported ({error})",
            remedy=f"pip install 'phs-mpi[{extra}]' (in a clone: '.[{extra}]')",
        ) from error


def read(path: str | os.PathLike[str]) -> pandas.DataFrame:
    """Everything that a results file says of its parameter sets, also while the run goes on.

    Parameters
    ----------
    path : path-like
        The results file.

    Returns
    -------
    pandas.DataFrame
        Index ``index``, the number of the set. Columns: the parameters in declared order (missing
        where a search has not chosen yet, and for the category None; an ``expr`` is text),
        ``result``, ``status``, declared metrics, ``source``, ``worker``, ``host``, ``start`` and
        ``end`` (UTC), ``seconds``, ``proposing``, ``waiting``, ``exchanging``, ``mean``, ``std``,
        ``acquisition``, ``log_length``, ``error``. With repeats also ``standard_error`` and
        ``repeats``, and what is of one evaluation is that of the first. A column of ours that is
        called as a parameter gets an underscore.

    Raises
    ------
    StoreError
        If it is no results file.
    MissingPackage
        If pandas is not installed.
    """
    return frame(read_snapshot(Path(path)))


def frame(snapshot: Snapshot) -> pandas.DataFrame:
    """The table of a snapshot; see :func:`read`."""
    pandas = needed("pandas", "export", "a table of results")
    columns = {
        name: _parameter(pandas, snapshot, name, kind) for name, kind in snapshot.types.items()
    }
    for name, values in _outcomes(pandas, snapshot).items():
        while name in columns:
            name += "_"
        columns[name] = values
    index = pandas.RangeIndex(len(snapshot), name="index")
    return pandas.DataFrame({name: values.set_axis(index) for name, values in columns.items()})


def chosen(snapshot: Snapshot, name: str) -> np.ndarray:
    """Which sets have a value of a parameter by now; bool, shape (sets,)."""
    groups = snapshot.definition["groups"]
    proposed = np.array([is_proposed(group["strategies"][name]) for group in groups])
    return ~proposed[snapshot.group_of] | snapshot.finished[snapshot.standing_for]


def _parameter(pandas: Any, snapshot: Snapshot, name: str, kind: ParameterType) -> pandas.Series:
    cells = snapshot.cells()[name]
    known = chosen(snapshot, name)
    missing = not known.all()
    if kind.kind == "int" or (isinstance(kind, NumpyType) and cells.dtype.kind in "iu"):
        numbers = pandas.Series(kind_values(kind, cells), dtype=cells.dtype)
        if not missing:
            return numbers
        wide = {"i": "Int", "u": "UInt"}[cells.dtype.kind] + str(8 * cells.dtype.itemsize)
        return numbers.astype(wide).where(known)
    if kind.kind == "float" or (isinstance(kind, NumpyType) and cells.dtype.kind == "f"):
        return pandas.Series(cells).where(known)
    if kind.kind == "bool":
        flags = pandas.Series(cells.astype(bool))
        return flags.astype("boolean").where(known) if missing else flags
    if isinstance(kind, NumpyType) and kind.value_dtype.kind in "mM":
        return pandas.Series(_dates(cells, kind.value_dtype)).where(known)
    values = [kind.from_column(cell) if k else None for cell, k in zip(cells, known, strict=True)]
    if kind.kind == "categorical":
        # pandas has no category None: it reads as missing.
        categories = [choice for choice in kind.choices or () if choice is not None]
        return pandas.Series(pandas.Categorical(values, categories=categories))
    texts = all(isinstance(v, str) or v is None for v in values)
    return pandas.Series(values, dtype="string" if texts else object)


def is_proposed(described: Mapping[str, Any]) -> bool:
    """Whether a strategy, as the file describes it, is Bayesian search."""
    return described["strategy"] == "bayesian"


def kind_values(kind: ParameterType, cells: np.ndarray) -> np.ndarray:
    """Cells of whole numbers as numbers."""
    return np.array([int(kind.from_column(cell)) for cell in cells], dtype=cells.dtype)


def _dates(cells: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Dates and durations, in the nearest unit that pandas has."""
    unit = np.datetime_data(dtype)[0]
    exact = cells.astype(dtype)
    if unit in ("s", "ms", "us", "ns"):
        return exact
    return exact.astype(f"{dtype.kind}8[ms]" if unit in "YMWDhm" else f"{dtype.kind}8[ns]")


def _outcomes(pandas: Any, snapshot: Snapshot) -> dict[str, pandas.Series]:
    place = snapshot.standing_for
    finished = snapshot.finished[place]
    rows = snapshot.rows(place)
    status = analysis.set_status(snapshot)

    def number(name: str) -> pandas.Series:
        return pandas.Series(rows[name].astype(float)).where(finished)

    def whole(name: str) -> pandas.Series:
        return pandas.Series(rows[name].astype(np.int64)).astype("Int64").where(finished)

    def text(name: str) -> pandas.Series:
        texts = [bytes(t).decode("utf-8", "replace") or None for t in rows[name]]
        if name == "error":
            done = snapshot.done[place].tolist()
            pairs = zip(texts, done, strict=True)
            texts = [without_attempt(t) or None if t and fine else t for t, fine in pairs]
        return pandas.Series(texts, dtype="string").where(finished)

    def moment(name: str) -> pandas.Series:
        known = number(name)
        return pandas.to_datetime(known, unit="s", utc=True)

    def enumerated(values: np.ndarray, kind: type[Status] | type[Source]) -> pandas.Series:
        names = [member.name.lower() for member in kind]
        texts = [kind(int(value)).name.lower() for value in values]
        return pandas.Series(pandas.Categorical(texts, categories=names))

    found = {"result": pandas.Series(analysis.results(snapshot))}
    if snapshot.repeats.most > 1:
        found["standard_error"] = pandas.Series(analysis.standard_errors(snapshot))
        found["repeats"] = pandas.Series(analysis.by_set(snapshot, snapshot.finished).sum(axis=1))
    found["status"] = enumerated(status, Status)
    for name in metric_names(rows.dtype):
        found[name] = pandas.Series(analysis.metric(snapshot, name))
    found["source"] = enumerated(_sources(snapshot), Source)
    found |= {"worker": whole("worker"), "host": text("host")}
    found |= {"start": moment("start"), "end": moment("end")}
    found["seconds"] = number("end") - number("start")
    for name in ("proposing", "waiting", "exchanging", "mean", "std", "acquisition"):
        found[name] = pandas.Series(snapshot.columns[name][place]).where(finished)
    found["log_length"] = whole("log_length")
    found["error"] = text("error")
    if snapshot.failed_before.any():
        most = analysis.by_set(snapshot, snapshot.attempts).max(axis=1)
        found["attempts"] = pandas.Series(most).astype("Int64")
    return found


def _sources(snapshot: Snapshot) -> np.ndarray:
    """Where values come from; of sets that are still to be proposed, that they are to be."""
    found = analysis.sources(snapshot)
    groups = snapshot.definition["groups"]
    proposed = [any(map(is_proposed, group["strategies"].values())) for group in groups]
    waiting = ~snapshot.finished[snapshot.standing_for]
    bayesian = np.array(proposed)[snapshot.group_of]
    found = np.where(waiting & bayesian, np.uint8(Source.BAYESIAN), found)
    drawn = waiting & ~bayesian
    if drawn.any():
        by_group = np.array([_source_of(group["strategies"].values()) for group in groups])
        found = np.where(drawn, by_group[snapshot.group_of], found)
    return found


def _source_of(strategies: Any) -> int:
    kinds = {s["strategy"] for s in strategies}
    order = (("random", Source.RANDOM), ("choice", Source.CHOICE), ("grid", Source.GRID))
    return next((int(source) for name, source in order if name in kinds), int(Source.EXPLICIT))
