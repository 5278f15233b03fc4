"""Several runs in one picture: the best so far, with median and quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import analysis
from ..errors import PhsError
from ..store import Snapshot
from .data import sets_with_results
from .style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    legend_above,
    literally,
    new_figure,
    spans_decades,
    target,
)

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_DASHES = ("-", "--", "-.", ":")


class Runs(NamedTuple):
    """Runs of one experiment that differ in their seed only.

    Attributes
    ----------
    label : str
    curves : list of ndarray
        Best so far by parameter set, or its distance from the optimum; one a run.
    """

    label: str
    curves: list[np.ndarray]

    def quartiles(self) -> np.ndarray:
        """Lower quartile, median and upper quartile, as far as the shortest run; shape (3, n)."""
        length = min(map(len, self.curves))
        stack = np.stack([curve[:length] for curve in self.curves])
        # Until a run has a result, its best is unknown, and so are the quartiles.
        return np.quantile(stack, [0.25, 0.5, 0.75], axis=0)


def runs_of(snapshots: Sequence[Snapshot], optimum: float | None = None) -> list[Runs]:
    """The runs, those of the same experiment together whatever their seeds.

    Parameters
    ----------
    snapshots : sequence of Snapshot
    optimum : float, optional
        Best possible result: curves are then distances from it.

    Raises
    ------
    PhsError
        If there is no file, one has no result, some search for the highest result and others
        for the lowest, or one is better than the optimum.
    """
    if not snapshots:
        raise PhsError("convergence needs at least one results file")
    maximize = snapshots[0].maximize
    gathered: dict[str, list[tuple[Snapshot, np.ndarray]]] = {}
    for snapshot in snapshots:
        if snapshot.maximize != maximize:
            raise PhsError(
                f"{snapshots[0].path} and {snapshot.path} cannot be compared: one maximises, the "
                "other minimises",
                remedy="draw them apart",
            )
        data = sets_with_results(snapshot, "convergence")
        last = int(np.flatnonzero(data.seen | data.failed)[-1]) + 1
        curve = analysis.best_so_far(data.found[:last], maximize)
        if optimum is not None:
            curve = optimum - curve if maximize else curve - optimum
            if np.nanmin(curve) < 0:
                raise PhsError(
                    f"{snapshot.path} has a result that is better than the optimum {optimum!r}",
                    value=optimum,
                    remedy="give the true one, or leave it out",
                )
        gathered.setdefault(analysis.without_seed(snapshot), []).append((snapshot, curve))
    return [_runs(members) for members in gathered.values()]


def _runs(members: list[tuple[Snapshot, np.ndarray]]) -> Runs:
    stems = [snapshot.path.stem for snapshot, _ in members]
    label = stems[0] if len(stems) == 1 else f"{stems[0]} … {stems[-1]} ({len(stems)} runs)"
    return Runs(literally(label), [curve for _, curve in members])


def convergence(snapshots: Sequence[Snapshot], optimum: float | None = None) -> Figure:
    """The best so far of several runs, with median and quartiles of those that belong together.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Runs that differ in their seed only share a colour.
    optimum : float, optional
        The best possible result: the distance from it (the simple regret) is drawn.
    """
    groups = runs_of(snapshots, optimum)
    figure, axes = new_figure()
    longest = max(len(curve) for group in groups for curve in group.curves)
    for number, group in enumerate(groups):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = _DASHES[(number // len(_COLOURS)) % len(_DASHES)]
        for curve in group.curves:
            alone = len(group.curves) == 1
            axes.step(
                np.arange(1, len(curve) + 1),
                curve,
                where="post",
                color=colour,
                linestyle=dash,
                linewidth=1.6 if alone else 0.6,
                alpha=1.0 if alone else 0.45,
                label=group.label if alone else "_run",
            )
        if len(group.curves) > 1:
            low, middle, high = group.quartiles()
            x = np.arange(1, len(middle) + 1)
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.2, linewidth=0)
            axes.step(
                x,
                middle,
                where="post",
                color=colour,
                linestyle=dash,
                linewidth=2.0,
                label=f"{group.label}: median, quartiles",
            )
    everything = np.concatenate([curve for group in groups for curve in group.curves])
    if spans_decades(everything):
        axes.set_yscale("log")
    elif optimum is not None and spans_decades(everything[everything > 0]):
        # Where the optimum is met, the distance is zero, which no logarithm shows.
        axes.set_yscale("symlog", linthresh=float(everything[everything > 0].min()))
    axes.set_xlim(1, longest + 0.01 * longest)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("parameter sets")
    axes.set_ylabel("best result so far" if optimum is None else "distance of best from optimum")
    axes.set_title(target(snapshots[0]))
    legend_above(axes, columns=1 if len(groups) > 1 or len(groups[0].label) > 40 else None)
    return figure
