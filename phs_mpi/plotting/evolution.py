"""The course of a search: results over the index of the set (figure 1 of the paper)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import analysis
from ..store import Snapshot
from .data import sets_with_results
from .style import GREY, LOOKS, PURPLE, legend_above, new_figure, spans_decades, title


def evolution(snapshot: Snapshot) -> Figure:
    """Result over set index, by source, with the best so far (figure 1 of the paper).

    Failed evaluations are ticks at the bottom. With repeats, bars are standard errors.
    """
    data = sets_with_results(snapshot, "evolution")
    found, count = data.found, len(data.found)
    figure, axes = new_figure()
    index = np.arange(count)
    size = float(np.clip(110 / np.sqrt(count), 1.8, 6.0))
    for look in LOOKS:
        here = data.seen & np.isin(data.source, look.sources)
        if here.any():
            repeated = here & np.isfinite(data.error)
            if repeated.any():
                axes.errorbar(
                    index[repeated],
                    found[repeated],
                    data.error[repeated],
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
    failed = np.flatnonzero(data.failed)
    if len(failed):
        # In units of the axes' height: failures have no result to be drawn at.
        axes.vlines(
            failed,
            0,
            0.03,
            transform=axes.get_xaxis_transform(),
            color=PURPLE,
            linewidth=float(np.clip(120 / len(failed), 0.3, 1.2)),
            label=f"failed ({len(failed)})",
        )
        axes.margins(y=0.09)  # the ticks stand below all results
    if spans_decades(found):
        axes.set_yscale("log")
    axes.set_xlabel("parameter set")
    axes.set_ylabel("result")
    axes.set_xlim(-0.02 * count - 0.5, 1.02 * count - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_title(title(snapshot))
    legend_above(axes)
    return figure
