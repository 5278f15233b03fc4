"""Which parameters matter: what a forest loses when it does not know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..store import Snapshot
from .data import chosen, need_different, parameter_axes, sets_with_results
from .style import BLUE, GREY, WIDTH, NothingToDraw, new_figure, target

#: Results below which a forest, tested on a fifth of them, learns nothing that can be shown.
LEAST = 15
#: Results beyond these are left out, evenly: 2,000 say which parameters matter.
MOST = 2000
FOLDS, SHUFFLES, TREES = 5, 10, 60


class Importance(NamedTuple):
    """What shuffling one parameter costs; arrays of shape (parameters,).

    Attributes
    ----------
    names : list of str
        By falling importance.
    mean, low, high : ndarray
        Loss of explained variance (of 1), and the interval that holds 90 % of the losses over
        folds and shuffles.
    explained : float
        Share of the variance of unseen results that the forest explains.
    """

    names: list[str]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    explained: float


def importance_of(snapshot: Snapshot, parameters: Sequence[str] | None = None) -> Importance:
    """Permutation importance of the parameters that vary.

    A random forest is grown on four fifths of the sets and tested on the last fifth, in turn. A
    parameter matters as much as the forest is worse where its values are shuffled. Results are
    standardised as for the surrogate, so that a few huge ones do not decide alone.

    Parameters
    ----------
    snapshot : Snapshot
    parameters : sequence of str, optional
        Those to show; the forest knows all.

    References
    ----------
    Breiman 2001, Mach. Learn. 45, 5, section 10.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    from ..search.outputs import Standardisation

    data = sets_with_results(snapshot, "importance", least=LEAST)
    need_different(data.found, snapshot, "importance")
    names = chosen(snapshot, parameters)
    known = np.flatnonzero(data.seen)
    if len(known) > MOST:
        known = known[np.linspace(0, len(known) - 1, MOST).astype(int)]
    varying = [a for a in parameter_axes(snapshot, list(snapshot.types), known) if a.varies]
    shown = [k for k, axis in enumerate(varying) if axis.name in names]
    if not shown:
        raise NothingToDraw(f"{snapshot.path} has nothing for importance: no parameter varies")
    # Ranks: to a tree they are all the same, and no value is too large.
    ranks = [np.unique(axis.place, return_inverse=True)[1] for axis in varying]
    X = np.stack(ranks, axis=1).astype(float)
    y = Standardisation.of(data.found[known]).forward(data.found[known])
    losses, explained = [], []
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(X):
        forest = RandomForestRegressor(TREES, max_features=0.5, random_state=0, n_jobs=1)
        forest.fit(X[train], y[train])
        explained.append(forest.score(X[test], y[test]))
        losses.append(
            permutation_importance(
                forest, X[test], y[test], n_repeats=SHUFFLES, random_state=0
            ).importances
        )
    loss = np.concatenate(losses, axis=1)[shown]
    order = np.argsort(-loss.mean(axis=1), kind="stable")
    low, high = np.quantile(loss, [0.05, 0.95], axis=1)
    return Importance(
        [varying[shown[k]].name for k in order],
        loss.mean(axis=1)[order],
        low[order],
        high[order],
        float(np.mean(explained)),
    )


def importance(snapshot: Snapshot, parameters: Sequence[str] | None = None) -> Figure:
    """How much each parameter matters to the result, with intervals.

    Parameters
    ----------
    snapshot : Snapshot
    parameters : sequence of str, optional
        Those to show; default: all.
    """
    data = importance_of(snapshot, parameters)
    count = len(data.names)
    figure, axes = new_figure(WIDTH, 1.5 + 0.3 * count)
    rows = np.arange(count)
    axes.barh(rows, np.maximum(data.mean, 0.0), height=0.62, color=BLUE, alpha=0.8)
    axes.hlines(
        rows,
        data.low,
        data.high,
        color="black",
        linewidth=1.4,
        label=f"90 % of {FOLDS * SHUFFLES} shuffles",
    )
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(rows, data.names)
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("loss of explained variance when shuffled")
    axes.legend(loc="lower right", fontsize=8.5, frameon=False)
    name = target(snapshot)
    worth = f"a forest explains {100 * max(data.explained, 0.0):.0f} % of the variance"
    if data.explained < 0.1:
        worth = worth.removesuffix(" of the variance") + ", too little to tell"
    figure.suptitle(f"{name}: {worth}", fontsize=10)
    return figure
