"""What figures take from a snapshot: one row a parameter set, and axes for its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import MaxNLocator

from .. import analysis
from ..errors import PhsError
from ..log import Status
from ..parameters import ParameterType
from ..store import Snapshot
from ..strategies.distributions import LOG_UNIFORM
from .style import NothingToDraw, listing, shortened

#: More categories than this do not all get a label.
LABELS = 12
#: Values that were listed, not drawn, and lie so far apart are shown by their logarithm.
LISTED_SPAN = 100.0
#: Larger results and values are drawn here.
LARGEST = 1e307
#: Golden ratio: multiples of it, modulo 1, never cluster.
_GOLDEN = 0.6180339887498949


class Sets(NamedTuple):
    """The parameter sets; each array of shape (sets,).

    Attributes
    ----------
    found : ndarray
        Result; NaN without one.
    failed : ndarray of bool
        Evaluated without a result.
    error : ndarray
        Standard error of the result; NaN unless it is a mean of repeats.
    source : ndarray of uint8
    mean, std : ndarray
        Prediction that a Bayesian set was proposed with; NaN without one.
    """

    found: np.ndarray
    failed: np.ndarray
    error: np.ndarray
    source: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Which have a result; bool."""
        return np.isfinite(self.found)


def sets(snapshot: Snapshot) -> Sets:
    """The parameter sets of a file."""
    found = analysis.results(snapshot)
    place = snapshot.standing_for
    columns = {name: snapshot.columns[name][place] for name in ("mean", "std")}
    known = analysis.set_status(snapshot) != Status.EMPTY
    return Sets(
        found=drawable(found),
        failed=known & np.isnan(found),
        error=drawable(analysis.standard_errors(snapshot)),
        source=analysis.sources(snapshot),
        mean=drawable(np.where(known, columns["mean"], np.nan)),
        std=drawable(np.where(known, columns["std"], np.nan)),
    )


def drawable(values: np.ndarray) -> np.ndarray:
    """Numbers that can be drawn: NaN for infinite ones, and none so large that sums overflow."""
    values = np.asarray(values, dtype=float)
    return np.clip(np.where(np.isfinite(values), values, np.nan), -LARGEST, LARGEST)


def sets_with_results(snapshot: Snapshot, figure: str, least: int = 1) -> Sets:
    """The sets, of which at least so many must have a result.

    Raises
    ------
    NothingToDraw
        If fewer have.
    """
    found = sets(snapshot)
    count = int(found.seen.sum())
    if count == 0:
        raise NothingToDraw(f"{snapshot.path} has nothing for {figure}: no result yet")
    if count < least:
        raise NothingToDraw(
            f"{snapshot.path} has too little for {figure}: it takes {least} results, and there "
            f"{'is' if count == 1 else 'are'} {count}",
            value=count,
        )
    return found


def need_different(found: np.ndarray, snapshot: Snapshot, figure: str) -> None:
    """Refuse results that are all equal, where there is nothing to tell apart."""
    found = found[np.isfinite(found)]
    if found.min() == found.max():
        raise NothingToDraw(
            f"{snapshot.path} has nothing for {figure}: all {len(found)} results are equal "
            f"({found[0]:.6g})",
            value=float(found[0]),
        )


def chosen(snapshot: Snapshot, names: Sequence[str] | None) -> list[str]:
    """The parameters asked for, all if none are.

    Raises
    ------
    PhsError
        If there is no such parameter, or one is named twice.
    """
    for name in names or ():
        if name not in snapshot.types:
            raise PhsError(
                f"{snapshot.path} has no parameter {name!r}",
                value=name,
                remedy=f"choose of {listing(snapshot.types)}",
            )
        if list(names or ()).count(name) > 1:
            raise PhsError(f"parameter {name!r} is named twice", value=name, remedy="name it once")
    return list(names or snapshot.types)


