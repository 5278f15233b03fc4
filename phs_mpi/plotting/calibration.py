"""How right the predictions were that sets were proposed with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..log import Source
from ..store import Snapshot
from .data import sets_with_results
from .style import (
    BLUE,
    GREY,
    LOG_RATIO,
    ORANGE,
    WIDTH,
    NothingToDraw,
    bare,
    legend_above,
    plain_decades,
    target,
)

#: Errors beyond so many standard deviations are counted in the outermost bars.
REACH = 5.0


class Calibration(NamedTuple):
    """Predictions and what was found, shape (n,) each.

    Attributes
    ----------
    sets : ndarray of int
        Parameter sets.
    mean, std : ndarray
        Of the prediction that the set was proposed with, units of the result.
    found : ndarray
        Result.
    """

    sets: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    found: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """What was found beyond the mean, in standard deviations; those with a std above zero."""
        sure = self.std > 0
        return (self.found[sure] - self.mean[sure]) / self.std[sure]


def calibration_of(snapshot: Snapshot) -> Calibration:
    """The proposals that have a prediction and a result."""
    data = sets_with_results(snapshot, "calibration")
    known = data.seen & (data.source == Source.BAYESIAN)
    index = np.flatnonzero(known & np.isfinite(data.mean) & np.isfinite(data.std))
    found = Calibration(index, data.mean[index], data.std[index], data.found[index])
    if not len(found.errors):
        raise NothingToDraw(
            f"{snapshot.path} has nothing for calibration: no Bayesian set with a prediction has "
            "a result yet"
        )
    return found


def calibration(snapshot: Snapshot) -> Figure:
    """Predictions of the proposed sets against what was found, and their errors."""
    data = calibration_of(snapshot)
    figure = Figure(figsize=(WIDTH * 1.15, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1.0])
    bare(left)
    bare(right)
    shown = np.concatenate([data.found, data.mean])
    low, high = float(shown.min()), float(shown.max())
    room = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
    ends = low - room, high + room
    if low > 0 and high / low > LOG_RATIO:
        left.set_xscale("log")
        left.set_yscale("log")
        ends = low / (high / low) ** 0.06, high * (high / low) ** 0.06
    left.plot(ends, ends, color=GREY, linewidth=1, label="as predicted")
    left.errorbar(
        data.mean,
        data.found,
        xerr=data.std,
        fmt="o",
        color=BLUE,
        ecolor=BLUE,
        elinewidth=0.6,
        markersize=float(np.clip(40 / np.sqrt(len(data.sets)), 1.5, 4)),
        alpha=0.6,
        label="mean ± std",
    )
    left.set_xlim(ends)
    left.set_ylim(ends)
    if left.get_xscale() == "log":
        plain_decades(left.xaxis)
        plain_decades(left.yaxis)
    left.set_xlabel("predicted result")
    left.set_ylabel("result found")
    legend_above(left)
    _histogram(right, data.errors)
    name = target(snapshot)
    figure.suptitle(f"{name}: predictions of {len(data.sets)} Bayesian sets", fontsize=10)
    return figure


def _histogram(axes: Axes, errors: np.ndarray) -> None:
    inside = np.clip(errors, -REACH, REACH)
    bins = np.linspace(-REACH, REACH, 21 if len(errors) < 100 else 41)
    axes.hist(inside, bins=list(bins), density=True, color=BLUE, alpha=0.6, label="found")
    x = np.linspace(-REACH, REACH, 200)
    density = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    axes.plot(x, density, color=ORANGE, linewidth=1.8, label="if calibrated")
    within = [100 * np.mean(np.abs(errors) <= k) for k in (1, 2)]
    axes.set_xlabel(
        "(found − predicted) / std\n"
        f"{within[0]:.0f} % within ±1, {within[1]:.0f} % within ±2\n"
        "(68 % and 95 % if calibrated)",
        fontsize=9,
    )
    axes.set_ylabel("density")
    if (np.abs(errors) > REACH).any():
        axes.set_xticks([-5, -2.5, 0, 2.5, 5], ["≤ −5", "−2.5", "0", "2.5", "≥ 5"])
    legend_above(axes)
