"""What all figures look alike in: colours, sizes, legends, titles, the colours of results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from .. import analysis
from ..errors import PhsError
from ..log import Source
from ..store import Snapshot

# Okabe and Ito's colours, which people with colour-blindness can tell apart.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "#555555"

#: Results over a wider range than this get a logarithmic axis.
LOG_SPAN = 1000.0
#: So do predictions, which also matter where they are low, over a wider range than this.
LOG_RATIO = 5.0
#: A horizontal axis over a wider range than this has labels for its decades only.
CROWDED = 30.0
#: Inches; letters stay legible when a figure is shrunk to a column of 3.5 inches.
WIDTH, HEIGHT = 5.4, 3.7
SMALL = 8.5


class NothingToDraw(PhsError):
    """A results file holds too little, or nothing of the kind, for a figure."""


class Look(NamedTuple):
    """How sets of some sources are told apart: by marker, and where it is free, by colour."""

    sources: tuple[Source, ...]
    label: str
    marker: str
    colour: str
    filled: bool


#: First those that were not searched for.
LOOKS = (
    Look((Source.EXPLICIT, Source.GRID, Source.RANDOM, Source.CHOICE), "drawn", "o", BLUE, True),
    Look((Source.SOBOL,), "Sobol, before any result", "+", GREEN, False),
    Look((Source.BAYESIAN,), "Bayesian", "x", VERMILION, False),
)


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, laid out so that nothing overlaps."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    bare(axes)
    return figure, axes


def bare(axes: Axes) -> None:
    """Take away the lines that say nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def legend_above(axes: Axes, columns: int | None = None) -> Legend:
    """A legend between title and axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    columns = columns or max(1, len(labels))
    legend = axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        handletextpad=0.4,
        columnspacing=1.1,
        borderaxespad=0.1,
        markerscale=0.9,
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):  # a source has a marker, and no one colour
            handle.set_array(None)
            handle.set_color(GREY)
    rows = -(-len(labels) // columns)
    axes.set_title(axes.get_title(), fontsize=10, pad=8 + 14 * rows)
    return legend


def target(snapshot: Snapshot) -> str:
    """Name of the target, as far as a title has room for it."""
    return shortened(str(snapshot.definition.get("target", snapshot.path.stem)), 24)


def title(snapshot: Snapshot) -> str:
    """The target, and the best result with its set."""
    name = target(snapshot)
    index = analysis.best(snapshot)
    if index is None:
        return name
    return f"{name}: best {analysis.results(snapshot)[index]:.6g} (set {index})"


def plain_decades(axis: Axis) -> None:
    """Numbers as 0.2, 0.5, 1 on a logarithmic axis that does not reach over many decades."""
    low, high = sorted(axis.get_view_interval())
    if low <= 0 or high / low > LOG_SPAN:
        return
    # Side by side, the labels of two decades touch.
    crowded = isinstance(axis, XAxis) and high / low > CROWDED
    axis.set_major_locator(LogLocator(subs=(1.0,) if crowded else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def spans_decades(found: np.ndarray) -> bool:
    """Whether results ask for a logarithmic scale."""
    found = found[np.isfinite(found)]
    if not len(found) or found.min() <= 0:
        return False
    return bool(found.max() / found.min() > LOG_SPAN)


class Colours(NamedTuple):
    """From results to colours: the best are the darkest.

    Attributes
    ----------
    norm : Normalize
    cmap : Colormap
    extend : {"neither", "min", "max"}
        Where results lie beyond the range of the colours.
    """

    norm: Normalize
    cmap: Colormap
    extend: str

    @property
    def log(self) -> bool:
        """Whether they follow the logarithm of the result."""
        return isinstance(self.norm, LogNorm)

    @classmethod
    def of(cls, found: np.ndarray, maximize: bool) -> Colours:
        """The colours for these results; NaN do not count."""
        found = found[np.isfinite(found)]
        # The pale end of viridis cannot be seen on white.
        shades = colormaps["viridis"](np.linspace(0.0, 0.93, 256))
        cmap = ListedColormap(shades[::-1] if maximize else shades, "results")
        low, high = float(found.min()), float(found.max())
        if low == high:
            room = abs(low) / 20 or 0.5
            return cls(Normalize(low - room, high + room), cmap, "neither")
        # A few wild results must not leave one colour for all others.
        best, edge, worst = high, float(np.quantile(found, 0.1)), low
        if not maximize:
            best, edge, worst = low, float(np.quantile(found, 0.9)), high
        if spans_decades(np.array([best, edge])):
            return cls(LogNorm(low, high), cmap, "neither")
        if abs(worst - edge) > abs(edge - best) > 0:
            if maximize:
                return cls(Normalize(edge, best), cmap, "min")
            return cls(Normalize(best, edge), cmap, "max")
        return cls(Normalize(low, high), cmap, "neither")


def quality_order(found: np.ndarray, maximize: bool) -> np.ndarray:
    """Numbers of the results from worst to best, NaN left out: to be drawn in this order."""
    order = np.argsort(-found if not maximize else found, kind="stable")
    return order[np.isfinite(found[order])]


def shortened(text: str, limit: int = 14) -> str:
    """One line that fits beside an axis.

    >>> shortened("a_very_long_category_name")
    'a_very_long_c…'
    """
    text = " ".join(text.split()) or "''"
    return literally(text if len(text) <= limit else text[: limit - 1] + "…")


def literally(text: str) -> str:
    """The text for matplotlib, to which two dollars mean mathematics and a first _ nothing."""
    return ("\u200a" if text.startswith("_") else "") + text.replace("$", r"\$")


def listing(names: Iterable[str]) -> str:
    """
    >>> listing(["x", "y"])
    "'x', 'y'"
    """
    return ", ".join(map(repr, names))
