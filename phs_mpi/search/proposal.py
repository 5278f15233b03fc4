"""Where to evaluate next: a pure function of what is known and of (seed, index).

Whatever process computes it, a proposal is the same to the last bit: linear algebra runs on one
thread, hyperparameters depend on a prefix of the results alone, and an `Engine` that remembers
earlier work repeats the very operations a new one would do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from phs_mpi.encoding import Space
from phs_mpi.errors import DefinitionError, PhsError
from phs_mpi.log import Source
from phs_mpi.search import sobol
from phs_mpi.strategies.bayesian import ACQUISITIONS, SURROGATES
from phs_mpi.strategies.checks import one_of

if TYPE_CHECKING:
    from phs_mpi.search.surrogate import Surrogate

#: Successful results below which there is nothing to model.
MIN_RESULTS = 2
#: Free points up to which a finite space is scored completely.
ENUMERABLE = 2048
#: Candidates of the Sobol cover, and near each incumbent.
COVER, NEAR = 512, 32
INCUMBENTS = 4
#: Runners-up are at least so far from each other, in widths of the bounds.
APART = 1e-2
#: Purpose of a random generator, part of its key.
CANDIDATES, UNSEEN, DRAWS = 101, 102, 103


class SpaceExhausted(PhsError):
    """Every point of a finite space has been evaluated or is being evaluated."""


@dataclass(frozen=True)
class Suggestion:
    """A proposed point.

    Attributes
    ----------
    values : dict of str to object
        Of the free dimensions.
    source : Source
        SOBOL or BAYESIAN.
    mean, std : float
        Prediction of the result, in units of the result; NaN without a surrogate.
    acquisition : float
        Value of the acquisition function (log expected improvement unless another was asked
        for), standardised units; NaN without a surrogate.
    """

    values: dict[str, Any]
    source: Source
    mean: float = math.nan
    std: float = math.nan
    acquisition: float = math.nan


def propose(
    space: Space,
    *,
    seed: int,
    index: int,
    evaluated: Sequence[Mapping[str, Any]],
    results: np.ndarray,
    pending: Sequence[Mapping[str, Any]] = (),
    given: Mapping[str, Any] | None = None,
    repeats: np.ndarray | None = None,
    maximize: bool = False,
    acquisition: str = "logei",
    surrogate: str = "gp",
) -> Suggestion:
    """Propose the free values of one parameter set.

    Parameters
    ----------
    space : Space
    seed : int
        Of the experiment.
    index : int
        Of the parameter set; together with `seed` the key of all randomness.
    evaluated : sequence of mapping
        Values of all dimensions, in the order of the log.
    results : ndarray of shape (n,)
        NaN where the evaluation failed.
    pending : sequence of mapping
        Sets that are being evaluated.
    given : mapping, optional
        Values of the dimensions that are not free.
    repeats : ndarray of shape (n, 2), optional
        Number of successful evaluations that each result is the mean of, and their unbiased
        variance, NaN where there was only one.
    maximize : bool
        Whether high results are good.
    acquisition : {"logei", "ei", "ucb", "pi", "ts"}
        What is best to evaluate next; "ts" is Thompson sampling.
    surrogate : {"gp", "random_forest", "extra_trees"}
        What predicts results.

    Returns
    -------
    Suggestion

    Raises
    ------
    SpaceExhausted
        If a finite space has no point left that is neither evaluated nor pending.
    DefinitionError
        If no dimension is free, a given value is missing, there is not one result per set, or
        an acquisition function or surrogate is unknown.
    """
    engine = Engine(
        space, seed=seed, maximize=maximize, acquisition=acquisition, surrogate=surrogate
    )
    return engine.propose(
        index=index,
        evaluated=evaluated,
        results=results,
        pending=pending,
        given=given,
        repeats=repeats,
    )


class Engine:
    """Proposals for one space, with memory: quicker than `propose`, the same to the last bit.

    Rows handed over as `evaluated` must not be changed afterwards.

    Parameters
    ----------
    space : Space
    seed : int
    maximize : bool
    acquisition, surrogate : str
        See `propose`.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        maximize: bool = False,
        acquisition: str = "logei",
        surrogate: str = "gp",
    ):
        self.space = space
        self.seed = seed
        self.maximize = maximize
        self.acquisition = one_of("acquisition", acquisition, ACQUISITIONS)
        self.surrogate = one_of("surrogate", surrogate, SURROGATES)
        if not space.free_dimensions:
            raise DefinitionError(
                "the search is free to choose nothing",
                value=space.dimensions,
                remedy="make at least one dimension free",
            )
        self._forget()

    def _forget(self) -> None:
        self._rows: list[Mapping[str, Any]] = []
        self._X = np.empty((0, self.space.width))
        self._keys: set[bytes] = set()
        self._model: Surrogate | None = None
        self._ranking: tuple[np.ndarray, np.ndarray] | None = None

    def propose(
        self,
        *,
        index: int,
        evaluated: Sequence[Mapping[str, Any]],
        results: np.ndarray,
        pending: Sequence[Mapping[str, Any]] = (),
        given: Mapping[str, Any] | None = None,
        repeats: np.ndarray | None = None,
    ) -> Suggestion:
        """See `propose`."""
        space = self.space
        results = np.asarray(results, dtype=float)
        if results.shape != (len(evaluated),):
            raise DefinitionError(
                f"{len(evaluated)} evaluated sets have results of shape {results.shape}",
                value=results.shape,
                remedy="give one result for each set, NaN where it failed",
            )
        base = self._base(given or {})
        self._read(evaluated)
        X_pending = space.encode(pending)
        seen = Seen(self._keys, {row.tobytes() for row in X_pending + 0.0})
        finite = np.isfinite(results)
        self._ranking = None
        if int(finite.sum()) < MIN_RESULTS or space.size == 1:
            return self._sobol(index, base, seen)
        # Imported late: a worker that only draws Sobol points is spared scipy.
        from phs_mpi.search.model import one_thread

        with one_thread():
            if self._model is None:
                self._model = self._new_model()
            model = self._model
            model.update(self._X, results, X_pending, self._generator(DRAWS, index), repeats)
            if space.size is not None and space.size <= ENUMERABLE:
                points, values = model.rank(space.enumerate(np.arange(space.size), base))
                useful = (k for k, x in enumerate(points) if x not in seen)
            else:
                rng = self._generator(CANDIDATES, index)
                points, values = model.maximise(self._candidates(rng, base, model))
                useful = (
                    k for k, x in enumerate(points) if x not in seen and not model.indistinct(x)
                )
            self._ranking = points, values
            place = next(useful, None)
            if place is None:
                x = self._unseen(index, base, seen)
                value = float(model.rank(x[None])[1][0])
            else:
                x, value = points[place], float(values[place])
            mean, std = model.prediction(x)
        return Suggestion(space.decode(x), Source.BAYESIAN, mean, std, value)

    @property
    def lengthscales(self) -> dict[str, float]:
        """Of the latest model, by dimension, in widths of its bounds; empty without a model."""
        if self._ranking is None or self._model is None:
            return {}
        names = [dimension.name for dimension in self.space.dimensions]
        return dict(zip(names, self._model.lengthscales.tolist(), strict=True))

    def runners_up(self, chosen: Mapping[str, Any], count: int) -> list[Suggestion]:
        """The best other points of the latest proposal, no two of them at the same place.

        Parameters
        ----------
        chosen : mapping of str to object
            Values of all dimensions of the set that was proposed.
        count : int
            How many, at most.
        """
        if self._ranking is None or self._model is None:
            return []
        from phs_mpi.search.model import one_thread

        taken = [self.space.encode([chosen])[0]]
        found: list[Suggestion] = []
        with one_thread():
            for x, value in zip(*self._ranking, strict=True):
                if len(found) == count:
                    break
                if min(float(np.abs(x - other).max()) for other in taken) < APART:
                    continue
                taken.append(x)
                mean, std = self._model.prediction(x)
                values = self.space.decode(x)
                found.append(Suggestion(values, Source.BAYESIAN, mean, std, float(value)))
        return found

    def _new_model(self) -> Surrogate:
        if self.surrogate == "gp":
            from phs_mpi.search.model import Model

            return Model(self.space, self.maximize, self.acquisition)
        # Only now: scikit-learn takes a second to import.
        from phs_mpi.search.forest import ForestModel

        return ForestModel(self.space, self.maximize, self.acquisition, self.surrogate)

    def _generator(self, purpose: int, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed % 2**64, purpose, index])

    def _base(self, given: Mapping[str, Any]) -> np.ndarray:
        row: dict[str, Any] = {}
        for d in self.space.dimensions:
            if d.free:
                row[d.name] = d.categories[0] if d.categories else d.low
            elif d.name in given:
                row[d.name] = given[d.name]
            else:
                raise DefinitionError(
                    "has no value, and the search may not choose one",
                    parameter=d.name,
                    remedy="pass its value in `given`",
                )
        return self.space.encode([row])[0]

    def _read(self, evaluated: Sequence[Mapping[str, Any]]) -> None:
        known = len(self._rows)
        rows = list(evaluated)
        if rows[:known] != self._rows:
            self._forget()
            known = 0
        if len(rows) > known:
            # The sum turns -0.0 into 0.0, so that equal points have equal bytes.
            X = self.space.encode(rows[known:]) + 0.0
            self._X = np.vstack([self._X, X])
            self._keys.update(row.tobytes() for row in X)
            self._rows = rows

    def _sobol(self, index: int, base: np.ndarray, seen: Seen) -> Suggestion:
        U = sobol.points(np.array([index]), len(self.space.free_dimensions), self.seed)
        x = self.space.spread(U, base)[0]
        if x in seen:
            x = self._unseen(index, base, seen)
        return Suggestion(self.space.decode(x), Source.SOBOL)

    def _unseen(self, index: int, base: np.ndarray, seen: Seen) -> np.ndarray:
        """A point that is neither evaluated nor pending, by chance."""
        space = self.space
        rng = self._generator(UNSEEN, index)
        if space.size is not None and space.size <= max(ENUMERABLE, 4 * len(seen)):
            for k in rng.permutation(space.size).tolist():
                x = space.enumerate(np.array([k]), base)[0]
                if x not in seen:
                    return x
            raise SpaceExhausted(
                f"all {space.size} combinations of the values that the search may choose "
                "have been evaluated or are being evaluated",
                value=space.size,
                remedy="widen the bounds, or ask for fewer sets",
            )
        # At least three quarters of the points are unseen: a hundred draws cannot all fail.
        points = space.spread(rng.random((100, len(space.free_dimensions))), base)
        return next((x for x in points if x not in seen), points[0])

    def _candidates(
        self, rng: np.random.Generator, base: np.ndarray, model: Surrogate
    ) -> np.ndarray:
        space = self.space
        F = len(space.free_dimensions)
        # One Sobol cover, moved around the torus by a random vector.
        cover = (_cover(F) + rng.random(F)) % 1.0
        free = space.free
        near = []
        for row in model.incumbents(INCUMBENTS):
            width = 10.0 ** rng.uniform(-3.0, -0.5, (NEAR, 1))
            moved = rng.random((NEAR, space.width)) < max(0.3, 2.0 / space.width)
            X = np.tile(base, (NEAR, 1))
            X[:, free] = (row + moved * width * rng.standard_normal((NEAR, space.width)))[:, free]
            near.append(X)
        return np.vstack([space.spread(cover, base), space.snap(np.clip(np.vstack(near), 0, 1))])


@cache
def _cover(dimensions: int) -> np.ndarray:
    return sobol.points(np.arange(COVER), dimensions, 0)


class Seen:
    """The points that must not be proposed again."""

    def __init__(self, *keys: set[bytes]):
        self.keys = keys

    def __contains__(self, x: np.ndarray) -> bool:
        key = (x + 0.0).tobytes()
        return any(key in keys for keys in self.keys)

    def __len__(self) -> int:
        return sum(len(keys) for keys in self.keys)
