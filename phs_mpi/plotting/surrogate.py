"""What the search believes: slices of its surrogate, and where it would look next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import analysis
from ..encoding import Dimension, Space
from ..errors import PhsError
from ..explaining import experiment_of
from ..store import Snapshot
from .data import chosen, drawable, need_different, rows, sets_with_results
from .style import (
    BLUE,
    GREEN,
    LOG_RATIO,
    VERMILION,
    WIDTH,
    NothingToDraw,
    bare,
    listing,
    plain_decades,
    shortened,
    title,
)

#: Points along a slice of a continuous parameter.
ALONG = 160
_COLUMNS = 3


class Slice(NamedTuple):
    """The surrogate along one parameter, all others as in the best set; shape (m,) each.

    Attributes
    ----------
    dimension : Dimension
    values : list
        Of the parameter.
    mean, low, high : ndarray
        Predicted result, and that one standard deviation to either side.
    improvement : ndarray
        Expected improvement, standardised units.
    best : object
        Value in the best set.
    """

    dimension: Dimension
    values: list[Any]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    improvement: np.ndarray
    best: Any


def slices_of(snapshot: Snapshot, parameters: Sequence[str] | None = None) -> list[Slice]:
    """The surrogate along each searched parameter through the best set.

    It is fitted to all results of the file, as for a next proposal.
    """
    from ..search.history import search_space
    from ..search.model import Model, one_thread

    data = sets_with_results(snapshot, "slices", least=2)
    need_different(data.found, snapshot, "slices")
    names = chosen(snapshot, parameters)
    experiment = experiment_of(snapshot)
    table = experiment.table()
    best = analysis.best(snapshot)
    assert best is not None
    searched = [k for k, group in enumerate(table.groups) if group.bayesian]
    if not searched:
        raise NothingToDraw(
            f"{snapshot.path} has nothing for slices: no parameter is Bayesian, so there is no "
            "surrogate to cut"
        )
    own = int(table.group_of[best])
    space = search_space(experiment, table, own if own in searched else searched[-1])
    assert space is not None
    free = [d for d in space.free_dimensions if d.count != 1]
    cut = [d for d in free if d.name in names]
    if not cut:
        raise PhsError(
            f"slices are along Bayesian parameters, and {listing(names)} are none",
            remedy=f"choose of {listing(d.name for d in free)}",
        )
    known = np.flatnonzero(data.seen | data.failed)
    values = rows(snapshot, known)
    base = space.encode([values[int(np.flatnonzero(known == best)[0])]])[0]
    with one_thread():
        model: Any
        surrogate = experiment.surrogate
        if surrogate == "gp":
            model = Model(space, experiment.maximize)
        else:
            from ..search.forest import ForestModel

            model = ForestModel(space, experiment.maximize, "logei", surrogate)
        rng = np.random.default_rng(experiment.seed)
        model.update(
            space.encode(values),
            data.found[known],
            np.empty((0, space.width)),
            rng,
            _repeats(snapshot)[known],
        )
        at_best = snapshot.values(best)
        return [_cut(model, space, base, d, at_best[d.name]) for d in cut]


def _repeats(snapshot: Snapshot) -> np.ndarray:
    """Number of successful repeats of each set and their variance, shape (sets, 2)."""
    count = analysis.by_set(snapshot, snapshot.done).sum(axis=1)
    return np.column_stack([count, analysis.standard_errors(snapshot) ** 2 * count])


def _cut(model: Any, space: Space, base: np.ndarray, d: Dimension, best: Any) -> Slice:
    column = space.columns[d.name]
    count = d.count
    if d.kind == "categorical":
        values: list[Any] = list(d.categories)
    elif count is not None and count <= ALONG:
        values = [d.multiple(k) for k in range(d.grid[0], d.grid[1] + 1)]
    else:
        X = np.tile(base, (ALONG, 1))
        X[:, column.start] = np.linspace(0.0, 1.0, ALONG)
        values = list(dict.fromkeys(space.decode(x)[d.name] for x in space.snap(X)))
    one = Space([d])
    X = np.tile(base, (len(values), 1))
    X[:, column] = one.encode([{d.name: value} for value in values])
    mean, std = model.predict(X)

    def backward(outputs: np.ndarray) -> np.ndarray:
        return drawable(model.standardisation.backward(outputs))

    ends = np.sort([backward(mean - std), backward(mean + std)], axis=0)
    improvement = np.exp(np.maximum(model.acquisition(X), -700.0))
    return Slice(d, values, backward(mean), ends[0], ends[1], improvement, best)


def slices(snapshot: Snapshot, parameters: Sequence[str] | None = None) -> Figure:
    """Predicted result and expected improvement along each parameter, through the best set.

    Parameters
    ----------
    snapshot : Snapshot
    parameters : sequence of str, optional
        Names of Bayesian parameters; default: all.
    """
    cuts = slices_of(snapshot, parameters)
    columns = min(_COLUMNS, len(cuts))
    lines = -(-len(cuts) // columns)
    height = 0.9 + 2.15 * lines + (0.8 if lines == 1 else 0)
    figure = Figure(figsize=(WIDTH * 1.15, height), layout="constrained")
    ratios = [3.0, 1.0] * lines
    grid = figure.subplots(2 * lines, columns, squeeze=False, height_ratios=ratios)
    most = max(float(c.improvement.max()) for c in cuts) or 1.0
    result = float(drawable(analysis.results(snapshot))[analysis.best(snapshot)])
    scale, ends = _range(cuts, result)
    for k in range(lines * columns):
        line, column = divmod(k, columns)
        above, below = grid[2 * line][column], grid[2 * line + 1][column]
        if k >= len(cuts):
            above.remove()
            below.remove()
            continue
        bare(above)
        bare(below)
        _draw_slice(above, below, cuts[k], result, most)
        above.set_yscale(scale)
        above.set_ylim(ends)
        if scale == "log":
            plain_decades(above.yaxis)
        below.set_ylim(0, 1.1)
        if column:
            above.tick_params(labelleft=False, which="both")
            below.tick_params(labelleft=False)
        else:
            above.set_ylabel("result")
            below.set_ylabel("EI")
    handles, labels = grid[0][0].get_legend_handles_labels()
    more, names = grid[1][0].get_legend_handles_labels()
    figure.legend(
        handles + more,
        labels + names,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=8.5,
    )
    figure.align_xlabels()
    figure.suptitle(title(snapshot), fontsize=10)
    return figure


def _range(cuts: Sequence[Slice], result: float) -> tuple[str, tuple[float, float]]:
    """Scale and ends for all slices: their means decide, deviations may reach beyond.

    What matters little through the best set would look like nothing at all beside what matters
    much; a logarithm shows both.
    """
    means = np.append(np.concatenate([cut.mean for cut in cuts]), result)
    low, high = float(means.min()), float(means.max())
    if low > 0 and high / low > LOG_RATIO:
        return "log", (low / (high / low) ** 0.08, high * (high / low) ** 0.08)
    deviation = max(float(np.median(cut.high - cut.low)) for cut in cuts)
    room = 0.08 * (high - low) + min(deviation, 0.5 * (high - low)) or 0.05 * abs(low) or 1.0
    return "linear", (low - room, high + room)


def _draw_slice(above: Axes, below: Axes, cut: Slice, result: float, most: float) -> None:
    d = cut.dimension
    share = cut.improvement / most
    if d.kind == "categorical":
        x: Any = np.arange(len(cut.values))
        best = cut.values.index(cut.best) if cut.best in cut.values else np.nan
    else:
        x = np.array(cut.values, float)
        best = float(cut.best)
    apart = d.kind == "categorical" or len(x) <= 40
    if apart:
        above.errorbar(
            x,
            cut.mean,
            [cut.mean - cut.low, cut.high - cut.mean],
            fmt="o",
            color=BLUE,
            markersize=4,
            capsize=2.5,
            linewidth=1.2,
            label="predicted mean ± std",
        )
        below.vlines(x, 0, share, color=GREEN, linewidth=3)
        below.plot(
            x, share, "o", color=GREEN, markersize=3, label="expected improvement, highest = 1"
        )
    else:
        above.fill_between(x, cut.low, cut.high, color=BLUE, alpha=0.22, linewidth=0)
        above.plot(x, cut.mean, color=BLUE, linewidth=1.5, label="predicted mean ± std")
        below.fill_between(
            x,
            0,
            share,
            color=GREEN,
            alpha=0.5,
            linewidth=0.8,
            label="expected improvement, highest = 1",
        )
    above.axvline(best, color=VERMILION, linewidth=0.9, linestyle="--")
    above.plot(
        [best],
        [result],
        "o",
        markersize=8,
        markerfacecolor="none",
        zorder=4,
        markeredgecolor=VERMILION,
        markeredgewidth=1.6,
        label="best set",
    )
    for axes in (above, below):
        if d.kind == "categorical":
            axes.set_xticks(x, [shortened(str(v), 9) for v in cut.values], fontsize=8)
            axes.set_xlim(-0.5, len(x) - 0.5)
            if sum(len(str(v)) for v in cut.values) > 22:
                axes.tick_params(axis="x", rotation=25)
        elif d.log:
            axes.set_xscale("log")
    above.tick_params(labelbottom=False)
    below.set_yticks([0, 1])
    below.set_xlabel(d.name)
