"""What each worker did when (figure 4 of the paper)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from ..log import Status
from ..store import Snapshot
from .style import (
    BLUE,
    HEIGHT,
    ORANGE,
    PURPLE,
    SKY,
    WIDTH,
    NothingToDraw,
    legend_above,
    literally,
    new_figure,
    target,
)

#: Pauses in which no worker did anything, longer than this share of all the rest, are cut out.
PAUSE = 0.2
#: Share of the width below which a bar would vanish between white lines.
SEPARATED = 0.01
_WAITING = "#D9D9D9"


class Work(NamedTuple):
    """The finished evaluations, each of shape (n,), and the workers of shape (w,).

    Attributes
    ----------
    row : ndarray of int
        Number of the worker, in the order in which they are drawn.
    waits, proposes, start, end : ndarray
        When the worker began to wait, to propose and to evaluate, and when it was done; seconds
        since the first, pauses of all workers cut out.
    done : ndarray of bool
        Whether the evaluation has a result.
    worker, host : ndarray
        Number and machine of each worker.
    pauses : list of (float, float)
        When all paused, and for how long.
    """

    row: np.ndarray
    waits: np.ndarray
    proposes: np.ndarray
    start: np.ndarray
    end: np.ndarray
    done: np.ndarray
    worker: np.ndarray
    host: np.ndarray
    pauses: list[tuple[float, float]]

    def shares(self) -> np.ndarray:
        """Share of each worker's time that went into evaluating, shape (w,)."""

        def total(seconds: np.ndarray) -> np.ndarray:
            return np.bincount(self.row, np.maximum(seconds, 0.0), minlength=len(self.worker))

        whole = total(self.end - self.waits)
        return np.divide(
            total(self.end - self.start), whole, out=np.zeros_like(whole), where=whole > 0
        )


def work(snapshot: Snapshot) -> Work:
    """The evaluations of a file, by worker.

    Raises
    ------
    NothingToDraw
        If none is finished.
    """
    rows = snapshot.rows(np.flatnonzero(snapshot.finished))
    if not len(rows):
        raise NothingToDraw(f"{snapshot.path} has nothing for timeline: no finished evaluation yet")
    hosts, host = np.unique(rows["host"], return_inverse=True)
    workers, row = np.unique(np.stack([host, rows["worker"]]), axis=1, return_inverse=True)
    proposes = rows["start"] - np.maximum(rows["proposing"], 0.0)
    waits = proposes - np.maximum(rows["waiting"], 0.0)
    times = np.stack([waits, proposes, rows["start"], rows["end"]])
    times -= times[0].min()
    times, pauses = _without_pauses(times)
    return Work(
        row.ravel(),
        times[0],
        times[1],
        times[2],
        times[3],
        rows["status"] == Status.DONE,
        workers[1],
        np.array([bytes(name).decode("utf-8", "replace") for name in hosts])[workers[0]],
        pauses,
    )


def timeline(snapshot: Snapshot) -> Figure:
    """What each worker did when, and its share of evaluating (figure 4 of the paper).

    Long pauses between two runs of the same experiment are cut out, and marked.
    """
    data = work(snapshot)
    count = len(data.worker)
    height = 1.5 + 0.35 * count if count <= 8 else HEIGHT + 0.105 * max(0, count - 20)
    figure, axes = new_figure(WIDTH, height)
    scale, unit = _unit(float(data.end.max()))
    # Where they are wide enough, a white line sets the evaluations of a worker apart.
    narrow = float(np.quantile(data.end - data.waits, 0.25))
    separated = narrow > SEPARATED * float(data.end.max())

    def bars(begin, end, which, colour, label):
        which = which & (end > begin)
        if not which.any():
            return
        left, right, row = begin[which] / scale, end[which] / scale, data.row[which]
        low, high = row - 0.38, row + 0.38
        corners = [(left, low), (right, low), (right, high), (left, high)]
        axes.add_collection(
            PolyCollection(
                list(np.stack([np.stack(c, axis=1) for c in corners], axis=1)),
                facecolors=colour,
                edgecolors="white" if separated else colour,
                linewidths=0.3 if separated else 0.05,
                label=label,
            )
        )

    everything = np.ones(len(data.row), bool)
    bars(data.waits, data.proposes, everything, _WAITING, "waiting")
    bars(data.proposes, data.start, everything, ORANGE, "proposing")
    bars(data.start, data.end, data.done, BLUE, "evaluating")
    bars(data.start, data.end, ~data.done, PURPLE, "evaluating, failed")
    for moment, seconds in data.pauses:
        axes.axvline(moment / scale, color=SKY, linestyle=":", linewidth=1.5)
        axes.annotate(
            f"pause of {_span(seconds)}",
            (moment / scale, 0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=7,
            zorder=5,
            bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1},
        )
    span = float(data.end.max()) / scale or 1.0
    axes.set_xlim(-0.01 * span, 1.01 * span)
    axes.set_ylim(count - 0.3, -0.7)  # the first worker on top
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{unit} since the first worker was ready")
    _margins(axes, data)
    whole = np.sum(data.end - data.waits)
    share = np.sum(data.end - data.start) / whole if whole > 0 else 0.0
    name = target(snapshot)
    axes.set_title(f"{name}: {len(data.row)} evaluations, {100 * share:.1f} % evaluating")
    legend_above(axes)
    return figure


def _margins(axes: Axes, data: Work) -> None:
    """Workers and their nodes on the left, their share of evaluating on the right."""
    count = len(data.worker)
    size = 8 if count <= 20 else 6
    new = np.append(True, data.host[1:] != data.host[:-1])
    axes.set_yticks(
        range(count),
        [
            f"{literally(host)}  {worker}" if first and host else str(worker)
            for host, worker, first in zip(
                data.host.tolist(), data.worker.tolist(), new.tolist(), strict=True
            )
        ],
        fontsize=size,
    )
    axes.tick_params(axis="y", length=2)
    for k in np.flatnonzero(new)[1:].tolist():
        axes.axhline(k - 0.5, color="#333333", linewidth=0.6)
    axes.set_ylabel("node and worker" if any(data.host) else "worker")
    margin = axes.secondary_yaxis("right")
    margin.set_yticks(range(count), [f"{100 * s:.0f} %" for s in data.shares()], fontsize=size)
    margin.tick_params(length=0, pad=2)
    margin.spines["right"].set_visible(False)
    margin.set_ylabel("share evaluating", fontsize=9)


def _without_pauses(times: np.ndarray) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Cut out long gaps in which no worker did anything; `times` of shape (4, n)."""
    order = np.argsort(times[0], kind="stable")
    begins, ends = times[0][order], np.maximum.accumulate(times[3][order])
    gaps = np.maximum(begins[1:] - ends[:-1], 0.0)
    busy = ends[-1] - gaps.sum()
    long = np.flatnonzero(gaps > PAUSE * busy)
    cut = np.zeros(len(begins))
    cut[long + 1] = gaps[long]
    before = np.cumsum(cut)
    shifted = times.copy()
    shifted[:, order] -= before
    moments = ends[long] - before[long]
    return shifted, list(zip(moments.tolist(), gaps[long].tolist(), strict=True))


def _unit(seconds: float) -> tuple[float, str]:
    for scale, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 3 * scale:
            return scale, unit
    return 1.0, "seconds"


def _span(seconds: float) -> str:
    scale, unit = _unit(seconds)
    return f"{seconds / scale:.3g} {unit}"
