"""A results file in other formats: CSV, JSON, Parquet, an Optuna study."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import analysis
from .errors import PhsError
from .frames import frame, needed
from .log import Status
from .parameters import ParameterType
from .store.snapshot import Snapshot
from .whole_file import replacing


def export(snapshot: Snapshot, to: str, out: Path | None = None) -> Path | None:
    """Write what a results file holds in another format.

    Parameters
    ----------
    snapshot : Snapshot
    to : {"csv", "json", "parquet", "optuna"}
    out : Path, optional
        Default: beside the results file. ``-`` prints CSV or JSON.

    Returns
    -------
    Path or None
        What was written; None if it was printed.

    Raises
    ------
    PhsError
        If it cannot be written, or an optional package is missing.
    """
    write, ending = FORMATS[to]
    if str(out) == "-":
        if to not in PRINTABLE:
            raise PhsError(f"{to} cannot be printed", value=to, remedy="name a file with --out")
        write(snapshot, sys.stdout)
        return None
    path = out or snapshot.path.with_suffix(ending)
    with replacing(path, snapshot.path) as part:
        write(snapshot, part)
    return path


def _csv(snapshot: Snapshot, target: Any) -> None:
    frame(snapshot).to_csv(target, lineterminator="\n")


def _json(snapshot: Snapshot, target: Any) -> None:
    table = frame(snapshot).reset_index()
    table.to_json(target, orient="records", date_format="iso", double_precision=15, indent=1)


def _parquet(snapshot: Snapshot, target: Path) -> None:
    needed("pyarrow", "export", "Parquet")
    table = frame(snapshot)
    for name in table.columns:
        if str(table[name].dtype) == "category":
            kinds = {type(category) for category in table[name].cat.categories}
            if len(kinds) > 1:  # a column of Parquet has one type
                table[name] = table[name].cat.rename_categories(str)
        elif table[name].dtype == object:
            table[name] = table[name].map(str, na_action="ignore").astype("string")
    table.to_parquet(target)


# -- Optuna ------------------------------------------------------------------------------


def _optuna(snapshot: Snapshot, target: Path) -> None:
    optuna = needed("optuna", "optuna", "an Optuna study")
    names = [name for name, kind in snapshot.types.items() if kind.kind != "expr"]
    indices = np.flatnonzero(analysis.set_status(snapshot) != Status.EMPTY)
    values = [snapshot.values(int(index)) for index in indices]
    distributions = {
        name: _distribution(optuna, snapshot, name, snapshot.types[name], values) for name in names
    }
    with _quiet(optuna):
        study = optuna.create_study(
            storage=f"sqlite:///{target.absolute()}",
            study_name=snapshot.path.stem,
            direction="maximize" if snapshot.maximize else "minimize",
        )
        study.add_trials(
            [
                _trial(optuna, snapshot, int(index), row, distributions)
                for index, row in zip(indices, values, strict=True)
            ]
        )
        engine = getattr(getattr(study._storage, "_backend", study._storage), "engine", None)
        if engine is not None:
            engine.dispose()  # the file is about to get another name


def _trial(
    optuna: Any, snapshot: Snapshot, index: int, row: dict[str, Any], distributions: dict
) -> Any:
    result = float(analysis.results(snapshot)[index])
    place = int(snapshot.standing_for[index])
    attributes: dict[str, Any] = {"index": index, "worker": int(snapshot.columns["worker"][place])}
    attributes |= {name: row[name] for name in row if name not in distributions}
    attributes |= analysis.metrics(snapshot, index)
    failed = np.isnan(result)
    if failed:
        attributes["error"] = analysis.error(snapshot, index)
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
        value=None if failed else result,
        params={name: _plain(row[name], d) for name, d in distributions.items()},
        distributions=distributions,
        user_attrs=attributes,
    )
    from datetime import datetime

    for name, attribute in (("start", "datetime_start"), ("end", "datetime_complete")):
        seconds = float(snapshot.columns[name][place])
        setattr(trial, attribute, datetime.fromtimestamp(seconds))
    return trial


def _distribution(
    optuna: Any, snapshot: Snapshot, name: str, kind: ParameterType, rows: list[dict[str, Any]]
) -> Any:
    """One distribution for all sets: the bounds of all groups, and what else was evaluated."""
    described = [group["strategies"][name] for group in snapshot.definition["groups"]]
    found = [row[name] for row in rows]
    if not kind.real or any("categories" in s for s in described):
        choices = list(dict.fromkeys(_choice(v) for v in [*(kind.choices or ()), *found]))
        return optuna.distributions.CategoricalDistribution(choices)
    bounds = [s[end] for s in described for end in ("low", "high") if s.get(end) is not None]
    numbers = [float(x) for x in [*bounds, *found] if np.isfinite(float(x))]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    searched = [s for s in described if s.get("low") is not None]
    log = bool(searched) and low > 0 and all(_is_log(s) for s in searched)
    if all(float(x).is_integer() for x in numbers) and (
        kind.kind == "int" or kind.dtype.kind in "iu"
    ):
        return optuna.distributions.IntDistribution(int(low), int(high), log=log)
    return optuna.distributions.FloatDistribution(low, high, log=log)


def _is_log(described: dict[str, Any]) -> bool:
    return bool(described.get("log")) or described.get("distribution") == "log-uniform"


def _choice(value: Any) -> Any:
    """A value as Optuna allows it in a list of choices."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _plain(value: Any, distribution: Any) -> Any:
    if hasattr(distribution, "choices"):
        return _choice(value)
    return int(value) if type(distribution).__name__ == "IntDistribution" else float(value)


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


#: How each format is written, and the ending of its file.
FORMATS: dict[str, tuple[Callable[[Snapshot, Any], None], str]] = {
    "csv": (_csv, ".csv"),
    "json": (_json, ".json"),
    "parquet": (_parquet, ".parquet"),
    "optuna": (_optuna, ".optuna.db"),
}
#: Formats that are text.
PRINTABLE = ("csv", "json")
