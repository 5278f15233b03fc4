"""Forests of regression trees as surrogates, for many categories and for jumps.

References
----------
Breiman 2001, Mach. Learn. 45, 5: random forests. Geurts, Ernst and Wehenkel 2006, Mach. Learn. 63,
3: extremely randomised trees. Hutter, Hoos and Leyton-Brown 2011, LION 5, 507: forests with
expected improvement (SMAC).
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

from phs_mpi.encoding import Space
from phs_mpi.search.acquisition import CAUTION, POINTWISE, Feasibility
from phs_mpi.search.maximiser import maximise_without_gradient
from phs_mpi.search.outputs import Standardisation
from phs_mpi.search.surrogate import Surrogate, held

FORESTS = {"random_forest": RandomForestRegressor, "extra_trees": ExtraTreesRegressor}
TREES = 100
#: Results that a forest is grown from, at most: a proposal grows one and must stay quick.
HELD = 1000
#: Smallest standard deviation, standardised units: trees often agree to the last bit.
MIN_STD = 1e-4


class Forest:
    """Trees grown from results; each is a draw of what the function may be.

    Parameters
    ----------
    kind : {"random_forest", "extra_trees"}
    X : ndarray of shape (n, D)
    y : ndarray of shape (n,)
        Standardised results.
    seed : int
        Of the trees' randomness.
    """

    def __init__(self, kind: str, X: np.ndarray, y: np.ndarray, seed: int):
        # Half the columns at each split: trees that may always split the best column are alike.
        forest = FORESTS[kind](TREES, max_features=0.5, random_state=seed, n_jobs=1)
        self.trees = [tree.tree_ for tree in forest.fit(_single(X), y).estimators_]

    def values(self, X: np.ndarray) -> np.ndarray:
        """Value of each tree at points of shape (m, D); of shape (TREES, m)."""
        points = _single(X)
        return np.array([tree.predict(points)[:, 0] for tree in self.trees])

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the trees, each of shape (m,)."""
        values = self.values(X)
        return values.mean(axis=0), np.maximum(values.std(axis=0), MIN_STD)


def _single(X: np.ndarray) -> np.ndarray:
    # What scikit-learn's trees work with, and would convert to themselves at each call.
    return np.ascontiguousarray(X, dtype=np.float32)


class Tree:
    """Minus one tree, drawn by chance, plus CAUTION times the log feasibility if there is one.

    Thompson sampling, with the trees of a forest for draws from the posterior.
    """

    def __init__(
        self, forest: Forest, rng: np.random.Generator, feasibility: Feasibility | None = None
    ):
        self.tree = forest.trees[int(rng.integers(len(forest.trees)))]
        self.feasibility = feasibility

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Values, of shape (m,), at points of shape (m, D)."""
        value = -self.tree.predict(_single(X))[:, 0]
        return value if self.feasibility is None else value + CAUTION * self.feasibility(X)


class ForestModel(Surrogate):
    """Forest and acquisition for one space; grown anew for each proposal.

    Parameters
    ----------
    space : Space
    maximize : bool
    method : str
        Name of the acquisition function.
    kind : {"random_forest", "extra_trees"}
    """

    def __init__(self, space: Space, maximize: bool, method: str, kind: str):
        super().__init__(space, maximize, method)
        self.kind = kind

    def update(
        self,
        X: np.ndarray,
        results: np.ndarray,
        pending: np.ndarray,
        rng: np.random.Generator | None = None,
        repeats: np.ndarray | None = None,
    ) -> None:
        assert rng is not None
        self.known = np.vstack([X, pending])
        good = np.isfinite(results)
        failed = X[~good]
        X, results = X[good], results[good]
        rows = held(-results if self.maximize else results, HELD)
        self.X = X[rows]
        self.standardisation = Standardisation.of(results[rows], self.maximize)
        y = self.standardisation.forward(results[rows])
        seed = int(rng.integers(2**31))
        self.forest = Forest(self.kind, self.X, y, seed)
        if len(pending):
            # Kriging believer: what is pending counts as evaluated, with the predicted result.
            believed = self.forest.predict(pending)[0]
            self.forest = Forest(
                self.kind, np.vstack([self.X, pending]), np.append(y, believed), seed
            )
        self.fitted = self.forest.predict(self.X)[0]
        feasibility = self.feasibility(failed)
        if self.method == "ts":
            self.acquisition = Tree(self.forest, rng, feasibility)
        else:
            best = float(self.fitted.min())
            if len(pending):
                best = min(best, float(self.forest.predict(pending)[0].min()))
            self.acquisition = POINTWISE[self.method](self.forest, best, feasibility)

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.forest.predict(X)

    def maximise(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return maximise_without_gradient(self.acquisition, self.space, candidates)
