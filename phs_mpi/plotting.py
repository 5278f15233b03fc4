"""Figures of a search, drawn from the arrays of :mod:`phs_mpi.analysis`.

A kind of figure is a function from a snapshot to a matplotlib figure, and a line in
:data:`KINDS`. Figures are made without pyplot, so that no display is needed and nothing is
left in a global state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator

from . import analysis
from .errors import PhsError
from .log import Source, Status
from .store import Snapshot

# Okabe and Ito's colours, which people with colour-blindness can tell apart.
BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"

_DPI = 150
_LOG_SPAN = 1000.0  # results over a wider range get a logarithmic axis


class _Look(NamedTuple):
    sources: tuple[Source, ...]
    label: str
    marker: str
    colour: str
    filled: bool


#: Told apart by marker and colour; first those not searched for.
_LOOKS = (
    _Look((Source.EXPLICIT, Source.GRID, Source.RANDOM, Source.CHOICE), "drawn", "o", BLUE, True),
    _Look((Source.SOBOL,), "Sobol, before any result", "+", GREEN, False),
    _Look((Source.BAYESIAN,), "Bayesian", "x", VERMILION, False),
)


def evolution(snapshot: Snapshot) -> Figure:
    """Result over set index, by source, with the best so far (figure 1 of the paper).

    Failed evaluations are ticks at the bottom.
    """
    figure, axes = _figure()
    found = analysis.results(snapshot)
    index = np.arange(len(snapshot))
    size = _marker_size(len(snapshot))
    for look in _LOOKS:
        here = ~np.isnan(found) & np.isin(analysis.sources(snapshot), look.sources)
        if here.any():
            if snapshot.repeats.most > 1:
                axes.errorbar(
                    index[here],
                    found[here],
                    analysis.standard_errors(snapshot)[here],
                    fmt="none",
                    ecolor=look.colour,
                    elinewidth=max(0.5, size / 6),
                )
            axes.plot(
                index[here],
                found[here],
                look.marker,
                color=look.colour,
                markersize=size,
                markeredgewidth=0 if look.filled else max(0.5, size / 4),
                alpha=0.85,
                label=look.label,
            )
    curve = analysis.best_so_far(found, snapshot.maximize)
    axes.step(index, curve, where="post", color=GREY, linewidth=1.3, label="best so far", zorder=1)
    state = analysis.set_status(snapshot)
    failed = np.flatnonzero((state != Status.EMPTY) & (state != Status.DONE))
    if len(failed):
        # In units of the axes' height: failures have no result to be drawn at.
        axes.vlines(
            failed,
            0,
            0.03,
            transform=axes.get_xaxis_transform(),
            color=PURPLE,
            linewidth=1.2,
            label="failed",
        )
    if _spans_decades(found):
        axes.set_yscale("log")
    axes.set_xlabel("parameter set")
    axes.set_ylabel("result")
    axes.set_xlim(-0.02 * len(snapshot) - 0.5, 1.02 * len(snapshot) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_title(_title(snapshot), fontsize=10)
    _legend_above(axes)
    return figure


def scatter(snapshot: Snapshot, x: str | None = None, y: str | None = None) -> Figure:
    """Two parameters, coloured by result, the best circled (figure 2 of the paper).

    Parameters
    ----------
    snapshot : Snapshot
    x, y : str, optional
        Names of numeric parameters; default: the first two.
    """
    names = _numeric(snapshot)
    x, y = x or names[0], y or names[1]
    figure, axes = _figure()
    found = analysis.results(snapshot)
    cells = snapshot.cells()
    shown = found[~np.isnan(found)]
    # The best are darkest; a few wild results must not leave one colour for all others.
    low, high = np.quantile(shown, [0.0, 0.9] if not snapshot.maximize else [0.1, 1.0])
    drawn = None
    for look in _LOOKS:
        here = ~np.isnan(found) & np.isin(analysis.sources(snapshot), look.sources)
        if not here.any():
            continue
        drawn = axes.scatter(
            cells[x][here].astype(float),
            cells[y][here].astype(float),
            c=found[here],
            marker=look.marker,
            s=34 if look.filled else 42,
            linewidths=0.4 if look.filled else 1.6,
            edgecolors="white" if look.filled else None,
            cmap="viridis_r" if snapshot.maximize else "viridis",
            vmin=low,
            vmax=high,
            label=look.label,
        )
    best = analysis.best(snapshot)
    if best is not None:
        axes.plot(
            float(cells[x][best]),
            float(cells[y][best]),
            "o",
            markersize=15,
            markerfacecolor="none",
            markeredgecolor=VERMILION,
            markeredgewidth=1.8,
            label="best",
        )
    if drawn is not None:
        beyond = "max" if not snapshot.maximize else "min"
        figure.colorbar(drawn, ax=axes, label="result", extend=beyond)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(_title(snapshot), fontsize=10)
    for handle in _legend_above(axes).legend_handles:
        if isinstance(handle, PathCollection):  # a source has a marker, and no one colour
            handle.set_array(None)
            handle.set_color(GREY)
    return figure


def timeline(snapshot: Snapshot) -> Figure:
    """What each worker did when (figure 4 of the paper)."""
    figure, axes = _figure()
    finished = np.flatnonzero(snapshot.finished)
    column = {name: values[finished] for name, values in snapshot.columns.items()}
    workers, row = np.unique(column["worker"], return_inverse=True)
    begun = float((column["start"] - column["proposing"]).min())
    start, end = column["start"] - begun, column["end"] - begun
    done = snapshot.done[finished]
    width = max(1.0, min(14.0, 180.0 / len(workers)))

    def bars(left: np.ndarray, right: np.ndarray, which: np.ndarray, colour: str, label: str):
        if which.any():
            points = [np.stack([x, row], axis=1)[which] for x in (left, right)]
            lines: Any = np.stack(points, axis=1)
            axes.add_collection(
                LineCollection(lines, colors=colour, linewidths=width, capstyle="butt", label=label)
            )

    bars(start - column["proposing"], start, column["proposing"] > 0, VERMILION, "proposing")
    bars(start, end, done, BLUE, "evaluating")
    bars(start, end, ~done, PURPLE, "evaluating, failed")
    if len(finished) <= 2000:  # more would cover the bars
        axes.plot(start, row, "|", color="white", markersize=width, markeredgewidth=0.8)
    span = float(end.max()) or 1.0
    axes.set_xlim(-0.01 * span, 1.01 * span)
    axes.set_ylim(-0.8, len(workers) - 0.2)
    axes.set_xlabel("seconds since the first evaluation began")
    axes.set_ylabel("worker")
    if len(workers) <= 32:
        axes.set_yticks(np.arange(len(workers)), [str(w) for w in workers.tolist()])
    use = analysis.utilisation(snapshot).overall()
    axes.set_title(f"{_title(snapshot)}; workers evaluating {100 * use[0]:.1f} %", fontsize=10)
    _legend_above(axes)
    return figure


class Kind(NamedTuple):
    """A kind of figure: how to draw it, and whether it applies to a snapshot."""

    draw: Callable[[Snapshot], Figure]
    applies: Callable[[Snapshot], bool]


KINDS: dict[str, Kind] = {
    "evolution": Kind(evolution, lambda snapshot: bool(snapshot.done.any())),
    "scatter": Kind(
        scatter, lambda snapshot: bool(snapshot.done.any()) and len(_numeric(snapshot)) > 1
    ),
    "timeline": Kind(timeline, lambda snapshot: bool(snapshot.finished.any())),
}


def save_figures(
    snapshot: Snapshot, kinds: Iterable[str] = (), folder: str | os.PathLike | None = None
) -> list[Path]:
    """Draw figures into PNG files.

    Parameters
    ----------
    snapshot : Snapshot
    kinds : iterable of str
        Keys of :data:`KINDS`; default: all that apply.
    folder : path, optional
        Default: the results file's.

    Returns
    -------
    list of Path
        ``NAME.KIND.png`` for each.

    Raises
    ------
    PhsError
        If there is no such kind, nothing to draw, or the folder cannot be written.
    """
    kinds = list(kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise PhsError(
                f"there is no figure {kind!r}", value=kind, remedy=f"choose of {', '.join(KINDS)}"
            )
    chosen = [kind for kind in kinds or KINDS if KINDS[kind].applies(snapshot)]
    unfit = [kind for kind in kinds if kind not in chosen]
    if unfit or not chosen:
        what = f"the figure {unfit[0]!r}" if unfit else "a figure"
        reason = "no result yet" if not snapshot.done.any() else "fewer than two numeric parameters"
        raise PhsError(f"{snapshot.path} has nothing for {what}: {reason}")
    target = Path(folder) if folder is not None else snapshot.path.parent
    paths = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for kind in chosen:
            path = target / f"{snapshot.path.stem}.{kind}.png"
            KINDS[kind].draw(snapshot).savefig(path, dpi=_DPI)
            paths.append(path)
    except OSError as error:
        raise PhsError(
            f"cannot write figures in {target}: {error.strerror or error}",
            value=str(target),
            remedy="name another folder with --out",
        ) from error
    return paths


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _legend_above(axes: Axes) -> Legend:
    """A legend between title and axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=len(labels),
        frameon=False,
        fontsize=8,
        handletextpad=0.4,
        columnspacing=1.2,
        borderaxespad=0.1,
        markerscale=0.8,
    )
    axes.set_title(axes.get_title(), fontsize=10, loc="center", pad=22)
    return legend


def _title(snapshot: Snapshot) -> str:
    name = snapshot.definition.get("target", snapshot.path.stem)
    index = analysis.best(snapshot)
    if index is None:
        return str(name)
    return f"{name}: best {analysis.results(snapshot)[index]:.6g} (set {index})"


def _numeric(snapshot: Snapshot) -> list[str]:
    return [name for name, kind in snapshot.types.items() if kind.real]


def _spans_decades(found: np.ndarray) -> bool:
    found = found[~np.isnan(found)]
    if not len(found) or found.min() <= 0:
        return False
    return bool(found.max() / found.min() > _LOG_SPAN)


def _marker_size(count: int) -> float:
    return float(np.clip(120 / np.sqrt(max(count, 1)), 1.2, 6.0))