@dataclass(frozen=True)
class ParameterAxis:
    """Where the values of one parameter are drawn.

    Attributes
    ----------
    name : str
    place : ndarray of shape (n,)
        Number, or number of the category; NaN for what no axis can show.
    labels : tuple of str
        Of the categories; empty for numbers.
    log : bool
    ticks : tuple of float
        Of all values that were listed, if these are few and at equal ratios; else empty.
    """

    name: str
    place: np.ndarray
    labels: tuple[str, ...] = ()
    log: bool = False
    ticks: tuple[float, ...] = ()

    @property
    def even(self) -> np.ndarray:
        """Coordinates in which the axis is even: logarithms on a logarithmic one."""
        return np.log10(self.place) if self.log else self.place

    def jittered(self, indices: np.ndarray, reach: float = 0.28) -> np.ndarray:
        """Places, those of one category side by side, always the same for the same set."""
        if not self.labels:
            return self.place
        return self.place + reach * (2 * ((np.asarray(indices) * _GOLDEN) % 1.0) - 1)

    @property
    def varies(self) -> bool:
        """Whether there are two different values."""
        place = self.place[np.isfinite(self.place)]
        return bool(len(place) and place.min() < place.max())

    def dress(self, axis: Axis) -> None:
        """Label an axis of a plot, and scale it."""
        axis.set_label_text(self.name)
        if self.labels:
            every = -(-len(self.labels) // LABELS)
            ticks = np.arange(0, len(self.labels), every)
            axis.set_ticks(ticks, [shortened(self.labels[k]) for k in ticks.tolist()])
            axis.grid(False)
            if isinstance(axis, XAxis) and sum(map(len, self.labels[::every])) > 45:
                axis.set_tick_params(rotation=30)
        elif self.log:
            scale = axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale
            scale("log")
            if self.ticks:
                axis.set_ticks(self.ticks, [f"{value:g}" for value in self.ticks])
                axis.set_ticks([], minor=True)
        elif np.array_equal(self.place, np.rint(self.place)):
            axis.set_major_locator(MaxNLocator(integer=True))

    def limits(self, margin: float = 0.05) -> tuple[float, float]:
        """Ends of the axis, with some room, in the parameter's own units."""
        if self.labels:
            return -0.5, len(self.labels) - 0.5
        even = self.even[np.isfinite(self.even)]
        low, high = float(even.min()), float(even.max())
        room = margin * (high - low) or (margin * abs(low) or margin)
        ends = low - room, high + room
        return (10.0 ** ends[0], 10.0 ** ends[1]) if self.log else ends


def parameter_axes(
    snapshot: Snapshot, names: Sequence[str], indices: np.ndarray
) -> list[ParameterAxis]:
    """Axes for these parameters of these sets."""
    cells = snapshot.cells(indices)
    return [_axis(snapshot, name, cells[name]) for name in names]


def _axis(snapshot: Snapshot, name: str, cells: np.ndarray) -> ParameterAxis:
    kind = snapshot.types[name]
    if kind.real:
        place = drawable(cells)
        # An explicit value may lie where a logarithmic axis does not reach.
        known = place[np.isfinite(place)]
        if not len(known) or known.min() <= 0:
            return ParameterAxis(name, place)
        values = _listed_numbers(snapshot, name)
        if _at_equal_ratios(values):
            few = len(values) <= LABELS
            return ParameterAxis(name, place, log=True, ticks=tuple(values.tolist()) if few else ())
        return ParameterAxis(name, place, log=_logarithmic(snapshot, name, known))
    texts = [_text(kind, cell) for cell in cells]
    order = {text: k for k, text in enumerate(_listed(snapshot, name, kind))}
    for text in sorted(set(texts) - set(order)):
        order[text] = len(order)
    used = sorted(set(texts), key=order.__getitem__)
    number = {text: k for k, text in enumerate(used)}
    return ParameterAxis(name, np.array([number[text] for text in texts], float), tuple(used))


def _logarithmic(snapshot: Snapshot, name: str, known: np.ndarray) -> bool:
    """Whether the experiment draws, searches or lists a parameter by its logarithm."""
    strategies = [group["strategies"][name] for group in snapshot.definition["groups"]]
    if any(s.get("log") or s.get("distribution") == LOG_UNIFORM for s in strategies):
        return True
    listed = len(_listed_numbers(snapshot, name)) > 0
    return listed and bool(known.max() / known.min() >= LISTED_SPAN)


def _listed_numbers(snapshot: Snapshot, name: str) -> np.ndarray:
    """All values of a parameter, ascending, if they stand in the experiment; else none."""
    values: list[Any] = []
    for group in snapshot.definition["groups"]:
        strategy = group["strategies"][name]
        if strategy["strategy"] == "explicit":
            values.append(strategy["value"])
        elif strategy["strategy"] in ("grid", "choice"):
            values += strategy["values"]
        else:
            return np.array([])
    return np.unique(np.array(values, dtype=float))


def _at_equal_ratios(values: np.ndarray) -> bool:
    """Whether ascending numbers, three or more, go like 16, 32, 64."""
    if len(values) < 3 or values[0] <= 0:
        return False
    steps = np.diff(np.log(values))
    return bool(steps.max() < 1.01 * steps.min())


def _listed(snapshot: Snapshot, name: str, kind: ParameterType) -> list[str]:
    """Categories in the order in which the experiment names them."""
    named: list[Any] = list(kind.choices or ())
    if not named:
        for group in snapshot.definition["groups"]:
            strategy = group["strategies"][name]
            named += strategy.get("categories") or strategy.get("values") or ()
    return list(dict.fromkeys(map(str, named)))


def _text(kind: ParameterType, cell: Any) -> str:
    return str(kind.from_column(cell))


def rows(snapshot: Snapshot, indices: np.ndarray) -> list[dict[str, Any]]:
    """Values of many sets, as the target got them."""
    cells = snapshot.cells(indices)
    columns = {
        name: [kind.from_column(cell) for cell in cells[name]]
        for name, kind in snapshot.types.items()
    }
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
