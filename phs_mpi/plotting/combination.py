"""All parameters at once: parallel coordinates (figure 3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator

from ..errors import PhsError
from ..store import Snapshot
from .data import LABELS, ParameterAxis, chosen, parameter_axes, sets_with_results
from .style import (
    HEIGHT,
    VERMILION,
    WIDTH,
    Colours,
    legend_above,
    new_figure,
    quality_order,
    shortened,
    title,
)

#: Lines beyond so many are drawn for the better half, and evenly from the rest.
MOST_LINES = 1000
#: So many of the best sets are drawn strongly.
STANDING_OUT = 25


def combination(snapshot: Snapshot, parameters: Sequence[str] | None = None) -> Figure:
    """One axis a parameter; each set is a line, coloured by its result (figure 3 of the paper).

    The best sets are drawn last, the best of all thick.

    Parameters
    ----------
    snapshot : Snapshot
    parameters : sequence of str, optional
        Names, in the order of the axes; default: all that vary.
    """
    data = sets_with_results(snapshot, "combination")
    names = chosen(snapshot, parameters)
    if parameters is None:
        seen = np.flatnonzero(data.seen)
        varying = [axis.name for axis in parameter_axes(snapshot, names, seen) if axis.varies]
        names = varying if len(varying) > 1 else names
    if len(names) < 2:
        raise PhsError(f"combination shows two parameters or more, and there is {names[0]!r} alone")
    order = quality_order(data.found, snapshot.maximize)
    if len(order) > MOST_LINES:
        worse = order[: -MOST_LINES // 2]
        even = np.linspace(0, len(worse) - 1, MOST_LINES // 2).astype(int)
        order = np.concatenate([worse[even], order[-MOST_LINES // 2 :]])
    axes_of = parameter_axes(snapshot, names, order)
    heights = np.stack([_heights(axis, order) for axis in axes_of], axis=1)
    figure, axes = new_figure(max(WIDTH, 1.6 + 0.72 * len(names)), HEIGHT)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    colours = Colours.of(data.found, snapshot.maximize)
    across = np.broadcast_to(np.arange(len(names)), heights.shape)
    lines = np.stack([across, heights], axis=2)
    count = len(order)
    shades = colours.cmap(colours.norm(data.found[order]))
    # A few dozen lines stand out: what good sets have in common must show, however many bad ones
    # there are.
    standing = np.exp(-np.arange(count)[::-1] / STANDING_OUT)
    faintest = float(np.clip(14 / count**0.7, 0.04, 0.7))
    shades[:, 3] = faintest + (0.9 - faintest) * standing
    axes.add_collection(
        LineCollection(list(lines), colors=shades, linewidths=0.6 + 0.5 * standing, label="_sets")
    )
    (best,) = axes.plot(
        across[-1], heights[-1], "o-", color=VERMILION, linewidth=2, markersize=4, label="best"
    )
    best.set_path_effects([withStroke(linewidth=3.4, foreground="white")])
    _scales(axes, axes_of)
    # The same room at the ends, in inches, however many axes there are.
    inch = (len(names) - 1) / (figure.get_figwidth() - 1.9)
    axes.set_xlim(-0.15 * inch, len(names) - 1 + 0.5 * inch)
    bar = ScalarMappable(colours.norm, colours.cmap)
    figure.colorbar(bar, ax=axes, label="result", extend=colours.extend, pad=0.02)
    axes.set_title(title(snapshot))
    legend_above(axes)
    return figure


def _heights(axis: ParameterAxis, indices: np.ndarray) -> np.ndarray:
    """Heights in [0, 1]; categories side by side in a band of their own."""
    if axis.labels:
        place = axis.jittered(indices, 0.1)
        place[-1] = axis.place[-1]  # the best set, drawn last, is where its category is
        return (place + 0.5) / len(axis.labels)
    low, high = _ends(axis)
    return (axis.even - low) / (high - low)


def _ends(axis: ParameterAxis) -> tuple[float, float]:
    even = axis.even[np.isfinite(axis.even)]
    if not len(even):
        return 0.0, 1.0
    low, high = float(even.min()), float(even.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _scales(axes: Axes, axes_of: Sequence[ParameterAxis]) -> None:
    """A vertical line with a few values for each parameter."""
    halo = [withStroke(linewidth=2.5, foreground="white", alpha=0.85)]
    for k, axis in enumerate(axes_of):
        axes.axvline(k, color="#333333", linewidth=0.9, zorder=3)
        heights, texts = zip(*_ticks(axis), strict=True)
        axes.plot([k] * len(heights), heights, "_", color="#333333", markersize=6, zorder=3)
        for height, text in zip(heights, texts, strict=True):
            axes.annotate(
                text,
                (k, height),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
                zorder=6,
                path_effects=halo,
            )
    names = [axis.name for axis in axes_of]
    turned = max(map(len, names)) > 9
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=25 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor",
    )
    axes.tick_params(axis="x", length=0, pad=6)
    axes.set_yticks([])
    axes.set_ylim(-0.04, 1.04)


def _ticks(axis: ParameterAxis) -> list[tuple[float, str]]:
    if axis.labels:
        every = -(-len(axis.labels) // LABELS)
        return [
            ((k + 0.5) / len(axis.labels), shortened(axis.labels[k], 9))
            for k in range(0, len(axis.labels), every)
        ]
    low, high = _ends(axis)
    if not axis.varies:
        return [(0.5, f"{value:.4g}") for value in np.unique(axis.place[np.isfinite(axis.place)])]
    if axis.ticks:
        values = np.asarray(axis.ticks)
        places = np.log10(values)
    elif axis.log:
        values = np.asarray(LogLocator(numticks=6).tick_values(10.0**low, 10.0**high))
        if np.sum((values >= 10.0**low) & (values <= 10.0**high)) < 3:
            finer = LogLocator(subs=(1.0, 2.0, 5.0), numticks=9)
            values = np.asarray(finer.tick_values(10.0**low, 10.0**high))
        places = np.log10(values)
    else:
        whole = np.array_equal(axis.place, np.rint(axis.place))
        values = np.asarray(MaxNLocator(5, integer=whole).tick_values(low, high))
        places = values
    slack = 1e-9 * (high - low)
    return [
        ((place - low) / (high - low), f"{value:.4g}")
        for place, value in zip(places.tolist(), values.tolist(), strict=True)
        if low - slack <= place <= high + slack
    ]
